/* state.h - the scheduler of one Lua state: its slots, its ready tasks, and which one runs.
 * Found from any coroutine of the state without a table look-up (lua_getextraspace). */
#ifndef MP_SCHED_STATE_H
#define MP_SCHED_STATE_H

#include "io/loop.h"
#include "sched/held.h"
#include "sched/task.h"
#include <lauxlib.h>
#include <lua.h>

struct mp_frame;
struct mp_nested;

struct mp_sched {
  lua_State *L;         /* borrowed: the main coroutine */
  struct mp_loop *loop; /* borrowed */
  void *ctx;            /* borrowed: the room above */
  /* An error that nobody took, of a task in `scope`: its object is at the top of L. Once for each. */
  void (*on_unhandled)(struct mp_sched *sched, lua_State *L, struct mp_scope *scope);
  /* L has held the loop for too long, or (not `over`) for longer than it should: in a hook, while it is at it. The
   * traceback is to be had now. May be NULL. */
  void (*on_held)(struct mp_sched *sched, lua_State *L, bool over);
  /* A task that had waited, or was queued, is about to run; NULL: it has. May be NULL. */
  void (*on_resume)(struct mp_sched *sched, const struct mp_task *task);
  /* An error is on its way out of a task: its value is at 1 of L, on whose stack everything still stands. May be NULL;
   * what it pushes is dropped, and it raises nothing. */
  void (*on_raise)(struct mp_sched *sched, lua_State *L);
  struct mp_held held;
  char
      starved[1024]; /* where memory was refused last; ends with a NUL. Written by the room above, from its allocator */
  struct mp_task *current; /* borrowed: whose coroutine runs; NULL between tasks */
  lua_State *running;      /* borrowed: the coroutine that runs, which may be one of the script's own */
  struct mp_frame *frames; /* borrowed: resumes of script coroutines that are on the C stack now */
  struct mp_nested *spare; /* owned: what coroutines that a wait passes through are noted in (coro.c) */
  unsigned n_spare;
  struct mp_list ready;
  struct mp_list free;
  struct mp_soon soon;
  struct mp_task **slots; /* owned */
  unsigned n_slots, cap_slots;
  unsigned n_free, n_warm; /* slots that are free; those of them that have a coroutine */
  unsigned n_tasks;        /* neither free nor ended */
  uint64_t n_errors;       /* errors that nobody took */
  bool parking;            /* a yield on its way down to the loop */
};

/* 0 or -ENOMEM. `L` must be fresh: its extra space is taken before any coroutine is made. */
int mp_sched_init(struct mp_sched *sched, lua_State *L, struct mp_loop *loop);
/* Every task must have ended. */
void mp_sched_deinit(struct mp_sched *sched);

/* The low bit marks a coroutine through which a parked wait passes (see coro.c). */
static inline struct mp_sched *mp_sched_of(lua_State *L) {
  return (struct mp_sched *)(*(uintptr_t *)lua_getextraspace(L) & ~(uintptr_t)1);
}

/* Registry tables: objects of running tasks and anything else that C holds by address. */
void mp_anchor(lua_State *L, const void *key);      /* the value at the top, popped */
void mp_anchor_push(lua_State *L, const void *key); /* nil when there is none */
void mp_anchor_drop(lua_State *L, const void *key);

/* Pushes moonpool.cancelled. */
void mp_push_cancelled(lua_State *L);
bool mp_is_cancelled(lua_State *L, int index);

/* Reports what in `scope` failed without anybody taking it. */
void mp_report_failed(struct mp_scope *scope);

/* Remembers that the error about to be raised in `task` is another's: the object of that other is at the top (popped).
 * If it is the error that ends `task`, the log shows both stacks. An object that was spawned nowhere stands for where
 * `task` itself has its error from: then its traceback is the task's. */
void mp_cause_set(lua_State *L, struct mp_task *task);
/* Pushes that object, or nil, and forgets it. */
void mp_cause_take(lua_State *L, struct mp_task *task);

#endif
