/* places.h - what a process waits for before it is started: a place among --max-procs, then its turn.
 *
 *   enter ─► place ─ none free: in line, at most queue_timeout ─► turn ─ not yet: in line ─► go
 *
 * Turns are for everybody else: to start a process holds the loop for a while, and one that was just started has the
 * processor busy. So one is started in a turn of the loop, and only a few more than there are processors may be young
 * at once: started within the last few milliseconds and not ended. Both lines are first come, first served. */
#ifndef MP_API_PLACES_H
#define MP_API_PLACES_H

#include "io/loop.h"
#include "sched/scope.h"
#include "sched/wait.h"

struct mp_api;
struct mp_args;

struct mp_places {
  struct mp_list line;   /* of tasks that wait for a place, oldest first */
  struct mp_list turns;  /* of tasks that have one and wait to start */
  struct mp_list young;  /* struct mp_young, oldest first */
  struct mp_soon next;   /* at the end of a turn of the loop in which one was started, or has ended */
  struct mp_timer grown; /* the oldest young one is young no more; runs only while somebody waits for that */
  unsigned n_taken;      /* places: of live processes and of those about to be started */
  unsigned n_waiting;    /* in `line` */
  unsigned n_young, most_young;
  bool started; /* one, in this turn of the loop */
  bool called;  /* somebody's turn has come, and he has not started yet */
};

/* In a process; linked from its start until it has grown or ended. */
struct mp_young {
  struct mp_list node;
  uint64_t started_ms; /* of the loop's clock */
};

/* In mp_args: one who enters. All zero but for the links before that. */
struct mp_entrant {
  struct mp_list node; /* of a line */
  struct mp_wake wake;
  struct mp_owned owned; /* of the task: whatever ends it gives the place back */
  lua_KFunction go;
  bool has_place, is_called;
};

int mp_places_init(struct mp_api *api);
void mp_places_deinit(struct mp_api *api);
void mp_entrant_init(struct mp_entrant *entrant);

/* Calls go(L, LUA_OK, scratch) when the args at stack place `scratch` have a place and it is their turn, now or later:
 * `return mp_place_enter(...)`. Returns nil, message, "EAGAIN" when queue_timeout was over first. Where nothing can
 * wait, turns are not waited for. */
int mp_place_enter(lua_State *L, int scratch, lua_KFunction go);

/* It is being started now. */
void mp_place_take_turn(struct mp_args *args);
/* Its process runs: the place is the process's from now on, to be released by it. */
void mp_place_started(struct mp_args *args, struct mp_young *young);
/* No process came of it, whatever the reason. Harmless without a place. */
void mp_place_give_back(struct mp_args *args);
/* A process has ended. */
void mp_place_release(struct mp_api *api, struct mp_young *young);

#endif
