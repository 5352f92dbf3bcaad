/* routes.h - routes without parameters: method and path as sent → handler, found without a call into Lua.
 * The app's own router fills the map when it has looked at its routes, and empties it when they change. */
#ifndef MP_API_ROUTES_H
#define MP_API_ROUTES_H

#include "base/slice.h"
#include <lua.h>
#include <stdint.h>

struct mp_route {
  char *key; /* owned: method, a space, path; NULL: an empty place */
  uint32_t hash, len;
  int handler_ref; /* of the registry */
};

struct mp_routes {
  struct mp_route *at; /* owned; cap is a power of 2, or 0 */
  uint32_t n, cap;
};

/* L: NULL when the state is gone, and the references with it. */
void mp_routes_drop(struct mp_routes *routes, lua_State *L);

/* Pushes the handler; false, and nothing, when there is none. */
bool mp_routes_push(lua_State *L, const struct mp_routes *routes, struct mp_slice method, struct mp_slice path);

/* add_route(method, path, handler), of a realm: realm.h */
int mp_l_add_route(lua_State *L);

#endif
