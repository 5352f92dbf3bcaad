/* places.h - at most --max-procs live children: who comes later waits in turn.
 * A place that comes back is handed over to the oldest, so that nobody overtakes. */
#ifndef MP_API_PLACES_H
#define MP_API_PLACES_H

#include "api/args.h"

bool mp_place_take(struct mp_args *args); /* at once; false: it has to queue */

/* `return mp_place_queue(...)`: waits at most the args' queue_timeout; `after` goes on with the args' stack place as
 * its context, and asks first whether it got one. */
int mp_place_queue(lua_State *L, int scratch, lua_KFunction after);
bool mp_place_got(lua_State *L, int scratch);
int mp_place_push_none(lua_State *L, const struct mp_args *args); /* nil, message, "EAGAIN" */

/* Of args that have come to nothing. Not left to the collector: whoever waits for a place would wait for it. */
void mp_place_give_back(struct mp_args *args);

/* One has come free: the oldest waiting task gets it. */
void mp_place_release(struct mp_api *api);

#endif
