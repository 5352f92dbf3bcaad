#include "api/realm.h"
#include "api/api.h"

void mp_realm_init(struct mp_realm *realm, struct mp_api *api) {
  *realm = (struct mp_realm){.api = api, .handle_ref = LUA_NOREF, .fail_ref = LUA_NOREF, .hooks_ref = LUA_NOREF};
  mp_realm_begin(realm, NULL, NULL);
}

void mp_realm_begin(struct mp_realm *realm, void (*on_over)(struct mp_scope *),
                    void (*on_begun_over)(struct mp_scope *)) {
  mp_scope_init(&realm->scope, on_over);
  mp_scope_init(&realm->begun, on_begun_over);
  realm->scope.at_once = realm->begun.at_once = true;
  realm->begun.parent = &realm->scope;
}

void mp_realm_deinit(struct mp_realm *realm, lua_State *L) {
  if (L) {
    luaL_unref(L, LUA_REGISTRYINDEX, realm->handle_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, realm->fail_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, realm->hooks_ref);
  }
  mp_routes_drop(&realm->routes, L);
  mp_tree_clear(&realm->tree, L ? mp_match_drop : NULL, L);
}

struct mp_realm *mp_realm_of_scope(const struct mp_scope *scope) {
  while (scope->parent) scope = scope->parent;
  const struct mp_call *call = mp_call_of_scope(NULL, scope);
  return call ? call->realm : MP_CONTAINER(scope, struct mp_realm, scope);
}

struct mp_realm *mp_realm_running(lua_State *L) {
  return mp_realm_of_scope(mp_api_scope(L));
}

struct mp_realm *mp_realm_upvalue(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

void mp_realm_open(lua_State *L, struct mp_realm *realm, int holder) {
  static const luaL_Reg functions[] = {{"add_route", mp_l_add_route},
                                       {"add_pattern", mp_l_add_pattern},
                                       {"add_mount", mp_l_add_mount},
                                       {"clear_routes", mp_l_clear_routes},
                                       {NULL, NULL}};
  if (holder) holder = lua_absindex(L, holder);
  lua_pushlightuserdata(L, realm);
  if (holder)
    lua_pushvalue(L, holder);
  else
    lua_pushnil(L);
  luaL_setfuncs(L, functions, 2);
}
