#include "sched/inside.h"

#define OBJECT_NAME "moonpool.task"

static struct mp_task_object *object_of(struct mp_waitable *waitable) {
  return (struct mp_task_object *)(void *)waitable;
}

/* ---- what waits see ---- */

static int raise_failure(lua_State *L, struct mp_task_object *object, int index) {
  struct mp_task *waiting = object->sched->current;
  object->taken = true;
  mp_list_unlink(&object->untaken.node);
  mp_anchor_drop(L, object);
  if (object->lost) return luaL_error(L, "wait: the task's error was lost: out of memory");
  if (waiting) {
    lua_pushvalue(L, index);
    mp_cause_set(L, waiting);
  }
  lua_getiuservalue(L, index, MP_TASK_VALUE);
  return lua_error(L);
}

static int push_values(lua_State *L, int index) {
  if (lua_getiuservalue(L, index, MP_TASK_VALUE) != LUA_TTABLE)
    return luaL_error(L, "wait: the task's values were lost: out of memory");
  int values = lua_gettop(L);
  lua_getfield(L, values, "n");
  int n = (int)lua_tointeger(L, -1);
  luaL_checkstack(L, n, "too many results of a task");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, values, i);
  return n;
}

static int push_end(lua_State *L, struct mp_waitable *waitable, int index) {
  struct mp_task_object *object = object_of(waitable);
  switch (object->outcome) {
  case MP_TASK_CANCELLED:
    mp_push_cancelled(L);
    return lua_error(L);
  case MP_TASK_FAILED:
    return raise_failure(L, object, index);
  default:
    return push_values(L, index);
  }
}

static void cancel_end(struct mp_waitable *waitable) {
  struct mp_task_object *object = object_of(waitable);
  if (object->task) mp_task_cancel(object->task);
}

static struct mp_task *task_of(struct mp_waitable *waitable) {
  return object_of(waitable)->task;
}

static const struct mp_waitable_ops task_ops = {
    .kind = "task", .push = push_end, .cancel = cancel_end, .task = task_of};

/* ---- the object ---- */

static void tell_untaken(struct mp_untaken *untaken, struct mp_scope *scope) {
  struct mp_task_object *object = MP_CONTAINER(untaken, struct mp_task_object, untaken);
  lua_State *L = object->sched->L;
  mp_anchor_push(L, object);
  mp_anchor_drop(L, object);
  mp_report(object->sched, object, scope);
  lua_pop(L, 1);
}

void mp_task_push(lua_State *L, struct mp_task *task) {
  if (task->object) {
    mp_anchor_push(L, mp_object_key(task));
    return;
  }
  struct mp_task_object *object = lua_newuserdatauv(L, sizeof *object, MP_TASK_USER_VALUES);
  if (task->object) { /* a finalizer that ran meanwhile has asked for it too */
    lua_pop(L, 1);
    mp_anchor_push(L, mp_object_key(task));
    return;
  }
  *object = (struct mp_task_object){.task = task, .sched = task->sched};
  object->cancelled = task->cancel != MP_CANCEL_NONE;
  object->told = task->fault == MP_FAULT_HELD;
  mp_waitable_init(&object->end, &task_ops);
  mp_list_init(&object->untaken.node);
  object->untaken.tell = tell_untaken;
  luaL_setmetatable(L, OBJECT_NAME);
  lua_pushvalue(L, -1);
  mp_anchor(L, mp_object_key(task));
  task->object = object;
}

struct mp_task_object *mp_task_check(lua_State *L, int arg) {
  return luaL_checkudata(L, arg, OBJECT_NAME);
}

void mp_task_open(lua_State *L) {
  luaL_newmetatable(L, OBJECT_NAME);
  mp_waitable_mark(L);
}

/* ---- the end ---- */

static int p_keep_values(lua_State *L) {
  struct mp_task *task = lua_touserdata(L, 1);
  int n = (int)lua_tointeger(L, 2);
  mp_anchor_push(L, mp_object_key(task));
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

/* A task that fails needs an object to keep its error in, even if nobody ever asked for one. */
static int p_keep_error(lua_State *L) {
  struct mp_task *task = lua_touserdata(L, 1);
  mp_task_push(L, task);
  luaL_checkstack(task->co, 1, NULL);
  lua_pushvalue(task->co, 1);
  lua_xmove(task->co, L, 1);
  lua_setiuservalue(L, -2, MP_TASK_VALUE);
  lua_pushvalue(task->co, 2);
  lua_xmove(task->co, L, 1);
  lua_setiuservalue(L, -2, MP_TASK_TRACEBACK);
  return 0;
}

static int p_hold(lua_State *L) {
  struct mp_task_object *object = lua_touserdata(L, 1);
  mp_anchor(L, object); /* its argument, itself */
  return 0;
}

static bool keep(struct mp_task *task, lua_CFunction function, int n) {
  lua_State *L = task->sched->L;
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, task);
  lua_pushinteger(L, n);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return true;
  mp_log(task->sched->loop->log, MP_LOG_ERROR, "sched", "a task's end cannot be kept: %s", lua_tostring(L, -1));
  lua_pop(L, 1);
  return false;
}

void mp_object_keep(struct mp_task *task, enum mp_outcome outcome, int n_values, bool told) {
  bool kept = true;
  if (task->object) task->object->told = task->fault == MP_FAULT_HELD;
  if (outcome == MP_TASK_DONE && task->object) kept = keep(task, p_keep_values, n_values);
  if (outcome == MP_TASK_FAILED && (task->object || !told)) kept = keep(task, p_keep_error, 0);
  if (kept) return;
  if (task->object) task->object->lost = true;
  if (outcome == MP_TASK_FAILED && !told) task->sched->n_errors++; /* the line in the log is all that is left of it */
}

/* The object is at the top of L and stays there. */
static bool hold(lua_State *L) {
  lua_pushcfunction(L, p_hold);
  lua_pushvalue(L, -2);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}

/* Until the end of its scope it may still find somebody to take its error; at once there is nobody. */
static void leave_untaken(struct mp_task_object *object, struct mp_scope *scope) {
  if (!scope->at_once && hold(object->sched->L))
    mp_list_append(&scope->failed, &object->untaken.node);
  else
    mp_report(object->sched, object, scope);
}

void mp_object_settle(struct mp_task *task, enum mp_outcome outcome, bool told) {
  lua_State *L = task->sched->L;
  struct mp_task_object *object = task->object;
  if (!object) return;
  mp_anchor_push(L, mp_object_key(task));
  mp_anchor_drop(L, mp_object_key(task));
  task->object = NULL;
  object->task = NULL;
  object->outcome = (uint8_t)outcome;
  bool given = mp_waitable_settle(&object->end, outcome != MP_TASK_DONE);
  object->taken = given || told || object->lost;
  struct mp_scope *scope = task->member.scope;
  if (outcome == MP_TASK_FAILED && !object->taken) leave_untaken(object, scope);
  if (outcome == MP_TASK_FAILED && !given && !told && scope->on_failed) scope->on_failed(scope, object);
  lua_pop(L, 1);
}
