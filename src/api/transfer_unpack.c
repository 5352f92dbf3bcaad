#include "api/json_marker.h"
#include "api/transfer.h"
#include "base/check.h"
#include "sched/state.h"
#include <errno.h>
#include <lauxlib.h>
#include <stdint.h>

/* The bytes come from the other half in this process: what does not fit is memory that can no longer be trusted. */

struct unpacking {
  lua_State *L;
  const char *at, *end; /* borrowed */
  int seen;             /* stack place: number -> table or function */
  lua_Integer n_numbered;
  const struct mp_carrier *carrier; /* borrowed; NULL: there are no channels in the bytes */
};

static void unpack_value(struct unpacking *u, char tag);

static void take(struct unpacking *u, void *to, size_t n) {
  MP_CHECK((size_t)(u->end - u->at) >= n);
  memcpy(to, u->at, n);
  u->at += n;
}

static char take_tag(struct unpacking *u) {
  char tag;
  take(u, &tag, 1);
  return tag;
}

static uint32_t take_size(struct unpacking *u) {
  uint32_t size;
  take(u, &size, sizeof size);
  return size;
}

static struct mp_slice take_bytes(struct unpacking *u) {
  size_t n = take_size(u);
  MP_CHECK((size_t)(u->end - u->at) >= n);
  struct mp_slice bytes = mp_slice(u->at, n);
  u->at += n;
  return bytes;
}

/* The value at the top has the next number. */
static void number_it(struct unpacking *u) {
  lua_pushvalue(u->L, -1);
  lua_rawseti(u->L, u->seen, ++u->n_numbered);
}

/* ---- what has a name here too ---- */

static void push_module(lua_State *L, const char *name) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, name) == LUA_TNIL || !lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
  }
  lua_remove(L, -2);
}

static void unpack_named(struct unpacking *u) {
  lua_State *L = u->L;
  struct mp_slice bytes = take_bytes(u);
  lua_pushlstring(L, bytes.at, bytes.len); /* ended by a NUL too */
  const char *part = lua_tostring(L, -1), *end = part + bytes.len, *module = part;
  push_module(L, part);
  while ((part += strlen(part) + 1) < end) {
    lua_getfield(L, -1, part);
    lua_remove(L, -2);
    if (lua_isnil(L, -1)) luaL_error(L, "offload: %s has no '%s' on the other side", module, part);
  }
  lua_remove(L, -2);
}

/* ---- tables and functions ---- */

static void set_kind(lua_State *L, char kind) {
  if (kind == MP_TABLE_ARRAY) {
    mp_json_push_marker(L);
    lua_setmetatable(L, -2);
  } else if (kind == MP_TABLE_RESULT) {
    luaL_setmetatable(L, "moonpool.result");
  }
}

static int at_most(uint32_t n) {
  return n < INT32_MAX / 64 ? (int)n : 0;
}

static void unpack_table(struct unpacking *u) {
  lua_State *L = u->L;
  char kind = take_tag(u), tag;
  uint32_t array = take_size(u), rest = take_size(u);
  lua_createtable(L, at_most(array), at_most(rest));
  number_it(u);
  while ((tag = take_tag(u)) != MP_TAG_END) {
    unpack_value(u, tag);
    unpack_value(u, take_tag(u));
    lua_rawset(L, -3);
  }
  set_kind(L, kind);
}

static void join_upvalue(struct unpacking *u, int i) {
  lua_State *L = u->L;
  uint64_t where;
  take(u, &where, sizeof where);
  lua_rawgeti(L, u->seen, (lua_Integer)(where >> 8));
  lua_upvaluejoin(L, -2, i, -1, (int)(where & 255));
  lua_pop(L, 1);
}

static void unpack_function(struct unpacking *u) {
  lua_State *L = u->L;
  struct mp_slice code = take_bytes(u);
  char tag;
  if (luaL_loadbufferx(L, code.at, code.len, "=?", "b") != LUA_OK) lua_error(L);
  number_it(u);
  for (int i = 1; (tag = take_tag(u)) != MP_TAG_END; i++) {
    if (tag == MP_TAG_SHARED) {
      join_upvalue(u, i);
      continue;
    }
    unpack_value(u, tag);
    if (!lua_setupvalue(L, -2, i)) lua_pop(L, 1);
  }
}

