#include "api/api.h"
#include "http/url.h"
#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char mp_request_name[] = "moonpool.request", mp_headers_name[] = "moonpool.headers";

/* Fields that are read from the request; a function in the same table is a method. The first ones are made once, or
 * set, and kept under their numbers. */
enum field {
  F_PARAMS = MP_KEPT_PARAMS,
  F_BODY = MP_KEPT_BODY, /* not to be read: a method */
  F_QUERY,
  F_HEADERS,
  F_PATH,
  F_CTX,
  F_BASE,
  F_TABLE, /* not to be read: of Moonpool's own modules */
  F_METHOD,
  F_TARGET,
  F_VERSION,
  F_REMOTE,
  F_IP,
  F_SCHEME,
  F_HOST,
  F_ID
};
static const struct {
  const char *name;
  enum field field;
} fields[] = {{"params", F_PARAMS},   {"query", F_QUERY},   {"headers", F_HEADERS}, {"path", F_PATH},
              {"ctx", F_CTX},         {"base", F_BASE},     {"method", F_METHOD},   {"target", F_TARGET},
              {"version", F_VERSION}, {"remote", F_REMOTE}, {"ip", F_IP},           {"scheme", F_SCHEME},
              {"host", F_HOST},       {"id", F_ID}};
_Static_assert((int)F_TABLE < (int)MP_KEPT_KEYS, "each has a place");

/* ---- the boxes ---- */

static struct mp_call *live_call(lua_State *L, const struct mp_call_box *box, const char *what) {
  struct mp_call *call = box->call;
  if (box->gen != call->gen || !call->ex) luaL_error(L, "%s: its request has ended", what);
  return call;
}

struct mp_call *mp_call_check(lua_State *L) {
  return live_call(L, mp_box_check(L, 1, mp_request_name), "req");
}

static void push_box(lua_State *L, struct mp_call *call, const char *type, int meta_ref) {
  struct mp_call_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  box->type = type;
  box->call = call;
  box->gen = call->gen;
  lua_rawgeti(L, LUA_REGISTRYINDEX, meta_ref);
  lua_setmetatable(L, -2);
}

void mp_call_push(lua_State *L, struct mp_call *call) {
  push_box(L, call, mp_request_name, call->api->request_meta);
  push_box(L, call, mp_response_name, call->api->response_meta);
}

static void push_slice(lua_State *L, struct mp_slice s) {
  lua_pushlstring(L, s.at ? s.at : "", s.len);
}

/* One table for all requests, so that keeping something makes none: each slot has its run of places in it. */
static void push_places(lua_State *L, const struct mp_call *call) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, call->api->kept_ref);
}

static lua_Integer place_of(const struct mp_call *call, unsigned key) {
  return (lua_Integer)call->slot * MP_KEPT_KEYS + key + 1;
}

static void keep_at(lua_State *L, struct mp_call *call, unsigned key, int places) {
  lua_rawseti(L, places, place_of(call, key));
  call->kept |= 1u << key;
}

void mp_call_keep(lua_State *L, struct mp_call *call, unsigned key) {
  push_places(L, call);
  lua_insert(L, -2);
  keep_at(L, call, key, -2);
  lua_pop(L, 1);
}

int mp_call_push_kept(lua_State *L, const struct mp_call *call, unsigned key) {
  if (!(call->kept & 1u << key)) {
    lua_pushnil(L);
    return LUA_TNIL;
  }
  push_places(L, call);
  int type = lua_rawgeti(L, -1, place_of(call, key));
  lua_replace(L, -2);
  return type;
}

void mp_call_forget_kept(struct mp_call *call) {
  lua_State *L = call->api->L;
  if (!call->kept) return;
  push_places(L, call);
  for (unsigned key = 0; key < MP_KEPT_KEYS; key++) {
    if (!(call->kept & 1u << key)) continue;
    lua_pushboolean(L, 0); /* not nil: a place that is there needs no memory */
    lua_rawseti(L, -2, place_of(call, key));
  }
  lua_pop(L, 1);
  call->kept = 0;
}

/* The field that is kept, made by `make` (which pushes one value) the first time. */
static int push_cached(lua_State *L, enum field field, void (*make)(lua_State *L, struct mp_call *call),
                       struct mp_call *call) {
  if (call->kept & 1u << field) return mp_call_push_kept(L, call, field), 1;
  push_places(L, call);
  make(L, call);
  if (call->kept & 1u << field) return mp_call_push_kept(L, call, field), 1; /* a finalizer that ran has asked for it */
  lua_pushvalue(L, -1);
  keep_at(L, call, field, -3);
  return 1;
}

