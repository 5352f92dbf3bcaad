#include "api/api.h"
#include "api/json.h"
#include <errno.h>

const char mp_response_name[] = "moonpool.response";

enum { LIST_MOST = 10000 /* lines of one name */ };

/* ---- checks ---- */

/* The call of `res`, its handler still running. */
static struct mp_call *check_response(lua_State *L) {
  struct mp_call_box *box = mp_box_check(L, 1, mp_response_name);
  struct mp_call *call = box->call;
  if (box->gen != call->gen || !call->ex) luaL_error(L, "res: its request has ended");
  if (call->handler_over) luaL_error(L, "res: the answer ended with its handler");
  return call;
}

static struct mp_call *check_unsent(lua_State *L, const char *what) {
  struct mp_call *call = check_response(L);
  if (call->ex->reply.head_sent) luaL_error(L, "%s: the head of the answer is out already", what);
  return call;
}

struct mp_call *mp_response_unsent(lua_State *L, const char *what) {
  return check_unsent(L, what);
}

static struct mp_slice check_slice(lua_State *L, int arg) {
  struct mp_slice s;
  s.at = luaL_checklstring(L, arg, &s.len);
  return s;
}

static int push_closed(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "the client has gone away");
  lua_pushliteral(L, "closed");
  return 3;
}

/* What the writing functions make of web's errors: the world's failures are returned, the caller's raise. */
static int answered(lua_State *L, struct mp_call *call, int err, const char *what) {
  (void)call;
  switch (err) {
  case 0:
    lua_settop(L, 1);
    return 1; /* res */
  case -EPIPE:
    return push_closed(L);
  case -EALREADY:
    return luaL_error(L, "%s: the answer has ended already", what);
  case -EMSGSIZE:
    return luaL_error(L, "%s: the body is not as long as the Content-Length that was set", what);
  default:
    return luaL_error(L, "%s: not enough memory", what);
  }
}

/* ---- status and fields ---- */

static int l_status(lua_State *L) {
  if (lua_gettop(L) == 1) {
    lua_pushinteger(L, check_response(L)->ex->reply.status);
    return 1;
  }
  struct mp_call *call = check_unsent(L, "res:status");
  lua_Integer status = luaL_checkinteger(L, 2);
  luaL_argcheck(L, status >= 200 && status <= 599, 2, "a status is a number from 200 to 599");
  call->ex->reply.status = (uint16_t)status;
  lua_settop(L, 1);
  return 1;
}

static int check_field(lua_State *L, int err, const char *what, struct mp_slice name) {
  char quoted[80];
  if (err == 0) return 0;
  mp_log_quote(name, quoted, sizeof quoted);
  if (err == -EINVAL)
    return luaL_error(L, "%s: %s: a name is a token, a value has no CR, LF, NUL or other control byte", what, quoted);
  if (err == -EPERM) return luaL_error(L, "%s: %s is set by the server itself", what, quoted);
  if (err == -EALREADY) return luaL_error(L, "%s: the head of the answer is out already", what);
  return luaL_error(L, "%s: not enough memory", what);
}

static struct mp_slice check_value(lua_State *L, int index, const char *what) {
  struct mp_slice value;
  if (lua_type(L, index) != LUA_TSTRING && lua_type(L, index) != LUA_TNUMBER)
    luaL_error(L, "%s: a value is a string or a number, not %s", what, luaL_typename(L, index));
  value.at = lua_tolstring(L, index, &value.len);
  return value;
}

/* The values are taken out of the list first: to read them may run a script's own code, or raise. They stay on the
 * stack. Scratch memory for `n` slices is at the top. */
static void gather_values(lua_State *L, struct mp_slice *values, lua_Integer n) {
  for (lua_Integer i = 1; i <= n; i++) {
    lua_geti(L, 3, i);
    values[i - 1] = check_value(L, -1, "res:header");
  }
}

static void set_list(lua_State *L, struct mp_slice name) {
  lua_Integer n = luaL_len(L, 3);
  luaL_argcheck(L, n >= 0 && n <= LIST_MOST, 3, "too many values");
  luaL_checkstack(L, (int)n + 4, "res:header");
  struct mp_slice *values = lua_newuserdatauv(L, (size_t)n * sizeof *values + 1, 0);
  gather_values(L, values, n);
  struct mp_reply *reply = &check_unsent(L, "res:header")->ex->reply;
  check_field(L, mp_reply_set_all(reply, name, values, (size_t)n), "res:header", name);
}

