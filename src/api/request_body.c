#include "api/api.h"
#include "api/json.h"

/* req:read, req:body, req:json: the body of a request, piece by piece or whole. */

static void push_bytes(lua_State *L, struct mp_slice s) {
  lua_pushlstring(L, s.at ? s.at : "", s.len);
}

static int raise_refusal(lua_State *L, const struct mp_refusal *why) {
  return mp_raise_status(L, why->status, why->reason);
}

/* Parks until on_readable; `k` calls wait_over first. */
static int wait_for_body(lua_State *L, struct mp_call *call, const char *what, lua_KFunction k) {
  if (mp_wake_armed(&call->reader)) return luaL_error(L, "%s: another task is reading this body", what);
  mp_wait_check(L, what);
  mp_wake_arm(&call->reader, mp_sched_of(L)->current);
  return mp_park(L, -1, k, 0);
}

static struct mp_call *wait_over(lua_State *L) {
  struct mp_call_box *box = lua_touserdata(L, 1);
  if (box->gen == box->call->gen) box->call->reader.task = NULL;
  mp_unpark(L);
  return mp_call_check(L);
}

static int read_on(lua_State *L, struct mp_call *call);

static int after_read(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  return read_on(L, wait_over(L));
}

static int read_on(lua_State *L, struct mp_call *call) {
  struct mp_refusal why;
  struct mp_slice piece = {NULL, 0};
  enum mp_verdict verdict = MP_DONE;
  if (!call->ex->body_done) verdict = mp_exchange_read(call->ex, &piece, &why);
  if (verdict == MP_REFUSE) return raise_refusal(L, &why);
  if (piece.len > 0) {
    push_bytes(L, piece);
    return 1;
  }
  if (verdict == MP_MORE) return wait_for_body(L, call, "req:read", after_read);
  lua_pushnil(L);
  return 1;
}

static int l_read(lua_State *L) {
  struct mp_call *call = mp_call_check(L);
  if (call->body_use == MP_BODY_WHOLE) return luaL_error(L, "req:read: the body was read whole already");
  call->body_use = MP_BODY_READ;
  return read_on(L, call);
}

static int collect(lua_State *L, struct mp_call *call);

static int after_collect(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  return collect(L, wait_over(L));
}

/* The whole body as a string: kept in the request's own table, so that it may be asked for again. */
static int keep_body(lua_State *L, struct mp_call *call, struct mp_slice last) {
  if (mp_buf_len(&call->body) == 0) {
    push_bytes(L, last);
  } else {
    if (mp_buf_add_slice(&call->body, last) < 0) return luaL_error(L, "not enough memory");
    push_bytes(L, mp_buf_slice(&call->body));
  }
  mp_buf_free(&call->body);
  lua_pushvalue(L, -1);
  mp_call_keep(L, call, MP_KEPT_BODY);
  return 1;
}

/* For all of it, where that is known. */
static bool has_room(struct mp_call *call) {
  const struct mp_head *head = &call->ex->head;
  if (head->body != MP_BODY_LENGTH || mp_buf_len(&call->body)) return true;
  return head->content_length <= UINT32_MAX && mp_buf_room(&call->body, (size_t)head->content_length);
}

static int wait_for_rest(lua_State *L, struct mp_call *call) {
  bool known = call->ex->head.body == MP_BODY_LENGTH;
  if (known && (!has_room(call) || !mp_exchange_receive_into(call->ex, &call->body)))
    return mp_raise_status(L, 503, "not enough memory for the body");
  return wait_for_body(L, call, "req:body", after_collect);
}

static int collect(lua_State *L, struct mp_call *call) {
  struct mp_refusal why;
  for (;;) {
    struct mp_slice piece = {NULL, 0};
    enum mp_verdict verdict = MP_DONE;
    if (!call->ex->body_done) verdict = mp_exchange_read(call->ex, &piece, &why);
    if (verdict == MP_REFUSE) return raise_refusal(L, &why);
    if (verdict == MP_DONE) return keep_body(L, call, piece);
    if (piece.len == 0) return wait_for_rest(L, call);
    if (!has_room(call)) return mp_raise_status(L, 503, "not enough memory for the body");
    if (mp_buf_add_slice(&call->body, piece) < 0) return mp_raise_status(L, 503, "not enough memory for the body");
  }
}

static int l_body(lua_State *L) {
  struct mp_call *call = mp_call_check(L);
  lua_settop(L, 1);
  if (call->body_use == MP_BODY_READ) return luaL_error(L, "req:body: a part of the body was read already");
  if (call->body_use == MP_BODY_WHOLE) {
    if (mp_call_push_kept(L, call, MP_KEPT_BODY) == LUA_TSTRING) return 1;
    lua_settop(L, 1); /* an earlier call was cut short, or another task is collecting it */
  }
  call->body_use = MP_BODY_WHOLE;
  return collect(L, call);
}

static int after_json_body(lua_State *L, int status, lua_KContext ctx) {
  size_t len;
  (void)status, (void)ctx;
  const char *text = lua_tolstring(L, -1, &len);
  if (mp_json_decode(L, text, len) < 0) {
    lua_pushfstring(L, "not JSON: %s", lua_tostring(L, -1));
    return mp_raise_status(L, 400, lua_tostring(L, -1));
  }
  return 1;
}

static int l_json(lua_State *L) {
  mp_call_check(L);
  lua_settop(L, 1);
  lua_pushcfunction(L, l_body);
  lua_pushvalue(L, 1);
  lua_callk(L, 1, 1, 0, after_json_body);
  return after_json_body(L, LUA_OK, 0);
}

void mp_request_body_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"read", l_read}, {"body", l_body}, {"json", l_json}, {NULL, NULL}};
  luaL_setfuncs(L, methods, 0);
}
