#include "api/api.h"
#include "api/channel.h"
#include "api/embedded.h"
#include "api/gate.h"
#include "api/hold.h"
#include "api/json.h"
#include "api/shared.h"
#include "api/text.h"
#include "api/topics.h"
#include "api/trial.h"
#include "sched/coro.h"
#include "sched/trace.h"
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct mp_scope *mp_api_scope(lua_State *L) {
  struct mp_sched *sched = mp_sched_of(L);
  struct mp_api *api = sched->ctx;
  return sched->current ? sched->current->scope : &api->site.scope;
}

int mp_nothing_left(lua_State *L, int status, lua_KContext ctx) {
  (void)L, (void)status, (void)ctx;
  return 0;
}

/* ---- the state ---- */

static int on_panic(lua_State *L) {
  fprintf(stderr, "moonpool: an error outside every protected call: %s\n", lua_tostring(L, -1));
  return 0; /* Lua aborts */
}

static int l_embedded_searcher(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (const struct mp_embedded *file = mp_embedded_files; file->module; file++) {
    if (strcmp(file->module, name) != 0) continue;
    lua_pushfstring(L, "@moonpool:%s", file->file);
    if (luaL_loadbuffer(L, file->bytes, file->len, lua_tostring(L, -1)) != LUA_OK) return lua_error(L);
    lua_insert(L, -2);
    return 2;
  }
  lua_pushfstring(L, "no module '%s' inside moonpool", name);
  return 1;
}

/* Moonpool's own modules come before what lies on package.path; with --lua from that folder instead. */
void mp_searcher_open(lua_State *L, const struct mp_config *config) {
  lua_getglobal(L, "package");
  if (config->lua_dir) {
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", config->lua_dir, config->lua_dir, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 2);
    return;
  }
  lua_getfield(L, -1, "searchers");
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushcfunction(L, l_embedded_searcher);
  lua_rawseti(L, -2, 2);
  lua_pop(L, 2);
}

/* The key `app` of the configuration: {} when nobody gave one. */
static void open_settings(lua_State *L, const struct mp_api_setup *setup) {
  const char *json = setup->config->settings;
  if (!json)
    lua_newtable(L);
  else if (mp_json_decode(L, json, strlen(json)) < 0)
    lua_error(L);
  lua_setfield(L, -2, "settings");
}

static void open_worker(lua_State *L, const struct mp_api_setup *setup) {
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, setup->worker);
  lua_setfield(L, -2, "id");
  lua_pushinteger(L, setup->generation);
  lua_setfield(L, -2, "generation");
  lua_pushinteger(L, getpid());
  lua_setfield(L, -2, "pid");
  lua_setfield(L, -2, "worker");
}

static void merge_into_core(lua_State *L) {
  lua_pushnil(L); /* stack: core part key */
  while (lua_next(L, -2)) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -5);
  }
  lua_pop(L, 1);
}

/* What needs no loop: a thread's state has it too. */
void mp_core_open_shared(lua_State *L, const struct mp_api_setup *setup, struct mp_log *log) {
  mp_logging_open(L, log);
  mp_native_open(L);
  mp_json_open(L);
  lua_setfield(L, -2, "json");
  mp_text_open(L);
  merge_into_core(L);
  open_worker(L, setup);
  open_settings(L, setup);
  mp_shared_open(L, setup->commons);
  mp_push_cancelled(L);
  lua_setfield(L, -2, "cancelled");
}

static void open_core(lua_State *L, struct mp_api *api) {
  lua_newtable(L);
  mp_request_open(L);
  mp_response_open(L);
  mp_serve_open(L);
  mp_tasks_open(L);
  mp_process_open(L);
  mp_pipes_open(L);
  mp_blocking_open(L);
  mp_offload_open(L);
  mp_service_open(L);
  mp_site_open(L, &api->site, 0);
  mp_scopes_open(L);
  mp_gate_open(L);
  mp_channel_open(L);
  mp_topics_open(L);
  mp_timers_open(L);
  mp_files_open(L);
  mp_sinks_open(L);
  mp_multipart_open(L);
  mp_core_open_shared(L, &api->setup, api->log);
  if (api->setup.trial) mp_trial_open(L, api->setup.trial);
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "loaded");
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "moonpool.core");
  lua_pop(L, 3);
}

