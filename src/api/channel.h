/* channel.h - values from task to task, in order; at most `capacity` lie in it, and nobody overtakes.
 *
 * A channel with capacity 0 is a meeting: a send goes on when somebody has received. A channel belongs to one Lua
 * state. Whoever stands outside of it, a thread with a state of its own, sends and receives by a task of the worker
 * that does so in its place. */
#ifndef MP_API_CHANNEL_H
#define MP_API_CHANNEL_H

#include <lua.h>

struct mp_channel;

struct mp_channel *mp_channel_at(lua_State *L, int index); /* NULL: something else */

/* Fills in `channel` of moonpool.core, which is at the top. */
void mp_channel_open(lua_State *L);

#endif
