#include "sched/task.h"
#include "sched/coro.h"
#include "sched/inside.h"
#include "sched/trace.h"
#include <stdlib.h>
#include <string.h>

enum { KEPT_COROUTINES = 1024, GRACE_MS = 2000 };

static void on_timeout(struct mp_timer *timer);
static void on_grace_over(struct mp_timer *timer);

static void cancel_member(struct mp_member *member) {
  mp_task_cancel(MP_CONTAINER(member, struct mp_task, member));
}

/* "task spec/a_spec.lua:12" */
static void push_name(lua_State *L, struct mp_member *member) {
  mp_task_push(L, MP_CONTAINER(member, struct mp_task, member));
  lua_getiuservalue(L, -1, MP_TASK_NAME);
  lua_getiuservalue(L, -2, MP_TASK_SPAWNED_AT);
  const char *name = lua_tostring(L, -2), *where = lua_tostring(L, -1);
  lua_pushfstring(L, "a task%s%s%s%s", name ? " called " : "", name ? name : "", where ? " of " : "",
                  where ? where : "");
  lua_replace(L, -4);
  lua_pop(L, 2);
}

/* ---- the bottom of every coroutine ---- */

/* The stack as it is where the error is raised: unwinding takes it away. A cancellation needs none. */
void mp_task_keep_trace(lua_State *L) {
  struct mp_task *task = mp_sched_of(L)->current;
  mp_anchor(L, mp_trace_key(task));
  task->has_trace = true;
}

static int l_keep_trace(lua_State *L) {
  struct mp_task *task = mp_sched_of(L)->current;
  if (task->cancel != MP_CANCEL_NONE && mp_is_cancelled(L, 1)) return 1;
  if (task->has_trace && mp_held_ending(task->sched)) return 1; /* where it was stuck says more */
  if (task->sched->on_raise) {
    task->sched->on_raise(task->sched, L);
    lua_settop(L, 1);
  }
  mp_traceback(L, L, NULL, 1);
  mp_task_keep_trace(L);
  return 1;
}

/* Buffers of Lua's library raise it as an error like any other; scripts raise again what they have caught. */
static bool is_out_of_memory(lua_State *L) {
  return lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "not enough memory") == 0;
}

static int after_body(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - 1;
  struct mp_task *task = mp_sched_of(L)->current;
  task->raised = true;
  if (status == LUA_ERRMEM || is_out_of_memory(L)) task->fault = MP_FAULT_MEMORY;
  return 1;
}

void mp_task_guard(lua_State *co) {
  lua_pushcfunction(co, l_keep_trace);
}

int mp_task_call(lua_State *L, int n_args, int n_results) {
  return after_body(L, lua_pcallk(L, n_args, n_results, 1, 0, after_body), 0);
}

int mp_task_body(lua_State *L) {
  lua_pushcfunction(L, l_keep_trace);
  lua_insert(L, 1);
  return mp_task_call(L, lua_gettop(L) - 2, LUA_MULTRET);
}

/* ---- slots ---- */

static int p_make_coroutine(lua_State *L) {
  struct mp_task *task = lua_touserdata(L, 1);
  lua_State *co = lua_newthread(L);
  mp_coro_claim(co);
  mp_anchor(L, mp_coroutine_key(task));
  task->co = co; /* not before it is held: the line above may raise */
  return 0;
}

static bool reserve_slot(struct mp_sched *sched) {
  if (sched->n_slots < sched->cap_slots) return true;
  unsigned cap = sched->cap_slots ? sched->cap_slots * 2 : 64;
  struct mp_task **slots = realloc(sched->slots, cap * sizeof(struct mp_task *));
  if (!slots) return false;
  sched->slots = slots;
  sched->cap_slots = cap;
  return true;
}

static bool give_coroutine(struct mp_task *task) {
  lua_State *L = task->sched->L;
  lua_pushcfunction(L, p_make_coroutine);
  lua_pushlightuserdata(L, task);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}

