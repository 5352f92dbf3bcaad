/* moonpool.scope: a function and all that it starts, ended together. The function runs in a task of its own, the
 * scope's first member, so that cancelling the scope reaches it as it reaches the others; the caller waits for the
 * scope. */
#include "api/process.h"
#include <math.h>

#define SCOPE_NAME "moonpool.scope"

enum { MAIN_TASK = 1, FIRST_FAILED, REASON, USER_VALUES = 3 };

enum why { GOES_ON, FAILED, TIMED_OUT, CANCELLED }; /* what ended it early: the first of these */

struct scope_box {
  struct mp_scope scope;
  struct mp_waitable end;  /* the caller waits for it */
  struct mp_member member; /* of the scope around it */
  struct mp_owned owned;   /* of the caller's task */
  struct mp_owned body;    /* of the function's task */
  struct mp_timer timer;   /* the deadline */
  struct mp_sched *sched;  /* borrowed */
  uint8_t why;             /* enum why */
};

static struct scope_box *box_of(struct mp_scope *scope) {
  return MP_CONTAINER(scope, struct scope_box, scope);
}

static void end_early(struct scope_box *box, enum why why) {
  if (box->scope.over) return;
  if (box->why == GOES_ON) box->why = (uint8_t)why;
  mp_scope_cancel(&box->scope);
}

/* ---- what its members tell ---- */

static void on_failed(struct mp_scope *scope, struct mp_task_object *object) {
  struct scope_box *box = box_of(scope);
  lua_State *L = box->sched->L;
  (void)object;
  if (box->why != GOES_ON) return; /* its end is decided: this one is reported with the others */
  mp_anchor_push(L, box);
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, -2, FIRST_FAILED);
  lua_pop(L, 1);
  end_early(box, FAILED);
}

/* The error that the caller is about to be given is not one that nobody took. */
static void spare_first(struct scope_box *box) {
  lua_State *L = box->sched->L;
  mp_anchor_push(L, box);
  lua_getiuservalue(L, -1, FIRST_FAILED);
  struct mp_task_object *first = lua_touserdata(L, -1);
  if (first) mp_list_unlink(&first->untaken.node);
  lua_pop(L, 2);
}

/* The last member has left. Its object may be collected from the last line on. */
static void on_over(struct mp_scope *scope) {
  struct scope_box *box = box_of(scope);
  struct mp_sched *sched = box->sched;
  mp_timer_stop(&box->timer);
  bool given = mp_waitable_settle(&box->end, box->why == FAILED || box->why == TIMED_OUT);
  if (given && box->why == FAILED) spare_first(box);
  mp_report_failed(scope);
  mp_scope_leave(&box->member);
  mp_anchor_drop(sched->L, box);
}

static void body_has_ended(struct mp_owned *owned) {
  mp_scope_close(&MP_CONTAINER(owned, struct scope_box, body)->scope);
}

/* ---- what happens around it ---- */

static void cancel_member(struct mp_member *member) {
  end_early(MP_CONTAINER(member, struct scope_box, member), CANCELLED);
}

static void caller_is_cancelled(struct mp_owned *owned) {
  end_early(MP_CONTAINER(owned, struct scope_box, owned), CANCELLED);
}

/* It will not come for the result any more. */
static void caller_has_ended(struct mp_owned *owned) {
  struct scope_box *box = MP_CONTAINER(owned, struct scope_box, owned);
  end_early(box, CANCELLED);
  if (!box->scope.over) mp_scope_close(&box->scope);
}

static void on_deadline(struct mp_timer *timer) {
  end_early(MP_CONTAINER(timer, struct scope_box, timer), TIMED_OUT);
}

/* ---- what waiting for it means ---- */

static bool is_ending(const struct mp_waitable *waitable) {
  return MP_CONTAINER(waitable, struct scope_box, end)->scope.cancelled;
}

/* The scope waits for every member: so for the running task, should that be one of them; else for the function. */
static struct mp_task *whom_it_waits_for(struct mp_waitable *waitable) {
  struct scope_box *box = MP_CONTAINER(waitable, struct scope_box, end);
  struct mp_task *task = box->sched->current;
  for (struct mp_scope *at = task ? task->member.scope : NULL; at; at = at->parent)
    if (at == &box->scope) return task;
  lua_State *L = box->sched->L;
  mp_anchor_push(L, box);
  lua_getiuservalue(L, -1, MAIN_TASK);
  struct mp_task_object *object = lua_touserdata(L, -1);
  lua_pop(L, 2);
  return object ? object->task : NULL;
}

static const struct mp_waitable_ops end_ops = {.kind = "scope", .ending = is_ending, .task = whom_it_waits_for};

/* ---- moonpool.scope ---- */

enum { FUNCTION = 1, OPTIONS, BOX }; /* stack places while it waits */

static int after_scope(lua_State *L, int status, lua_KContext ctx) {
  struct scope_box *box = lua_touserdata(L, BOX);
  (void)status, (void)ctx;
  mp_list_unlink(&box->owned.node);
  mp_unpark_with(L, &box->end);
  if (box->why == TIMED_OUT) {
    lua_pushliteral(L, "timeout");
    return lua_error(L);
  }
  lua_getiuservalue(L, BOX, box->why == FAILED ? FIRST_FAILED : MAIN_TASK);
  struct mp_task_object *object = lua_touserdata(L, -1);
  return object->end.ops->push(L, &object->end, lua_gettop(L));
}

static double check_options(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return -1;
  luaL_checktype(L, arg, LUA_TTABLE);
  lua_pushnil(L);
  while (lua_next(L, arg)) { /* stack: … key value */
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : luaL_typename(L, -2);
    if (strcmp(name, "timeout") != 0) luaL_error(L, "scope: unknown option %s", name);
    if (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0))
      luaL_error(L, "scope: timeout must be a number of seconds from 0");
    lua_pop(L, 1);
  }
  lua_getfield(L, arg, "timeout");
  double timeout_s = lua_isnil(L, -1) ? -1 : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return isinf(timeout_s) ? -1 : timeout_s;
}

