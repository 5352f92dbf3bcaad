#include "api/site.h"
#include "api/api.h"

void mp_site_init(struct mp_site *site, struct mp_api *api) {
  *site = (struct mp_site){.api = api, .handle_ref = LUA_NOREF, .fail_ref = LUA_NOREF, .hooks_ref = LUA_NOREF};
  mp_site_begin(site, NULL, NULL);
}

void mp_site_begin(struct mp_site *site, void (*on_over)(struct mp_scope *), void (*on_begun_over)(struct mp_scope *)) {
  mp_scope_init(&site->scope, on_over);
  mp_scope_init(&site->begun, on_begun_over);
  site->scope.at_once = site->begun.at_once = true;
  site->begun.parent = &site->scope;
}

void mp_site_deinit(struct mp_site *site, lua_State *L) {
  if (L) {
    luaL_unref(L, LUA_REGISTRYINDEX, site->handle_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, site->fail_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, site->hooks_ref);
  }
  mp_routes_drop(&site->routes, L);
  mp_tree_clear(&site->tree, L ? mp_match_drop : NULL, L);
}

struct mp_site *mp_site_of_scope(const struct mp_scope *scope) {
  while (scope->parent) scope = scope->parent;
  const struct mp_call *call = mp_call_of_scope(NULL, scope);
  return call ? call->site : MP_CONTAINER(scope, struct mp_site, scope);
}

struct mp_site *mp_site_running(lua_State *L) {
  return mp_site_of_scope(mp_api_scope(L));
}

struct mp_site *mp_site_upvalue(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

void mp_site_open(lua_State *L, struct mp_site *site, int holder) {
  static const luaL_Reg functions[] = {{"add_route", mp_l_add_route},
                                       {"add_pattern", mp_l_add_pattern},
                                       {"add_mount", mp_l_add_mount},
                                       {"clear_routes", mp_l_clear_routes},
                                       {NULL, NULL}};
  if (holder) holder = lua_absindex(L, holder);
  lua_pushlightuserdata(L, site);
  if (holder)
    lua_pushvalue(L, holder);
  else
    lua_pushnil(L);
  luaL_setfuncs(L, functions, 2);
}
