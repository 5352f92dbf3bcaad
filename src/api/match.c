#include "api/api.h"
#include "api/tree.h"

/* The tree as Lua fills it and as a request is served by it. */

enum { MOST_SEGMENTS = MP_TREE_DEPTH + 1 /* no path that the tree looks for leads further */ };

/* The handler at the top, req.params set. */
static void push_params(lua_State *L, const struct mp_tree_match *match) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, match->route.names_ref);
  lua_createtable(L, 0, (int)match->n_values);
  for (unsigned i = 0; i < match->n_values; i++) {
    lua_rawgeti(L, -2, (int)i + 1);
    lua_pushlstring(L, match->values[i].at, match->values[i].len);
    lua_rawset(L, -3);
  }
  lua_remove(L, -2);
}

bool mp_match_push(lua_State *L, struct mp_call *call) {
  const struct mp_head *head = &call->ex->head;
  struct mp_tree_match match;
  if (!mp_tree_find(&call->realm->tree, head->method, head->path, &match)) return false;
  if (match.n_values > 0) {
    push_params(L, &match);
    mp_call_keep(L, call, MP_KEPT_PARAMS);
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, match.route.handler_ref);
  return true;
}

/* The list at `arg`; what it holds is borrowed from there. False: too long to matter. */
static bool read_segments(lua_State *L, int arg, struct mp_tree_segment *segments, unsigned *count) {
  static const char *const kinds[] = {"literal", "param", "rest", NULL};
  luaL_checktype(L, arg, LUA_TTABLE);
  lua_Unsigned n = lua_rawlen(L, arg);
  if (n > MOST_SEGMENTS) return false;
  for (lua_Unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, arg, (lua_Integer)i + 1);
    lua_getfield(L, -1, "kind");
    lua_getfield(L, -2, "text");
    segments[i].kind = (enum mp_tree_kind)luaL_checkoption(L, -2, NULL, kinds);
    segments[i].text.at = luaL_checklstring(L, -1, &segments[i].text.len);
    lua_pop(L, 3);
  }
  *count = (unsigned)n;
  return true;
}

/* add_pattern(method, segments, names, handler): the segments as router.lua reads them. */
int mp_l_add_pattern(lua_State *L) {
  struct mp_tree_segment segments[MOST_SEGMENTS];
  struct mp_slice method;
  struct mp_tree_route route;
  unsigned n;
  method.at = luaL_checklstring(L, 1, &method.len);
  luaL_checktype(L, 3, LUA_TTABLE);
  luaL_checkany(L, 4);
  if (!read_segments(L, 2, segments, &n)) return 0;
  lua_settop(L, 4);
  route.handler_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  route.names_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  if (mp_tree_add(&mp_realm_upvalue(L)->tree, method, segments, n, route) < 0)
    return luaL_error(L, "not enough memory");
  return 0;
}

/* add_mount(segments) */
int mp_l_add_mount(lua_State *L) {
  struct mp_tree_segment segments[MOST_SEGMENTS];
  unsigned n;
  if (!read_segments(L, 1, segments, &n)) return 0;
  if (mp_tree_add_mount(&mp_realm_upvalue(L)->tree, segments, n) < 0) return luaL_error(L, "not enough memory");
  return 0;
}

void mp_match_drop(void *ctx, struct mp_tree_route route) {
  luaL_unref(ctx, LUA_REGISTRYINDEX, route.handler_ref);
  luaL_unref(ctx, LUA_REGISTRYINDEX, route.names_ref);
}

/* clear_routes(): both maps, because the app has changed. */
int mp_l_clear_routes(lua_State *L) {
  struct mp_realm *realm = mp_realm_upvalue(L);
  mp_tree_clear(&realm->tree, mp_match_drop, L);
  mp_routes_drop(&realm->routes, L);
  return 0;
}
