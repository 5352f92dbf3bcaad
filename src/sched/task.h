/* task.h - one Lua coroutine that the loop runs: its slot in C, and its object in Lua.
 *
 *   new ─► ready ─► running ⇄ parked ─► ending ─► slot free again
 *
 * A slot owns its coroutine and keeps it from task to task: making a new one costs more than a small request. The
 * object that scripts hold (struct mp_task_object, a userdata) takes over results and errors when the task ends. A
 * request's own task has none until somebody asks for it. */
#ifndef MP_SCHED_TASK_H
#define MP_SCHED_TASK_H

#include "io/timer.h"
#include "sched/scope.h"
#include "sched/wait.h"
#include <lua.h>

enum mp_task_state { MP_TASK_FREE, MP_TASK_NEW, MP_TASK_READY, MP_TASK_RUNNING, MP_TASK_PARKED, MP_TASK_ENDING };
enum mp_outcome { MP_TASK_RUNS, MP_TASK_DONE, MP_TASK_FAILED, MP_TASK_CANCELLED };
/* Why a task was ended that did nothing wrong by Lua's own rules. */
enum mp_fault { MP_FAULT_NONE, MP_FAULT_HELD, MP_FAULT_MEMORY };
enum mp_cancel { MP_CANCEL_NONE, MP_CANCEL_ASKED, MP_CANCEL_RAISED };

struct mp_task_object {
  struct mp_waitable end;    /* first: what waits find in a userdata */
  struct mp_task *task;      /* borrowed; NULL once ended */
  struct mp_untaken untaken; /* of its scope */
  struct mp_sched *sched;    /* borrowed */
  const char *kind;          /* static: what its errors are reported as; NULL: "task" */
  uint8_t outcome;           /* enum mp_outcome */
  bool taken;                /* somebody was given the error */
  bool lost;                 /* there was no memory to keep its values or its error */
  bool cancelled;            /* was asked to stop */
  bool told;                 /* its error stands in the log already: on_held */
};
/* User values of the object: results (a table with n) or the error; the traceback; where spawned; reason; name. */
enum {
  MP_TASK_VALUE = 1,
  MP_TASK_TRACEBACK,
  MP_TASK_SPAWNED_AT,
  MP_TASK_REASON,
  MP_TASK_NAME,
  MP_TASK_USER_VALUES = 5
};

struct mp_task {
  lua_State *co;                 /* owned: anchored by the scheduler as long as the slot lives */
  struct mp_sched *sched;        /* borrowed */
  struct mp_task_object *object; /* borrowed: anchored by the scheduler until the task has ended; NULL: none yet */
  struct mp_list node;           /* among the ready or the free */
  struct mp_member member;       /* of the scope it belongs to */
  struct mp_scope *scope;        /* borrowed: what it spawns joins this one */
  struct mp_timer timer;         /* the wait's timeout */
  struct mp_timer grace;         /* after a cancel */
  struct mp_waiter waiter;       /* of a single wait */
  struct mp_waitable *waits_for; /* borrowed while it waits for one thing: to find cycles */
  struct mp_group *group;        /* borrowed while it waits for several: likewise */
  struct mp_list nested;         /* coroutines of the script that the parked wait passed through, outermost first */
  struct mp_list owned;          /* struct mp_owned: processes that it started, pipes that it reads */
  uint64_t ticket;
  uint64_t grace_ms;
  int n_args; /* to be given at the first resume */
  uint8_t state, cancel, woken;
  uint8_t fault;  /* enum mp_fault: of the error it ended with */
  bool on_walk;   /* being looked at while cycles are sought */
  bool has_trace; /* the scheduler keeps the traceback of an error raised in it */
  bool has_cause; /* the scheduler keeps the traceback of an error that a wait raised in it */
  bool raised;    /* its function ended with an error */
  bool spent;     /* its coroutine is not to be used again */
  /* Once, when it has ended; the values, or the error and the traceback, stand on task->co from 1 on. Whoever sets it
   * takes the error: the scheduler tells nobody else. May be NULL. */
  void (*on_end)(struct mp_task *task, enum mp_outcome outcome, int n_values);
  void *ctx; /* borrowed: of on_end */
};

/* A slot with an empty coroutine, in `scope`; push mp_task_body, the function and its arguments on task->co, then start
 * it with their number (the function is one of them). NULL: out of memory. May run a collection. */
struct mp_task *mp_task_new(struct mp_sched *sched, struct mp_scope *scope);
/* What runs at the bottom of a coroutine: calls the function that stands above it. A protected call, because only then
 * may the <close> variables that an error closes wait: what lua_resume itself unwinds cannot yield. A C function that
 * stands there itself is given mp_task_guard's value as its first argument, and ends with
 * `return mp_task_call(L, n_args, n_results)`, the function and its arguments on top. */
int mp_task_body(lua_State *L);
void mp_task_guard(lua_State *co);
int mp_task_call(lua_State *L, int n_args, int n_results);

void mp_task_run(struct mp_task *task, int n_args);   /* at once; only from the loop, never from within Lua */
void mp_task_queue(struct mp_task *task, int n_args); /* at the end of this turn */
void mp_task_cancel(struct mp_task *task);

void mp_task_wake(struct mp_task *task, enum mp_woken why); /* no-op unless it is parked */

/* Pushes the task's object, made when there is none. */
void mp_task_push(lua_State *L, struct mp_task *task);

/* The metatable of task objects; methods are added by the room above. Pushes the methods table. */
void mp_task_open(lua_State *L);
struct mp_task_object *mp_task_check(lua_State *L, int arg);

#endif
