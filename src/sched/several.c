#include "sched/claim.h"
#include "sched/inside.h"

/* On the Lua stack while it waits; unlinks itself when collected, should the wait never be resumed. */
struct several {
  struct mp_group group;
  struct mp_waiter waiters[];
};

enum { LIST = 1, TIMEOUT, COPY, SEVERAL }; /* stack places of both waits */
enum { MOST_ITEMS = 1000000 };

static void unlink_all(struct several *several) {
  for (int i = 0; i < several->group.n; i++) mp_list_unlink(&several->waiters[i].node);
}

static int l_several_gc(lua_State *L) {
  unlink_all(lua_touserdata(L, 1));
  return 0;
}

/* What stands at the top gives again and again: this wait is for once. */
static void claim_source(lua_State *L) {
  const struct mp_source_ops *ops = mp_source_at(L, -1);
  if (!ops) return;
  mp_claim_push(L, -1, ops);
  lua_remove(L, -2);
}

/* A copy, because the script may change its list meanwhile. */
static int copy_list(lua_State *L, const char *what) {
  luaL_checktype(L, LIST, LUA_TTABLE);
  lua_Integer n = luaL_len(L, LIST);
  if (n < 0 || n > MOST_ITEMS) luaL_error(L, "%s: a list of %I items", what, n);
  lua_settop(L, TIMEOUT);
  lua_createtable(L, (int)n, 0);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_geti(L, LIST, i);
    claim_source(L);
    if (!mp_waitable_at(L, -1)) luaL_error(L, "%s: item %I is %s, nothing to wait for", what, i, luaL_typename(L, -1));
    lua_rawseti(L, COPY, i);
  }
  return (int)n;
}

static struct mp_waitable *item(lua_State *L, int i) {
  lua_rawgeti(L, COPY, i);
  struct mp_waitable *waitable = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return waitable;
}

/* Has it ended, or would it without any waiting? */
static bool has_ended(lua_State *L, int i) {
  lua_rawgeti(L, COPY, i);
  struct mp_waitable *waitable = lua_touserdata(L, -1);
  bool ended = waitable->settled || (waitable->ops->look && waitable->ops->look(L, waitable, lua_gettop(L)));
  lua_pop(L, 1);
  return ended;
}

/* What was given to any but `taken` (0: to any), goes back. */
static void drop_all(const struct several *several, int taken) {
  for (int i = 0; i < several->group.n; i++) {
    struct mp_waitable *waitable = several->waiters[i].on;
    if (i + 1 != taken && waitable->ops->drop) waitable->ops->drop(waitable);
  }
}