static struct scope_box *new_box(lua_State *L) {
  struct mp_sched *sched = mp_sched_of(L);
  struct scope_box *box = lua_newuserdatauv(L, sizeof *box, USER_VALUES);
  memset(box, 0, sizeof *box);
  mp_scope_init(&box->scope, on_over);
  mp_waitable_init(&box->end, &end_ops);
  mp_list_init(&box->member.node);
  mp_list_init(&box->owned.node);
  mp_list_init(&box->body.node);
  box->scope.on_failed = on_failed;
  box->scope.parent = sched->current->scope;
  box->member.cancel = cancel_member;
  box->owned.cancel = caller_is_cancelled;
  box->owned.ended = caller_has_ended;
  box->body.ended = body_has_ended;
  box->sched = sched;
  luaL_setmetatable(L, SCOPE_NAME);
  if (mp_timer_init(&box->timer, &sched->loop->timers, on_deadline) < 0) luaL_error(L, "scope: not enough memory");
  return box;
}

/* From here on the scope is held by its parent and its caller's task: should what follows raise, it ends with them. */
static void open_box(lua_State *L, struct scope_box *box, double timeout_s) {
  lua_pushvalue(L, BOX);
  mp_anchor(L, box);
  mp_list_append(&box->sched->current->owned, &box->owned.node);
  mp_scope_join(box->scope.parent, &box->member);
  if (timeout_s >= 0) mp_timer_start_now(&box->timer, timeout_s * 1000);
}

static void start_body(lua_State *L, struct scope_box *box) {
  lua_pushvalue(L, FUNCTION);
  lua_pushvalue(L, BOX);
  struct mp_task *body = mp_spawn_task(L, BOX + 1, &box->scope, "scope");
  lua_setiuservalue(L, BOX, MAIN_TASK);
  mp_list_append(&body->owned, &box->body.node);
  lua_settop(L, BOX);
}

/* scope(fn[, { timeout }]) */
static int l_scope(lua_State *L) {
  luaL_checktype(L, FUNCTION, LUA_TFUNCTION);
  double timeout_s = check_options(L, OPTIONS);
  lua_settop(L, OPTIONS);
  mp_wait_check(L, "scope");
  struct scope_box *box = new_box(L);
  open_box(L, box, timeout_s);
  start_body(L, box);
  struct mp_task *task = box->sched->current;
  mp_wake_arm(&task->waiter.wake, task);
  task->waiter.group = NULL;
  mp_list_append(&box->end.waiters, &task->waiter.node);
  task->waits_for = &box->end;
  return mp_park(L, -1, after_scope, 0);
}

/* ---- methods ---- */

static struct scope_box *check_scope(lua_State *L) {
  return luaL_checkudata(L, 1, SCOPE_NAME);
}

static struct scope_box *check_alive(lua_State *L, const char *what) {
  struct scope_box *box = check_scope(L);
  if (box->scope.over) luaL_error(L, "%s: the scope has ended", what);
  return box;
}

static int l_spawn_process(lua_State *L) {
  return mp_process_spawn(L, 1);
}

/* The table at 2 is for `function`. What runs in another scope cannot start it itself: a task of this one does. */
static int start_process(lua_State *L, struct scope_box *box, lua_CFunction function, const char *what) {
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  if (mp_api_scope(L) == &box->scope) {
    lua_remove(L, 1);
    return function(L);
  }
  mp_wait_check(L, what);
  lua_pushcfunction(L, function);
  lua_pushvalue(L, 2);
  mp_spawn_task(L, 3, &box->scope, what);
  return mp_wait_for(L, lua_gettop(L), -1);
}

/* scope:spawn(fn, …) or scope:spawn{…} */
static int l_spawn(lua_State *L) {
  struct scope_box *box = check_alive(L, "spawn");
  if (lua_istable(L, 2)) return start_process(L, box, l_spawn_process, "spawn");
  luaL_checktype(L, 2, LUA_TFUNCTION);
  mp_spawn_task(L, 2, &box->scope, "spawn");
  return 1;
}

static int l_run(lua_State *L) {
  return start_process(L, check_alive(L, "run"), mp_process_run, "run");
}

static int l_cancel(lua_State *L) {
  struct scope_box *box = check_scope(L);
  if (box->scope.over || box->scope.cancelled) return 0;
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, REASON);
  end_early(box, CANCELLED);
  return 0;
}

static int l_index(lua_State *L) {
  struct scope_box *box = check_scope(L);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(name, "cancelled") == 0)
    lua_pushboolean(L, box->scope.cancelled);
  else if (strcmp(name, "reason") == 0)
    lua_getiuservalue(L, 1, REASON);
  else
    lua_pushnil(L);
  return 1;
}

static int l_tostring(lua_State *L) {
  struct scope_box *box = check_scope(L);
  lua_pushfstring(L, "scope (%s)", box->scope.over ? "ended" : box->scope.cancelled ? "cancelled" : "open");
  return 1;
}

static int l_gc(lua_State *L) {
  mp_timer_deinit(&check_scope(L)->timer);
  return 0;
}

void mp_scopes_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"spawn", l_spawn}, {"run", l_run}, {"cancel", l_cancel}, {NULL, NULL}};
  luaL_newmetatable(L, SCOPE_NAME); /* stack: core meta */
  luaL_newlib(L, methods);
  lua_pushcclosure(L, l_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_pushcfunction(L, l_scope);
  lua_setfield(L, -2, "scope");
}
