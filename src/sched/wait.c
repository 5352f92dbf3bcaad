#include "sched/wait.h"
#include "sched/coro.h"
#include "sched/inside.h"
#include <math.h>

static const char waitable_key; /* marks the metatables of what can be waited for */

void mp_wake_arm(struct mp_wake *wake, struct mp_task *task) {
  wake->task = task;
  wake->ticket = task->ticket;
}

bool mp_wake_armed(const struct mp_wake *wake) {
  const struct mp_task *task = wake->task;
  return task && task->ticket == wake->ticket && task->state == MP_TASK_PARKED;
}

bool mp_wake_fire(struct mp_wake *wake) {
  bool armed = mp_wake_armed(wake);
  if (armed) mp_task_wake(wake->task, MP_WOKEN_DONE);
  wake->task = NULL;
  return armed;
}

void mp_waitable_init(struct mp_waitable *waitable, const struct mp_waitable_ops *ops) {
  *waitable = (struct mp_waitable){.ops = ops};
  mp_list_init(&waitable->waiters);
}

static bool tell_group(struct mp_waiter *waiter, bool failed) {
  struct mp_group *group = waiter->group;
  bool decides = !group->first && (!group->all || failed);
  group->pending--;
  if (decides) group->first = waiter->index;
  if (!decides && group->pending > 0) return false;
  return mp_wake_fire(&waiter->wake) && decides;
}

bool mp_waitable_settle(struct mp_waitable *waitable, bool failed) {
  bool given = false;
  struct mp_list *node;
  waitable->settled = true;
  waitable->failed = failed;
  while ((node = mp_list_pop(&waitable->waiters))) {
    struct mp_waiter *waiter = MP_CONTAINER(node, struct mp_waiter, node);
    given |= waiter->group ? tell_group(waiter, failed) : mp_wake_fire(&waiter->wake);
  }
  return given;
}

void mp_waitable_mark(lua_State *L) {
  lua_pushboolean(L, 1);
  lua_rawsetp(L, -2, &waitable_key);
}

struct mp_waitable *mp_waitable_at(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return NULL;
  bool marked = lua_rawgetp(L, -1, &waitable_key) == LUA_TBOOLEAN;
  lua_pop(L, 2);
  return marked ? lua_touserdata(L, index) : NULL;
}

static bool whole_stack_yields(struct mp_sched *sched, lua_State *L) {
  if (!lua_isyieldable(L)) return false;
  for (struct mp_frame *frame = sched->frames; frame; frame = frame->outer)
    if (!lua_isyieldable(frame->from)) return false;
  return true;
}

/* A coroutine that the scheduler did not see being resumed: its yields end with whoever did. */
static bool is_foreign(struct mp_sched *sched, lua_State *L) {
  if (sched->running != L) return true;
  for (struct mp_frame *frame = sched->frames; frame; frame = frame->outer)
    if (frame->foreign) return true;
  return false;
}

bool mp_may_wait(lua_State *L) {
  struct mp_sched *sched = mp_sched_of(L);
  return sched->current && !is_foreign(sched, L) && whole_stack_yields(sched, L);
}

/* From here on the task has its grace to end in. */
static void raise_cancelled(lua_State *L, struct mp_task *task) {
  task->cancel = MP_CANCEL_RAISED;
  if (!mp_timer_started(&task->grace)) mp_timer_start(&task->grace, task->grace_ms);
  mp_push_cancelled(L);
  lua_error(L);
}

void mp_wait_check(lua_State *L, const char *what) {
  struct mp_sched *sched = mp_sched_of(L);
  struct mp_task *task = sched->current;
  if (!task)
    luaL_error(L, "%s: cannot wait here: an app file's body only defines, what waits belongs into app:on_start", what);
  if (is_foreign(sched, L))
    luaL_error(L, "%s: cannot wait inside a coroutine that a module written in C resumed", what);
  if (!whole_stack_yields(sched, L))
    luaL_error(L,
               "%s: cannot wait inside a function that Lua's own C code calls (a sort or gsub callback, __tostring, "
               "__gc, __close at a forced end, a load reader, a message handler)",
               what);
  if (!mp_coro_reserve(sched)) luaL_error(L, "%s: not enough memory", what);
  task->ticket++; /* whatever was armed for an earlier wait is stale now */
  if (task->cancel == MP_CANCEL_ASKED) raise_cancelled(L, task);
}

int mp_park(lua_State *L, double timeout_s, lua_KFunction k, lua_KContext ctx) {
  struct mp_sched *sched = mp_sched_of(L);
  struct mp_task *task = sched->current;
  if (timeout_s >= 0) mp_timer_start_now(&task->timer, timeout_s * 1000);
  task->state = MP_TASK_PARKED;
  sched->parking = true;
  return lua_yieldk(L, 0, ctx, k);
}

void mp_wait_over(struct mp_task *task) {
  mp_timer_stop(&task->timer);
  mp_list_unlink(&task->waiter.node);
  task->waits_for = NULL;
  task->group = NULL;
}