static struct mp_task *make_slot(struct mp_sched *sched) {
  struct mp_task *task = reserve_slot(sched) ? calloc(1, sizeof *task) : NULL;
  if (!task) return NULL;
  task->sched = sched;
  mp_list_init(&task->node);
  mp_list_init(&task->member.node);
  mp_list_init(&task->waiter.node);
  mp_list_init(&task->nested);
  mp_list_init(&task->owned);
  task->member.cancel = cancel_member;
  task->member.push_name = push_name;
  if (mp_timer_init(&task->timer, &sched->loop->timers, on_timeout) < 0) goto fail;
  if (mp_timer_init(&task->grace, &sched->loop->timers, on_grace_over) < 0) goto fail;
  sched->slots[sched->n_slots++] = task;
  return task;
fail:
  mp_timer_deinit(&task->timer);
  free(task);
  return NULL;
}

/* At the front with its coroutine: the warmest is used first. Without one at the end: after a storm the memory goes
 * back, the slot stays for stale wakes. */
static void free_slot(struct mp_task *task) {
  struct mp_sched *sched = task->sched;
  task->state = MP_TASK_FREE;
  task->ticket++;
  sched->n_free++;
  if (task->spent || sched->n_warm >= KEPT_COROUTINES) {
    mp_anchor_drop(sched->L, mp_coroutine_key(task));
    task->co = NULL;
  }
  if (!task->co) {
    mp_list_append(&sched->free, &task->node);
    return;
  }
  if (lua_gethook(task->co)) lua_sethook(task->co, NULL, 0, 0); /* a script's debug.sethook ends with its task */
  mp_list_append(sched->free.next, &task->node);
  sched->n_warm++;
}

static struct mp_task *take_slot(struct mp_sched *sched) {
  struct mp_list *node = mp_list_pop(&sched->free);
  if (!node) return make_slot(sched);
  struct mp_task *task = MP_CONTAINER(node, struct mp_task, node);
  sched->n_free--;
  if (task->co) sched->n_warm--;
  return task;
}

struct mp_task *mp_task_new(struct mp_sched *sched, struct mp_scope *scope) {
  struct mp_task *task = take_slot(sched);
  if (!task) return NULL;
  task->spent = task->raised = false;
  task->fault = MP_FAULT_NONE;
  if (!task->co && !give_coroutine(task)) {
    free_slot(task);
    return NULL;
  }
  task->state = MP_TASK_NEW;
  task->cancel = MP_CANCEL_NONE;
  task->grace_ms = GRACE_MS;
  task->object = NULL;
  task->on_end = NULL;
  task->scope = scope;
  sched->n_tasks++;
  mp_scope_join(scope, &task->member);
  return task;
}

/* ---- the end ---- */

static void cancel_owned(struct mp_task *task) {
  MP_LIST_EACH(node, &task->owned) {
    struct mp_owned *owned = MP_CONTAINER(node, struct mp_owned, node);
    if (owned->cancel) owned->cancel(owned);
  }
}

static void disown(struct mp_task *task) {
  struct mp_list *node;
  while ((node = mp_list_pop(&task->owned))) {
    struct mp_owned *owned = MP_CONTAINER(node, struct mp_owned, node);
    if (owned->ended) owned->ended(owned);
  }
}

/* stack: task; returns the traceback, and behind it that of the task whose error it was, should it be another's. */
static int p_trace(lua_State *L) {
  struct mp_task *task = lua_touserdata(L, 1);
  mp_anchor_push(L, mp_trace_key(task));
  if (task->fault == MP_FAULT_MEMORY && lua_isnil(L, 2)) { /* Lua calls no message handler then */
    lua_pushfstring(L, "stack traceback:\n%s", task->sched->starved);
    lua_replace(L, 2);
  }
  if (lua_isnil(L, 2)) lua_pushliteral(L, "(no traceback)"), lua_replace(L, 2);
  if (!task->has_cause) return 1;
  mp_cause_take(L, task); /* stack: task traceback cause */
  lua_getiuservalue(L, 3, MP_TASK_VALUE);
  lua_pushvalue(task->co, 1);
  lua_xmove(task->co, L, 1);
  bool same = lua_rawequal(L, 4, 5);
  lua_settop(L, same ? 3 : 2);
  if (!same) return 1;
  lua_getiuservalue(L, 3, MP_TASK_SPAWNED_AT);
  lua_getiuservalue(L, 3, MP_TASK_TRACEBACK);
  if (lua_isnil(L, 4)) return 1;
  const char *where = lua_tostring(L, 4), *trace = lua_tostring(L, 5);
  lua_pushfstring(L, "%s\nerror of the task spawned at %s:\n%s", lua_tostring(L, 2), where ? where : "?",
                  trace ? trace : "?");
  return 1;
}