static int l_header(lua_State *L) {
  struct mp_slice name, value;
  if (lua_gettop(L) == 2) {
    struct mp_call *reads = check_response(L);
    name = check_slice(L, 2);
    if (mp_reply_get(&reads->ex->reply, name, &value))
      lua_pushlstring(L, value.at, value.len);
    else
      lua_pushnil(L);
    return 1;
  }
  struct mp_call *call = check_unsent(L, "res:header");
  name = check_slice(L, 2);
  if (lua_istable(L, 3))
    set_list(L, name);
  else if (lua_isnil(L, 3))
    check_field(L, mp_reply_remove(&call->ex->reply, name), "res:header", name);
  else
    check_field(L, mp_reply_set(&call->ex->reply, name, check_value(L, 3, "res:header")), "res:header", name);
  lua_settop(L, 1);
  return 1;
}

static int l_add_header(lua_State *L) {
  struct mp_call *call = check_unsent(L, "res:add_header");
  struct mp_slice name = check_slice(L, 2);
  check_field(L, mp_reply_add(&call->ex->reply, name, check_value(L, 3, "res:add_header")), "res:add_header", name);
  lua_settop(L, 1);
  return 1;
}

static int l_on_head(lua_State *L) {
  struct mp_call *call = check_unsent(L, "res:on_head");
  luaL_checktype(L, 2, LUA_TFUNCTION);
  if (call->on_head_ref == LUA_NOREF) {
    lua_newtable(L);
    call->on_head_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, call->on_head_ref);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_settop(L, 1);
  return 1;
}

void mp_call_before_head(lua_State *L, struct mp_call *call) {
  if (call->on_head_ref == LUA_NOREF) return;
  int ref = call->on_head_ref;
  call->on_head_ref = LUA_NOREF; /* once, even when one of them answers or raises */
  lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
  luaL_unref(L, LUA_REGISTRYINDEX, ref);
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 1; i--) {
    lua_rawgeti(L, -1, i);
    lua_call(L, 0, 0);
  }
  lua_pop(L, 1);
}

/* ---- bodies ---- */

#define TYPE_LINE(type) MP_SLICE("Content-Type: " type "\r\n")

/* `type` is a TYPE_LINE. */
static void default_type(lua_State *L, struct mp_call *call, struct mp_slice type) {
  struct mp_reply *reply = &call->ex->reply;
  struct mp_slice ignored;
  if (mp_buf_len(&reply->fields) > 0 && mp_reply_get(reply, MP_SLICE("Content-Type"), &ignored)) return;
  if (mp_reply_add_lines(reply, type, MP_REPLY_NAME("Content-Type")) < 0) luaL_error(L, "res: not enough memory");
}

static int send_typed(lua_State *L, struct mp_slice type, const char *what) {
  struct mp_call *call = check_unsent(L, what);
  struct mp_slice body = check_slice(L, 2);
  default_type(L, call, type);
  mp_call_before_head(L, call);
  return answered(L, call, mp_exchange_send(call->ex, body), what);
}

static int l_text(lua_State *L) {
  return send_typed(L, TYPE_LINE("text/plain; charset=utf-8"), "res:text");
}

static int l_html(lua_State *L) {
  return send_typed(L, TYPE_LINE("text/html; charset=utf-8"), "res:html");
}

static int l_json(lua_State *L) {
  struct mp_call *call = check_unsent(L, "res:json");
  struct mp_buf *scratch = &call->api->scratch;
  luaL_checkany(L, 2);
  mp_buf_reset(scratch, 65536);
  if (mp_json_encode(L, 2, scratch) < 0) return luaL_error(L, "res:json: %s", lua_tostring(L, -1));
  default_type(L, call, TYPE_LINE("application/json"));
  if (call->on_head_ref != LUA_NOREF) { /* they may encode too: keep the body out of their way */
    struct mp_slice made = mp_buf_slice(scratch);
    lua_pushlstring(L, made.at, made.len);
    mp_call_before_head(L, call);
    struct mp_slice kept = {.at = NULL, .len = 0};
    kept.at = lua_tolstring(L, -1, &kept.len);
    return answered(L, call, mp_exchange_send(call->ex, kept), "res:json");
  }
  return answered(L, call, mp_exchange_send(call->ex, mp_buf_slice(scratch)), "res:json");
}