enum mp_woken mp_unpark(lua_State *L) {
  struct mp_task *task = mp_sched_of(L)->current;
  mp_wait_over(task);
  if (task->cancel == MP_CANCEL_ASKED) raise_cancelled(L, task);
  return (enum mp_woken)task->woken;
}

enum mp_woken mp_unpark_with(lua_State *L, const struct mp_waitable *given) {
  struct mp_task *task = mp_sched_of(L)->current;
  if (task->woken != MP_WOKEN_DONE || !given->failed) return mp_unpark(L);
  mp_wait_over(task);
  return MP_WOKEN_DONE;
}

double mp_check_timeout(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return -1;
  double s = luaL_checknumber(L, arg);
  if (!(s >= 0)) luaL_argerror(L, arg, "a timeout is a number of seconds from 0");
  return isinf(s) ? -1 : s;
}

int mp_push_timeout(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "timeout");
  lua_pushliteral(L, "timeout");
  return 3;
}

static void push_where_spawned(lua_State *L, struct mp_task *task) {
  mp_task_push(L, task);
  if (lua_getiuservalue(L, -1, MP_TASK_SPAWNED_AT) != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushliteral(L, "a request's handler");
  }
  lua_remove(L, -2);
}

/* Who waits for whom, beginning with what the running task is about to wait for. */
struct walk {
  const struct mp_task *self;
  int most; /* steps left: beyond that nobody looks */
};

static int hangs(struct walk *walk, struct mp_waitable *waitable, int depth);

/* All are needed: one is enough to hang. Any will do: it hangs if every one does. */
static int group_hangs(struct walk *walk, const struct mp_group *group, int depth) {
  int length = 0;
  for (int i = 0; i < group->n; i++) {
    const struct mp_waiter *waiter = &group->waiters[i];
    if (waiter->on->settled) continue;
    length = hangs(walk, waiter->on, depth);
    if (group->all ? length > 0 : length == 0) return length;
  }
  return length;
}

/* Not 0: it cannot end before the running task does, and the way back leads through so many tasks. Who is met again on
 * the way opens no way out. */
static int hangs(struct walk *walk, struct mp_waitable *waitable, int depth) {
  struct mp_task *task = waitable->ops->task ? waitable->ops->task(waitable) : NULL;
  int length = 0;
  if (!task || walk->most-- <= 0) return 0;
  if (task == walk->self || task->on_walk) return depth;
  if (task->state != MP_TASK_PARKED) return 0;
  task->on_walk = true;
  if (task->waits_for)
    length = hangs(walk, task->waits_for, depth + 1);
  else if (task->group)
    length = group_hangs(walk, task->group, depth + 1);
  task->on_walk = false;
  return length;
}

static void raise_cycle(lua_State *L, const char *what, int length) {
  luaL_checkstack(L, 16, NULL);
  if (length == 1) luaL_error(L, "%s: a task cannot wait for itself", what);
  push_where_spawned(L, mp_sched_of(L)->current);
  luaL_error(L, "%s: a cycle of %d tasks that wait for each other; this one was spawned at %s", what, length,
             lua_tostring(L, -1));
}

void mp_refuse_cycle(lua_State *L, struct mp_waitable *waitable, const char *what) {
  struct walk walk = {mp_sched_of(L)->current, 128};
  int length = hangs(&walk, waitable, 1);
  if (length > 0) raise_cycle(L, what, length);
}

void mp_refuse_group_cycle(lua_State *L, const struct mp_group *group, const char *what) {
  struct walk walk = {mp_sched_of(L)->current, 128 + 2 * group->n};
  int length = group_hangs(&walk, group, 1);
  if (length > 0) raise_cycle(L, what, length);
}

static struct mp_waitable *check_waitable(lua_State *L, int index, const char *what) {
  struct mp_waitable *waitable = mp_waitable_at(L, index);
  if (!waitable) luaL_error(L, "%s: %s is nothing to wait for", what, luaL_typename(L, index));
  return waitable;
}

static int after_wait(lua_State *L, int status, lua_KContext index) {
  struct mp_waitable *waitable = lua_touserdata(L, (int)index);
  (void)status;
  if (mp_unpark_with(L, waitable) == MP_WOKEN_TIMEOUT) return mp_push_timeout(L);
  return waitable->ops->push(L, waitable, (int)index);
}

int mp_wait_for(lua_State *L, int index, double timeout_s) {
  struct mp_waitable *waitable = check_waitable(L, index, "wait");
  if (waitable->settled) return waitable->ops->push(L, waitable, index);
  mp_wait_check(L, "wait");
  mp_refuse_cycle(L, waitable, "wait");
  struct mp_task *task = mp_sched_of(L)->current;
  if (waitable->ops->begin) waitable->ops->begin(waitable, task);
  mp_wake_arm(&task->waiter.wake, task);
  task->waiter.group = NULL;
  mp_list_append(&waitable->waiters, &task->waiter.node);
  task->waits_for = waitable;
  return mp_park(L, timeout_s, after_wait, index);
}
