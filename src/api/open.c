#include "api/api.h"
#include "api/bundled.h"
#include "api/channel.h"
#include "api/embedded.h"
#include "api/gate.h"
#include "api/hold.h"
#include "api/json.h"
#include "api/secret.h"
#include "api/shared.h"
#ifndef MOONPOOL_NO_SQLITE
#include "api/sqlite.h"
#endif
#include "api/text.h"
#include "api/topics.h"
#include "api/trial.h"
#include "sched/coro.h"
#include "sched/trace.h"
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

struct mp_scope *mp_api_scope(lua_State *L) {
  struct mp_sched *sched = mp_sched_of(L);
  struct mp_api *api = sched->ctx;
  return sched->current ? sched->current->scope : &api->realm.scope;
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
  const struct mp_embedded *file = mp_embedded_find(name);
  if (!file) {
    lua_pushfstring(L, "no module '%s' inside moonpool", name);
    return 1;
  }
  lua_pushfstring(L, "@moonpool:%s", file->file);
  const char *bytes = mp_embedded_unpack(L, file);
  if (luaL_loadbuffer(L, bytes, file->len, lua_tostring(L, -2)) != LUA_OK) return lua_error(L);
  lua_replace(L, -2); /* stack: name where loader */
  lua_insert(L, -2);
  return 2;
}

/* Moonpool's own modules come before what lies on package.path; with --lua from that folder instead. */
void mp_searcher_open(lua_State *L, const struct mp_api_setup *setup) {
  const struct mp_config *config = setup->config;
  lua_getglobal(L, "package");
  if (config->lua_dir) {
    lua_getfield(L, -1, "searchers");
    mp_bundled_search(L, setup->bundle, 2);
    lua_pop(L, 1);
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
  mp_bundled_search(L, setup->bundle, 3);
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
  mp_bundled_open(L, setup->bundle);
  mp_json_open(L);
  lua_setfield(L, -2, "json");
  mp_text_open(L);
  merge_into_core(L);
  mp_secret_open(L);
  open_worker(L, setup);
  open_settings(L, setup);
  mp_shared_open(L, setup->commons);
  mp_push_cancelled(L);
  lua_setfield(L, -2, "cancelled");
}

/* With --dev: what core.on_raise was given looks at the stack while it stands. An error of its own is of no interest
 * beside the one that it looks at. */
static void on_raise(struct mp_sched *sched, lua_State *L) {
  (void)sched;
  if (!lua_checkstack(L, 8)) return;
  lua_getfield(L, LUA_REGISTRYINDEX, "moonpool.capture");
  lua_pushvalue(L, 1);
  if (lua_isfunction(L, -2)) lua_pcall(L, 1, 0, 0);
}

/* core.on_raise(fn) */
static int l_on_raise(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "moonpool.capture");
  mp_sched_of(L)->on_raise = on_raise;
  return 0;
}

static void open_dev(lua_State *L, const struct mp_config *config) {
  lua_pushboolean(L, config->dev);
  lua_setfield(L, -2, "dev");
  lua_pushboolean(L, config->watch);
  lua_setfield(L, -2, "watch");
  lua_pushstring(L, config->trouble); /* nil for NULL */
  lua_setfield(L, -2, "trouble");
  lua_pushcfunction(L, l_on_raise);
  lua_setfield(L, -2, "on_raise");
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
  mp_realm_open(L, &api->realm, 0);
  mp_scopes_open(L);
  mp_gate_open(L);
  mp_channel_open(L);
  mp_topics_open(L);
  mp_timers_open(L);
  mp_files_open(L);
  mp_sinks_open(L);
  mp_multipart_open(L);
#ifndef MOONPOOL_NO_SQLITE
  mp_sqlite_open(L);
#endif
  mp_core_open_shared(L, &api->setup, api->log);
  open_dev(L, api->setup.config);
  if (api->setup.trial) mp_trial_open(L, api->setup.trial);
  lua_pushboolean(L, api->setup.guest != NULL);
  lua_setfield(L, -2, "guest");
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
  mp_searcher_open(L, &api->setup);
  open_core(L, api);
  mp_collector_open(L);
  const struct mp_extension *more = api->setup.extension;
  if (more) more->open(more->ctx, L);
  lua_pushliteral(L, "GET");
  api->get_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
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
  mp_list_init(&api->crews);
  mp_list_init(&api->connections);
  mp_life_init(api);
  make_id_prefix(api);
  if (mp_api_show_open(api) < 0) goto fail;
  mp_api_limit_memory(api);
  api->L = lua_newstate(mp_memory_alloc, &api->memory);
  if (!api->L) goto fail;
  lua_atpanic(api->L, on_panic);
  if (mp_strays_init(api) < 0 || mp_places_init(api) < 0) goto fail;
  if (mp_sched_init(&api->sched, api->L, api->loop) < 0) goto fail;
  api->sched.ctx = api;
  api->sched.on_unhandled = mp_api_on_unhandled;
  api->sched.on_held = mp_api_on_held;
  api->sched.on_resume = mp_api_on_resume;
  lua_pushcfunction(api->L, p_open);
  lua_pushlightuserdata(api->L, api);
  if (lua_pcall(api->L, 1, 0, 0) == LUA_OK) return api;
  mp_log(api->log, MP_LOG_ERROR, "app", "cannot open the Lua state: %s", lua_tostring(api->L, -1));
  mp_sched_deinit(&api->sched);
fail:
  if (api->L) lua_close(api->L);
  mp_places_deinit(api);
  mp_strays_deinit(api);
  mp_memory_deinit(&api->memory);
  free(api->own_view);
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
  api->realm.hooks_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  api->realm.fail_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  api->realm.handle_ref = luaL_ref(L, LUA_REGISTRYINDEX);
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

bool mp_api_close(struct mp_api *api) {
  api->closing = true;
  bool whole = true;
#ifndef MOONPOOL_NO_SQLITE
  whole &= mp_connections_close(api);
#endif
  whole &= mp_crews_close(api);
  mp_topics_close(api);
  lua_close(api->L);
  mp_sched_deinit(&api->sched);
  mp_places_deinit(api);
  mp_strays_deinit(api);
  mp_calls_free(api);
  mp_realm_deinit(&api->realm, NULL);
  mp_heritage_free(&api->heritage);
  mp_buf_free(&api->scratch);
  mp_memory_deinit(&api->memory);
  free(api->own_view);
  free(api);
  return whole;
}
