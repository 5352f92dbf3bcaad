#include "api/api.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- slots ---- */

static void on_scope_over(struct mp_scope *scope);

static struct mp_call *take_call(struct mp_realm *realm) {
  struct mp_api *api = realm->api;
  struct mp_call *call = api->free_calls;
  if (call) {
    api->free_calls = call->next;
  } else {
    call = calloc(1, sizeof *call);
    if (!call) return NULL;
    call->api = api;
    call->slot = api->n_slots++;
    mp_list_init(&call->writers);
    mp_list_init(&call->sinks);
  }
  call->gen++;
  call->realm = realm;
  call->id = ++api->next_id;
  call->on_head_ref = LUA_NOREF;
  call->body_use = MP_BODY_UNUSED;
  call->keep = call->gone = call->handler_over = call->told_slow = false;
  mp_scope_init(&call->scope, on_scope_over);
  mp_list_append(&api->calls, &call->node);
  api->n_calls++;
  realm->n_calls++;
  return call;
}

static void give_call_back(struct mp_call *call) {
  struct mp_api *api = call->api;
  call->gen++;
  mp_buf_free(&call->body);
  if (call->given_id) free(call->given_id);
  call->given_id = NULL;
  if (call->on_head_ref != LUA_NOREF) luaL_unref(api->L, LUA_REGISTRYINDEX, call->on_head_ref);
  mp_call_forget_kept(call);
  mp_list_unlink(&call->node);
  call->next = api->free_calls;
  api->free_calls = call;
  api->n_calls--;
  struct mp_realm *realm = call->realm;
  if (--realm->n_calls == 0 && realm->on_calls_over) realm->on_calls_over(realm);
  if (api->cycle_over) mp_collector_tune(api);
  mp_api_when_quiet(api);
}

void mp_calls_free(struct mp_api *api) {
  while (api->free_calls) {
    struct mp_call *call = api->free_calls;
    api->free_calls = call->next;
    free(call);
  }
}

const struct mp_call *mp_call_of_scope(const struct mp_api *api, const struct mp_scope *scope) {
  (void)api;
  while (scope->parent) scope = scope->parent;
  return scope->on_over == on_scope_over ? MP_CONTAINER(scope, struct mp_call, scope) : NULL;
}

const char *mp_call_line(const struct mp_call *call, char *out, unsigned size) {
  const struct mp_head *head = &call->ex->head;
  char line[256];
  snprintf(line, sizeof line, "%.*s %.*s", (int)head->method.len, head->method.at, (int)head->target.len,
           head->target.at);
  return mp_log_quote(mp_slice(line, strlen(line)), out, size);
}

/* It goes into logs as it is, without quotes. */
static bool is_good_id(struct mp_slice id) {
  static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+=@";
  if (id.len == 0 || id.len > MP_CALL_GIVEN_ID) return false;
  for (size_t i = 0; i < id.len; i++)
    if (!id.at[i] || !strchr(good, id.at[i])) return false;
  return true;
}

/* Only whom we trust may name a request; out of memory it has the name that we make. */
static void take_given_id(struct mp_call *call, const struct mp_trust *trust) {
  const struct mp_exchange *ex = call->ex;
  const struct mp_field *field = mp_head_field(&ex->head, MP_SLICE("x-request-id"));
  if (field && is_good_id(field->value) && mp_trust_has(trust, &ex->peer.address))
    call->given_id = strndup(field->value.at, field->value.len);
}

const char *mp_call_id(const struct mp_call *call, char *out, unsigned size) {
  if (call->given_id)
    snprintf(out, size, "%s", call->given_id);
  else
    snprintf(out, size, "%s%08llx", call->api->id_prefix, (unsigned long long)call->id);
  return out;
}

const char *mp_api_request_id(const struct mp_exchange *ex, char *out, unsigned size) {
  if (ex->call) return mp_call_id(ex->call, out, size);
  if (size > 0) out[0] = '\0';
  return out;
}

/* ---- the end of an answer ---- */

static void wake_all(struct mp_call *call) {
  struct mp_list *node;
  mp_wake_fire(&call->reader);
  while ((node = mp_list_pop(&call->writers))) mp_wake_fire(&MP_CONTAINER(node, struct mp_waiter, node)->wake);
}

/* Gives the exchange back to web; objects of this request raise from now on. */
static void let_exchange_go(struct mp_call *call, bool cut) {
  struct mp_exchange *ex = call->ex;
  if (!ex) return;
  call->ex = NULL;
  mp_exchange_finish(ex, cut);
}

/* The last task and process of the request have ended. */
static void on_scope_over(struct mp_scope *scope) {
  struct mp_call *call = MP_CONTAINER(scope, struct mp_call, scope);
  mp_report_failed(scope);
  wake_all(call);
  mp_call_drop_sinks(call);
  let_exchange_go(call, false);
  give_call_back(call);
}

static int p_before_head(lua_State *L) {
  mp_call_before_head(L, lua_touserdata(L, 1));
  return 0;
}

