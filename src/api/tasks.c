#include "api/api.h"
#include "api/job.h"
#include "api/process.h"
#include "api/trial.h"
#include "sched/claim.h"
#include "sched/trace.h"
#include <math.h>
#include <time.h>

/* ---- spawn ---- */

/* "app.lua:12" of the app's code that called; kept with the task, for the log. */
void mp_push_caller(lua_State *L) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline > 0 && strncmp(ar.source, "@moonpool:", 10) != 0) {
      lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
      return;
    }
  }
  lua_pushliteral(L, "?");
}

/* The task is queued before anything can raise: with an empty coroutine it would simply end. */
struct mp_task *mp_spawn_task(lua_State *L, int first, struct mp_scope *scope, const char *what) {
  int top = lua_gettop(L), n = top - first + 1;
  luaL_checkstack(L, n + 4, "too many arguments of a task");
  mp_push_caller(L);
  struct mp_task *task = mp_task_new(mp_sched_of(L), scope);
  if (!task) luaL_error(L, "%s: not enough memory", what);
  mp_task_queue(task, 0);
  mp_task_push(L, task); /* stack: … function arguments where object */
  lua_pushvalue(L, top + 1);
  lua_setiuservalue(L, -2, MP_TASK_SPAWNED_AT);
  if (!lua_checkstack(task->co, n + 2)) luaL_error(L, "%s: not enough memory", what);
  lua_pushcfunction(task->co, mp_task_body);
  for (int i = first; i <= top; i++) lua_pushvalue(L, i);
  lua_xmove(L, task->co, n);
  task->n_args = n;
  return task;
}

static int l_spawn(lua_State *L) {
  if (lua_istable(L, 1)) return mp_process_spawn(L, 1);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  mp_spawn_task(L, 1, mp_api_scope(L), "spawn");
  return 1;
}

static int l_background(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  mp_spawn_task(L, 1, mp_api_background(L), "background");
  return 1;
}

/* ---- waiting ---- */

static int l_wait(lua_State *L) {
  double timeout_s = mp_check_timeout(L, 2);
  luaL_checkany(L, 1);
  const struct mp_source_ops *source = mp_source_at(L, 1);
  if (!source) return mp_wait_for(L, 1, timeout_s);
  lua_settop(L, 1);
  return source->wait(L, timeout_s);
}

static int after_sleep(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  mp_unpark(L);
  return 0;
}

static int l_sleep(lua_State *L) {
  double s = luaL_checknumber(L, 1);
  luaL_argcheck(L, s >= 0, 1, "a number of seconds from 0");
  mp_wait_check(L, "sleep");
  return mp_park(L, isinf(s) ? -1 : s, after_sleep, 0);
}

static int push_clock(lua_State *L, clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
  return 1;
}

int mp_l_now(lua_State *L) {
  return push_clock(L, CLOCK_MONOTONIC);
}

int mp_l_time(lua_State *L) {
  return push_clock(L, CLOCK_REALTIME);
}

static int push_trial_clock(lua_State *L, bool wall) {
  double seconds;
  if (!mp_trial_clock(mp_api_of(L), wall, &seconds)) return wall ? mp_l_time(L) : mp_l_now(L);
  lua_pushnumber(L, seconds);
  return 1;
}

static int l_now(lua_State *L) {
  return push_trial_clock(L, false);
}

static int l_time(lua_State *L) {
  return push_trial_clock(L, true);
}

static int l_running(lua_State *L) {
  struct mp_task *task = mp_sched_of(L)->current;
  if (!task) return 0;
  mp_task_push(L, task);
  return 1;
}

/* core.yieldable(): may the running function wait here? (Its caller's place counts, so it looks at the whole stack.) */
static int l_yieldable(lua_State *L) {
  lua_pushboolean(L, mp_may_wait(L));
  return 1;
}

static void push_error_counts(lua_State *L, const struct mp_api *api) {
  lua_createtable(L, 0, MP_ERROR_KINDS);
  for (unsigned i = 0; i < MP_ERROR_KINDS; i++) {
    lua_pushinteger(L, (lua_Integer)api->n_errors[i]);
    lua_setfield(L, -2, mp_error_kinds[i]);
  }
}

