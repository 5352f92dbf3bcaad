/* topics.h - moonpool.publish and moonpool.subscribe: what this worker takes from the ring, and gives to its channels.
 *
 *   publish ─► ring ─► inbox ─► a channel for each subscription of the topic ─► receive
 *
 * Nothing is dropped on the way: a channel that is full holds up the inbox, a full ring the publishers, who wait.
 * Nobody holds up the others for ever: a subscription that takes nothing for MP_TOPICS_PATIENCE_MS while others wait
 * for it is closed, and so are all of a worker that reads nothing for as long (ring.h); their channels then say why. */
#ifndef MP_API_TOPICS_H
#define MP_API_TOPICS_H

#include <lua.h>

enum {
  MP_TOPICS_PATIENCE_MS = 5000,
  MP_TOPICS_HELD = 1024 /* messages in a subscription's channel, unless it says so */
};

struct mp_api;

/* Sets `publish` and `subscribe` in the table at the top. */
void mp_topics_open(lua_State *L);

/* The state is about to be closed: every subscription ends. Its handle may close later. */
void mp_topics_close(struct mp_api *api);

#endif