static struct several *push_several(lua_State *L, int n, bool all) {
  struct several *several = lua_newuserdatauv(L, sizeof *several + (size_t)n * sizeof several->waiters[0], 0);
  several->group = (struct mp_group){.all = all, .n = n, .waiters = several->waiters};
  for (int i = 0; i < n; i++) {
    several->waiters[i] = (struct mp_waiter){.group = &several->group, .index = i + 1, .on = item(L, i + 1)};
    mp_list_init(&several->waiters[i].node);
  }
  if (luaL_newmetatable(L, "moonpool.several")) {
    lua_pushcfunction(L, l_several_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return several;
}

static bool all_settled(const struct several *several) {
  for (int i = 0; i < several->group.n; i++)
    if (!several->waiters[i].on->settled) return false;
  return true;
}

/* Links every item that has not ended; mp_wait_check comes before. */
static void link_unsettled(lua_State *L, struct several *several) {
  struct mp_task *task = mp_sched_of(L)->current;
  several->group.pending = 0;
  for (int i = 0; i < several->group.n; i++) {
    struct mp_waiter *waiter = &several->waiters[i];
    if (waiter->on->settled) continue;
    several->group.pending++;
    mp_wake_arm(&waiter->wake, task);
    mp_list_append(&waiter->on->waiters, &waiter->node);
  }
  task->group = &several->group;
}

static void begin_all(lua_State *L, struct several *several) {
  for (int i = 0; i < several->group.n; i++) {
    struct mp_waitable *waitable = several->waiters[i].on;
    if (!waitable->settled && waitable->ops->begin) waitable->ops->begin(waitable, mp_sched_of(L)->current);
  }
}

static void refuse_self(lua_State *L, const struct several *several, const char *what) {
  for (int i = 0; i < several->group.n; i++) {
    struct mp_waitable *waitable = several->waiters[i].on;
    if (waitable->ops->task && waitable->ops->task(waitable) == mp_sched_of(L)->current)
      luaL_error(L, "%s: a task cannot wait for itself", what);
  }
}

static void check_all(lua_State *L, const struct several *several, const char *what) {
  mp_wait_check(L, what);
  refuse_self(L, several, what);
  mp_refuse_group_cycle(L, &several->group, what);
}

/* Parks until the group says so; `k` unlinks what is left. */
static int park_linked(lua_State *L, struct several *several, double timeout_s, lua_KFunction k) {
  begin_all(L, several);
  link_unsettled(L, several);
  return mp_park(L, timeout_s, k, 0);
}

static int push_item(lua_State *L, int i) {
  lua_rawgeti(L, COPY, i);
  struct mp_waitable *waitable = lua_touserdata(L, -1);
  return waitable->ops->push(L, waitable, lua_gettop(L));
}

static enum mp_woken unpark(lua_State *L, struct several *several) {
  int first = several->group.first;
  return first ? mp_unpark_with(L, several->waiters[first - 1].on) : mp_unpark(L);
}

/* ---- the first of several ---- */

static int push_winner(lua_State *L, int i) {
  int n = push_item(L, i);
  luaL_checkstack(L, 1, NULL);
  lua_pushinteger(L, i);
  lua_insert(L, -(n + 1));
  return n + 1;
}

static int after_any(lua_State *L, int status, lua_KContext ctx) {
  struct several *several = lua_touserdata(L, SEVERAL);
  (void)status, (void)ctx;
  unlink_all(several);
  bool timeout = unpark(L, several) == MP_WOKEN_TIMEOUT;
  drop_all(several, timeout ? 0 : several->group.first);
  return timeout ? mp_push_timeout(L) : push_winner(L, several->group.first);
}

int mp_wait_any(lua_State *L) {
  int n = copy_list(L, "wait_any");
  double timeout_s = mp_check_timeout(L, TIMEOUT);
  if (n == 0) return luaL_error(L, "wait_any: an empty list never ends");
  for (int i = 1; i <= n; i++)
    if (has_ended(L, i)) return push_winner(L, i);
  struct several *several = push_several(L, n, false);
  check_all(L, several, "wait_any");
  return park_linked(L, several, timeout_s, after_any);
}

/* ---- all of several ---- */

/* The one whose error is to be raised: the first that failed, or of those that had ended before, the first of the list.
 * 0: none. */
static int first_failed(const struct several *several) {
  if (several->group.first) return several->group.first;
  for (int i = 0; i < several->group.n; i++)
    if (several->waiters[i].on->settled && several->waiters[i].on->failed) return i + 1;
  return 0;
}

static int push_firsts(lua_State *L, int n) {
  lua_createtable(L, n, 1);
  int list = lua_gettop(L);
  for (int i = 1; i <= n; i++) {
    int values = push_item(L, i);
    if (values > 0) {
      lua_pushvalue(L, -values);
      lua_rawseti(L, list, i);
    }
    lua_settop(L, list);
  }
  lua_pushinteger(L, n);
  lua_setfield(L, list, "n");
  return 1;
}

/* A cancel that came meanwhile is raised by the next wait: it does not take the place of an error that this one was
 * given already. */
static int after_join(lua_State *L, int status, lua_KContext ctx) {
  struct several *several = lua_touserdata(L, SEVERAL);
  (void)status, (void)ctx;
  unlink_all(several);
  mp_wait_over(mp_sched_of(L)->current);
  return push_item(L, several->group.first);
}

/* One has failed: the others are cancelled and waited for, then its error is raised. */
static int join_and_raise(lua_State *L, struct several *several, int failed) {
  struct mp_task *task = mp_sched_of(L)->current;
  several->group.first = failed;
  drop_all(several, failed);
  for (int i = 0; i < several->group.n; i++) {
    struct mp_waitable *waitable = several->waiters[i].on;
    if (!waitable->settled && waitable->ops->cancel) waitable->ops->cancel(waitable);
  }
  if (all_settled(several) || !mp_may_wait(L) || task->cancel == MP_CANCEL_ASKED) return push_item(L, failed);
  mp_wait_check(L, "wait_all");
  return park_linked(L, several, -1, after_join); /* even those that wait for this task end now */
}

static int after_all(lua_State *L, int status, lua_KContext ctx) {
  struct several *several = lua_touserdata(L, SEVERAL);
  (void)status, (void)ctx;
  unlink_all(several);
  if (unpark(L, several) == MP_WOKEN_TIMEOUT) {
    drop_all(several, 0);
    return mp_push_timeout(L);
  }
  int failed = first_failed(several);
  return failed ? join_and_raise(L, several, failed) : push_firsts(L, several->group.n);
}

int mp_wait_all(lua_State *L) {
  int n = copy_list(L, "wait_all");
  double timeout_s = mp_check_timeout(L, TIMEOUT);
  struct several *several = push_several(L, n, true);
  int failed = first_failed(several);
  if (failed) return join_and_raise(L, several, failed);
  if (all_settled(several)) return push_firsts(L, n);
  check_all(L, several, "wait_all");
  for (int i = 1; i <= n; i++) has_ended(L, i);
  if (all_settled(several)) return push_firsts(L, n);
  return park_linked(L, several, timeout_s, after_all);
}