static bool run_on_head(struct mp_call *call) {
  lua_State *L = call->api->L;
  if (call->on_head_ref == LUA_NOREF) return true;
  lua_pushcfunction(L, p_before_head);
  lua_pushlightuserdata(L, call);
  if (mp_held_pcall(&call->api->sched, L, 1, 0, 0) == LUA_OK) return true;
  struct mp_error_facts facts = {.kind = "handler", .call = call};
  mp_api_report(call->api, L, lua_gettop(L), 0, &facts);
  lua_pop(L, 1);
  return false;
}

/* The handler is over: what it has not ended ends now, and what it has not begun is 204. */
static void end_answer(struct mp_call *call) {
  struct mp_exchange *ex = call->ex;
  int err = 0;
  call->handler_over = true;
  if (!ex->reply.head_sent && !call->gone) {
    ex->reply.status = 204;
    err = run_on_head(call) ? mp_exchange_send(ex, mp_slice("", 0)) : -ECANCELED;
  } else if (!mp_exchange_is_over(ex) && !call->gone) {
    err = mp_exchange_end(ex);
  }
  if (err == -EMSGSIZE)
    mp_log(call->api->log, MP_LOG_ERROR, "app", "the handler wrote fewer bytes than its Content-Length says: cut");
  if (err < 0 && err != -EPIPE && err != -EALREADY) let_exchange_go(call, true);
  mp_scope_close(&call->scope);
}

static void cut_answer(struct mp_call *call) {
  call->handler_over = true;
  let_exchange_go(call, true);
  mp_scope_cancel(&call->scope);
  mp_scope_close(&call->scope);
}

/* ---- errors ---- */

/* 400 to 599 when the value at `index` asks for an answer of its own; 0 for a bug. */
static int raised_status(lua_State *L, int index) {
  if (!lua_istable(L, index)) return 0;
  lua_pushliteral(L, "status");
  lua_rawget(L, index < 0 ? index - 1 : index);
  int status = lua_isinteger(L, -1) ? (int)lua_tointeger(L, -1) : 0;
  lua_pop(L, 1);
  return status >= 400 && status <= 599 ? status : 0;
}

/* The handler did not go wrong, it took too much: the error at 2 becomes one that asks for a 503. */
static void make_unavailable(lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_pushinteger(L, 503);
  lua_setfield(L, -2, "status");
  lua_replace(L, 2);
}

static int l_fail(lua_State *L) {
  struct mp_call *call = lua_touserdata(L, 1); /* stack: call error traceback fault */
  if (lua_tointeger(L, 4) != MP_FAULT_NONE) make_unavailable(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, call->realm->fail_ref);
  mp_call_push(L, call);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_callk(L, 4, 0, 0, mp_nothing_left);
  return 0;
}

/* Even the page for errors failed. */
static void answer_plainly(struct mp_call *call, unsigned status) {
  struct mp_exchange *ex = call->ex;
  mp_reply_init(&ex->reply, &ex->head);
  ex->reply.status = status;
  mp_exchange_send(ex, status == 503 ? MP_SLICE("503 Service Unavailable\n") : MP_SLICE("500 Internal Server Error\n"));
}

static void on_fail_end(struct mp_task *task, enum mp_outcome outcome, int n_values) {
  struct mp_call *call = task->ctx;
  (void)n_values;
  if (outcome == MP_TASK_FAILED) {
    struct mp_error_facts facts = {.kind = "handler", .call = call, .told = task->fault == MP_FAULT_HELD};
    mp_api_report(call->api, task->co, 1, 2, &facts);
    if (!call->ex->reply.head_sent && !call->gone)
      answer_plainly(call, task->fault ? 503 : 500);
    else
      let_exchange_go(call, true);
  }
  if (call->ex && outcome != MP_TASK_CANCELLED)
    end_answer(call);
  else
    cut_answer(call); /* never a 204 for a handler that failed */
}

/* The error answer is written by the app's page, in a coroutine of its own: the handler's is dead. */
static void start_fail(struct mp_call *call, const struct mp_task *failed) {
  lua_State *from = failed->co;
  struct mp_api *api = call->api;
  mp_scope_cancel_members(&call->scope); /* what the handler had started; the error page joins after it */
  struct mp_task *task = mp_task_new(&api->sched, &call->scope);
  if (!task) {
    answer_plainly(call, failed->fault ? 503 : 500);
    end_answer(call);
    return;
  }
  lua_pushcfunction(task->co, mp_task_body);
  lua_pushcfunction(task->co, l_fail);
  lua_pushlightuserdata(task->co, call);
  lua_pushvalue(from, 1);
  lua_pushvalue(from, 2);
  lua_xmove(from, task->co, 2);
  lua_pushinteger(task->co, failed->fault);
  task->on_end = on_fail_end;
  task->ctx = call;
  mp_task_queue(task, 5);
}

