#include "api/api.h"
#include "base/libc.h"
#include <stdio.h>

/* The app's start and stop, and what of it outlives its requests.
 *
 *   realm.scope   what the app's body, on_start and timers have begun; ended when nothing else is left
 *   realm.begun   what requests have begun in the background: a drain lets it finish, as it lets the requests finish
 */

static int l_call_hook(lua_State *L) {
  struct mp_api *api = lua_touserdata(L, 1);
  const char *name = lua_touserdata(L, 2);
  if (api->realm.hooks_ref == LUA_NOREF) return 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, api->realm.hooks_ref);
  if (lua_getfield(L, -1, name) != LUA_TFUNCTION) return 0;
  lua_callk(L, 0, 0, 0, mp_nothing_left);
  return 0;
}

static bool run_hook(struct mp_api *api, const char *name,
                     void (*on_end)(struct mp_task *task, enum mp_outcome outcome, int n_values)) {
  struct mp_task *task = mp_task_new(&api->sched, &api->realm.scope);
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
  mp_memory_trim();
  if (!run_hook(api, "on_start", on_start_end)) api->setup.on_started(api->setup.ctx, "not enough memory");
}

unsigned mp_api_in_background(const struct mp_api *api) {
  unsigned n = 0;
  MP_LIST_EACH(node, &api->realm.begun.members) n++;
  return n;
}

unsigned mp_api_busy(const struct mp_api *api) {
  return api->n_calls + mp_api_in_background(api);
}

/* Everything of the app has ended: nothing is left that could report an error later. */
static void on_app_over(struct mp_scope *scope) {
  struct mp_api *api = MP_CONTAINER(scope, struct mp_api, realm.scope);
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
  api->realm.scope.on_over = on_app_over;
  api->realm.scope.open = false;
}

/* All that was cancelled has ended: the app's on_stop may run, in a scope that is not cancelled. */
static void run_on_stop(struct mp_soon *soon) {
  struct mp_api *api = MP_CONTAINER(soon, struct mp_api, quiet);
  mp_report_failed(&api->realm.scope);
  mp_scope_init(&api->realm.scope, NULL);
  api->realm.scope.at_once = true;
  if (!run_hook(api, "on_stop", on_stop_end)) api->setup.on_stopped(api->setup.ctx);
}

static bool is_quiet(const struct mp_api *api) {
  return api->n_calls == 0 && mp_list_empty(&api->realm.begun.members) && mp_list_empty(&api->realm.scope.members);
}

void mp_api_when_quiet(struct mp_api *api) {
  if (!api->stopping || !is_quiet(api)) return;
  api->stopping = false; /* once */
  mp_loop_post(api->loop, &api->quiet);
}

static void on_scope_quiet(struct mp_scope *scope) {
  mp_api_when_quiet(MP_CONTAINER(scope, struct mp_api, realm.scope));
}

static void on_begun_quiet(struct mp_scope *scope) {
  mp_api_when_quiet(MP_CONTAINER(scope, struct mp_api, realm.begun));
}

static int p_tell_retiring(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "moonpool.core");
  lua_getfield(L, -1, "worker");
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "draining");
  return 0;
}

void mp_api_retire(struct mp_api *api) {
  if (api->retiring) return;
  api->retiring = true;
  lua_pushcfunction(api->L, p_tell_retiring);
  if (lua_pcall(api->L, 0, 0, 0) == LUA_OK) return;
  mp_log(api->log, MP_LOG_WARN, "app", "moonpool.worker.draining cannot be set: %s", lua_tostring(api->L, -1));
  lua_pop(api->L, 1);
}

void mp_api_stop(struct mp_api *api) {
  if (api->stopped) return;
  mp_api_retire(api);
  api->stopping = api->stopped = true;
  MP_LIST_EACH(node, &api->calls) mp_scope_cancel(&MP_CONTAINER(node, struct mp_call, node)->scope);
  mp_scope_cancel(&api->realm.begun);
  mp_scope_cancel(&api->realm.scope);
  api->realm.begun.on_over = on_begun_quiet;
  api->realm.scope.on_over = on_scope_quiet;
  mp_scope_close(&api->realm.begun);
  mp_scope_close(&api->realm.scope);
}

/* ---- scopes ---- */

static void on_realm_drained(struct mp_realm *realm) {
  realm->api->setup.on_drained(realm->api->setup.ctx);
}

void mp_life_init(struct mp_api *api) {
  mp_soon_init(&api->quiet, run_on_stop);
  mp_realm_init(&api->realm, api);
  api->realm.on_drained = on_realm_drained;
}

struct mp_realm *mp_api_realm(struct mp_api *api) {
  return &api->realm;
}

struct mp_scope *mp_api_background(lua_State *L) {
  struct mp_scope *here = mp_api_scope(L);
  struct mp_realm *realm = mp_realm_of_scope(here);
  for (struct mp_scope *at = here; at; at = at->parent)
    if (at == &realm->begun) return at;
  return mp_call_of_scope(realm->api, here) ? &realm->begun : &realm->scope;
}
