#include "embed/values.h"
#include <lauxlib.h>
#include <string.h>

enum tag {
  NIL = 'n',
  FALSE = 'f',
  TRUE = 't',
  INTEGER = 'i',
  NUMBER = 'd',
  BYTES = 's',
  TABLE = '{',
  KEY = 'k',
  END = '}'
};

/* ---- writing ---- */

static void put(struct mp_values *v, enum tag tag, const void *bytes, size_t n) {
  char *room = v->broken ? NULL : mp_buf_room(&v->bytes, n + 1);
  if (!room) {
    if (!v->broken) v->broken = "not enough memory";
    return;
  }
  room[0] = (char)tag;
  if (n > 0) memcpy(room + 1, bytes, n);
  mp_buf_grew(&v->bytes, n + 1);
}

static void put_value(struct mp_values *v, enum tag tag, const void *bytes, size_t n) {
  put(v, tag, bytes, n);
  v->keyed = false;
  if (v->depth == 0) v->n++;
}

static void put_long(struct mp_values *v, struct mp_slice bytes) {
  if (!v->broken && mp_buf_add(&v->bytes, &bytes.len, sizeof bytes.len) < 0) v->broken = "not enough memory";
  if (!v->broken && bytes.len > 0 && mp_buf_add(&v->bytes, bytes.at, bytes.len) < 0) v->broken = "not enough memory";
}

void mp_values_nil(struct mp_values *v) {
  put_value(v, NIL, NULL, 0);
}

void mp_values_boolean(struct mp_values *v, bool value) {
  put_value(v, value ? TRUE : FALSE, NULL, 0);
}

void mp_values_integer(struct mp_values *v, int64_t value) {
  put_value(v, INTEGER, &value, sizeof value);
}

void mp_values_number(struct mp_values *v, double value) {
  put_value(v, NUMBER, &value, sizeof value);
}

void mp_values_bytes(struct mp_values *v, struct mp_slice bytes) {
  put_value(v, BYTES, NULL, 0);
  put_long(v, bytes);
}

void mp_values_table(struct mp_values *v) {
  put_value(v, TABLE, NULL, 0);
  if (++v->depth > MP_VALUES_DEPTH && !v->broken) v->broken = "a result has too many tables within each other";
}

void mp_values_key(struct mp_values *v, struct mp_slice key) {
  if ((v->depth == 0 || v->keyed) && !v->broken) v->broken = "a key stands where a value belongs";
  put(v, KEY, NULL, 0);
  put_long(v, key);
  v->keyed = true;
}

void mp_values_end(struct mp_values *v) {
  if ((v->depth == 0 || v->keyed) && !v->broken) v->broken = "a table ends that was not begun, or behind a key";
  if (v->depth > 0) v->depth--;
  put(v, END, NULL, 0);
}

void mp_values_reset(struct mp_values *v) {
  mp_buf_free(&v->bytes);
  *v = (struct mp_values){0};
}

/* ---- pushing ---- */

static void take(const char **at, void *to, size_t n) {
  memcpy(to, *at, n);
  *at += n;
}

static void push_long(lua_State *L, const char **at) {
  size_t len;
  take(at, &len, sizeof len);
  lua_pushlstring(L, *at, len);
  *at += len;
}

static void push_table(lua_State *L, const char **at);

static void push_one(lua_State *L, const char **at) {
  lua_Integer integer;
  lua_Number number;
  switch (*(*at)++) {
  case INTEGER:
    take(at, &integer, sizeof integer);
    lua_pushinteger(L, integer);
    break;
  case NUMBER:
    take(at, &number, sizeof number);
    lua_pushnumber(L, number);
    break;
  case BYTES:
    push_long(L, at);
    break;
  case TABLE:
    push_table(L, at);
    break;
  case NIL:
    lua_pushnil(L);
    break;
  default:
    lua_pushboolean(L, (*at)[-1] == TRUE);
  }
}

static void push_table(lua_State *L, const char **at) {
  luaL_checkstack(L, 8, "results of the host");
  lua_newtable(L);
  for (lua_Integer i = 1; **at != END;) {
    if (**at == KEY) {
      ++*at;
      push_long(L, at);
      push_one(L, at);
      lua_rawset(L, -3);
    } else {
      push_one(L, at);
      lua_rawseti(L, -2, i++);
    }
  }
  ++*at;
}

int mp_values_push(lua_State *L, struct mp_values *v) {
  if (v->depth > 0 && !v->broken) v->broken = "a result is a table that was not ended";
  if (v->broken) return luaL_error(L, "%s", v->broken);
  luaL_checkstack(L, (int)v->n + 8, "results of the host");
  const char *at = v->n ? mp_buf_at(&v->bytes) : NULL;
  for (unsigned i = 0; i < v->n; i++) push_one(L, &at);
  return (int)v->n;
}
