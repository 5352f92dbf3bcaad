/* trial.h - what moonpool.test is built on: core.trial, a table that only the role `test` has.
 *
 * A block of tests, and each app that a test opens, is a realm of its own: what it leaves behind is known by its scope,
 * and ends with it. An app's requests come through a server without listeners, over socket pairs. */
#ifndef MP_API_TRIAL_H
#define MP_API_TRIAL_H

#include "io/clock.h"
#include "sched/wait.h"
#include <lua.h>

struct mp_api;
struct mp_args;
struct mp_server_config;

/* Set by the role, before the state is made; borrowed by the api. */
struct mp_trial {
  const struct mp_server_config *server; /* borrowed: how apps are served */
  const char *program;                   /* borrowed: our own executable */
  struct mp_api *api;                    /* borrowed */
  struct mp_quiet quiet;
  struct mp_wake waiter; /* for quiet, or for the clock to be where it is to be */
  uint64_t until_ms;     /* where the clock is moved to */
  bool moving;
  double stopped_now_s, stopped_time_s; /* what both clocks said when they stopped, and when that was on the loop's */
  uint64_t stopped_at_ms;
  int faker_ref; /* registry: asked at each start of a process; LUA_NOREF */
};

/* Pushes core.trial's part into the table at the top of L. */
void mp_trial_open(lua_State *L, struct mp_trial *trial);

/* Runs module.main(words…) as a task of the worker's own realm; `on_end` gets its result, or 1 when it failed. 0 or
 * -ENOMEM. */
int mp_trial_run(struct mp_api *api, const char *module, int argc, char **argv, void (*on_end)(void *ctx, int code),
                 void *ctx);

/* trial_time.c */
void mp_trial_time_open(lua_State *L, struct mp_trial *trial);
bool mp_trial_clock(const struct mp_api *api, bool wall, double *seconds); /* false: the machine's own is right */

/* puppet.c: has a test something to say about this process? 0: no, or `args` are for a puppet now. Else a failure was
 * pushed, three values. `options`: the table that was read. May raise. */
int mp_puppet_ask(lua_State *L, int options, struct mp_args *args, bool blocking);
void mp_puppet_open(lua_State *L, struct mp_trial *trial);

#endif