static int p_text(lua_State *L) {
  lua_pushstring(L, lua_touserdata(L, 1));
  return 1;
}

/* What `function` makes of the pointer is pushed on task->co; out of memory it is Lua's message that says so. */
static void push_made(struct mp_task *task, lua_CFunction function, const void *pointer) {
  lua_State *L = task->sched->L;
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, (void *)(uintptr_t)pointer);
  lua_pcall(L, 1, 1, 0);
  lua_xmove(L, task->co, 1);
}

static void forget(struct mp_task *task) {
  lua_State *L = task->sched->L;
  lua_settop(task->co, 0);
  if (task->has_trace) mp_anchor_drop(L, mp_trace_key(task));
  task->has_trace = false;
  if (!task->has_cause) return;
  mp_cause_take(L, task);
  lua_pop(L, 1);
}

static void end_task(struct mp_task *task, enum mp_outcome outcome, int n) {
  bool told = task->on_end != NULL;
  task->state = MP_TASK_ENDING; /* on_end may cancel the scope, and the task is still of it */
  mp_wait_over(task);
  mp_timer_stop(&task->grace);
  task->ticket++;
  disown(task);
  task->sched->n_tasks--;
  mp_object_keep(task, outcome, n, told);
  if (told) task->on_end(task, outcome, n);
  mp_object_settle(task, outcome, told);
  forget(task);
  mp_scope_leave(&task->member);
  free_slot(task);
}

/* Its error stands alone on its coroutine. */
static void fail_task(struct mp_task *task) {
  struct mp_sched *sched = task->sched;
  if (mp_held_ending(sched)) task->fault = MP_FAULT_HELD; /* whatever its handlers have made of it */
  if (task->fault == MP_FAULT_HELD) {
    mp_held_forget(sched);
    mp_hold_restart(&sched->held.hold, 0);
    lua_settop(task->co, 0);
    push_made(task, p_text, "it held the worker for longer than --timeout allows");
  }
  if (task->fault == MP_FAULT_MEMORY) task->spent = true; /* its stack may have grown large */
  bool starved = task->fault == MP_FAULT_MEMORY;
  push_made(task, p_trace, task);
  bool cancelled = task->cancel != MP_CANCEL_NONE && mp_is_cancelled(task->co, 1);
  end_task(task, cancelled ? MP_TASK_CANCELLED : MP_TASK_FAILED, 2);
  if (starved) lua_gc(sched->L, LUA_GCCOLLECT); /* what it held is garbage now, and others need the room */
}

/* Its <close> variables run, those of the script's coroutines in which it is parked first; none of them can wait. True:
 * one of them failed, and that error stands alone on its coroutine. */
static bool close_coroutine(struct mp_task *task) {
  struct mp_sched *sched = task->sched;
  lua_State *co = task->co;
  task->spent = true; /* Lua keeps a reset coroutine's message handler */
  uint64_t before = mp_held_begin(sched);
  sched->current = task;
  bool nested_failed = mp_coro_unwind(sched->L, task);
  sched->running = co;
  if (sched->held.asked) mp_held_follow(sched, co);
  bool failed = lua_resetthread(co) != LUA_OK;
  sched->current = NULL;
  sched->running = sched->L;
  mp_held_end(sched, before);
  if (nested_failed && failed)
    lua_pop(sched->L, 1); /* the later one wins, as in Lua */
  else if (nested_failed)
    lua_xmove(sched->L, co, 1);
  return failed || nested_failed;
}

/* It was asked to end, and `grace` is over: it is not resumed again. */
static void abort_task(struct mp_task *task) {
  mp_list_unlink(&task->node);
  cancel_owned(task);
  if (close_coroutine(task))
    fail_task(task);
  else
    end_task(task, MP_TASK_CANCELLED, 0);
}

/* ---- running ---- */

/* It was stopped in the middle of its work. Its <close> variables have a short time of their own; what they raise is
 * not why it ended. */