static int after_room(lua_State *L, int status, lua_KContext ctx);

/* Waits until the client has caught up, or is gone. */
static int wait_for_room(lua_State *L, struct mp_call *call) {
  struct mp_task *task = mp_sched_of(L)->current;
  mp_wait_check(L, "res:write");
  mp_wake_arm(&task->waiter.wake, task);
  task->waiter.group = NULL;
  mp_list_append(&call->writers, &task->waiter.node);
  return mp_park(L, -1, after_room, 0);
}

static int after_room(lua_State *L, int status, lua_KContext ctx) {
  struct mp_call_box *box = lua_touserdata(L, 1);
  (void)status, (void)ctx;
  mp_unpark(L);
  if (box->gen != box->call->gen || !box->call->ex || box->call->gone) return push_closed(L);
  if (mp_exchange_full(box->call->ex)) return wait_for_room(L, box->call);
  lua_settop(L, 1);
  return 1;
}

static int l_write(lua_State *L) {
  struct mp_call *call = check_response(L);
  struct mp_slice piece = check_slice(L, 2);
  if (!call->ex->reply.head_sent) mp_call_before_head(L, call);
  int err = mp_exchange_write(call->ex, piece);
  if (err < 0) return answered(L, call, err, "res:write");
  if (mp_exchange_full(call->ex)) return wait_for_room(L, call);
  lua_settop(L, 1);
  return 1;
}

static int l_finish(lua_State *L) {
  struct mp_call *call = check_response(L);
  bool has_body = !lua_isnoneornil(L, 2);
  struct mp_slice body = has_body ? check_slice(L, 2) : mp_slice("", 0);
  if (!call->ex->reply.head_sent) {
    mp_call_before_head(L, call);
    return answered(L, call, mp_exchange_send(call->ex, body), "res:finish");
  }
  int err = call->ex->reply.ended ? -EALREADY : 0;
  if (err == 0 && body.len > 0) err = mp_exchange_write(call->ex, body);
  if (err == 0) err = mp_exchange_end(call->ex);
  return answered(L, call, err, "res:finish");
}

/* ---- opening ---- */

/* Upvalue 1: name → method, or `true` for the one field that is read from the answer. */
static int l_response_index(lua_State *L) {
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TBOOLEAN) return 1;
  const struct mp_call_box *box = lua_touserdata(L, 1);
  lua_pushboolean(L, box->gen != box->call->gen || !box->call->ex || box->call->ex->reply.head_sent);
  return 1;
}

static int l_response_newindex(lua_State *L) {
  return luaL_error(L, "res.%s cannot be set; headers are set by res:header(name, value)", luaL_tolstring(L, 2, NULL));
}

/* core.answered(res): has anything been written, or ended? */
static int l_answered(lua_State *L) {
  struct mp_call_box *box = mp_box_check(L, 1, mp_response_name);
  bool live = box->gen == box->call->gen && box->call->ex;
  lua_pushboolean(L, !live || box->call->ex->reply.head_sent || box->call->gone);
  return 1;
}

void mp_response_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"status", l_status},
                                     {"header", l_header},
                                     {"add_header", l_add_header},
                                     {"on_head", l_on_head},
                                     {"text", l_text},
                                     {"html", l_html},
                                     {"json", l_json},
                                     {"write", l_write},
                                     {"finish", l_finish},
                                     {NULL, NULL}};
  struct mp_api *api = mp_api_of(L);
  luaL_newmetatable(L, mp_response_name);
  lua_newtable(L); /* stack: core meta methods */
  luaL_setfuncs(L, methods, 0);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "sent");
  lua_pushvalue(L, -1);
  lua_setfield(L, -4, "response");
  lua_pushcclosure(L, l_response_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_response_newindex);
  lua_setfield(L, -2, "__newindex");
  api->response_meta = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushcfunction(L, l_answered);
  lua_setfield(L, -2, "answered");
}
