/* moonpool.every and moonpool.after: timers of the worker. Each firing runs the function in a scope of its own, and the
 * next one is set when that scope is over: so none ever runs beside itself, and ticks that it slept through are gone.
 *
 * A timer of the pool (`once`) is one in each worker: only that which holds their lease fires. The others look at it a
 * little after the next firing was due, so that one of them goes on when the holder has died or left. */
#include "api/api.h"
#include "base/commons.h"
#include "sched/claim.h"
#include <errno.h>
#include <math.h>

#define TIMER_NAME "moonpool.timer"

enum { FUNCTION = 1, MADE_AT, USER_VALUES = 2 };

/* Anchored while it may fire or a firing runs. */
struct timer {
  struct mp_timer timer;
  struct mp_member member; /* of the worker's scope, as long as it may fire */
  struct mp_scope scope;   /* of the firing that runs */
  struct mp_member firing; /* of the worker's scope or what requests have begun, as long as `scope` is not over */
  struct mp_line waiting;  /* for its next firing to be over */
  struct mp_api *api;      /* borrowed */
  struct mp_realm *realm;  /* borrowed while it may fire or a firing runs: whose timer it is */
  uint64_t period_ms;      /* 0: it fires once */
  uint64_t due_ms;         /* of the next firing, or of the one that runs */
  bool of_request;         /* made by a request, which may wait for it */
  bool ended, runs;
  bool fired;   /* and was over, at least once */
  bool of_pool; /* the lease says who fires */
  bool holds;   /* we do */
  bool complained;
  struct mp_lease lease;
};

/* A worker that drains has done with its own timers; those of the requests that it still answers go on. */
static bool has_fired_its_last(const struct timer *t) {
  return t->api->stopped || (t->api->retiring && !t->of_request);
}

/* ---- its end ---- */

static void give_lease(struct timer *t) {
  if (t->holds) mp_lease_give(&t->lease);
  t->holds = false;
}

/* It fires no more, and no firing runs. Its object may be collected from here on. */
static void let_go(struct timer *t) {
  give_lease(t);
  mp_anchor_drop(t->api->L, t);
}

static void end_timer(struct timer *t) {
  if (t->ended) return;
  t->ended = true;
  mp_timer_stop(&t->timer);
  mp_scope_leave(&t->member);
  if (t->runs) return; /* whoever waits for it, waits for that */
  mp_line_dismiss(&t->waiting);
  let_go(t);
}

static void cancel_member(struct mp_member *member) {
  end_timer(MP_CONTAINER(member, struct timer, member));
}

static void cancel_firing(struct mp_member *member) {
  mp_scope_cancel(&MP_CONTAINER(member, struct timer, firing)->scope);
}

/* ---- firing ---- */

/* The first tick that is not past yet. */
static void set_next(struct timer *t) {
  uint64_t now = mp_loop_now(t->api->loop);
  t->due_ms += t->period_ms;
  if (t->due_ms <= now) t->due_ms = now + t->period_ms - (now - t->due_ms) % t->period_ms;
  mp_timer_start(&t->timer, t->due_ms - now);
}

static void on_firing_over(struct mp_scope *scope) {
  struct timer *t = MP_CONTAINER(scope, struct timer, scope);
  mp_report_failed(scope);
  t->runs = false;
  t->fired = true;
  while (mp_line_next(&t->waiting)) continue;
  mp_scope_leave(&t->firing);
  if (t->ended)
    let_go(t);
  else if (t->period_ms == 0 || has_fired_its_last(t))
    end_timer(t);
  else
    set_next(t);
}

/* stack: timer */
static int l_fire(lua_State *L) {
  mp_anchor_push(L, lua_touserdata(L, 1));
  lua_getiuservalue(L, -1, FUNCTION);
  lua_insert(L, -2);
  lua_callk(L, 1, 0, 0, mp_nothing_left);
  return 0;
}

static void report(struct timer *t, struct mp_task *task) {
  lua_State *L = t->api->L;
  mp_anchor_push(L, t);
  lua_getiuservalue(L, -1, MADE_AT);
  struct mp_error_facts facts = {.kind = "timer", .realm = t->realm, .spawned_at = lua_tostring(L, -1)};
  t->api->sched.n_errors++;
  mp_api_report(t->api, task->co, 1, 2, &facts);
  lua_pop(L, 2);
}

static void on_function_end(struct mp_task *task, enum mp_outcome outcome, int n_values) {
  struct timer *t = task->ctx;
  (void)n_values;
  if (outcome == MP_TASK_FAILED) report(t, task);
  mp_scope_close(&t->scope); /* not over before this task has left */
}

static void fire(struct timer *t) {
  struct mp_api *api = t->api;
  mp_scope_init(&t->scope, on_firing_over);
  t->scope.parent = t->of_request ? &t->realm->begun : &t->realm->scope;
  t->runs = true;
  mp_scope_join(t->scope.parent, &t->firing);
  struct mp_task *task = mp_task_new(&api->sched, &t->scope);
  if (!task) {
    mp_log(api->log, MP_LOG_ERROR, "app", "timer error: not enough memory");
    mp_scope_close(&t->scope);
    return;
  }
  lua_pushcfunction(task->co, mp_task_body);
  lua_pushcfunction(task->co, l_fire);
  lua_pushlightuserdata(task->co, t);
  task->on_end = on_function_end;
  task->ctx = t;
  mp_task_run(task, 2);
}

