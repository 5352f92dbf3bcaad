#include "api/shared.h"
#include "api/api.h"
#include "base/commons.h"
#include "base/err.h"
#include <errno.h>
#include <math.h>

#define SHARED_NAME "moonpool.shared"

enum { SMALL = 1024, KEYS_AT_ONCE = 128 * 1024 };

/* Nothing of Lua is called while the store is locked: all arguments are read before, all results are pushed after. */
struct shared {
  struct mp_store *store; /* borrowed: outlives the state */
  size_t name_len;
  char name[];
};

static struct shared *check_shared(lua_State *L) {
  return luaL_checkudata(L, 1, SHARED_NAME);
}

/* ---- arguments ---- */

static struct mp_slice check_text(lua_State *L, int arg, size_t longest) {
  struct mp_slice s;
  luaL_checktype(L, arg, LUA_TSTRING);
  s.at = lua_tolstring(L, arg, &s.len);
  if (s.len > longest) luaL_argerror(L, arg, lua_pushfstring(L, "at most %d bytes", (int)longest));
  return s;
}

static struct mp_store_key check_key(lua_State *L, const struct shared *shared) {
  return (struct mp_store_key){mp_slice(shared->name, shared->name_len), check_text(L, 2, MP_STORE_LONGEST_KEY)};
}

static void check_number(lua_State *L, int arg, struct mp_store_value *v) {
  luaL_checktype(L, arg, LUA_TNUMBER);
  v->type = lua_isinteger(L, arg) ? MP_STORE_INTEGER : MP_STORE_FLOAT;
  if (v->type == MP_STORE_INTEGER)
    v->integer = lua_tointeger(L, arg);
  else
    v->real = lua_tonumber(L, arg);
}

static struct mp_store_value check_value(lua_State *L, int arg) {
  struct mp_store_value v = {.type = MP_STORE_TEXT};
  switch (lua_type(L, arg)) {
  case LUA_TBOOLEAN:
    v.type = lua_toboolean(L, arg) ? MP_STORE_TRUE : MP_STORE_FALSE;
    break;
  case LUA_TNUMBER:
    check_number(L, arg, &v);
    break;
  case LUA_TSTRING:
    v.text.at = lua_tolstring(L, arg, &v.text.len);
    break;
  default:
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "a string, a number or a boolean is wanted, not %s", luaL_typename(L, arg)));
  }
  return v;
}

/* Milliseconds, rounded up; 0: none was given. */
static uint64_t check_ttl(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return 0;
  luaL_checktype(L, arg, LUA_TNUMBER);
  lua_Number s = lua_tonumber(L, arg);
  luaL_argcheck(L, s > 0, arg, "a time to live is a number of seconds above 0");
  return s >= 1e15 ? MP_STORE_NEVER : (uint64_t)ceil(s * 1000);
}

/* ---- results ---- */

static int push_failed(lua_State *L, const char *what, int err) {
  char text[128];
  switch (err) {
  case -ENOSPC:
    return mp_push_failure(L, err, "%s: the shared memory is full (--shared-memory)", what);
  case -EEXIST:
    return mp_push_failure(L, err, "%s: the key is there already", what);
  case -EINVAL:
    return mp_push_failure(L, err, "%s: what is there is no number", what);
  case -ETIMEDOUT:
    return mp_push_failure(L, err, "%s: a worker that was stopped holds the shared memory", what);
  default:
    return mp_push_failure(L, err, "%s: %s", what, mp_err_text(err, text, sizeof text));
  }
}

static int push_done(lua_State *L, const char *what, int err) {
  if (err < 0) return push_failed(L, what, err);
  lua_pushboolean(L, 1);
  return 1;
}

static void push_value(lua_State *L, const struct mp_store_value *v) {
  switch (v->type) {
  case MP_STORE_FALSE:
  case MP_STORE_TRUE:
    lua_pushboolean(L, v->type == MP_STORE_TRUE);
    break;
  case MP_STORE_INTEGER:
    lua_pushinteger(L, v->integer);
    break;
  case MP_STORE_FLOAT:
    lua_pushnumber(L, v->real);
    break;
  case MP_STORE_TEXT:
    lua_pushlstring(L, v->text.at, v->text.len);
    break;
  }
}

/* ---- methods ---- */

/* get(k) → the value, or nil */
static int l_get(lua_State *L) {
  const struct shared *shared = check_shared(L);
  struct mp_store_key key = check_key(L, shared);
  struct mp_store_value v;
  char small[SMALL], *room = small;
  size_t size = sizeof small;
  int err;
  while ((err = mp_store_get(shared->store, &key, room, size, mp_store_now(), &v)) == -ENOBUFS) {
    size = v.text.len; /* of now: it may have grown by the next look */
    room = lua_newuserdatauv(L, size, 0);
  }
  if (err == -ENOENT)
    lua_pushnil(L);
  else if (err < 0)
    return push_failed(L, "get", err);
  else
    push_value(L, &v);
  return 1;
}

