#include "sched/task.h"
#include "base/check.h"
#include "sched/coro.h"
#include "sched/state.h"
#include <stdlib.h>

enum { KEPT_COROUTINES = 1024, GRACE_MS = 2000 };

#define OBJECT_NAME "moonpool.task"

static void on_timeout(struct mp_timer *timer);
static void on_grace_over(struct mp_timer *timer);

static void cancel_member(struct mp_member *member) {
  mp_task_cancel(MP_CONTAINER(member, struct mp_task, member));
}

/* ---- what every coroutine runs ---- */

/* Keeps the traceback where the error was raised: unwinding takes the stack away. A cancellation needs none. */
static int keep_traceback(lua_State *L) {
  struct mp_sched *sched = mp_sched_of(L);
  if (mp_is_cancelled(L, 1)) return 1;
  luaL_traceback(L, L, NULL, 1);
  mp_trace_set(L, sched->current);
  return 1;
}

static int after_body(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  return status == LUA_OK || status == LUA_YIELD ? lua_gettop(L) - 1 : lua_error(L);
}

/* Whatever stood at the bottom is not needed any more: the handler takes its place, and all above it are results. */
void mp_task_guard(lua_State *L) {
  lua_pushcfunction(L, keep_traceback);
  lua_replace(L, 1);
}

int mp_task_call(lua_State *L, int n_args, int n_results) {
  return after_body(L, lua_pcallk(L, n_args, n_results, 1, 0, after_body), 0);
}

int mp_task_body(lua_State *L) {
  lua_pushcfunction(L, keep_traceback);
  lua_insert(L, 1);
  return mp_task_call(L, lua_gettop(L) - 2, LUA_MULTRET);
}

/* ---- slots ---- */

static int p_make_coroutine(lua_State *L) {
  struct mp_task *task = lua_touserdata(L, 1);
  task->co = lua_newthread(L);
  mp_anchor(L, &task->node); /* `task` itself is the key of its object */
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
  if (mp_timer_init(&task->timer, &sched->loop->timers, on_timeout) < 0) goto fail;
  if (mp_timer_init(&task->grace, &sched->loop->timers, on_grace_over) < 0) goto fail;
  sched->slots[sched->n_slots++] = task;
  return task;
fail:
  mp_timer_deinit(&task->timer);
  free(task);
  return NULL;
}

static void free_slot(struct mp_task *task) {
  struct mp_sched *sched = task->sched;
  task->state = MP_TASK_FREE;
  task->ticket++;
  if (sched->n_free >= KEPT_COROUTINES) { /* after a storm the memory goes back; the slot stays for stale wakes */
    mp_anchor_drop(sched->L, &task->node);
    task->co = NULL;
  }
  sched->n_free++;
  sched->free.next->prev = &task->node; /* at the front: the warmest is used first */
  task->node.next = sched->free.next;
  task->node.prev = &sched->free;
  sched->free.next = &task->node;
}

struct mp_task *mp_task_new(struct mp_sched *sched, struct mp_scope *scope) {
  struct mp_task *task;
  struct mp_list *node = mp_list_pop(&sched->free);
  if (node) {
    task = MP_CONTAINER(node, struct mp_task, node);
    sched->n_free--;
  } else {
    task = make_slot(sched);
    if (!task) return NULL;
  }
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

/* On task->co: the error. Returns the traceback, with that of the task whose error it was where it is another's. */
static int p_trace(lua_State *L) {
  struct mp_task *task = lua_touserdata(L, 1);
  mp_trace_take(L, task);
  if (!task->has_cause) return 1;
  mp_cause_take(L, task); /* stack: task traceback object */
  lua_getiuservalue(L, -1, MP_TASK_VALUE);
  lua_pushvalue(task->co, -1);
  lua_xmove(task->co, L, 1);
  if (!lua_rawequal(L, -1, -2)) {
    lua_settop(L, 2);
    return 1;
  }
  lua_pop(L, 2);
  lua_getiuservalue(L, -1, MP_TASK_SPAWNED_AT); /* stack: task traceback object where trace */
  lua_getiuservalue(L, -2, MP_TASK_TRACEBACK);
  const char *where = lua_tostring(L, -2), *trace = lua_tostring(L, -1);
  lua_pushfstring(L, "%s\nerror of the task spawned at %s:\n%s", lua_tostring(L, 2), where ? where : "?",
                  trace ? trace : "?");
  return 1;
}

/* Leaves one value on L whatever happens. */
static void push_trace(struct mp_task *task) {
  lua_State *L = task->sched->L;
  lua_pushcfunction(L, p_trace);
  lua_pushlightuserdata(L, task);
  lua_pcall(L, 1, 1, 0);
}

static int p_keep_values(lua_State *L) {
  struct mp_task *task = lua_touserdata(L, 1);
  int n = (int)lua_tointeger(L, 2);
  mp_anchor_push(L, task);
  lua_createtable(L, n, 1);
  luaL_checkstack(task->co, 1, NULL);
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(task->co, i - n - 1);
    lua_xmove(task->co, L, 1);
    lua_rawseti(L, -2, i);
  }
  lua_pushinteger(L, n);
  lua_setfield(L, -2, "n");
  lua_setiuservalue(L, -2, MP_TASK_VALUE);
  return 0;
}

