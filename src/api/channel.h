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

/* A channel that the script only receives from: somebody else feeds it. Borrowed by the channel until it ends. */
struct mp_channel_feed {
  void (*taken)(struct mp_channel_feed *feed); /* a value was: there is room again */
  /* Closed by the script or, `collected`, by the collector, in whose hands it is: it is fed no more. */
  void (*ended)(struct mp_channel_feed *feed, bool collected);
};

/* An argument that says how many values a channel may hold. */
lua_Integer mp_check_capacity(lua_State *L, int arg, lua_Integer least, lua_Integer fallback);

/* Pushes one; it becomes fed when the caller sets that. */
struct mp_channel *mp_channel_new(lua_State *L, lua_Integer capacity);
void mp_channel_set_feed(struct mp_channel *ch, struct mp_channel_feed *feed); /* NULL: it has none any more */

bool mp_channel_has_room(struct mp_channel *ch);
/* The value at the top, popped, into the channel at stack place 1, which has room. Raises when there is no memory. */
void mp_channel_put(lua_State *L);

/* Closes it, without telling its feed, which it has no more. What it holds is still received; who comes then gets
 * nil, why, code: static texts. */
void mp_channel_end(struct mp_channel *ch, const char *why, const char *code);

/* Fills in `channel` of moonpool.core, which is at the top. */
void mp_channel_open(lua_State *L);

#endif
