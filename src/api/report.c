#include "api/report.h"
#include "api/api.h"
#include "http/traceparent.h"

const char *const mp_error_kinds[MP_ERROR_KINDS] = {"handler", "task",    "timer", "offload",
                                                    "service", "process", "load"};

static int l_what_tostring(lua_State *L) {
  lua_getfield(L, 1, "kind");
  return 1;
}

static void set_string(lua_State *L, const char *name, const char *value) {
  if (!value) return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

static void push_request_line(lua_State *L, const struct mp_call *call) {
  const struct mp_head *head = &call->ex->head;
  lua_pushlstring(L, head->method.at, head->method.len);
  lua_pushliteral(L, " ");
  lua_pushlstring(L, head->target.at, head->target.len);
  lua_concat(L, 3);
}

static void push_facts(lua_State *L, struct mp_api *api, const struct mp_error_facts *facts) {
  char id[MP_CALL_ID];
  lua_createtable(L, 0, 6);
  set_string(L, "kind", facts->kind);
  set_string(L, "spawned_at", facts->spawned_at);
  lua_pushinteger(L, api->setup.worker);
  lua_setfield(L, -2, "worker");
  if (facts->call) {
    set_string(L, "request_id", mp_call_id(facts->call, id, sizeof id));
    if (facts->call->ex) {
      push_request_line(L, facts->call);
      lua_setfield(L, -2, "request");
    }
  }
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_what_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_setmetatable(L, -2);
}

struct report {
  struct mp_api *api;
  const struct mp_error_facts *facts;
};

/* An error as a line shows it: its text; of a table its message. */
static int l_error_text(lua_State *L) {
  if (lua_istable(L, 1) && !luaL_getmetafield(L, 1, "__tostring")) {
    lua_getfield(L, 1, "message");
    if (lua_isstring(L, -1)) return 1;
  }
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* Leaves it on the stack; raises nothing, though the error's own __tostring may. */
const char *mp_push_error_text(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_pushcfunction(L, l_error_text);
  lua_pushvalue(L, index);
  struct mp_sched *sched = mp_sched_of(L);
  if (mp_held_pcall(sched, L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING) return lua_tostring(L, -1);
  return "an error that cannot be made text";
}

static void write_line(lua_State *L, const struct report *r) {
  if (r->facts->told) return;
  char id[MP_CALL_ID], request[256];
  const char *text = mp_push_error_text(L, 2), *spawned_at = r->facts->spawned_at;
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  lua_pushfstring(L, "%s error: %s", r->facts->kind, text);
  luaL_addvalue(&b);
  if (spawned_at) {
    lua_pushfstring(L, " spawned_at=%s", spawned_at);
    luaL_addvalue(&b);
  }
  if (r->facts->call && r->facts->call->ex) {
    push_request_line(L, r->facts->call);
    mp_log_quote(mp_slice(lua_tostring(L, -1), lua_rawlen(L, -1)), request, sizeof request);
    lua_pop(L, 1);
    lua_pushfstring(L, " request=%s id=%s", request, mp_call_id(r->facts->call, id, sizeof id));
    luaL_addvalue(&b);
    struct mp_slice trace = mp_traceparent_id(mp_traceparent_of(&r->facts->call->ex->head));
    if (trace.len > 0) luaL_addstring(&b, " trace=");
    luaL_addlstring(&b, trace.at, trace.len);
  }
  luaL_pushresult(&b);
  struct mp_slice message = mp_slice(lua_tostring(L, -1), lua_rawlen(L, -1)), detail = {"", 0};
  if (lua_isstring(L, 3)) detail = mp_slice(lua_tostring(L, 3), lua_rawlen(L, 3));
  mp_log_detail(r->api->log, MP_LOG_ERROR, "app", message, detail);
}

static const struct mp_realm *realm_of(const struct report *r) {
  if (r->facts->call) return r->facts->call->realm;
  return r->facts->realm ? r->facts->realm : &r->api->realm;
}

/* stack: report error traceback */
static int p_report(lua_State *L) {
  const struct report *r = lua_touserdata(L, 1);
  write_line(L, r);
  const struct mp_realm *realm = realm_of(r);
  if (realm->hooks_ref == LUA_NOREF) return 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->hooks_ref);
  if (lua_getfield(L, -1, "on_error") != LUA_TFUNCTION) return 0;
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  push_facts(L, r->api, r->facts);
  lua_call(L, 3, 0);
  return 0;
}

static void count(struct mp_api *api, const char *kind) {
  for (unsigned i = 0; i < MP_ERROR_KINDS; i++)
    if (strcmp(mp_error_kinds[i], kind) == 0) api->n_errors[i]++;
}

/* The hook runs in the main coroutine: it cannot wait, but may start a background task that does. Its own error is a
 * line in the log and nothing more. */
void mp_api_report(struct mp_api *api, lua_State *from, int error, int traceback, const struct mp_error_facts *facts) {
  lua_State *L = api->L;
  struct report report = {api, facts};
  count(api, facts->kind);
  mp_api_count_error(api, facts->kind);
  if (!lua_checkstack(from, 4) || !lua_checkstack(L, 8)) {
    mp_log(api->log, MP_LOG_ERROR, "app", "%s error: it cannot be told: out of memory", facts->kind);
    return;
  }
  error = lua_absindex(from, error);
  lua_pushvalue(from, error);
  if (traceback)
    lua_pushvalue(from, traceback);
  else
    lua_pushnil(from);
  if (from != L) lua_xmove(from, L, 2);
  lua_pushcfunction(L, p_report);
  lua_insert(L, -3);
  lua_pushlightuserdata(L, &report);
  lua_insert(L, -3);
  if (mp_held_pcall(&api->sched, L, 3, 0, 0) == LUA_OK) return;
  mp_log(api->log, MP_LOG_ERROR, "app", "on_error failed itself: %s", mp_push_error_text(L, -1));
  lua_pop(L, 2);
}

/* The failed task's object is at the top of L. */
void mp_api_on_unhandled(struct mp_sched *sched, lua_State *L, struct mp_scope *scope) {
  struct mp_api *api = sched->ctx;
  int index = lua_gettop(L);
  lua_getiuservalue(L, index, MP_TASK_SPAWNED_AT);
  const struct mp_task_object *object = lua_touserdata(L, index);
  struct mp_error_facts facts = {.kind = object->kind ? object->kind : "task",
                                 .spawned_at = lua_tostring(L, -1),
                                 .call = mp_call_of_scope(api, scope),
                                 .realm = mp_realm_of_scope(scope),
                                 .told = object->told};
  lua_getiuservalue(L, index, MP_TASK_VALUE);
  lua_getiuservalue(L, index, MP_TASK_TRACEBACK);
  mp_api_report(api, L, index + 2, index + 3, &facts);
  lua_settop(L, index);
}
