#include "api/routes.h"
#include "api/api.h"
#include <stdlib.h>

/* The few methods of a path differ in their first byte, or in their length. */
static uint32_t hash_of(struct mp_slice method, struct mp_slice path) {
  uint32_t of_method = method.len ? (unsigned char)method.at[0] + 31 * (uint32_t)method.len : 0;
  return mp_slice_hash(path) + of_method;
}

static bool is_key(const struct mp_route *route, struct mp_slice method, struct mp_slice path) {
  return route->len == method.len + 1 + path.len && memcmp(route->key, method.at, method.len) == 0 &&
         route->key[method.len] == ' ' && memcmp(route->key + method.len + 1, path.at, path.len) == 0;
}

/* Where the key stands, or the empty place where it would. */
static struct mp_route *place_of(const struct mp_routes *routes, uint32_t hash, struct mp_slice method,
                                 struct mp_slice path) {
  for (uint32_t i = hash;; i++) {
    struct mp_route *route = &routes->at[i & (routes->cap - 1)];
    if (!route->key || (route->hash == hash && is_key(route, method, path))) return route;
  }
}

bool mp_routes_push(lua_State *L, const struct mp_routes *routes, struct mp_slice method, struct mp_slice path) {
  if (routes->n == 0) return false;
  const struct mp_route *route = place_of(routes, hash_of(method, path), method, path);
  if (!route->key) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, route->handler_ref);
  return true;
}

static bool grow(struct mp_routes *routes) {
  if (routes->n * 2 < routes->cap) return true;
  struct mp_routes wider = {.cap = routes->cap ? routes->cap * 2 : 64};
  wider.at = calloc(wider.cap, sizeof *wider.at);
  if (!wider.at) return false;
  for (uint32_t i = 0; i < routes->cap; i++) {
    const struct mp_route *route = &routes->at[i];
    if (!route->key) continue;
    uint32_t to = route->hash;
    while (wider.at[to & (wider.cap - 1)].key) to++;
    wider.at[to & (wider.cap - 1)] = *route;
    wider.n++;
  }
  free(routes->at);
  *routes = wider;
  return true;
}

static char *make_key(struct mp_slice method, struct mp_slice path) {
  char *key = malloc(method.len + 1 + path.len);
  if (!key) return NULL;
  memcpy(key, method.at, method.len);
  key[method.len] = ' ';
  memcpy(key + method.len + 1, path.at, path.len);
  return key;
}

int mp_l_add_route(lua_State *L) {
  struct mp_routes *routes = &mp_realm_upvalue(L)->routes;
  struct mp_slice method, path;
  method.at = luaL_checklstring(L, 1, &method.len);
  path.at = luaL_checklstring(L, 2, &path.len);
  luaL_checkany(L, 3);
  if (!grow(routes)) return luaL_error(L, "not enough memory");
  uint32_t hash = hash_of(method, path);
  struct mp_route *route = place_of(routes, hash, method, path);
  lua_settop(L, 3);
  if (route->key) {
    lua_rawseti(L, LUA_REGISTRYINDEX, route->handler_ref);
    return 0;
  }
  int ref = luaL_ref(L, LUA_REGISTRYINDEX); /* may raise: before anything else is held */
  char *key = make_key(method, path);
  if (!key) {
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    return luaL_error(L, "not enough memory");
  }
  *route =
      (struct mp_route){.key = key, .hash = hash, .len = (uint32_t)(method.len + 1 + path.len), .handler_ref = ref};
  routes->n++;
  return 0;
}

void mp_routes_drop(struct mp_routes *routes, lua_State *L) {
  for (uint32_t i = 0; i < routes->cap; i++) {
    if (L && routes->at[i].key) luaL_unref(L, LUA_REGISTRYINDEX, routes->at[i].handler_ref);
    free(routes->at[i].key);
  }
  free(routes->at);
  *routes = (struct mp_routes){0};
}
