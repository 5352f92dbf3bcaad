/* Time in tests: the clock that stands, the wait for quiet, and alarms that nothing holds up. */
#include "api/api.h"
#include "api/trial.h"
#include <math.h>
#include <time.h>

#define ALARM_NAME "moonpool._alarm"

/* ---- the clock ---- */

static double machine_clock(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* now() never goes back, time() is right again when the clock runs. */
bool mp_trial_clock(const struct mp_api *api, bool wall, double *seconds) {
  const struct mp_trial *trial = api->setup.trial;
  const struct mp_loop *loop = api->loop;
  if (!trial || (!loop->stopped_ms && !loop->skew_ms)) return false;
  double moved_s = (double)(loop->stopped_ms - trial->stopped_at_ms) / 1000.0;
  if (loop->stopped_ms)
    *seconds = (wall ? trial->stopped_time_s : trial->stopped_now_s) + moved_s;
  else
    *seconds = wall ? machine_clock(CLOCK_REALTIME) : machine_clock(CLOCK_MONOTONIC) + (double)loop->skew_ms / 1000.0;
  return true;
}

static struct mp_trial *trial_of(lua_State *L) {
  return mp_api_of(L)->setup.trial;
}

/* trial.stop_clock([wall time]) */
static int l_stop_clock(lua_State *L) {
  struct mp_trial *trial = trial_of(L);
  struct mp_loop *loop = trial->api->loop;
  double wall_s = luaL_optnumber(L, 1, machine_clock(CLOCK_REALTIME));
  if (loop->stopped_ms) return luaL_error(L, "clock: it stands already");
  trial->stopped_now_s = machine_clock(CLOCK_MONOTONIC) + (double)loop->skew_ms / 1000.0;
  trial->stopped_time_s = wall_s;
  mp_loop_stop_clock(loop);
  trial->stopped_at_ms = loop->stopped_ms;
  return 0;
}

static int l_start_clock(lua_State *L) {
  mp_loop_start_clock(trial_of(L)->api->loop);
  return 0;
}

/* ---- quiet ---- */

static void on_quiet(struct mp_quiet *quiet) {
  struct mp_trial *trial = MP_CONTAINER(quiet, struct mp_trial, quiet);
  struct mp_loop *loop = trial->api->loop;
  if (trial->moving && loop->stopped_ms && mp_loop_move_clock(loop, trial->until_ms))
    mp_quiet_watch(quiet);
  else
    mp_wake_fire(&trial->waiter);
}

static int after_quiet(lua_State *L, int status, lua_KContext ctx) {
  struct mp_trial *trial = trial_of(L);
  (void)status, (void)ctx;
  trial->moving = false;
  mp_quiet_stop(&trial->quiet);
  mp_unpark(L);
  return 0;
}

static int await_quiet(lua_State *L, struct mp_trial *trial, const char *what) {
  mp_wait_check(L, what);
  if (mp_wake_armed(&trial->waiter)) return luaL_error(L, "%s: another task is at it", what);
  mp_wake_arm(&trial->waiter, mp_sched_of(L)->current);
  mp_quiet_watch(&trial->quiet);
  return mp_park(L, -1, after_quiet, 0);
}

/* trial.settle(): returns when nothing more happens by itself. */
static int l_settle(lua_State *L) {
  return await_quiet(L, trial_of(L), "settle");
}

/* trial.advance(seconds): timers fire in their order, each when all that the one before has caused is done. */
static int l_advance(lua_State *L) {
  struct mp_trial *trial = trial_of(L);
  double s = luaL_checknumber(L, 1);
  luaL_argcheck(L, s >= 0 && s <= 1e9, 1, "a number of seconds from 0");
  if (!trial->api->loop->stopped_ms) return luaL_error(L, "advance: the clock runs");
  if (mp_wake_armed(&trial->waiter)) return luaL_error(L, "advance: another task is at it");
  trial->until_ms = trial->api->loop->stopped_ms + (uint64_t)llround(s * 1000);
  trial->moving = true;
  return await_quiet(L, trial, "advance");
}

/* ---- alarms ---- */

struct alarm {
  struct mp_alarm alarm;
  lua_State *L;                /* borrowed: the state's main coroutine */
  struct mp_task_object *task; /* borrowed: its object is the first user value */
  bool rang, closed;
};

static struct alarm *of_alarm(struct mp_alarm *alarm) {
  return MP_CONTAINER(alarm, struct alarm, alarm);
}

/* The task has its grace to end in, and that needs a clock that runs. */
static void on_ring(struct mp_alarm *alarm) {
  struct alarm *a = of_alarm(alarm);
  a->rang = true;
  mp_loop_start_clock(mp_api_of(a->L)->loop);
  if (a->task->task) mp_task_cancel(a->task->task);
}

static void on_closed(struct mp_alarm *alarm) {
  struct alarm *a = of_alarm(alarm);
  mp_anchor_drop(a->L, a);
}

/* trial.alarm(seconds, task): cancels it then, whatever the clock says. */
static int l_alarm(lua_State *L) {
  double s = luaL_checknumber(L, 1);
  struct mp_task_object *task = mp_task_check(L, 2);
  struct alarm *a = lua_newuserdatauv(L, sizeof *a, 1);
  struct mp_api *api = mp_api_of(L);
  *a = (struct alarm){.L = api->L, .task = task, .closed = true};
  luaL_setmetatable(L, ALARM_NAME);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  mp_anchor(L, a);
  a->alarm.on_ring = on_ring;
  a->alarm.on_closed = on_closed;
  mp_alarm_open(&a->alarm, api->loop, (uint64_t)ceil(s * 1000));
  a->closed = false;
  return 1;
}

/* alarm:close() → did it ring? */
static int l_alarm_close(lua_State *L) {
  struct alarm *a = luaL_checkudata(L, 1, ALARM_NAME);
  if (!a->closed) mp_alarm_close(&a->alarm);
  a->closed = true;
  lua_pushboolean(L, a->rang);
  return 1;
}

void mp_trial_time_open(lua_State *L, struct mp_trial *trial) {
  static const luaL_Reg functions[] = {{"stop_clock", l_stop_clock}, {"start_clock", l_start_clock},
                                       {"settle", l_settle},         {"advance", l_advance},
                                       {"alarm", l_alarm},           {NULL, NULL}};
  static const luaL_Reg methods[] = {{"close", l_alarm_close}, {NULL, NULL}};
  mp_quiet_init(&trial->quiet, trial->api->loop, on_quiet);
  luaL_newmetatable(L, ALARM_NAME);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