static int p_keep_error(lua_State *L) {
  struct mp_task *task = lua_touserdata(L, 1);
  mp_anchor_push(L, task);
  luaL_checkstack(task->co, 1, NULL);
  lua_pushvalue(task->co, 1);
  lua_xmove(task->co, L, 1);
  lua_setiuservalue(L, -2, MP_TASK_VALUE);
  lua_pushvalue(task->co, 2);
  lua_xmove(task->co, L, 1);
  lua_setiuservalue(L, -2, MP_TASK_TRACEBACK);
  return 0;
}

/* A task that fails needs an object to keep its error in, even if nobody ever asked for one. */
static int p_make_object(lua_State *L) {
  mp_task_push(L, lua_touserdata(L, 1));
  return 0;
}

static bool in_lua(struct mp_task *task, lua_CFunction function, int n) {
  lua_State *L = task->sched->L;
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, task);
  lua_pushinteger(L, n);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return true;
  mp_log(task->sched->loop->log, MP_LOG_ERROR, "sched", "a task's end cannot be kept: %s", lua_tostring(L, -1));
  lua_pop(L, 1);
  return false;
}

/* The object outlives the slot: it goes over to its scope's list of errors nobody took, or to whoever holds it. */
static void let_object_go(struct mp_task *task, enum mp_outcome outcome) {
  struct mp_task_object *object = task->object;
  struct mp_sched *sched = task->sched;
  struct mp_scope *scope = task->member.scope;
  bool somebody_waits = !mp_list_empty(&object->end.waiters);
  object->task = NULL;
  object->outcome = (uint8_t)outcome;
  task->object = NULL;
  mp_anchor_push(sched->L, task);
  mp_anchor_drop(sched->L, task);
  if (outcome == MP_TASK_FAILED && scope) {
    mp_anchor(sched->L, object);
    mp_list_append(&scope->failed, &object->node);
    if (scope->at_once && !somebody_waits) mp_report_failed(sched, scope);
  } else {
    lua_pop(sched->L, 1);
  }
  mp_waitable_settle(&object->end, outcome != MP_TASK_DONE);
}

static void end_task(struct mp_task *task, enum mp_outcome outcome, int n) {
  struct mp_sched *sched = task->sched;
  mp_timer_stop(&task->timer);
  mp_timer_stop(&task->grace);
  mp_list_unlink(&task->waiter.node);
  task->waits_for = NULL;
  task->ticket++;
  disown(task);
  sched->n_tasks--;
  if (outcome == MP_TASK_FAILED && !task->on_end && !task->object) in_lua(task, p_make_object, 0);
  if (task->object && outcome != MP_TASK_CANCELLED) in_lua(task, outcome == MP_TASK_DONE ? p_keep_values : p_keep_error, n);
  if (task->on_end) task->on_end(task, outcome, n);
  if (task->object) let_object_go(task, outcome);
  lua_settop(task->co, 0);
  if (task->has_trace) {
    mp_trace_take(sched->L, task);
    lua_pop(sched->L, 1);
  }
  if (task->has_cause) {
    mp_cause_take(sched->L, task);
    lua_pop(sched->L, 1);
  }
  mp_scope_leave(&task->member);
  free_slot(task);
}

/* The coroutine is dead with an error on top: its traceback first, then its <close> variables. */
static void end_with_error(struct mp_task *task) {
  struct mp_sched *sched = task->sched;
  lua_State *co = task->co;
  push_trace(task);
  sched->current = task;
  sched->running = co;
  lua_resetthread(co);
  sched->current = NULL;
  sched->running = sched->L;
  lua_settop(co, 1);
  lua_xmove(sched->L, co, 1);
  bool cancelled = task->cancel != MP_CANCEL_NONE && mp_is_cancelled(co, 1);
  end_task(task, cancelled ? MP_TASK_CANCELLED : MP_TASK_FAILED, 2);
}