/* ---- fields ---- */

int mp_raise_status(lua_State *L, int status, const char *message) {
  lua_createtable(L, 0, 2);
  lua_pushinteger(L, status);
  lua_setfield(L, -2, "status");
  lua_pushstring(L, message);
  lua_setfield(L, -2, "message");
  return lua_error(L);
}

/* Stands for itself, as most names and values do. */
static bool is_plain(struct mp_slice s) {
  for (size_t i = 0; i < s.len; i++)
    if (s.at[i] == '%' || s.at[i] == '+') return false;
  return true;
}

static void push_decoded(lua_State *L, struct mp_slice s, bool plus) {
  if (is_plain(s)) {
    push_slice(L, s);
    return;
  }
  luaL_Buffer b;
  char *room = luaL_buffinitsize(L, &b, s.len + 1);
  ssize_t n = mp_url_decode(room, s, plus);
  if (n < 0) mp_raise_status(L, 400, "a broken escape in the target");
  luaL_pushresultsize(&b, (size_t)n);
}

static void make_path(lua_State *L, struct mp_call *call) {
  push_decoded(L, call->ex->head.path, false);
}

static int count_pairs(struct mp_slice query) {
  enum { MOST = 32 /* a table that turns out larger grows */ };
  int n = query.len > 0;
  for (size_t i = 0; i < query.len && n < MOST; i++) n += query.at[i] == '&';
  return n;
}

static void make_query(lua_State *L, struct mp_call *call) {
  struct mp_slice rest = call->ex->head.query, name, value;
  int n = 0;
  lua_createtable(L, 0, count_pairs(rest));
  while (mp_query_next(&rest, &name, &value)) {
    push_decoded(L, name, true);
    if (n++ > 0) {
      lua_pushvalue(L, -1);
      int there = lua_rawget(L, -3);
      lua_pop(L, there == LUA_TNIL ? 1 : 2);
      if (there != LUA_TNIL) continue; /* the first one counts */
    }
    push_decoded(L, value, true);
    lua_rawset(L, -3);
  }
}

static void make_headers(lua_State *L, struct mp_call *call) {
  push_box(L, call, mp_headers_name, call->api->headers_meta);
}

static void make_table(lua_State *L, struct mp_call *call) {
  (void)call;
  lua_newtable(L);
}

static int push_remote(lua_State *L, struct mp_call *call) {
  char text[MP_ADDRESS_TEXT];
  lua_pushstring(L, mp_address_text_port(&call->ex->peer.address, text));
  return 1;
}

static int push_ip(lua_State *L, struct mp_call *call) {
  struct mp_client client = mp_exchange_client(call->ex);
  char text[MP_ADDRESS_TEXT];
  lua_pushstring(L, mp_address_text(&client.address, text));
  return 1;
}

static int push_id(lua_State *L, struct mp_call *call) {
  char id[MP_CALL_ID];
  lua_pushstring(L, mp_call_id(call, id, sizeof id));
  return 1;
}

static int push_base(lua_State *L, const struct mp_call *call) {
  if (mp_call_push_kept(L, call, F_BASE) == LUA_TNIL) lua_pushliteral(L, "");
  return 1;
}

static int push_field(lua_State *L, struct mp_call *call, enum field field) {
  const struct mp_head *head = &call->ex->head;
  switch (field) {
  case F_METHOD:
    push_slice(L, head->method);
    return 1;
  case F_TARGET:
    push_slice(L, head->target);
    return 1;
  case F_PATH:
    return push_cached(L, F_PATH, make_path, call);
  case F_QUERY:
    return push_cached(L, F_QUERY, make_query, call);
  case F_HEADERS:
    return push_cached(L, F_HEADERS, make_headers, call);
  case F_PARAMS:
    return push_cached(L, F_PARAMS, make_table, call);
  case F_BASE:
    return push_base(L, call);
  case F_VERSION:
    lua_pushstring(L, head->minor ? "1.1" : "1.0");
    return 1;
  case F_REMOTE:
    return push_remote(L, call);
  case F_IP:
    return push_ip(L, call);
  case F_SCHEME:
    lua_pushstring(L, mp_exchange_client(call->ex).secure ? "https" : "http");
    return 1;
  case F_HOST:
    if (!head->host.at) return 0;
    push_slice(L, head->host);
    return 1;
  case F_ID:
    return push_id(L, call);
  case F_CTX:
    return push_cached(L, F_CTX, make_table, call);
  default:
    return 0;
  }
  return 0;
}

