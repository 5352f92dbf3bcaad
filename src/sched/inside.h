/* inside.h - what the files of this room share. */
#ifndef MP_SCHED_INSIDE_H
#define MP_SCHED_INSIDE_H

#include "sched/state.h"

/* What the scheduler holds for a task, by address (mp_anchor). */
static inline const void *mp_coroutine_key(const struct mp_task *task) {
  return &task->co;
}

static inline const void *mp_object_key(const struct mp_task *task) {
  return &task->object;
}

static inline const void *mp_trace_key(const struct mp_task *task) {
  return &task->raised;
}

/* object.c: the task has ended. Its values, or its error and the traceback, stand on task->co and are copied into its
 * object. `told`: somebody else is given the error. */
void mp_object_keep(struct mp_task *task, enum mp_outcome outcome, int n_values, bool told);
/* The object parts from its task: who waits is woken; an error that nobody waited for stays with the scope. */
void mp_object_settle(struct mp_task *task, enum mp_outcome outcome, bool told);

/* wait.c: mp_unpark that raises nothing. */
void mp_wait_over(struct mp_task *task);
/* Raises if the running task, which is about to wait for it, would wait for itself. */
void mp_refuse_cycle(lua_State *L, struct mp_waitable *waitable, const char *what);
void mp_refuse_group_cycle(lua_State *L, const struct mp_group *group, const char *what);

/* state.c: nobody took this error; its object is at the top of the state's main coroutine. */
void mp_report(struct mp_sched *sched, struct mp_task_object *object, struct mp_scope *scope);

#endif