static void handler_failed(struct mp_call *call, struct mp_task *task) {
  int status = raised_status(task->co, 1);
  if (status == 0 || status >= 500) {
    struct mp_error_facts facts = {.kind = "handler", .call = call, .told = task->fault == MP_FAULT_HELD};
    mp_api_report(call->api, task->co, 1, 2, &facts);
  }
  if (call->gone || call->ex->reply.head_sent) {
    bool whole = mp_exchange_is_over(call->ex); /* the answer is complete: there is nothing left to cut */
    if (whole && !call->gone)
      end_answer(call);
    else
      cut_answer(call);
    return;
  }
  start_fail(call, task);
}

static void on_handler_end(struct mp_task *task, enum mp_outcome outcome, int n_values) {
  struct mp_call *call = task->ctx;
  (void)n_values;
  if (outcome == MP_TASK_DONE)
    end_answer(call);
  else if (outcome == MP_TASK_FAILED)
    handler_failed(call, task);
  else
    cut_answer(call);
}

/* ---- what web tells ---- */

/* Most requests are GET: its string is at hand. */
static void push_method(lua_State *L, struct mp_api *api, struct mp_slice method) {
  if (method.len == 3 && memcmp(method.at, "GET", 3) == 0)
    lua_rawgeti(L, LUA_REGISTRYINDEX, api->get_ref);
  else
    lua_pushlstring(L, method.at, method.len);
}

/* A route is called at once; `handle`, in Lua, finds what lies in mounts and folders, and answers what has no route.
 * What is too long for all but some routes is told of. */
static int l_serve(lua_State *L) {
  struct mp_call *call = lua_touserdata(L, 2); /* 1: the guard */
  struct mp_api *api = call->api;
  const struct mp_head *head = &call->ex->head;
  bool too_long = mp_exchange_is_too_long(call->ex);
  if (!too_long && (mp_routes_push(L, &call->realm->routes, head->method, head->path) || mp_match_push(L, call))) {
    mp_call_push(L, call);
    return mp_task_call(L, 2, 0);
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, call->realm->handle_ref);
  mp_call_push(L, call);
  push_method(L, api, head->method);
  lua_pushlstring(L, head->path.at, head->path.len);
  lua_pushboolean(L, too_long);
  return mp_task_call(L, 5, 0);
}

static void refuse_for_memory(struct mp_exchange *ex) {
  ex->reply.status = 503;
  mp_exchange_send(ex, MP_SLICE("503 Service Unavailable\n"));
  mp_exchange_finish(ex, false);
}

static void on_request(struct mp_server *server, struct mp_exchange *ex) {
  struct mp_realm *realm = server->ctx;
  struct mp_api *api = realm->api;
  struct mp_call *call = take_call(realm);
  struct mp_task *task = call ? mp_task_new(&api->sched, &call->scope) : NULL;
  if (!task) {
    if (call) give_call_back(call);
    refuse_for_memory(ex);
    return;
  }
  realm->server = server;
  call->ex = ex;
  ex->call = call;
  if (server->config.trust) take_given_id(call, server->config.trust);
  api->n_requests++;
  lua_pushcfunction(task->co, l_serve);
  mp_task_guard(task->co);
  lua_pushlightuserdata(task->co, call);
  task->on_end = on_handler_end;
  task->ctx = call;
  mp_task_run(task, 2);
}

static void on_readable(struct mp_exchange *ex) {
  struct mp_call *call = ex->call;
  mp_wake_fire(&call->reader);
}

static void on_writable(struct mp_exchange *ex) {
  struct mp_call *call = ex->call;
  struct mp_list *node;
  while ((node = mp_list_pop(&call->writers))) mp_wake_fire(&MP_CONTAINER(node, struct mp_waiter, node)->wake);
}

/* The page that reloads itself leaves its stream each time. */
static bool is_of_dev(const struct mp_exchange *ex) {
  static const char reserved[] = "/.moonpool/";
  struct mp_slice target = ex->head.target;
  return target.len >= sizeof reserved - 1 && memcmp(target.at, reserved, sizeof reserved - 1) == 0;
}

static void on_gone(struct mp_exchange *ex) {
  struct mp_call *call = ex->call;
  char request[256];
  call->gone = true;
  if (!call->keep && !call->handler_over) {
    enum mp_log_level level = is_of_dev(ex) ? MP_LOG_DEBUG : MP_LOG_INFO;
    mp_call_line(call, request, sizeof request);
    if (ex->overdue)
      mp_log(call->api->log, MP_LOG_WARN, "app", "its time is over, request cancelled request=%s", request);
    else
      mp_log(call->api->log, level, "app", "client gone, request cancelled request=%s", request);
    mp_scope_cancel(&call->scope);
  }
  wake_all(call);
}

static bool takes_body(struct mp_server *server, uint64_t length) {
  const struct mp_realm *realm = server->ctx;
  return length <= realm->api->most_body;
}

static void on_drained(struct mp_server *server) {
  struct mp_realm *realm = server->ctx;
  realm->on_drained(realm);
}

const struct mp_server_ops mp_api_server_ops = {.on_request = on_request,
                                                .on_readable = on_readable,
                                                .on_writable = on_writable,
                                                .on_gone = on_gone,
                                                .takes_body = takes_body,
                                                .on_drained = on_drained};