/* Upvalue 1: name → number of a field, or a method. */
static int l_request_index(lua_State *L) {
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNUMBER) return 1;
  return push_field(L, live_call(L, lua_touserdata(L, 1), "req"), (enum field)lua_tointeger(L, -1));
}

static int l_request_newindex(lua_State *L) {
  struct mp_call *call = mp_call_check(L);
  if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "ctx") != 0)
    return luaL_error(L, "req.%s cannot be set; keep what is yours in req.ctx", luaL_tolstring(L, 2, NULL));
  mp_call_keep(L, call, F_CTX); /* the value is at the top */
  return 0;
}

static int l_request_tostring(lua_State *L) {
  struct mp_call_box *box = lua_touserdata(L, 1);
  if (box->gen != box->call->gen || !box->call->ex) {
    lua_pushliteral(L, "request (ended)");
    return 1;
  }
  const struct mp_head *head = &box->call->ex->head;
  lua_pushliteral(L, "request ");
  push_slice(L, head->method);
  lua_pushliteral(L, " ");
  push_slice(L, head->target);
  lua_concat(L, 4);
  return 1;
}

/* core.set_params(req, table), core.set_base(req, prefix): the router's findings. */
static int l_set_params(lua_State *L) {
  lua_settop(L, 2);
  mp_call_keep(L, mp_call_check(L), F_PARAMS);
  return 0;
}

static int l_set_base(lua_State *L) {
  lua_settop(L, 2);
  mp_call_keep(L, mp_call_check(L), F_BASE);
  return 0;
}

/* ---- limits of a route ---- */

static uint64_t whole_number(lua_Number n) {
  return n >= 0x1p53 ? UINT64_C(1) << 53 : n > 0 ? (uint64_t)n : 0;
}

/* core.expect_body(bytes): some route takes as much. */
static int l_expect_body(lua_State *L) {
  struct mp_api *api = mp_api_of(L);
  uint64_t most = whole_number(luaL_checknumber(L, 1));
  if (most > api->most_body) api->most_body = most;
  return 0;
}

/* core.set_limits(req, { max_body = bytes, timeout = seconds }): a route's own, before the body is read. Raises 413
 * where that is known to be longer. */
static int l_set_limits(lua_State *L) {
  struct mp_exchange *ex = mp_call_check(L)->ex;
  luaL_checktype(L, 2, LUA_TTABLE);
  if (lua_getfield(L, 2, "timeout") != LUA_TNIL)
    mp_exchange_set_time(ex, whole_number(ceil(luaL_checknumber(L, -1) * 1000)));
  if (lua_getfield(L, 2, "max_body") != LUA_TNIL) ex->max_body = whole_number(luaL_checknumber(L, -1));
  return mp_exchange_is_too_long(ex) ? mp_raise_status(L, 413, "the body is too large") : 0;
}

/* core.body_use(req): "unused", "read" (in part) or "whole". */
static int l_body_use(lua_State *L) {
  static const char *const names[] = {"unused", "read", "whole"};
  lua_pushstring(L, names[mp_call_check(L)->body_use]);
  return 1;
}

/* core.request_table(req): the request's own table, for Moonpool's modules. */
static int l_request_table(lua_State *L) {
  return push_cached(L, F_TABLE, make_table, mp_call_check(L));
}

/* ---- header fields ---- */

/* Repeated lines become one value, as RFC 9110 5.3 joins them; Cookie by "; " (RFC 6265 5.4). */
static int push_joined(lua_State *L, const struct mp_head *head, struct mp_slice name) {
  const char *joint = mp_slice_is_nocase(name, MP_SLICE("cookie")) ? "; " : ", ";
  luaL_Buffer b;
  int found = 0;
  for (unsigned i = 0; i < head->n_fields; i++) {
    if (!mp_slice_is_nocase(head->fields[i].name, name)) continue;
    if (found++ == 0)
      luaL_buffinit(L, &b);
    else
      luaL_addstring(&b, joint);
    luaL_addlstring(&b, head->fields[i].value.at, head->fields[i].value.len);
  }
  if (!found) return 0;
  luaL_pushresult(&b);
  return 1;
}

