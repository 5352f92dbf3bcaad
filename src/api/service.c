#include "api/job.h"
#include "api/transfer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* moonpool.service("module"[, options]): one thread, one Lua state that lasts, and calls that are run one at a time.
 *
 *   starting ─► ready ─ a call had to be stopped: a fresh state ─► starting
 *       └ fails: down, tried again after 0.1 s, 0.2 s … 10 s ─────────┘
 */

#define SERVICE_NAME "moonpool.service"

enum { FIRST_PAUSE_MS = 100, LONGEST_PAUSE_MS = 10000, GRACE_MS = 2000 };

struct mp_service {
  struct mp_crew crew;     /* first */
  struct mp_service **box; /* borrowed: the place in the userdata; NULL once that is gone */
  struct mp_soon begin;    /* load the module */
  struct mp_timer pause;   /* before the next try */
  uint64_t pause_ms;
  uint64_t max_memory;
  char *why; /* owned: why it is down */
  char created_at[96];
  bool ready, down;
};

static struct mp_service *service_of(struct mp_crew *crew) {
  return (struct mp_service *)(void *)crew;
}

static void free_service(struct mp_crew *crew) {
  struct mp_service *s = service_of(crew);
  if (s->box) *s->box = NULL;
  mp_soon_cancel(&s->begin);
  mp_timer_deinit(&s->pause);
  free(s->why);
  free(s->crew.module);
  free(s);
}

/* ---- its life ---- */

/* stack: service; the task is one of the worker, so that a failure is told at once. */
static int p_begin(lua_State *L) {
  struct mp_service *s = lua_touserdata(L, 1);
  struct mp_transfer_words words = {.what = "service"};
  struct mp_job *job = mp_job_push(L, &s->crew);
  job->loads = true;
  job->max_memory = s->max_memory;
  memcpy(job->spawned_at, s->created_at, sizeof job->spawned_at);
  mp_transfer_pack(L, 1, 0, &words, &job->in);
  mp_job_start(L, 2, &s->crew.api->realm.scope);
  return 0;
}

static void begin(struct mp_service *s) {
  lua_State *L = s->crew.api->L;
  s->down = false;
  if (s->crew.retired || s->crew.api->stopped) return;
  lua_pushcfunction(L, p_begin);
  lua_pushlightuserdata(L, s);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
  mp_log(s->crew.api->log, MP_LOG_ERROR, "service", "service %s cannot be started: %s", s->crew.module,
         lua_tostring(L, -1));
  lua_pop(L, 1);
}

static void on_begin(struct mp_soon *soon) {
  begin(MP_CONTAINER(soon, struct mp_service, begin));
}

static void on_pause_over(struct mp_timer *timer) {
  begin(MP_CONTAINER(timer, struct mp_service, pause));
}

/* NULL without memory: the reason is left out then. */
static char *copy_of(struct mp_slice text) {
  char *copy = malloc(text.len + 1);
  if (!copy) return NULL;
  memcpy(copy, text.at, text.len);
  copy[text.len] = '\0';
  return copy;
}

static void go_down(struct mp_service *s, const struct mp_job *job) {
  struct mp_slice text = MP_SLICE("it failed to load");
  mp_transfer_is_text(mp_buf_slice(&job->out), &text);
  free(s->why);
  s->why = copy_of(text);
  s->ready = false;
  s->down = true;
  s->pause_ms = s->pause_ms ? s->pause_ms * 2 : FIRST_PAUSE_MS;
  if (s->pause_ms > LONGEST_PAUSE_MS) s->pause_ms = LONGEST_PAUSE_MS;
  mp_timer_start(&s->pause, s->pause_ms);
}

static void on_done(struct mp_crew *crew, struct mp_job *job) {
  struct mp_service *s = service_of(crew);
  if (crew->retired || job->behind) return;
  if (job->outcome == MP_JOB_STOPPED) {
    s->ready = false;
    mp_loop_post(crew->api->loop, &s->begin);
  } else if (job->load_failed) {
    if (!s->down) go_down(s, job);
  } else if (!s->down) {
    s->ready = true;
    s->pause_ms = 0;
  }
}

/* ---- for Lua ---- */

static struct mp_service *check_service(lua_State *L, const char *method) {
  struct mp_service **box = luaL_checkudata(L, 1, SERVICE_NAME);
  if (!*box || (*box)->crew.retired) luaL_error(L, "%s: the service was stopped", method);
  return *box;
}

