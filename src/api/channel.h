/* channel.h - values from task to task, in order; at most `capacity` lie in it, and nobody overtakes.
 *
 * A channel with capacity 0 is a meeting: a send goes on when somebody has received. A channel belongs to one Lua
 * state. Whoever stands outside of it, a thread with a state of its own, sends and receives by a task of the worker
 * that does so in its place. */
#ifndef MP_API_CHANNEL_H
#define MP_API_CHANNEL_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct mp_channel;

/* What threads have of it (channel_link.h). All zero until it goes to one. */
struct mp_channel_far {
  uint64_t number; /* 0: none has heard of it */
  unsigned jobs;   /* that carry it */
  int states;      /* of threads that hold it; for a moment negative when one lets go before it was counted */
};

struct mp_channel *mp_channel_at(lua_State *L, int index); /* NULL: something else */
struct mp_channel_far *mp_channel_far(struct mp_channel *ch);
void mp_channel_close(struct mp_channel *ch); /* harmless when closed */

/* Fills in `channel` of moonpool.core, which is at the top. */
void mp_channel_open(lua_State *L);

#endif
