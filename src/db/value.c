#include "db/value.h"
#include <errno.h>

static bool has_bytes(enum mp_db_type type) {
  return type == MP_DB_TEXT || type == MP_DB_BLOB || type == MP_DB_NAME;
}

/* One byte for the type; then eight for a number or a length, then the bytes. */
int mp_db_put(struct mp_buf *to, const struct mp_db_value *value) {
  bool bytes = has_bytes(value->type);
  size_t size = value->type == MP_DB_NULL ? 1 : 9 + (bytes ? value->bytes.len : 0);
  char *at = mp_buf_room(to, size);
  if (!at) return -ENOMEM;
  at[0] = (char)value->type;
  if (value->type == MP_DB_REAL) {
    memcpy(at + 1, &value->real, 8);
  } else if (bytes) {
    uint64_t len = value->bytes.len;
    memcpy(at + 1, &len, 8);
    if (len > 0) memcpy(at + 9, value->bytes.at, len);
  } else if (value->type == MP_DB_INTEGER) {
    memcpy(at + 1, &value->integer, 8);
  }
  mp_buf_grew(to, size);
  return 0;
}

static void take(struct mp_slice *rest, size_t n) {
  rest->at += n;
  rest->len -= n;
}

bool mp_db_get(struct mp_slice *rest, struct mp_db_value *value) {
  uint64_t len;
  if (rest->len == 0) return false;
  value->type = (enum mp_db_type)rest->at[0];
  if (value->type == MP_DB_NULL) {
    take(rest, 1);
    return true;
  }
  if (value->type == MP_DB_REAL) {
    memcpy(&value->real, rest->at + 1, 8);
  } else if (value->type == MP_DB_INTEGER) {
    memcpy(&value->integer, rest->at + 1, 8);
  } else {
    memcpy(&len, rest->at + 1, 8);
    value->bytes = mp_slice(rest->at + 9, len);
    take(rest, len);
  }
  take(rest, 9);
  return true;
}
