#include "api/json_marker.h"
#include "api/sqlite.h"
#include <errno.h>
#include <math.h>

#define BLOB_NAME "moonpool.sqlite.blob"

/* ---- to SQLite ---- */

static bool is_null(lua_State *L, int index) {
  return lua_isnil(L, index) || (lua_islightuserdata(L, index) && !lua_touserdata(L, index));
}

static bool is_blob(lua_State *L, int index) {
  if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
  luaL_getmetatable(L, BLOB_NAME);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

/* The value at the top; `name` is pushed text, or NULL for the place n. */
static void check_value(lua_State *L, const char *name, lua_Integer n) {
  int type = lua_type(L, -1);
  if (!name) name = lua_pushfstring(L, "%I", n), lua_insert(L, -2);
  if (type == LUA_TNUMBER && isnan(lua_tonumber(L, -1)))
    luaL_error(L, "parameter %s is NaN, which SQLite cannot hold", name);
  if (type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TBOOLEAN || is_null(L, -1) || is_blob(L, -1)) return;
  luaL_error(L, "parameter %s is a %s; only nil, booleans, numbers, strings and sqlite.blob(…) can be given to SQLite",
             name, luaL_typename(L, -1));
}

static lua_Integer count_of(lua_State *L, int index) {
  lua_getfield(L, index, "n");
  lua_Integer n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

void mp_sqlite_check_values(lua_State *L, int index, bool named) {
  int top = lua_gettop(L);
  lua_Integer n = named ? 0 : count_of(L, index);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, index, i);
    check_value(L, NULL, i);
    lua_settop(L, top);
  }
  if (!named) return;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_type(L, -2) != LUA_TSTRING && !lua_isinteger(L, -2))
      luaL_error(L, "names of parameters are strings, and places whole numbers; there is a %s", luaL_typename(L, -2));
    lua_pushvalue(L, -2);
    const char *name = lua_tostring(L, -1); /* of the copy: a key that lua_next wants again is not to be converted */
    lua_insert(L, -2);
    check_value(L, name, 0);
    lua_settop(L, top + 1);
  }
}

/* The value at the top, which is one that was checked. */
static int pack_value(lua_State *L, struct mp_buf *to) {
  struct mp_db_value value = {.type = MP_DB_NULL};
  bool blob = lua_istable(L, -1);
  if (blob) lua_rawgeti(L, -1, 1);
  if (lua_type(L, -1) == LUA_TSTRING) {
    value.type = blob ? MP_DB_BLOB : MP_DB_TEXT;
    value.bytes.at = lua_tolstring(L, -1, &value.bytes.len);
  } else if (lua_isinteger(L, -1)) {
    value.type = MP_DB_INTEGER;
    value.integer = lua_tointeger(L, -1);
  } else if (lua_type(L, -1) == LUA_TNUMBER) {
    value.type = MP_DB_REAL;
    value.real = lua_tonumber(L, -1);
  } else if (lua_isboolean(L, -1)) {
    value.type = MP_DB_INTEGER;
    value.integer = lua_toboolean(L, -1);
  }
  if (blob) lua_pop(L, 1);
  return mp_db_put(to, &value);
}

/* The key below the value at the top. */
static int pack_key(lua_State *L, struct mp_buf *to) {
  struct mp_db_value key = {.type = MP_DB_INTEGER};
  if (lua_type(L, -2) == LUA_TSTRING) {
    key.type = MP_DB_NAME;
    key.bytes.at = lua_tolstring(L, -2, &key.bytes.len);
  } else {
    key.integer = lua_tointeger(L, -2);
  }
  return mp_db_put(to, &key);
}

static int pack_named(lua_State *L, int index, struct mp_buf *to, unsigned *n) {
  int err = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    ++*n;
    err = pack_key(L, to);
    if (err == 0) err = pack_value(L, to);
    lua_pop(L, 1);
    if (err < 0) {
      lua_pop(L, 1);
      break;
    }
  }
  return err;
}

