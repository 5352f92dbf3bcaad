/* coro.h - the coroutine library, so that a wait inside a script's own coroutine reaches the task.
 * Same results and errors as Lua's (manual 6.2), and: a coroutine through which a parked wait passes is "normal": it
 * can be neither resumed nor closed from elsewhere; a yield outside every coroutine of the script raises. */
#ifndef MP_SCHED_CORO_H
#define MP_SCHED_CORO_H

#include <lua.h>
#include <stdbool.h>

struct mp_task;
struct mp_sched;

/* One resume of a script coroutine that is on the C stack. */
struct mp_frame {
  lua_State *from;        /* borrowed: who resumed */
  struct mp_frame *outer; /* borrowed */
  bool foreign;           /* who resumed had been resumed by a module written in C */
};

void mp_coro_open(lua_State *L); /* replaces the fields of the global `coroutine` */

/* To scripts the coroutine is "normal" from now on: nobody but the scheduler resumes or closes it. */
void mp_coro_claim(lua_State *co);

/* Sets aside what a parked wait needs to pass through the coroutines on the C stack. False: out of memory. */
bool mp_coro_reserve(struct mp_sched *sched);
void mp_coro_free(struct mp_sched *sched);

/* Closes the script's coroutines that the task's parked wait passed through, innermost first; an error in a __close
 * is left on L (true), the later ones win as in Lua. */
bool mp_coro_unwind(lua_State *L, struct mp_task *task);

/* The innermost of those; NULL: the task is parked in its own coroutine. */
lua_State *mp_coro_innermost(const struct mp_task *task);

#endif