/* ---- once in the pool ---- */

enum { LEAST_SLACK_MS = 10, MOST_SLACK_MS = 250 };

static uint64_t slack_of(const struct timer *t) {
  uint64_t slack = t->period_ms / 4;
  return slack < LEAST_SLACK_MS ? LEAST_SLACK_MS : slack > MOST_SLACK_MS ? MOST_SLACK_MS : slack;
}

/* Another worker fires. If it is late, a firing takes long there, or it has just ended. */
static void look_again(struct timer *t, uint64_t last_ms) {
  uint64_t now = mp_loop_now(t->api->loop), due = last_ms ? last_ms + t->period_ms + slack_of(t) : now;
  uint64_t in = due > now ? due - now : t->period_ms;
  mp_timer_start(&t->timer, in < LEAST_SLACK_MS ? LEAST_SLACK_MS : in);
}

static void complain(struct timer *t) {
  if (!t->complained)
    mp_log(t->api->log, MP_LOG_ERROR, "app", "a timer of the pool cannot fire: there are %d others", MP_COMMONS_LEASES);
  t->complained = true;
}

/* True: this is the one that fires now. Who takes over fires when the one before would have. */
static bool may_fire(struct timer *t) {
  uint64_t now = mp_loop_now(t->api->loop), last_ms = 0;
  if (t->holds) return true;
  int err = mp_lease_take(&t->lease, &last_ms);
  t->holds = err == 0;
  if (err == -ENOSPC) complain(t);
  t->due_ms = last_ms + t->period_ms;
  if (err == 0 && (last_ms == 0 || t->due_ms <= now)) {
    t->due_ms = now;
    return true;
  }
  if (err == 0)
    mp_timer_start(&t->timer, t->due_ms - now);
  else
    look_again(t, last_ms);
  return false;
}

static void on_fire(struct mp_timer *timer) {
  struct timer *t = MP_CONTAINER(timer, struct timer, timer);
  if (has_fired_its_last(t)) {
    end_timer(t);
    return;
  }
  if (t->of_pool && !may_fire(t)) return;
  if (t->of_pool) mp_lease_note(&t->lease, mp_loop_now(t->api->loop));
  fire(t);
}

/* ---- being waited for ---- */

static int push_fired(lua_State *L, enum mp_turn_state state) {
  if (state == MP_TURN_CALLED) {
    lua_pushboolean(L, 1);
    return 1;
  }
  if (state != MP_TURN_DISMISSED) return mp_push_timeout(L);
  lua_pushnil(L);
  lua_pushliteral(L, "closed");
  lua_pushliteral(L, "closed");
  return 3;
}

/* One that fires once has been waited for whenever it has; others are waited for from now on. */
static enum mp_turn_state take(lua_State *L, int index, void **item) {
  const struct timer *t = lua_touserdata(L, index);
  *item = NULL;
  if (t->runs || !t->ended) return MP_TURN_WAITING;
  return t->fired && t->period_ms == 0 ? MP_TURN_CALLED : MP_TURN_DISMISSED;
}

static int after_wait(lua_State *L, int status, lua_KContext turn) {
  void *item;
  (void)status;
  return push_fired(L, mp_turn_over(L, (struct mp_turn *)turn, "wait", &item));
}

static int wait_alone(lua_State *L, double timeout_s) {
  struct timer *t = luaL_checkudata(L, 1, TIMER_NAME);
  void *item;
  enum mp_turn_state state = take(L, 1, &item);
  if (state != MP_TURN_WAITING) return push_fired(L, state);
  if (timeout_s == 0) return mp_push_timeout(L);
  mp_wait_check(L, "wait");
  struct mp_turn *turn = mp_line_join(&t->waiting, mp_sched_of(L)->current, NULL);
  if (!turn) return luaL_error(L, "wait: not enough memory");
  return mp_turn_park(L, turn, timeout_s, after_wait);
}

static struct mp_line *line_of(void *source) {
  return &((struct timer *)source)->waiting;
}

static int push_claimed(lua_State *L, int index, struct mp_claim *claim, enum mp_turn_state state) {
  (void)index, (void)claim;
  return push_fired(L, state);
}

static const struct mp_source_ops source_ops = {
    .kind = "timer", .wait = wait_alone, .line = line_of, .take = take, .push = push_claimed};

/* ---- making ---- */

static struct timer *new_timer(lua_State *L, const char *what) {
  struct timer *t = lua_newuserdatauv(L, sizeof *t, USER_VALUES);
  memset(t, 0, sizeof *t);
  t->api = mp_api_of(L);
  t->realm = mp_realm_running(L);
  t->of_request = mp_api_background(L) == &t->realm->begun;
  t->ended = true; /* until it is started */
  mp_list_init(&t->member.node);
  mp_list_init(&t->firing.node);
  mp_line_init(&t->waiting, NULL);
  t->member.cancel = cancel_member;
  t->firing.cancel = cancel_firing;
  luaL_setmetatable(L, TIMER_NAME);
  if (mp_timer_init(&t->timer, &t->api->loop->timers, on_fire) < 0) luaL_error(L, "%s: not enough memory", what);
  mp_push_caller(L);
  lua_setiuservalue(L, -2, MADE_AT);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, FUNCTION);
  return t;
}

