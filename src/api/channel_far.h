/* channel_far.h - what stands in for a channel in the Lua state of a thread. It is known by its number; the same
 * channel is the same object each time it comes. Its methods, in lua/moonpool/thread.lua, ask the loop. */
#ifndef MP_API_CHANNEL_FAR_H
#define MP_API_CHANNEL_FAR_H

#include "api/job.h"

/* Of one state. */
struct mp_far {
  struct mp_api *api;         /* borrowed; for the loop alone */
  struct mp_threads *threads; /* borrowed: outlives the state */
  bool closing;               /* the state ends */
};

struct mp_far *mp_lua_thread_far(lua_State *L);

void mp_far_init(struct mp_job *job); /* fills in job->far_carrier */
void mp_far_open(lua_State *L);       /* `far_channel` of the core at the top: their metatable */

#endif