/* set(k, v[, ttl]) → true, or nil, message, code */
static int l_set(lua_State *L) {
  const struct shared *shared = check_shared(L);
  struct mp_store_key key = check_key(L, shared);
  struct mp_store_value v = check_value(L, 3);
  uint64_t ttl_ms = check_ttl(L, 4);
  return push_done(L, "set", mp_store_set(shared->store, &key, &v, ttl_ms, mp_store_now()));
}

/* add(k, v[, ttl]) → true, or nil, message, code */
static int l_add(lua_State *L) {
  const struct shared *shared = check_shared(L);
  struct mp_store_key key = check_key(L, shared);
  struct mp_store_value v = check_value(L, 3);
  uint64_t ttl_ms = check_ttl(L, 4);
  return push_done(L, "add", mp_store_add(shared->store, &key, &v, ttl_ms, mp_store_now()));
}

/* incr(k[, n = 1[, ttl]]) → the sum, or nil, message, code */
static int l_incr(lua_State *L) {
  const struct shared *shared = check_shared(L);
  struct mp_store_key key = check_key(L, shared);
  struct mp_store_value v = {.type = MP_STORE_INTEGER, .integer = 1};
  if (!lua_isnoneornil(L, 3)) check_number(L, 3, &v);
  uint64_t ttl_ms = check_ttl(L, 4);
  int err = mp_store_incr(shared->store, &key, &v, ttl_ms, mp_store_now());
  if (err < 0) return push_failed(L, "incr", err);
  push_value(L, &v);
  return 1;
}

/* delete(k) → was it there? */
static int l_delete(lua_State *L) {
  const struct shared *shared = check_shared(L);
  struct mp_store_key key = check_key(L, shared);
  int err = mp_store_delete(shared->store, &key, mp_store_now());
  if (err < 0 && err != -ENOENT) return push_failed(L, "delete", err);
  lua_pushboolean(L, err == 0);
  return 1;
}

/* ttl(k) → seconds; math.huge: it lasts; nil: it is not there */
static int l_ttl(lua_State *L) {
  const struct shared *shared = check_shared(L);
  struct mp_store_key key = check_key(L, shared);
  uint64_t left_ms;
  int err = mp_store_ttl(shared->store, &key, mp_store_now(), &left_ms);
  if (err == -ENOENT)
    lua_pushnil(L);
  else if (err < 0)
    return push_failed(L, "ttl", err);
  else
    lua_pushnumber(L, left_ms == 0 || left_ms == MP_STORE_NEVER ? HUGE_VAL : (lua_Number)left_ms / 1000);
  return 1;
}

/* stack: … list. How many there are now. */
static lua_Integer add_keys(lua_State *L, const char *room, long n, lua_Integer count) {
  for (long at = 0; at < n;) {
    uint16_t len;
    memcpy(&len, room + at, sizeof len);
    lua_pushlstring(L, room + at + sizeof len, len);
    lua_rawseti(L, 3, ++count);
    at += (long)sizeof len + len;
  }
  return count;
}

/* keys([prefix]) → a list, in no order */
static int l_keys(lua_State *L) {
  const struct shared *shared = check_shared(L);
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    lua_pushliteral(L, "");
    lua_replace(L, 2);
  }
  struct mp_store_key wanted = check_key(L, shared);
  lua_newtable(L); /* at 3 */
  size_t size = KEYS_AT_ONCE;
  char *room = lua_newuserdatauv(L, size, 0); /* at 4 */
  uint32_t bucket = 0;
  lua_Integer count = 0;
  long n;
  while ((n = mp_store_keys(shared->store, &wanted, &bucket, room, size, mp_store_now())) != 0) {
    if (n == -ENOBUFS) {
      room = lua_newuserdatauv(L, size *= 2, 0);
      lua_replace(L, 4);
    } else if (n < 0) {
      return push_failed(L, "keys", (int)n);
    } else {
      count = add_keys(L, room, n, count);
    }
  }
  lua_settop(L, 3);
  return 1;
}

static int l_tostring(lua_State *L) {
  const struct shared *shared = check_shared(L);
  lua_pushliteral(L, "shared ");
  lua_pushlstring(L, shared->name, shared->name_len);
  lua_concat(L, 2);
  return 1;
}

/* shared(name) */
static int l_shared(lua_State *L) {
  struct mp_commons *commons = lua_touserdata(L, lua_upvalueindex(1));
  struct mp_slice name = check_text(L, 1, MP_STORE_LONGEST_NAME);
  struct shared *shared = lua_newuserdatauv(L, sizeof *shared + name.len, 0);
  shared->store = commons->store;
  shared->name_len = name.len;
  memcpy(shared->name, name.at, name.len);
  luaL_setmetatable(L, SHARED_NAME);
  return 1;
}

void mp_shared_open(lua_State *L, struct mp_commons *commons) {
  static const luaL_Reg methods[] = {{"get", l_get}, {"set", l_set},   {"add", l_add},       {"incr", l_incr},
                                     {"ttl", l_ttl}, {"keys", l_keys}, {"delete", l_delete}, {NULL, NULL}};
  luaL_newmetatable(L, SHARED_NAME);
  lua_pushcfunction(L, l_tostring);
  lua_setfield(L, -2, "__tostring");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushlightuserdata(L, commons);
  lua_pushcclosure(L, l_shared, 1);
  lua_setfield(L, -2, "shared");
}
