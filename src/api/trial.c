#include "api/trial.h"
#include "api/api.h"
#include "api/wire.h"
#include "base/err.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define REALM_NAME "moonpool._realm"

/* Anchored until it is closed. */
struct trial_realm {
  struct mp_realm realm;
  struct mp_server server;
  struct mp_wake stopper; /* the task that waits for the end of everything */
  bool of_app; /* errors are told when they happen, as a worker tells them; else at the end, should nobody take them */
  bool serving, drained, stopping, over, begun_over, closed;
};

static struct trial_realm *of_realm(struct mp_realm *realm) {
  return MP_CONTAINER(realm, struct trial_realm, realm);
}

/* ---- its end ---- */

static bool has_stopped(const struct trial_realm *t) {
  return t->over && t->begun_over && t->realm.n_calls == 0 && (!t->serving || t->drained);
}

static void look(struct trial_realm *t) {
  if (t->stopping && has_stopped(t)) mp_wake_fire(&t->stopper);
}

static void on_over(struct mp_scope *scope) {
  struct trial_realm *t = of_realm(MP_CONTAINER(scope, struct mp_realm, scope));
  mp_report_failed(scope);
  t->over = true;
  look(t);
}

static void on_begun_over(struct mp_scope *scope) {
  struct trial_realm *t = of_realm(MP_CONTAINER(scope, struct mp_realm, begun));
  mp_report_failed(scope);
  t->begun_over = true;
  look(t);
}

static void on_drained(struct mp_realm *realm) {
  of_realm(realm)->drained = true;
  look(of_realm(realm));
}

static void on_calls_over(struct mp_realm *realm) {
  look(of_realm(realm));
}

static struct trial_realm *check(lua_State *L) {
  struct trial_realm *t = luaL_checkudata(L, 1, REALM_NAME);
  if (t->closed) luaL_error(L, "the realm is closed");
  return t;
}

static void begin(struct trial_realm *t) {
  mp_realm_begin(&t->realm, on_over, on_begun_over);
  t->realm.scope.at_once = t->realm.begun.at_once = t->of_app;
  t->serving = t->drained = t->stopping = t->over = t->begun_over = false;
}

static void cancel_all(struct trial_realm *t) {
  struct mp_api *api = t->realm.api;
  t->stopping = true;
  if (t->serving) mp_server_close(&t->server);
  MP_LIST_EACH(node, &api->calls) {
    struct mp_call *call = MP_CONTAINER(node, struct mp_call, node);
    if (call->realm == &t->realm) mp_scope_cancel(&call->scope);
  }
  mp_scope_cancel(&t->realm.begun);
  mp_scope_close(&t->realm.begun);
  mp_scope_cancel(&t->realm.scope);
  mp_scope_close(&t->realm.scope);
}

static int after_stop(lua_State *L, int status, lua_KContext ctx);

/* Nothing may be waited for that has come already: a wake is lost on a task that is not parked. */
static int await_stop(lua_State *L, struct trial_realm *t) {
  if (!has_stopped(t)) {
    mp_wait_check(L, "stop");
    mp_wake_arm(&t->stopper, mp_sched_of(L)->current);
    return mp_park(L, -1, after_stop, 0);
  }
  if (t->serving) mp_server_deinit(&t->server);
  t->realm.server = NULL;
  begin(t);
  return 0;
}

static int after_stop(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  mp_unpark(L);
  return await_stop(L, lua_touserdata(L, 1));
}

/* realm:stop(): closes its server, cancels all that runs, and waits for the end of it. Then it is as new, with the
 * routes and hooks that it has. */
static int l_stop(lua_State *L) {
  struct trial_realm *t = check(L);
  mp_wait_check(L, "stop");
  if (t->stopping) return luaL_error(L, "stop: it is being stopped already");
  cancel_all(t);
  return await_stop(L, t);
}

/* realm:close(): after stop, and for good. */
static int l_close(lua_State *L) {
  struct trial_realm *t = check(L);
  if (t->serving || t->realm.n_calls > 0 || !mp_list_empty(&t->realm.scope.members) ||
      !mp_list_empty(&t->realm.begun.members))
    return luaL_error(L, "close: something of it still runs");
  t->closed = true;
  mp_realm_deinit(&t->realm, L);
  mp_anchor_drop(L, t);
  return 0;
}