static int l_stats(lua_State *L) {
  struct mp_api *api = mp_api_of(L);
  struct mp_threads_facts offloads;
  mp_crews_stats(api, &offloads);
  const struct {
    const char *name;
    lua_Integer value;
  } counts[] = {{"requests", (lua_Integer)api->n_requests},
                {"in_flight", api->n_calls},
                {"tasks", api->sched.n_tasks},
                {"task_errors", (lua_Integer)api->sched.n_errors},
                {"processes", api->places.n_taken},
                {"processes_queued", api->places.n_waiting},
                {"offloads", offloads.running},
                {"offloads_queued", offloads.queued},
                {"threads_stuck", offloads.left_behind}};
  lua_createtable(L, 0, 15);
  for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
    lua_pushinteger(L, counts[i].value);
    lua_setfield(L, -2, counts[i].name);
  }
  push_error_counts(L, api);
  lua_setfield(L, -2, "errors");
  lua_pushinteger(L, (lua_Integer)lua_gc(L, LUA_GCCOUNT) * 1024 + lua_gc(L, LUA_GCCOUNTB));
  lua_setfield(L, -2, "lua_memory");
  lua_pushinteger(L, api->realm.server ? api->realm.server->n_conns : 0);
  lua_setfield(L, -2, "connections");
  lua_pushnumber(L, (lua_Number)(mp_loop_now(api->loop) - api->started_ms) / 1000.0);
  lua_setfield(L, -2, "uptime");
  uint64_t oldest_ms = offloads.queued ? mp_loop_now(api->loop) - offloads.oldest_ms : 0;
  lua_pushnumber(L, (lua_Number)oldest_ms / 1000.0);
  lua_setfield(L, -2, "offloads_oldest");
  return 1;
}

/* ---- methods of a task ---- */

static int l_task_wait(lua_State *L) {
  mp_task_check(L, 1);
  double timeout_s = mp_check_timeout(L, 2);
  return mp_wait_for(L, 1, timeout_s);
}

static int l_task_cancel(lua_State *L) {
  struct mp_task_object *object = mp_task_check(L, 1);
  if (!object->task) return 0;
  if (!object->cancelled && !lua_isnoneornil(L, 2)) {
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, MP_TASK_REASON);
  }
  mp_task_cancel(object->task);
  return 0;
}

static int l_task_status(lua_State *L) {
  static const char *const names[] = {"running", "done", "failed", "cancelled"};
  lua_pushstring(L, names[mp_task_check(L, 1)->outcome]);
  return 1;
}

static int l_task_traceback(lua_State *L) {
  struct mp_task_object *object = mp_task_check(L, 1);
  if (object->outcome == MP_TASK_FAILED)
    lua_getiuservalue(L, 1, MP_TASK_TRACEBACK);
  else if (object->task)
    mp_traceback(L, object->task->co, NULL, 0);
  else
    lua_pushnil(L);
  return 1;
}

static int l_task_index(lua_State *L) {
  struct mp_task_object *object = mp_task_check(L, 1);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  const char *name = lua_tostring(L, 2);
  if (!name) return 0;
  if (strcmp(name, "cancelled") == 0)
    lua_pushboolean(L, object->cancelled);
  else if (strcmp(name, "reason") == 0)
    lua_getiuservalue(L, 1, MP_TASK_REASON);
  else if (strcmp(name, "name") == 0)
    lua_getiuservalue(L, 1, MP_TASK_NAME);
  else
    lua_pushnil(L);
  return 1;
}

static int l_task_newindex(lua_State *L) {
  mp_task_check(L, 1);
  const char *name = luaL_checkstring(L, 2);
  if (strcmp(name, "name") != 0) return luaL_error(L, "task.%s cannot be set", name);
  luaL_checkstring(L, 3);
  lua_settop(L, 3);
  lua_setiuservalue(L, 1, MP_TASK_NAME);
  return 0;
}

static int l_task_tostring(lua_State *L) {
  mp_task_check(L, 1);
  lua_getiuservalue(L, 1, MP_TASK_NAME);
  lua_getiuservalue(L, 1, MP_TASK_SPAWNED_AT);
  lua_pushcfunction(L, l_task_status);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  const char *name = lua_tostring(L, -3), *where = lua_tostring(L, -2);
  lua_pushfstring(L, "task %s(%s)",
                  name    ? lua_pushfstring(L, "%s ", name)
                  : where ? lua_pushfstring(L, "%s ", where)
                          : "",
                  lua_tostring(L, -1));
  return 1;
}

static void open_task_object(lua_State *L) {
  static const luaL_Reg methods[] = {{"wait", l_task_wait},
                                     {"cancel", l_task_cancel},
                                     {"status", l_task_status},
                                     {"traceback", l_task_traceback},
                                     {NULL, NULL}};
  mp_task_open(L); /* stack: core meta */
  luaL_newlib(L, methods);
  lua_pushcclosure(L, l_task_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_task_newindex);
  lua_setfield(L, -2, "__newindex");
  lua_pushcfunction(L, l_task_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}

void mp_tasks_open(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"spawn", l_spawn},        {"background", l_background}, {"wait", l_wait},   {"wait_any", mp_wait_any},
      {"wait_all", mp_wait_all}, {"sleep", l_sleep},           {"now", l_now},     {"time", l_time},
      {"running", l_running},    {"yieldable", l_yieldable},   {"stats", l_stats}, {NULL, NULL}};
  open_task_object(L);
  luaL_setfuncs(L, functions, 0);
}