static void end_held(struct mp_task *task) {
  struct mp_hold *hold = &task->sched->held.hold;
  mp_held_forget(task->sched);
  mp_hold_restart(hold, MP_HELD_CLOSE_MS);
  close_coroutine(task);
  mp_hold_restart(hold, 0);
  task->fault = MP_FAULT_HELD;
  fail_task(task);
}

/* A module written in C yielded past the scheduler; or Lua itself could not go on. */
static void end_broken(struct mp_task *task, int status) {
  const char *text = status == LUA_YIELD    ? "attempt to yield from outside a coroutine"
                     : status == LUA_ERRMEM ? "not enough memory"
                                            : "C stack overflow";
  if (status == LUA_ERRMEM) task->fault = MP_FAULT_MEMORY;
  if (!close_coroutine(task)) push_made(task, p_text, text);
  fail_task(task);
}

/* It has parked, or it has ended, one way or the other. */
static inline void settle_run(struct mp_task *task, int status, int n_results) {
  struct mp_sched *sched = task->sched;
  if (status == LUA_YIELD && sched->parking) {
    sched->parking = false;
    if (sched->held.forced) end_held(task);
  } else if (status != LUA_OK) {
    end_broken(task, status);
  } else if (task->raised) {
    fail_task(task);
  } else {
    end_task(task, MP_TASK_DONE, n_results);
  }
}

void mp_task_run(struct mp_task *task, int n_args) {
  struct mp_sched *sched = task->sched;
  int n_results;
  if (sched->current) {
    mp_task_queue(task, n_args);
    return;
  }
  if (lua_status(task->co) == LUA_OK && lua_gettop(task->co) == 0) { /* whoever made it failed to give it a function */
    end_task(task, MP_TASK_CANCELLED, 0);
    return;
  }
  task->state = MP_TASK_RUNNING;
  uint64_t before = mp_held_begin(sched);
  sched->current = task;
  sched->running = task->co;
  int status = lua_resume(task->co, sched->L, n_args, &n_results);
  sched->current = NULL;
  sched->running = sched->L;
  settle_run(task, status, n_results);
  mp_held_end(sched, before);
}

void mp_task_queue(struct mp_task *task, int n_args) {
  struct mp_sched *sched = task->sched;
  task->n_args = n_args;
  task->state = MP_TASK_READY;
  mp_list_append(&sched->ready, &task->node);
  mp_loop_post(sched->loop, &sched->soon);
}

void mp_task_wake(struct mp_task *task, enum mp_woken why) {
  if (task->state != MP_TASK_PARKED) return;
  task->ticket++;
  task->woken = (uint8_t)why;
  mp_task_queue(task, 0);
}

static void on_timeout(struct mp_timer *timer) {
  mp_task_wake(MP_CONTAINER(timer, struct mp_task, timer), MP_WOKEN_TIMEOUT);
}

/* Its wait was given an error and has not raised it yet; nobody else will hear of that error. */
static bool holds_error(const struct mp_task *task) {
  if (task->group) return task->group->first && task->group->waiters[task->group->first - 1].on->failed;
  return task->state == MP_TASK_READY && task->waits_for && task->waits_for->settled && task->waits_for->failed;
}

static void on_grace_over(struct mp_timer *timer) {
  struct mp_task *task = MP_CONTAINER(timer, struct mp_task, grace);
  if (!holds_error(task)) {
    abort_task(task);
    return;
  }
  mp_task_wake(task, MP_WOKEN_CANCEL);
  mp_timer_start(&task->grace, 1);
}

/* What is waited for is being ended by the same cancel: who cancelled finds nothing left of it. */
static bool waits_for_an_end(const struct mp_task *task) {
  const struct mp_waitable *waitable = task->waits_for;
  return task->state == MP_TASK_PARKED && waitable && waitable->ops->ending && waitable->ops->ending(waitable);
}

void mp_task_cancel(struct mp_task *task) {
  if (task->state == MP_TASK_FREE || task->state == MP_TASK_ENDING || task->cancel != MP_CANCEL_NONE) return;
  task->cancel = MP_CANCEL_ASKED;
  if (task->object) task->object->cancelled = true;
  cancel_owned(task);
  if (waits_for_an_end(task)) return;
  mp_task_wake(task, MP_WOKEN_CANCEL);
  mp_timer_start(&task->grace, task->grace_ms);
}