static int push_header(lua_State *L, const struct mp_head *head, struct mp_slice name) {
  const struct mp_field *first = mp_head_field(head, name);
  if (!first) {
    lua_pushnil(L);
    return 1;
  }
  for (const struct mp_field *f = first + 1; f < head->fields + head->n_fields; f++)
    if (mp_slice_is_nocase(f->name, name)) return push_joined(L, head, name);
  push_slice(L, first->value);
  return 1;
}

static int l_headers_index(lua_State *L) {
  struct mp_slice name;
  struct mp_call *call = live_call(L, lua_touserdata(L, 1), "req.headers");
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  name.at = lua_tolstring(L, 2, &name.len);
  return push_header(L, &call->ex->head, name);
}

static int l_headers_newindex(lua_State *L) {
  return luaL_error(L, "req.headers cannot be changed");
}

/* One entry a name, spelled as its first line is. */
static int l_headers_pairs(lua_State *L) {
  struct mp_call *call = live_call(L, lua_touserdata(L, 1), "req.headers");
  const struct mp_head *head = &call->ex->head;
  lua_getglobal(L, "next");
  lua_createtable(L, 0, head->n_fields);
  for (unsigned i = 0; i < head->n_fields; i++) {
    if (mp_head_field(head, head->fields[i].name) != &head->fields[i]) continue;
    push_slice(L, head->fields[i].name);
    push_header(L, head, head->fields[i].name);
    lua_rawset(L, -3);
  }
  lua_pushnil(L);
  return 3;
}

static int l_header_list(lua_State *L) {
  const struct mp_head *head = &mp_call_check(L)->ex->head;
  struct mp_slice name;
  int n = 0;
  name.at = luaL_checklstring(L, 2, &name.len);
  lua_newtable(L);
  for (unsigned i = 0; i < head->n_fields; i++) {
    if (!mp_slice_is_nocase(head->fields[i].name, name)) continue;
    push_slice(L, head->fields[i].value);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static int l_query_list(lua_State *L) {
  struct mp_slice rest = mp_call_check(L)->ex->head.query, name, value;
  int n = 0;
  luaL_checkstring(L, 2);
  lua_newtable(L);
  while (mp_query_next(&rest, &name, &value)) {
    push_decoded(L, name, true);
    bool same = lua_rawequal(L, -1, 2);
    lua_pop(L, 1);
    if (!same) continue;
    push_decoded(L, value, true);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static int l_keep(lua_State *L) {
  mp_call_check(L)->keep = true;
  lua_settop(L, 1);
  return 1;
}

/* ---- opening ---- */

static void open_headers(lua_State *L, struct mp_api *api) {
  static const luaL_Reg meta[] = {
      {"__index", l_headers_index}, {"__newindex", l_headers_newindex}, {"__pairs", l_headers_pairs}, {NULL, NULL}};
  luaL_newmetatable(L, mp_headers_name);
  luaL_setfuncs(L, meta, 0);
  api->headers_meta = luaL_ref(L, LUA_REGISTRYINDEX);
}

void mp_request_open(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"query_list", l_query_list}, {"header_list", l_header_list}, {"keep", l_keep}, {NULL, NULL}};
  struct mp_api *api = mp_api_of(L);
  open_headers(L, api);
  lua_newtable(L);
  api->kept_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  luaL_newmetatable(L, mp_request_name);
  lua_newtable(L); /* stack: core meta names */
  luaL_setfuncs(L, methods, 0);
  mp_request_body_open(L);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_pushinteger(L, fields[i].field);
    lua_setfield(L, -2, fields[i].name);
  }
  lua_pushvalue(L, -1);
  lua_setfield(L, -4, "request");
  lua_pushcclosure(L, l_request_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_request_newindex);
  lua_setfield(L, -2, "__newindex");
  lua_pushcfunction(L, l_request_tostring);
  lua_setfield(L, -2, "__tostring");
  api->request_meta = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushcfunction(L, l_set_params);
  lua_setfield(L, -2, "set_params");
  lua_pushcfunction(L, l_set_base);
  lua_setfield(L, -2, "set_base");
  lua_pushcfunction(L, l_set_limits);
  lua_setfield(L, -2, "set_limits");
  lua_pushcfunction(L, l_expect_body);
  lua_setfield(L, -2, "expect_body");
  lua_pushcfunction(L, l_request_table);
  lua_setfield(L, -2, "request_table");
  lua_pushcfunction(L, l_body_use);
  lua_setfield(L, -2, "body_use");
}
