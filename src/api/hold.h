/* hold.h - what an app may take of its worker: time without giving the loop back, and memory. */
#ifndef MP_API_HOLD_H
#define MP_API_HOLD_H

#include "base/shm.h"
#include "io/watchdog.h"
#include <lua.h>

struct mp_api;
struct mp_sched;

/* What the watchdog looks at; borrowed from the api. */
struct mp_hold *mp_api_hold(struct mp_api *api);

/* In a signal handler of the loop's thread, with Lua under way. STUCK fills in `out`. */
void mp_api_interrupt(struct mp_api *api, enum mp_watch_step step, struct mp_shm_stuck *out);

void mp_api_on_held(struct mp_sched *sched, lua_State *L, bool over); /* of struct mp_sched */
void mp_api_limit_memory(struct mp_api *api);                         /* before the state is made */

#endif
