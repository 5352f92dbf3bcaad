#include "api/api.h"

/* core.native(fn): `fn` as a C function. Lua drops the caller's frame at a tail call of a Lua function, and with it the
 * line that an error names; of a C function it keeps it. Waits pass through. */

static int after_call(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  return lua_gettop(L);
}

static int l_call(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, after_call);
  return after_call(L, LUA_OK, 0);
}

static int l_native(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_pushcclosure(L, l_call, 1);
  return 1;
}

void mp_native_open(lua_State *L) {
  lua_pushcfunction(L, l_native);
  lua_setfield(L, -2, "native");
}
