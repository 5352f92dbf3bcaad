/* held.h - Lua that does not give the loop back: named while it is stuck, then ended.
 *
 * Whoever enters Lua from the loop says so (mp_hold_begin on sched->held.hold); the watchdog interrupts the thread, and
 * from its signal handler a hook is set on the coroutine that runs. The hook
 *   - SLOW: has it told, and goes;
 *   - OVER: has it told once, then yields down to the task where all that lies between can yield, so that no pcall
 *     swallows it, and raises where it cannot (a sort or gsub callback, the main coroutine). It fires at every
 *     instruction until the loop has the thread again: a script that catches the raise gets no further.
 * The task is then ended by force: its <close> variables run, each bunch for MP_HELD_CLOSE_MS at most. */
#ifndef MP_SCHED_HELD_H
#define MP_SCHED_HELD_H

#include "io/watchdog.h"
#include <lua.h>
#include <signal.h>
#include <stddef.h>

struct mp_sched;
struct mp_task;

enum { MP_HELD_CLOSE_MS = 20 };

struct mp_held {
  struct mp_hold hold;
  volatile sig_atomic_t asked; /* enum mp_watch_step: what hooks are set for; MP_WATCH_NONE: hooks are left-overs */
  bool told;                   /* of what the hold of now came to */
  bool forced;                 /* the hook has yielded: the task is to be ended */
  lua_State *hooked;           /* borrowed: whose hook was replaced by ours; NULL: nobody's */
  lua_Hook hook;               /* which had this one before */
  int hook_mask, hook_count;
};

/* In a signal handler of the loop's thread: SLOW or OVER. */
void mp_held_interrupt(struct mp_sched *sched, enum mp_watch_step step);

/* `co` is about to run, or goes on: what is being ended has no way out through it. */
void mp_held_follow(struct mp_sched *sched, lua_State *co);

/* Hooks have done their work, or come too late: they go when they fire next. */
void mp_held_forget(struct mp_sched *sched);

/* Lua is being entered from the loop; the result is for mp_held_end. */
#define mp_held_begin(sched) mp_hold_begin(&(sched)->held.hold)
#define mp_held_end(sched, before)                                                                                     \
  do {                                                                                                                 \
    mp_hold_end(&(sched)->held.hold, (before));                                                                        \
    if ((sched)->held.asked) mp_held_forget(sched);                                                                    \
  } while (0)

/* The hook has told of Lua that is over its time, and the loop has not had its thread back since. */
#define mp_held_ending(sched) ((sched)->held.asked == MP_WATCH_OVER && (sched)->held.told)

/* Calls as by lua_pcall, from the loop and outside every task, as one piece of work. */
int mp_held_pcall(struct mp_sched *sched, lua_State *L, int n_args, int n_results, int handler);

/* Pushes the traceback of L, and of the coroutines that wait for it to come back. May raise out of memory. */
void mp_held_push_trace(struct mp_sched *sched, lua_State *L);

/* The stack of L as text, a line a function, innermost first, cut at `size`. Allocates nothing and changes nothing, so
 * that it may be had in a signal handler or from within the allocator; there the line of the innermost function may be
 * an older one. Returns the length; out[length] is NUL. */
size_t mp_held_trace(lua_State *L, char *out, size_t size);

#endif
