/* push.h - putting C memory on the Lua stack while holding something that must be freed.
 * lua_pushlstring may raise for want of memory; these never do. They need two free slots. */
#ifndef MP_API_PUSH_H
#define MP_API_PUSH_H

#include "base/slice.h"
#include <lua.h>

/* Pushes the bytes as a string: 0. Or pushes Lua's own "not enough memory": -ENOMEM. */
int mp_push_slice(lua_State *L, struct mp_slice bytes);

/* Calls `fn` with `arg` as its light userdata, protected and without running a message handler. What it returns (one
 * value) is pushed: 0. Or the error value is: -ENOMEM when memory ran out, else -EINVAL. */
int mp_push_call(lua_State *L, lua_CFunction fn, void *arg);

#endif
