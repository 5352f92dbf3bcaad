#include "sched/wait.h"
#include "sched/coro.h"
#include "sched/state.h"
#include <math.h>

static const char waitable_key; /* marks the metatables of what can be waited for */

void mp_wake_arm(struct mp_wake *wake, struct mp_task *task) {
  wake->task = task;
  wake->ticket = task->ticket;
}

bool mp_wake_fire(struct mp_wake *wake) {
  struct mp_task *task = wake->task;
  wake->task = NULL;
  if (!task || task->ticket != wake->ticket || task->state != MP_TASK_PARKED) return false;
  mp_task_wake(task, MP_WOKEN_DONE);
  return true;
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

bool mp_may_wait(lua_State *L) {
  struct mp_sched *sched = mp_sched_of(L);
  return sched->current && sched->running == L && whole_stack_yields(sched, L);
}

void mp_wait_check(lua_State *L, const char *what) {
  struct mp_sched *sched = mp_sched_of(L);
  struct mp_task *task = sched->current;
  if (!task)
    luaL_error(L, "%s: cannot wait here: an app file's body only defines, what waits belongs into app:on_start", what);
  if (sched->running != L)
    luaL_error(L, "%s: cannot wait inside a coroutine that a module written in C resumed", what);
  if (!whole_stack_yields(sched, L))
    luaL_error(L,
               "%s: cannot wait inside a function that Lua's own C code calls (a sort or gsub callback, __tostring, "
               "__gc, __close at a forced end, a load reader, a message handler)",
               what);
  task->ticket++; /* whatever was armed for an earlier wait is stale now */
  if (task->cancel == MP_CANCEL_ASKED) {
    task->cancel = MP_CANCEL_RAISED;
    mp_push_cancelled(L);
    lua_error(L);
  }
}

static uint64_t ms_of(double seconds) {
  double ms = ceil(seconds * 1000.0);
  return ms >= 9e15 ? (uint64_t)9e15 : (uint64_t)ms;
}

int mp_park(lua_State *L, double timeout_s, lua_KFunction k, lua_KContext ctx) {
  struct mp_sched *sched = mp_sched_of(L);
  struct mp_task *task = sched->current;
  if (timeout_s >= 0) mp_timer_start(&task->timer, ms_of(timeout_s));
  task->state = MP_TASK_PARKED;
  sched->parking = true;
  return lua_yieldk(L, 0, ctx, k);
}

enum mp_woken mp_unpark(lua_State *L) {
  struct mp_task *task = mp_sched_of(L)->current;
  mp_timer_stop(&task->timer);
  mp_list_unlink(&task->waiter.node);
  task->waits_for = NULL;
  if (task->woken == MP_WOKEN_CANCEL) {
    task->cancel = MP_CANCEL_RAISED;
    mp_push_cancelled(L);
    lua_error(L);
  }
  return (enum mp_woken)task->woken;
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
static void refuse_cycle(lua_State *L, struct mp_waitable *waitable) {
  struct mp_task *self = mp_sched_of(L)->current, *task;
  int steps = 0;
  luaL_checkstack(L, 16, NULL);
  for (; waitable && waitable->ops->task; waitable = task->waits_for) {
    task = waitable->ops->task(waitable);
    if (!task) return;
    if (task == self) break;
    if (++steps > 64) return;
  }
  if (!waitable || !waitable->ops->task) return;
  if (steps == 0) luaL_error(L, "wait: a task cannot wait for itself");
  push_where_spawned(L, self);
  luaL_error(L, "wait: a cycle of %d tasks that wait for each other; this one was spawned at %s", steps + 1,
             lua_tostring(L, -1));
}

static struct mp_waitable *check_waitable(lua_State *L, int index, const char *what) {
  struct mp_waitable *waitable = mp_waitable_at(L, index);
  if (!waitable) luaL_error(L, "%s: %s is nothing to wait for", what, luaL_typename(L, index));
  return waitable;
}

static int after_wait(lua_State *L, int status, lua_KContext index) {
  struct mp_waitable *waitable = lua_touserdata(L, (int)index);
  (void)status;
  mp_unpark(L);
  return waitable->settled ? waitable->ops->push(L, waitable, (int)index) : mp_push_timeout(L);
}

int mp_wait_for(lua_State *L, int index, double timeout_s) {
  struct mp_waitable *waitable = check_waitable(L, index, "wait");
  if (waitable->settled) return waitable->ops->push(L, waitable, index);
  mp_wait_check(L, "wait");
  refuse_cycle(L, waitable);
  struct mp_task *task = mp_sched_of(L)->current;
  if (waitable->ops->begin) waitable->ops->begin(waitable, task);
  mp_wake_arm(&task->waiter.wake, task);
  task->waiter.group = NULL;
  mp_list_append(&waitable->waiters, &task->waiter.node);
  task->waits_for = waitable;
  return mp_park(L, timeout_s, after_wait, index);
}

/* ---- several at once ---- */

/* On the Lua stack while it waits; unlinks itself when collected, should the wait never be resumed. */
struct several {
  struct mp_group group;
  int n;
  struct mp_waiter waiters[];
};

enum { LIST = 1, TIMEOUT, COPY, SEVERAL }; /* stack places of both waits */

static void unlink_all(struct several *several) {
  for (int i = 0; i < several->n; i++) mp_list_unlink(&several->waiters[i].node);
}

static int l_several_gc(lua_State *L) {
  unlink_all(lua_touserdata(L, 1));
  return 0;
}

/* A copy, because the script may change its list meanwhile. */
static int copy_list(lua_State *L, const char *what) {
  luaL_checktype(L, LIST, LUA_TTABLE);
  int n = (int)luaL_len(L, LIST);
  lua_settop(L, TIMEOUT);
  lua_createtable(L, n, 0);
  for (int i = 1; i <= n; i++) {
    lua_geti(L, LIST, i);
    if (!mp_waitable_at(L, -1)) luaL_error(L, "%s: item %d is %s, nothing to wait for", what, i, luaL_typename(L, -1));
    lua_rawseti(L, COPY, i);
  }
  return n;
}

static struct mp_waitable *item(lua_State *L, int i) {
  lua_rawgeti(L, COPY, i);
  struct mp_waitable *waitable = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return waitable;
}

static struct several *push_several(lua_State *L, int n, bool all) {
  struct several *several = lua_newuserdatauv(L, sizeof *several + (size_t)n * sizeof several->waiters[0], 0);
  several->group = (struct mp_group){.all = all};
  several->n = n;
  for (int i = 0; i < n; i++) {
    several->waiters[i] = (struct mp_waiter){.group = &several->group, .index = i + 1};
    mp_list_init(&several->waiters[i].node);
  }
  if (luaL_newmetatable(L, "moonpool.several")) {
    lua_pushcfunction(L, l_several_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return several;
}

/* Links every item that has not ended; with `pending` 0 there is nothing left to wait for. */
static void link_unsettled(lua_State *L, struct several *several) {
  struct mp_task *task = mp_sched_of(L)->current;
  several->group.pending = 0;
  for (int i = 0; i < several->n; i++) {
    struct mp_waitable *waitable = item(L, i + 1);
    struct mp_waiter *waiter = &several->waiters[i];
    mp_list_unlink(&waiter->node);
    if (waitable->settled) continue;
    several->group.pending++;
    if (waitable->ops->begin) waitable->ops->begin(waitable, task);
    mp_wake_arm(&waiter->wake, task);
    mp_list_append(&waitable->waiters, &waiter->node);
  }
}

static int push_item(lua_State *L, int i) {
  lua_rawgeti(L, COPY, i);
  struct mp_waitable *waitable = lua_touserdata(L, -1);
  return waitable->ops->push(L, waitable, lua_gettop(L));
}

static int push_winner(lua_State *L, int i) {
  lua_pushinteger(L, i);
  int n = push_item(L, i);
  lua_pushinteger(L, i);
  lua_insert(L, -(n + 1));
  return n + 1;
}

static int after_any(lua_State *L, int status, lua_KContext ctx) {
  struct several *several = lua_touserdata(L, SEVERAL);
  (void)status, (void)ctx;
  unlink_all(several);
  mp_unpark(L);
  return several->group.first ? push_winner(L, several->group.first) : mp_push_timeout(L);
}

static void refuse_self(lua_State *L, int n, const char *what) {
  struct mp_task *self = mp_sched_of(L)->current;
  for (int i = 1; i <= n; i++) {
    struct mp_waitable *waitable = item(L, i);
    if (self && !waitable->settled && waitable->ops->task && waitable->ops->task(waitable) == self)
      luaL_error(L, "%s: a task cannot wait for itself", what);
  }
}

int mp_wait_any(lua_State *L) {
  int n = copy_list(L, "wait_any");
  double timeout_s = mp_check_timeout(L, TIMEOUT);
  if (n == 0) return luaL_error(L, "wait_any: an empty list never ends");
  for (int i = 1; i <= n; i++)
    if (item(L, i)->settled) return push_winner(L, i);
  mp_wait_check(L, "wait_any");
  refuse_self(L, n, "wait_any");
  link_unsettled(L, push_several(L, n, false));
  return mp_park(L, timeout_s, after_any, 0);
}

/* The first to fail in the order of the list, of those that have ended; 0: none. */
static int first_failed(lua_State *L, struct several *several) {
  if (several->group.first) return several->group.first;
  for (int i = 1; i <= several->n; i++)
    if (item(L, i)->settled && item(L, i)->failed) return i;
  return 0;
}

static int push_firsts(lua_State *L, int n) {
  lua_createtable(L, n, 1);
  int list = lua_gettop(L);
  for (int i = 1; i <= n; i++) {
    push_item(L, i);
    lua_settop(L, list + 2); /* the object, and its first value or nil */
    lua_rawseti(L, list, i);
    lua_settop(L, list);
  }
  lua_pushinteger(L, n);
  lua_setfield(L, list, "n");
  return 1;
}

static int after_all(lua_State *L, int status, lua_KContext joining);

static void cancel_others(lua_State *L, int n) {
  for (int i = 1; i <= n; i++) {
    struct mp_waitable *waitable = item(L, i);
    if (!waitable->settled && waitable->ops->cancel) waitable->ops->cancel(waitable);
  }
}

/* One has failed: the others are cancelled and waited for, then its error is raised. */
static int join_and_raise(lua_State *L, struct several *several, int failed) {
  several->group.first = failed;
  cancel_others(L, several->n);
  link_unsettled(L, several);
  if (several->group.pending == 0) return push_item(L, failed);
  for (int i = 0; i < several->n; i++) several->waiters[i].index = 0; /* their failures wake nobody early */
  return mp_park(L, -1, after_all, 1);
}

static int go_on_all(lua_State *L, double timeout_s) {
  struct several *several = lua_touserdata(L, SEVERAL);
  int failed = first_failed(L, several);
  if (failed) return join_and_raise(L, several, failed);
  link_unsettled(L, several);
  if (several->group.pending == 0) return push_firsts(L, several->n);
  return mp_park(L, timeout_s, after_all, 0);
}

static int after_all(lua_State *L, int status, lua_KContext joining) {
  struct several *several = lua_touserdata(L, SEVERAL);
  (void)status;
  enum mp_woken why = mp_unpark(L);
  if (joining) {
    mp_wait_check(L, "wait_all");
    return join_and_raise(L, several, several->group.first);
  }
  if (why == MP_WOKEN_TIMEOUT && !first_failed(L, several)) {
    unlink_all(several);
    for (int i = 1; i <= several->n; i++)
      if (!item(L, i)->settled) return mp_push_timeout(L);
  }
  mp_wait_check(L, "wait_all");
  return go_on_all(L, -1);
}

int mp_wait_all(lua_State *L) {
  int n = copy_list(L, "wait_all");
  double timeout_s = mp_check_timeout(L, TIMEOUT);
  push_several(L, n, true);
  if (n > 0) mp_wait_check(L, "wait_all");
  refuse_self(L, n, "wait_all");
  return go_on_all(L, timeout_s);
}
