#include "db/inside.h"

static int bind(struct mp_db *db, sqlite3_stmt *stmt, int index, const struct mp_db_value *value) {
  const char *bytes = value->bytes.len > 0 ? value->bytes.at : "";
  switch (value->type) {
  case MP_DB_INTEGER:
    return db->lib.bind_int64(stmt, index, value->integer);
  case MP_DB_REAL:
    return db->lib.bind_double(stmt, index, value->real);
  case MP_DB_TEXT: /* copied: a cursor lives longer than what was sent with it */
    return db->lib.bind_text64(stmt, index, bytes, value->bytes.len, SQLITE_TRANSIENT, SQLITE_UTF8);
  case MP_DB_BLOB:
    return db->lib.bind_blob64(stmt, index, bytes, value->bytes.len, SQLITE_TRANSIENT);
  default:
    return db->lib.bind_null(stmt, index);
  }
}

/* The value behind the name (without its first character), or behind the place. */
static bool find_named(const struct mp_db_request *request, const char *name, int place, struct mp_db_value *value) {
  struct mp_slice rest = request->values, wanted = mp_slice(name, name ? strlen(name) : 0);
  struct mp_db_value key;
  while (mp_db_get(&rest, &key) && mp_db_get(&rest, value)) {
    if (key.type == MP_DB_INTEGER ? !name && key.integer == place : name && mp_slice_is(key.bytes, wanted)) return true;
  }
  return false;
}

static bool bind_named(struct mp_db *db, struct mp_statement *statement, int n, const struct mp_db_request *request,
                       struct mp_db_answer *answer) {
  for (int i = 1; i <= n; i++) {
    const char *name = db->lib.bind_parameter_name(statement->stmt, i);
    bool placed = !name || name[0] == '?';
    struct mp_db_value value;
    if (!find_named(request, placed ? NULL : name + 1, i, &value)) {
      if (placed) return mp_db_misuse(answer, "parameter %d is missing", i);
      return mp_db_misuse(answer, "parameter %s is missing (sqlite.null stands for NULL)", name);
    }
    int code = bind(db, statement->stmt, i, &value);
    if (code != SQLITE_OK) return mp_db_fail(db, code, request->sql, 0, answer);
  }
  return true;
}

bool mp_statement_bind(struct mp_db *db, struct mp_statement *statement, const struct mp_db_request *request,
                       struct mp_db_answer *answer) {
  int n = db->lib.bind_parameter_count(statement->stmt);
  if (request->named) return bind_named(db, statement, n, request, answer);
  if ((unsigned)n != request->n_values)
    return mp_db_misuse(answer, "the SQL has %d parameter%s, %u value%s given", n, n == 1 ? "" : "s", request->n_values,
                        request->n_values == 1 ? " was" : "s were");
  struct mp_slice rest = request->values;
  struct mp_db_value value;
  for (int i = 1; i <= n && mp_db_get(&rest, &value); i++) {
    int code = bind(db, statement->stmt, i, &value);
    if (code != SQLITE_OK) return mp_db_fail(db, code, request->sql, 0, answer);
  }
  return true;
}