/* stack: … timer. A worker that is about to leave makes none that would fire. */
static void start(lua_State *L, struct timer *t, uint64_t after_ms) {
  if (has_fired_its_last(t)) return;
  lua_pushvalue(L, -1);
  mp_anchor(L, t);
  t->ended = false;
  t->due_ms = mp_loop_now(t->api->loop) + after_ms;
  mp_timer_start(&t->timer, after_ms);
  mp_scope_join(&t->realm->scope, &t->member);
}

static uint64_t check_delay(lua_State *L) {
  lua_Number s = luaL_checknumber(L, 1);
  luaL_argcheck(L, s >= 0 && s <= 1e11, 1, "a number of seconds from 0");
  return (uint64_t)ceil(s * 1000);
}

/* A name for the timer at the top, the same in all workers: the one that it was given, or the place where it is made,
 * and how many were made there before. */
static const char *push_name(lua_State *L, const char *given) {
  if (given) return lua_pushfstring(L, "name %s", given);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, TIMER_NAME ".places");
  lua_getiuservalue(L, -2, MADE_AT); /* stack: … timer places place */
  lua_pushvalue(L, -1);
  lua_Integer n = lua_rawget(L, -3) == LUA_TNUMBER ? lua_tointeger(L, -1) : 0;
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_pushinteger(L, n + 1);
  lua_rawset(L, -4);
  lua_pushfstring(L, "place %s %I", lua_tostring(L, -1), n);
  lua_replace(L, -3);
  lua_pop(L, 1);
  return lua_tostring(L, -1);
}

struct once {
  bool of_pool;
  const char *name; /* borrowed from the options; NULL: none */
};

static struct once check_once(lua_State *L, int arg) {
  struct once once = {false, NULL};
  if (lua_isnoneornil(L, arg)) return once;
  luaL_checktype(L, arg, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
    const char *option = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : luaL_typename(L, -2);
    const char *value = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (strcmp(option, "once") == 0) {
      if (!value || strcmp(value, "pool") != 0) luaL_error(L, "every: once may be \"pool\", and nothing else");
      once.of_pool = true;
    } else if (strcmp(option, "name") == 0) {
      if (!value) luaL_error(L, "every: name must be a string, not %s", luaL_typename(L, -1));
      once.name = value;
    } else {
      luaL_error(L, "every: unknown option %s", option);
    }
  }
  if (once.name && !once.of_pool) luaL_error(L, "every: a name is for timers of the pool: once = \"pool\"");
  return once;
}

/* every(s, fn[, { once, name }]) */
static int l_every(lua_State *L) {
  uint64_t period_ms = check_delay(L);
  luaL_argcheck(L, period_ms > 0, 1, "more than 0 seconds");
  luaL_checktype(L, 2, LUA_TFUNCTION);
  struct once once = check_once(L, 3);
  struct timer *t = new_timer(L, "every");
  t->period_ms = period_ms;
  t->of_pool = once.of_pool;
  if (once.of_pool) {
    const char *name = push_name(L, once.name);
    mp_lease_init(&t->lease, t->api->setup.commons->leases, mp_slice(name, strlen(name)));
    lua_pop(L, 1);
  }
  start(L, t, period_ms);
  return 1;
}

/* after(s, fn) */
static int l_after(lua_State *L) {
  uint64_t delay_ms = check_delay(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  start(L, new_timer(L, "after"), delay_ms);
  return 1;
}

/* ---- the object ---- */

/* It fires no more; a firing that runs goes on: it may be the one that calls. */
static int l_cancel(lua_State *L) {
  end_timer(luaL_checkudata(L, 1, TIMER_NAME));
  return 0;
}

static int l_tostring(lua_State *L) {
  struct timer *t = luaL_checkudata(L, 1, TIMER_NAME);
  lua_getiuservalue(L, 1, MADE_AT);
  lua_pushfstring(L, "timer %s (%s)", luaL_tolstring(L, -1, NULL),
                  t->ended  ? "ended"
                  : t->runs ? "running"
                            : "waiting");
  return 1;
}

static int l_gc(lua_State *L) {
  struct timer *t = luaL_checkudata(L, 1, TIMER_NAME);
  give_lease(t);
  mp_timer_deinit(&t->timer); /* started only when the state itself closes */
  mp_list_unlink(&t->member.node);
  mp_line_deinit(&t->waiting);
  return 0;
}

void mp_timers_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"every", l_every}, {"after", l_after}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"cancel", l_cancel}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__close", l_cancel}, {"__gc", l_gc}, {"__tostring", l_tostring}, {NULL, NULL}};
  luaL_newmetatable(L, TIMER_NAME);
  mp_source_mark(L, &source_ops);
  luaL_setfuncs(L, meta, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
