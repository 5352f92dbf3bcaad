#include "api/json.h"
#include "api/json_marker.h"
#include "api/push.h"
#include <errno.h>
#include <jansson.h>
#include <lauxlib.h>
#include <stdio.h>

/* --- the array marker -------------------------------------------------------------------------------------------- */

static const char marker_key; /* its address is the key in the registry */

/* array.n: as a key of its own it would be one too many for an array. */
static int l_array_index(lua_State *L) {
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
  if (!key || strcmp(key, "n") != 0) return 0;
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
  return 1;
}

void mp_json_push_marker(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &marker_key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "moonpool.json.array");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, l_array_index);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &marker_key);
}

bool mp_json_is_marked(lua_State *L) {
  if (!lua_getmetatable(L, -1)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &marker_key);
  bool marked = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return marked;
}

/* --- decoding ---------------------------------------------------------------------------------------------------- */

struct builder {
  const json_t *value; /* borrowed */
  bool too_deep;       /* why the building raised; otherwise it was memory or the stack */
};

enum { MARKER = 2 }; /* the stack place of the array marker while building */

static void build(lua_State *L, struct builder *b, const json_t *value, unsigned depth);

static void build_array(lua_State *L, struct builder *b, const json_t *array, unsigned depth) {
  size_t n = json_array_size(array);
  lua_createtable(L, n < INT32_MAX ? (int)n : INT32_MAX, 0);
  for (size_t i = 0; i < n; i++) {
    build(L, b, json_array_get(array, i), depth);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_pushvalue(L, MARKER);
  lua_setmetatable(L, -2);
}

static void build_object(lua_State *L, struct builder *b, const json_t *value, unsigned depth) {
  json_t *object = (json_t *)(uintptr_t)value; /* jansson's iterators read, but ask for a non-const object */
  size_t n = json_object_size(object);
  lua_createtable(L, 0, n < INT32_MAX ? (int)n : INT32_MAX);
  for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
    lua_pushlstring(L, json_object_iter_key(at), json_object_iter_key_len(at));
    build(L, b, json_object_iter_value(at), depth);
    lua_rawset(L, -3); /* stack: object */
  }
}

static void build_nested(lua_State *L, struct builder *b, const json_t *value, unsigned depth) {
  b->too_deep = depth > MP_JSON_DEPTH;
  if (b->too_deep) luaL_error(L, "nested deeper than %d", MP_JSON_DEPTH);
  luaL_checkstack(L, 6, "nested JSON");
  if (json_is_array(value))
    build_array(L, b, value, depth);
  else
    build_object(L, b, value, depth);
}

/* Pushes `value`, which stands `depth` tables deep; raises. */
static void build(lua_State *L, struct builder *b, const json_t *value, unsigned depth) {
  switch (json_typeof(value)) {
  case JSON_STRING:
    lua_pushlstring(L, json_string_value(value), json_string_length(value));
    return;
  case JSON_INTEGER:
    lua_pushinteger(L, json_integer_value(value));
    return;
  case JSON_REAL:
    lua_pushnumber(L, json_real_value(value));
    return;
  case JSON_TRUE:
  case JSON_FALSE:
    lua_pushboolean(L, json_is_true(value));
    return;
  case JSON_NULL:
    lua_pushlightuserdata(L, NULL);
    return;
  case JSON_OBJECT:
  case JSON_ARRAY:
    build_nested(L, b, value, depth + 1);
    return;
  }
}

static int build_all(lua_State *L) {
  struct builder *b = lua_touserdata(L, 1);
  mp_json_push_marker(L);
  build(L, b, b->value, 0);
  return 1;
}

static int refuse_text(lua_State *L, const json_error_t *error) {
  char message[JSON_ERROR_TEXT_LENGTH + 64];
  int n = snprintf(message, sizeof message, "line %d column %d: %s", error->line, error->column, error->text);
  int err = mp_push_slice(L, mp_slice(message, n > 0 ? (size_t)n : 0));
  return err ? err : -EINVAL;
}

int mp_json_decode(lua_State *L, const char *text, size_t len) {
  json_error_t error;
  json_t *value = json_loadb(text ? text : "", len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
  if (!value) return refuse_text(L, &error);
  struct builder b = {.value = value};
  int err = mp_push_call(L, build_all, &b); /* protected, so that the tree is freed whatever happens */
  json_decref(value);
  return err && !b.too_deep ? -ENOMEM : err; /* a Lua stack that is full counts as memory */
}

/* --- for Lua ----------------------------------------------------------------------------------------------------- */

static int l_encode(lua_State *L) {
  struct mp_buf out = {0};
  luaL_checkany(L, 1);
  int err = mp_json_encode(L, 1, &out);
  if (!err) err = mp_push_slice(L, mp_buf_slice(&out));
  mp_buf_free(&out);
  if (!err) return 1;
  if (err == -ENOMEM) return lua_error(L);
  luaL_where(L, 1);
  lua_insert(L, -2);
  lua_concat(L, 2);
  return lua_error(L);
}

static int l_decode(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  int err = mp_json_decode(L, text, len);
  if (!err) return 1;
  if (err == -ENOMEM) return lua_error(L);
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

static int l_array(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  luaL_argcheck(L, mp_json_is_marked(L) || !lua_getmetatable(L, 1), 1, "has a metatable of its own");
  mp_json_push_marker(L);
  lua_setmetatable(L, 1);
  return 1;
}

void mp_json_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"encode", l_encode}, {"decode", l_decode}, {"array", l_array}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
}