/* It was asked to end, and `grace` is over: it is not resumed again, what is left of its <close> variables runs. */
static void abort_task(struct mp_task *task) {
  struct mp_sched *sched = task->sched;
  lua_State *co = task->co;
  mp_list_unlink(&task->node);
  cancel_owned(task);
  sched->current = task;
  sched->running = co;
  bool nested_failed = mp_coro_unwind(sched->L, task);
  bool failed = lua_resetthread(co) != LUA_OK;
  sched->current = NULL;
  sched->running = sched->L;
  if (nested_failed && !failed)
    lua_xmove(sched->L, co, 1);
  else if (nested_failed)
    lua_pop(sched->L, 1);
  if (failed || nested_failed) {
    lua_pushliteral(co, "(in a __close of a cancelled task)");
    end_task(task, MP_TASK_FAILED, 2);
  } else {
    end_task(task, MP_TASK_CANCELLED, 0);
  }
}

/* ---- running ---- */

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
  sched->current = task;
  sched->running = task->co;
  int status = lua_resume(task->co, sched->L, n_args, &n_results);
  sched->current = NULL;
  sched->running = sched->L;
  if (status == LUA_YIELD && sched->parking) {
    sched->parking = false;
    return;
  }
  if (status == LUA_OK) {
    end_task(task, MP_TASK_DONE, n_results);
    return;
  }
  if (status == LUA_YIELD) { /* a module written in C yielded on its own */
    lua_settop(task->co, 0);
    lua_pushliteral(task->co, "attempt to yield from outside a coroutine");
  }
  end_with_error(task);
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

static void on_grace_over(struct mp_timer *timer) {
  abort_task(MP_CONTAINER(timer, struct mp_task, grace));
}

void mp_task_cancel(struct mp_task *task) {
  if (task->state == MP_TASK_FREE || task->cancel != MP_CANCEL_NONE) return;
  task->cancel = MP_CANCEL_ASKED;
  if (task->object) task->object->cancelled = true;
  cancel_owned(task);
  /* A process that is being ended is waited for to its end: who cancelled finds nothing left of it. */
  if (task->state == MP_TASK_PARKED && task->waits_for && task->waits_for->ops->ending &&
      task->waits_for->ops->ending(task->waits_for))
    return;
  mp_task_wake(task, MP_WOKEN_CANCEL);
  mp_timer_start(&task->grace, task->grace_ms);
}

/* ---- the object ---- */

static int push_end(lua_State *L, struct mp_waitable *waitable, int index) {
  struct mp_task_object *object = (struct mp_task_object *)(void *)waitable;
  struct mp_sched *sched = object->sched;
  if (object->outcome == MP_TASK_CANCELLED) {
    mp_push_cancelled(L);
    return lua_error(L);
  }
  if (object->outcome == MP_TASK_FAILED) {
    object->taken = true;
    if (sched->current) {
      lua_pushvalue(L, index);
      mp_cause_set(L, sched->current);
    }
    lua_getiuservalue(L, index, MP_TASK_VALUE);
    return lua_error(L);
  }
  if (lua_getiuservalue(L, index, MP_TASK_VALUE) != LUA_TTABLE)
    return luaL_error(L, "wait: the task's values were lost: out of memory");
  int values = lua_gettop(L);
  lua_getfield(L, values, "n");
  int n = (int)lua_tointeger(L, -1);
  luaL_checkstack(L, n, "too many results of a task");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, values, i);
  return n;
}

static void cancel_end(struct mp_waitable *waitable) {
  struct mp_task_object *object = (struct mp_task_object *)(void *)waitable;
  if (object->task) mp_task_cancel(object->task);
}

static struct mp_task *task_of(struct mp_waitable *waitable) {
  return ((struct mp_task_object *)(void *)waitable)->task;
}

static const struct mp_waitable_ops task_ops = {.kind = "task", .push = push_end, .cancel = cancel_end, .task = task_of};

void mp_task_push(lua_State *L, struct mp_task *task) {
  if (task->object) {
    mp_anchor_push(L, task);
    return;
  }
  struct mp_task_object *object = lua_newuserdatauv(L, sizeof *object, MP_TASK_USER_VALUES);
  *object = (struct mp_task_object){.task = task, .sched = task->sched};
  object->cancelled = task->cancel != MP_CANCEL_NONE;
  mp_waitable_init(&object->end, &task_ops);
  mp_list_init(&object->node);
  luaL_setmetatable(L, OBJECT_NAME);
  lua_pushvalue(L, -1);
  mp_anchor(L, task);
  task->object = object;
}

struct mp_task_object *mp_task_check(lua_State *L, int arg) {
  return luaL_checkudata(L, arg, OBJECT_NAME);
}

void mp_task_open(lua_State *L) {
  luaL_newmetatable(L, OBJECT_NAME);
  mp_waitable_mark(L);
}
