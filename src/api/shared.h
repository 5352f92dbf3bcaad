/* shared.h - moonpool.shared(name): the pool's map of small values, as a script sees it; on threads too. */
#ifndef MP_API_SHARED_H
#define MP_API_SHARED_H

#include <lua.h>

struct mp_commons;

/* Sets `shared` in the table at the top. `commons` outlives the state. */
void mp_shared_open(lua_State *L, struct mp_commons *commons);

#endif