/* ---- values ---- */

static void unpack_again(struct unpacking *u) {
  lua_rawgeti(u->L, u->seen, take_size(u));
}

static void unpack_integer(struct unpacking *u) {
  lua_Integer i;
  take(u, &i, sizeof i);
  lua_pushinteger(u->L, i);
}

static void unpack_float(struct unpacking *u) {
  lua_Number n;
  take(u, &n, sizeof n);
  lua_pushnumber(u->L, n);
}

static void unpack_string(struct unpacking *u) {
  struct mp_slice s = take_bytes(u);
  lua_pushlstring(u->L, s.at, s.len);
}

static void unpack_channel(struct unpacking *u) {
  uint64_t number;
  take(u, &number, sizeof number);
  MP_CHECK(u->carrier);
  u->carrier->give(u->L, number, u->carrier->ctx);
}

static void unpack_value(struct unpacking *u, char tag) {
  lua_State *L = u->L;
  luaL_checkstack(L, 8, "deeply nested values");
  switch ((enum mp_transfer_tag)tag) {
  case MP_TAG_NIL:
    lua_pushnil(L);
    return;
  case MP_TAG_FALSE:
  case MP_TAG_TRUE:
    lua_pushboolean(L, tag == MP_TAG_TRUE);
    return;
  case MP_TAG_INTEGER:
    unpack_integer(u);
    return;
  case MP_TAG_FLOAT:
    unpack_float(u);
    return;
  case MP_TAG_STRING:
    unpack_string(u);
    return;
  case MP_TAG_TABLE:
    unpack_table(u);
    return;
  case MP_TAG_FUNCTION:
    unpack_function(u);
    return;
  case MP_TAG_AGAIN:
    unpack_again(u);
    return;
  case MP_TAG_NAMED:
    unpack_named(u);
    return;
  case MP_TAG_NULL:
    lua_pushlightuserdata(L, NULL);
    return;
  case MP_TAG_CANCELLED:
    mp_push_cancelled(L);
    return;
  case MP_TAG_CHANNEL:
    unpack_channel(u);
    return;
  case MP_TAG_SHARED:
  case MP_TAG_END:
    break;
  }
  MP_CHECK(!"a tag that nobody writes");
}

int mp_transfer_unpack(lua_State *L, struct mp_slice bytes, const struct mp_carrier *carrier) {
  struct unpacking u = {.L = L, .at = bytes.at, .end = bytes.at + bytes.len, .carrier = carrier};
  int n = (int)take_size(&u);
  luaL_checkstack(L, n + 8, "too many values");
  lua_newtable(L);
  u.seen = lua_gettop(L);
  for (int i = 0; i < n; i++) unpack_value(&u, take_tag(&u));
  lua_remove(L, u.seen);
  return n;
}

bool mp_transfer_is_text(struct mp_slice bytes, struct mp_slice *text) {
  struct unpacking u = {.at = bytes.at, .end = bytes.at + bytes.len};
  if (bytes.len == 0 || take_size(&u) != 1 || take_tag(&u) != MP_TAG_STRING) return false;
  *text = take_bytes(&u);
  return true;
}

int mp_transfer_put_text(struct mp_buf *out, struct mp_slice text) {
  uint32_t n = 1, len = (uint32_t)text.len;
  char tag = MP_TAG_STRING, *at = mp_buf_room(out, sizeof n + 1 + sizeof len + text.len);
  if (!at) return -ENOMEM;
  memcpy(at, &n, sizeof n);
  at[sizeof n] = tag;
  memcpy(at + sizeof n + 1, &len, sizeof len);
  memcpy(at + sizeof n + 1 + sizeof len, text.at, text.len);
  mp_buf_grew(out, sizeof n + 1 + sizeof len + text.len);
  return 0;
}
