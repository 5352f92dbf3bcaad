#include "api/push.h"
#include <errno.h>

static int push_bytes(lua_State *L) {
  const struct mp_slice *bytes = lua_touserdata(L, 1);
  lua_pushlstring(L, bytes->at, bytes->len);
  return 1;
}

int mp_push_call(lua_State *L, lua_CFunction fn, void *arg) {
  lua_pushcfunction(L, fn); /* neither of the two takes memory */
  lua_pushlightuserdata(L, arg);
  int status = lua_pcall(L, 1, 1, 0);
  if (status == LUA_OK) return 0;
  return status == LUA_ERRMEM ? -ENOMEM : -EINVAL;
}

int mp_push_slice(lua_State *L, struct mp_slice bytes) {
  return mp_push_call(L, push_bytes, &bytes);
}