static int p_open(lua_State *L) {
  struct mp_api *api = lua_touserdata(L, 1);
  luaL_openlibs(L);
  mp_coro_open(L);
  mp_searcher_open(L, api->setup.config);
  open_core(L, api);
  lua_pushliteral(L, "GET");
  api->get_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static void run_on_stop(struct mp_soon *soon);

static void on_site_drained(struct mp_site *site) {
  site->api->setup.on_drained(site->api->setup.ctx);
}

struct mp_site *mp_api_site(struct mp_api *api) {
  return &api->site;
}

static void make_id_prefix(struct mp_api *api) {
  uint64_t bits = (uint64_t)getpid() << 32;
  if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != sizeof bits) bits ^= uv_hrtime();
  snprintf(api->id_prefix, sizeof api->id_prefix, "%016llx", (unsigned long long)bits);
}

struct mp_api *mp_api_open(const struct mp_api_setup *setup) {
  struct mp_api *api = calloc(1, sizeof *api);
  if (!api) return NULL;
  api->setup = *setup;
  api->loop = setup->loop;
  api->log = setup->log;
  api->started_ms = mp_loop_now(setup->loop);
  mp_list_init(&api->calls);
  mp_list_init(&api->spawn_queue);
  mp_list_init(&api->crews);
  mp_soon_init(&api->quiet, run_on_stop);
  mp_site_init(&api->site, api, NULL);
  api->site.on_drained = on_site_drained;
  make_id_prefix(api);
  mp_api_limit_memory(api);
  api->L = lua_newstate(mp_memory_alloc, &api->memory);
  if (!api->L) goto fail;
  lua_atpanic(api->L, on_panic);
  if (mp_strays_init(api) < 0) goto fail;
  if (mp_sched_init(&api->sched, api->L, api->loop) < 0) goto fail;
  api->sched.ctx = api;
  api->sched.on_unhandled = mp_api_on_unhandled;
  api->sched.on_held = mp_api_on_held;
  lua_pushcfunction(api->L, p_open);
  lua_pushlightuserdata(api->L, api);
  if (lua_pcall(api->L, 1, 0, 0) == LUA_OK) return api;
  mp_log(api->log, MP_LOG_ERROR, "app", "cannot open the Lua state: %s", lua_tostring(api->L, -1));
  mp_sched_deinit(&api->sched);
fail:
  mp_strays_deinit(api);
  if (api->L) lua_close(api->L);
  mp_memory_deinit(&api->memory);
  free(api);
  return NULL;
}

/* ---- the app ---- */

static int with_traceback(lua_State *L) {
  const char *text = mp_push_error_text(L, 1);
  mp_traceback(L, L, text, 1);
  return 1;
}