int mp_sqlite_pack_values(lua_State *L, int index, bool named, struct mp_buf *to, unsigned *n) {
  *n = 0;
  if (named) return pack_named(L, index, to, n);
  lua_Integer count = count_of(L, index);
  for (; *n < count; ++*n) {
    lua_rawgeti(L, index, (lua_Integer)*n + 1);
    int err = pack_value(L, to);
    lua_pop(L, 1);
    if (err < 0) return err;
  }
  return 0;
}

/* blob(s): what SQLite is to take as bytes, not as text. */
static int l_blob(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  luaL_setmetatable(L, BLOB_NAME);
  return 1;
}

/* check(values, named): raises what a query would refuse, without a position. */
static int l_check(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  mp_sqlite_check_values(L, 1, lua_toboolean(L, 2));
  return 0;
}

static int l_is_blob(lua_State *L) {
  lua_pushboolean(L, is_blob(L, 1));
  return 1;
}

/* ---- from SQLite ---- */

static void push_value(lua_State *L, const struct mp_db_value *value) {
  switch (value->type) {
  case MP_DB_INTEGER:
    lua_pushinteger(L, value->integer);
    return;
  case MP_DB_REAL:
    lua_pushnumber(L, value->real);
    return;
  case MP_DB_NULL:
    lua_pushnil(L);
    return;
  default:
    lua_pushlstring(L, value->bytes.at, value->bytes.len);
  }
}

/* Pushes a list of the names; the rest are the rows. */
static struct mp_slice push_names(lua_State *L, const struct mp_db_answer *answer) {
  struct mp_slice rest = mp_buf_slice(&answer->rows);
  struct mp_db_value name;
  lua_createtable(L, (int)answer->n_columns, 0);
  for (unsigned i = 1; i <= answer->n_columns && mp_db_get(&rest, &name); i++) {
    push_value(L, &name);
    lua_rawseti(L, -2, i);
  }
  return rest;
}

static void push_row(lua_State *L, int names, unsigned n_columns, struct mp_slice *rest) {
  struct mp_db_value value;
  lua_createtable(L, 0, (int)n_columns);
  for (unsigned i = 1; i <= n_columns && mp_db_get(rest, &value); i++) {
    lua_rawgeti(L, names, i);
    push_value(L, &value);
    lua_rawset(L, -3);
  }
}

void mp_sqlite_push_rows(lua_State *L, const struct mp_db_answer *answer) {
  luaL_checkstack(L, 8, "rows");
  struct mp_slice rest = push_names(L, answer);
  int names = lua_gettop(L);
  lua_createtable(L, (int)answer->n_rows, 0);
  for (unsigned i = 1; i <= answer->n_rows; i++) {
    push_row(L, names, answer->n_columns, &rest);
    lua_rawseti(L, -2, i);
  }
  mp_json_push_marker(L); /* an array for JSON, also an empty one */
  lua_setmetatable(L, -2);
  lua_remove(L, names);
}

/* Pushes two: the row, and the value of its first column. */
void mp_sqlite_push_row(lua_State *L, const struct mp_db_answer *answer) {
  luaL_checkstack(L, 8, "row");
  if (answer->n_rows == 0) {
    lua_pushnil(L);
    lua_pushnil(L);
    return;
  }
  struct mp_slice rest = push_names(L, answer);
  struct mp_slice first = rest;
  struct mp_db_value value = {.type = MP_DB_NULL};
  push_row(L, lua_gettop(L), answer->n_columns, &rest);
  lua_remove(L, -2);
  mp_db_get(&first, &value);
  push_value(L, &value);
}

void mp_sqlite_values_open(lua_State *L) {
  luaL_newmetatable(L, BLOB_NAME);
  lua_pop(L, 1);
  lua_pushcfunction(L, l_blob);
  lua_setfield(L, -2, "sqlite_blob");
  lua_pushcfunction(L, l_check);
  lua_setfield(L, -2, "sqlite_check");
  lua_pushcfunction(L, l_is_blob);
  lua_setfield(L, -2, "sqlite_is_blob");
}