/* svc:call("fn", …) → a task */
static int l_call(lua_State *L) {
  struct mp_service *s = check_service(L, "call");
  struct mp_transfer_words words = {.what = "service", .item = "argument", .number = 0, .name = "the function's name"};
  int top = lua_gettop(L);
  if (lua_type(L, 2) != LUA_TSTRING)
    return luaL_error(L, "call: the name of a function is wanted, not %s", luaL_typename(L, 2));
  struct mp_job *job = mp_job_push(L, &s->crew);
  job->max_memory = s->max_memory;
  words.carrier = &job->carrier;
  mp_transfer_pack(L, 2, top - 1, &words, &job->in);
  if (s->down) mp_job_fail(job, s->why ? s->why : "the service is down");
  return mp_job_start(L, top + 1, mp_api_scope(L));
}

static int l_stop(lua_State *L) {
  struct mp_service **box = luaL_checkudata(L, 1, SERVICE_NAME);
  char why[160];
  if (!*box) return 0;
  mp_timer_stop(&(*box)->pause);
  mp_soon_cancel(&(*box)->begin);
  snprintf(why, sizeof why, "service '%s' was stopped", (*box)->crew.module);
  mp_crew_retire(&(*box)->crew, why);
  return 0;
}

static int l_status(lua_State *L) {
  struct mp_service **box = luaL_checkudata(L, 1, SERVICE_NAME);
  if (!*box || (*box)->crew.retired)
    lua_pushliteral(L, "stopped");
  else
    lua_pushstring(L, (*box)->down ? "down" : (*box)->ready ? "ready" : "starting");
  return 1;
}

static int l_tostring(lua_State *L) {
  struct mp_service **box = luaL_checkudata(L, 1, SERVICE_NAME);
  lua_pushfstring(L, "service (%s)", *box ? (*box)->crew.module : "stopped");
  return 1;
}

/* Nobody can call it any more. */
static int l_gc(lua_State *L) {
  struct mp_service **box = lua_touserdata(L, 1);
  if (!*box) return 0;
  (*box)->box = NULL;
  return l_stop(L);
}

struct options {
  uint64_t max_memory, grace_ms;
};

static void read_options(lua_State *L, int index, struct options *o) {
  if (lua_isnoneornil(L, index)) return;
  luaL_checktype(L, index, LUA_TTABLE);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    if (strcmp(name, "max_memory") == 0) {
      o->max_memory = mp_check_max_memory(L, -1, "service");
    } else if (strcmp(name, "grace") == 0) {
      if (!(lua_tonumber(L, -1) >= 0) || !lua_isnumber(L, -1))
        luaL_error(L, "service: grace must be a number of seconds from 0");
      o->grace_ms = (uint64_t)ceil(fmin(lua_tonumber(L, -1), 1e6) * 1000);
    } else {
      lua_pop(L, 1);
      luaL_error(L, "service: unknown option %s", luaL_tolstring(L, -1, NULL));
    }
    lua_pop(L, 1);
  }
}

static struct mp_service *new_service(struct mp_api *api, const char *module) {
  struct mp_service *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->crew.module = strdup(module);
  if (!s->crew.module || mp_timer_init(&s->pause, &api->loop->timers, on_pause_over) < 0) {
    free(s->crew.module);
    free(s);
    return NULL;
  }
  mp_soon_init(&s->begin, on_begin);
  s->crew.kind = "service";
  s->crew.on_done = on_done;
  s->crew.free = free_service;
  return s;
}

static int l_service(lua_State *L) {
  struct mp_api *api = mp_api_of(L);
  const char *module = luaL_checkstring(L, 1);
  struct options o = {api->setup.config->max_memory, GRACE_MS};
  read_options(L, 2, &o);
  mp_push_caller(L);
  const char *where = lua_tostring(L, -1);
  struct mp_service **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, SERVICE_NAME);
  struct mp_service *s = new_service(api, module);
  if (!s) return luaL_error(L, "service: not enough memory");
  if (mp_crew_open(L, &s->crew, s->crew.module, 1) < 0) {
    free_service(&s->crew);
    return luaL_error(L, "service: out of memory or descriptors");
  }
  *box = s;
  s->box = box;
  s->max_memory = o.max_memory;
  s->crew.grace_ms = o.grace_ms;
  snprintf(s->created_at, sizeof s->created_at, "%s", where);
  mp_loop_post(api->loop, &s->begin); /* not at once: an app that is only checked starts nothing */
  return 1;
}

void mp_service_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"call", l_call}, {"stop", l_stop}, {"status", l_status}, {NULL, NULL}};
  luaL_newmetatable(L, SERVICE_NAME);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_pushcfunction(L, l_service);
  lua_setfield(L, -2, "service");
}