/* stack: api; sets the three references. */
static int p_load(lua_State *L) {
  struct mp_api *api = lua_touserdata(L, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonpool.boot");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "load");
  lua_pushstring(L, api->setup.config->app);
  lua_call(L, 1, 3);
  api->site.hooks_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  api->site.fail_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  api->site.handle_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

/* Nobody else is held up by an app that loads: it has nearly as long as the master gives its worker. */
static int load_in_time(struct mp_api *api, lua_State *L) {
  double most_s = api->setup.config->boot_timeout * 0.9;
  mp_hold_restart(&api->sched.held.hold, most_s > 0 && most_s < 1e6 ? (uint32_t)(most_s * 1000) : UINT32_MAX);
  int status = mp_held_pcall(&api->sched, L, 1, 0, -3);
  mp_hold_restart(&api->sched.held.hold, 0);
  return status;
}

int mp_api_load(struct mp_api *api, struct mp_buf *why) {
  lua_State *L = api->L;
  lua_pushcfunction(L, with_traceback);
  lua_pushcfunction(L, p_load);
  lua_pushlightuserdata(L, api);
  int status = load_in_time(api, L);
  if (status == LUA_OK) {
    lua_pop(L, 1);
    return 0;
  }
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  int err = mp_buf_add(why, text ? text : "?", text ? len : 1);
  lua_pop(L, 2);
  return err < 0 ? err : -EINVAL;
}

/* ---- start and stop ---- */

static int l_call_hook(lua_State *L) {
  struct mp_api *api = lua_touserdata(L, 1);
  const char *name = lua_touserdata(L, 2);
  if (api->site.hooks_ref == LUA_NOREF) return 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, api->site.hooks_ref);
  if (lua_getfield(L, -1, name) != LUA_TFUNCTION) return 0;
  lua_callk(L, 0, 0, 0, mp_nothing_left);
  return 0;
}

static bool run_hook(struct mp_api *api, const char *name,
                     void (*on_end)(struct mp_task *task, enum mp_outcome outcome, int n_values)) {
  struct mp_task *task = mp_task_new(&api->sched, &api->site.scope);
  if (!task) return false;
  lua_pushcfunction(task->co, mp_task_body);
  lua_pushcfunction(task->co, l_call_hook);
  lua_pushlightuserdata(task->co, api);
  lua_pushlightuserdata(task->co, (void *)(uintptr_t)name);
  task->on_end = on_end;
  task->ctx = api;
  mp_task_run(task, 3);
  return true;
}

/* The worker writes the line: the app did not start. */
static void tell_load(struct mp_api *api, struct mp_task *task) {
  struct mp_error_facts facts = {.kind = "load", .told = true};
  mp_api_report(api, task->co, 1, 2, &facts);
}

static void on_start_end(struct mp_task *task, enum mp_outcome outcome, int n_values) {
  struct mp_api *api = task->ctx;
  struct mp_buf why = {0};
  (void)n_values;
  if (outcome == MP_TASK_DONE) {
    api->setup.on_started(api->setup.ctx, NULL);
    return;
  }
  if (outcome == MP_TASK_FAILED) tell_load(api, task);
  const char *text = outcome == MP_TASK_FAILED ? mp_push_error_text(task->co, 1) : "on_start was cancelled";
  const char *trace = outcome == MP_TASK_FAILED ? lua_tostring(task->co, 2) : NULL;
  int err = mp_buf_addf(&why, "%s\n%s", text, trace ? trace : "");
  if (err == 0) err = mp_buf_add(&why, "", 1);
  api->setup.on_started(api->setup.ctx, err < 0 ? "on_start failed" : mp_buf_at(&why));
  mp_buf_free(&why);
}

void mp_api_start(struct mp_api *api) {
  lua_gc(api->L, LUA_GCCOLLECT); /* what loading left behind */
  if (!run_hook(api, "on_start", on_start_end)) api->setup.on_started(api->setup.ctx, "not enough memory");
}

unsigned mp_api_busy(const struct mp_api *api) {
  return api->n_calls;
}

/* Everything of the app has ended: nothing is left that could report an error later. */
static void on_app_over(struct mp_scope *scope) {
  struct mp_api *api = MP_CONTAINER(scope, struct mp_api, site.scope);
  mp_report_failed(scope);
  api->setup.on_stopped(api->setup.ctx);
}

static void on_stop_end(struct mp_task *task, enum mp_outcome outcome, int n_values) {
  struct mp_api *api = task->ctx;
  (void)n_values;
  if (outcome == MP_TASK_FAILED) {
    struct mp_error_facts facts = {.kind = "handler"};
    mp_api_report(api, task->co, 1, 2, &facts);
  }
  /* This task is still a member: the scope is over when it has left. */
  api->site.scope.on_over = on_app_over;
  api->site.scope.open = false;
}

/* All that was cancelled has ended: the app's on_stop may run, in a scope that is not cancelled. */
static void run_on_stop(struct mp_soon *soon) {
  struct mp_api *api = MP_CONTAINER(soon, struct mp_api, quiet);
  mp_report_failed(&api->site.scope);
  mp_scope_init(&api->site.scope, NULL);
  api->site.scope.at_once = true;
  if (!run_hook(api, "on_stop", on_stop_end)) api->setup.on_stopped(api->setup.ctx);
}

void mp_api_when_quiet(struct mp_api *api) {
  if (!api->stopping || api->n_calls > 0 || !mp_list_empty(&api->site.scope.members)) return;
  api->stopping = false; /* once */
  mp_loop_post(api->loop, &api->quiet);
}

static void on_scope_quiet(struct mp_scope *scope) {
  mp_api_when_quiet(MP_CONTAINER(scope, struct mp_api, site.scope));
}

void mp_api_retire(struct mp_api *api) {
  api->retiring = true;
}

void mp_api_stop(struct mp_api *api) {
  if (api->stopped) return;
  mp_api_retire(api);
  api->stopping = api->stopped = true;
  MP_LIST_EACH(node, &api->calls) mp_scope_cancel(&MP_CONTAINER(node, struct mp_call, node)->scope);
  mp_scope_cancel(&api->site.scope);
  api->site.scope.on_over = on_scope_quiet;
  mp_scope_close(&api->site.scope);
}

void mp_api_close(struct mp_api *api) {
  mp_crews_close(api);
  mp_topics_close(api);
  lua_close(api->L);
  mp_sched_deinit(&api->sched);
  mp_strays_deinit(api);
  mp_calls_free(api);
  mp_site_deinit(&api->site, NULL);
  mp_buf_free(&api->scratch);
  mp_memory_deinit(&api->memory);
  free(api);
}