/* ---- what runs in it ---- */

/* realm:spawn(fn, …): a task. */
static int l_spawn(lua_State *L) {
  struct trial_realm *t = check(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  mp_spawn_task(L, 2, &t->realm.scope, "spawn");
  return 1;
}

/* realm:left(): what still runs, in words. Timers and subscriptions simply end with the realm. */
static int l_left(lua_State *L) {
  struct trial_realm *t = check(L);
  lua_Integer n = 0;
  lua_newtable(L);
  MP_LIST_EACH(node, &t->realm.scope.members) {
    struct mp_member *member = MP_CONTAINER(node, struct mp_member, node);
    if (!member->push_name) continue;
    member->push_name(L, member);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static int take_ref(lua_State *L, int index) {
  lua_pushvalue(L, index);
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* realm:answer(handle, fail, hooks), as mp_api_load gets them; nil, nil, hooks for one that serves nothing. */
static int l_answer(lua_State *L) {
  struct trial_realm *t = check(L);
  lua_settop(L, 4);
  luaL_checktype(L, 4, LUA_TTABLE);
  t->realm.handle_ref = take_ref(L, 2);
  t->realm.fail_ref = take_ref(L, 3);
  t->realm.hooks_ref = take_ref(L, 4);
  return 0;
}

/* realm:routes(): what dispatch fills its maps with. */
static int l_routes(lua_State *L) {
  struct trial_realm *t = check(L);
  lua_newtable(L);
  mp_realm_open(L, &t->realm, 1);
  return 1;
}

/* ---- its server ---- */

static void read_ms(lua_State *L, const char *name, uint64_t *ms) {
  if (lua_getfield(L, 2, name) != LUA_TNIL) *ms = (uint64_t)ceil(luaL_checknumber(L, -1) * 1000);
  lua_pop(L, 1);
}

static void read_config(lua_State *L, struct mp_server_config *config) {
  read_ms(L, "request_timeout", &config->request_ms);
  read_ms(L, "body_timeout", &config->body_ms);
  if (lua_getfield(L, 2, "max_body") != LUA_TNIL) config->limits.body = (uint64_t)luaL_checknumber(L, -1);
  if (lua_getfield(L, 2, "compress") != LUA_TNIL) config->compress = lua_toboolean(L, -1);
  lua_pop(L, 2);
}

/* realm:serve(options) */
static int l_serve(lua_State *L) {
  struct trial_realm *t = check(L);
  struct mp_api *api = t->realm.api;
  struct mp_server_config config = *api->setup.trial->server;
  luaL_checktype(L, 2, LUA_TTABLE);
  read_config(L, &config);
  int err = mp_server_init(&t->server, api->loop, api->log, &config, &mp_api_server_ops, &t->realm);
  if (err < 0) return luaL_error(L, "serve: %s", mp_err_name(err));
  t->serving = true;
  return 0;
}

/* realm:connect(address, port) → a wire to it: whose the other end is, says the caller. */
static int l_connect(lua_State *L) {
  struct trial_realm *t = check(L);
  struct mp_address peer;
  size_t len;
  const char *text = luaL_checklstring(L, 2, &len);
  int ends[2];
  luaL_argcheck(L, mp_address_parse(&peer, mp_slice(text, len)), 2, "an address in numbers");
  peer.port = (uint16_t)luaL_checkinteger(L, 3);
  if (!t->serving || t->stopping) return luaL_error(L, "connect: nothing is served");
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
    return luaL_error(L, "connect: %s", mp_err_name(-errno));
  int err = mp_server_take(&t->server, ends[1], &peer);
  if (err < 0) {
    close(ends[0]);
    return luaL_error(L, "connect: %s", mp_err_name(err));
  }
  mp_wire_push(L, ends[0]);
  return 1;
}

/* trial.realm(is it an app's?) */
static int l_realm(lua_State *L) {
  bool of_app = lua_toboolean(L, 1);
  struct trial_realm *t = lua_newuserdatauv(L, sizeof *t, 0);
  memset(t, 0, sizeof *t);
  t->closed = true; /* until it is whole */
  luaL_setmetatable(L, REALM_NAME);
  lua_pushvalue(L, -1);
  mp_anchor(L, t);
  mp_realm_init(&t->realm, mp_api_of(L));
  t->of_app = of_app;
  t->realm.on_drained = on_drained;
  t->realm.on_calls_over = on_calls_over;
  begin(t);
  t->closed = false;
  return 1;
}

/* ---- the rest ---- */

/* trial.chdir(path): true; nil, message, code. */
static int l_chdir(lua_State *L) {
  char text[128];
  const char *path = luaL_checkstring(L, 1);
  if (chdir(path) < 0) return mp_push_failure(L, -errno, "chdir: %s: %s", path, mp_err_text(-errno, text, sizeof text));
  lua_pushboolean(L, 1);
  return 1;
}

static int l_getcwd(lua_State *L) {
  char *path = getcwd(NULL, 0);
  if (!path) return luaL_error(L, "getcwd: %s", mp_err_name(-errno));
  lua_pushstring(L, path);
  free(path);
  return 1;
}

static int l_isatty(lua_State *L) {
  lua_pushboolean(L, isatty(STDOUT_FILENO));
  return 1;
}

void mp_trial_open(lua_State *L, struct mp_trial *trial) {
  static const luaL_Reg functions[] = {{"realm", l_realm},   {"connect", mp_l_wire_connect}, {"chdir", l_chdir},
                                       {"getcwd", l_getcwd}, {"isatty", l_isatty},           {NULL, NULL}};
  static const luaL_Reg methods[] = {{"stop", l_stop},   {"close", l_close},     {"spawn", l_spawn},
                                     {"left", l_left},   {"answer", l_answer},   {"routes", l_routes},
                                     {"serve", l_serve}, {"connect", l_connect}, {NULL, NULL}};
  trial->api = mp_api_of(L);
  mp_wire_open(L);
  luaL_newmetatable(L, REALM_NAME);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_pushstring(L, trial->program);
  lua_setfield(L, -2, "program");
  mp_trial_time_open(L, trial);
  mp_puppet_open(L, trial);
  lua_setfield(L, -2, "trial");
}

/* ---- the run ---- */

struct run {
  const char *module; /* static */
  int argc;
  char **argv; /* borrowed for the call */
  void (*on_end)(void *ctx, int code);
  void *ctx;
};

static int last_value(lua_State *L, int status, lua_KContext ctx) {
  (void)L, (void)status, (void)ctx;
  return 1;
}

static int l_main(lua_State *L) {
  const struct run *run = lua_touserdata(L, 1);
  luaL_checkstack(L, run->argc + 4, NULL);
  lua_getglobal(L, "require");
  lua_pushstring(L, run->module);
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  for (int i = 0; i < run->argc; i++) lua_pushstring(L, run->argv[i]);
  lua_callk(L, run->argc, 1, 1, last_value);
  return 1;
}

static void on_main_end(struct mp_task *task, enum mp_outcome outcome, int n_values) {
  struct run *run = task->ctx;
  int code = 1;
  if (outcome == MP_TASK_DONE && n_values > 0 && lua_isinteger(task->co, 1)) code = (int)lua_tointeger(task->co, 1);
  if (outcome == MP_TASK_FAILED)
    fprintf(stderr, "moonpool: %s\n%s\n", mp_push_error_text(task->co, 1), lua_tostring(task->co, 2));
  void (*on_end)(void *, int) = run->on_end;
  void *ctx = run->ctx;
  free(run);
  on_end(ctx, code);
}

int mp_trial_run(struct mp_api *api, const char *module, int argc, char **argv, void (*on_end)(void *ctx, int code),
                 void *ctx) {
  struct run *run = calloc(1, sizeof *run);
  struct mp_task *task = run ? mp_task_new(&api->sched, &api->realm.scope) : NULL;
  if (!task) {
    free(run);
    return -ENOMEM;
  }
  *run = (struct run){module, argc, argv, on_end, ctx};
  lua_pushcfunction(task->co, mp_task_body);
  lua_pushcfunction(task->co, l_main);
  lua_pushlightuserdata(task->co, run);
  task->on_end = on_main_end;
  task->ctx = run;
  mp_task_run(task, 2);
  return 0;
}
