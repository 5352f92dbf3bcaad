#include "api/result.h"
#include "base/err.h"
#include "base/slice.h"
#include <lauxlib.h>
#include <stdio.h>

#define RESULT_NAME "moonpool.result"

static void set_boolean(lua_State *L, const char *name, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

/* Three facts in three fields: `code` only after an exit, `signal` only after a signal. */
static void set_status(lua_State *L, const struct mp_status *status) {
  char name[32];
  set_boolean(L, "ok", status->end == MP_END_EXIT && status->code == 0);
  switch (status->end) {
  case MP_END_EXIT:
    set_text(L, "reason", "exit");
    set_integer(L, "code", status->code);
    break;
  case MP_END_SIGNAL:
    set_text(L, "reason", "signal");
    set_integer(L, "signal", status->signal);
    set_text(L, "signame", mp_signal_name(status->signal, name, sizeof name));
    if (status->core) set_boolean(L, "core", true);
    break;
  default:
    set_text(L, "reason", "lost");
  }
}

void mp_result_push(lua_State *L, const struct mp_result_facts *facts) {
  lua_createtable(L, 0, 12);
  set_status(L, &facts->status);
  if (facts->truncated[1] || facts->truncated[2])
    set_text(L, "truncated",
             facts->truncated[1] && facts->truncated[2] ? "both"
             : facts->truncated[1]                      ? "stdout"
                                                        : "stderr");
  if (facts->held) set_boolean(L, "held", true);
  if (facts->discarded) set_integer(L, "discarded", (lua_Integer)facts->discarded);
  if (facts->timed_out) set_boolean(L, "timed_out", true);
  if (facts->cancelled) set_boolean(L, "cancelled", true);
  lua_pushnumber(L, facts->elapsed_s);
  lua_setfield(L, -2, "elapsed");
  set_integer(L, "pid", facts->pid);
  if (facts->timed_out) {
    lua_pushnumber(L, facts->timeout_s);
    lua_setfield(L, -2, "timeout");
  }
  luaL_setmetatable(L, RESULT_NAME);
}

/* "exit 27", "killed by SIGKILL (timeout 5 s)", "lost" */
static int l_result_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "reason");
  const char *reason = luaL_optstring(L, -1, "lost");
  if (strcmp(reason, "exit") == 0) {
    lua_getfield(L, 1, "code");
    lua_pushfstring(L, "exit %I", lua_tointeger(L, -1));
  } else if (strcmp(reason, "signal") == 0) {
    lua_getfield(L, 1, "signame");
    lua_pushfstring(L, "killed by %s", lua_tostring(L, -1));
  } else {
    lua_pushliteral(L, "status lost");
  }
  if (lua_getfield(L, 1, "timed_out") == LUA_TBOOLEAN) {
    lua_getfield(L, 1, "timeout");
    char text[48];
    snprintf(text, sizeof text, " (timeout %.6g s)", lua_tonumber(L, -1));
    lua_pushfstring(L, "%s%s", lua_tostring(L, -3), text);
  } else {
    lua_pop(L, 1);
    if (lua_getfield(L, 1, "cancelled") == LUA_TBOOLEAN)
      lua_pushfstring(L, "%s (cancelled)", lua_tostring(L, -2));
    else
      lua_pop(L, 1);
  }
  return 1;
}

/* ---- check ---- */

/* The last line of stderr that says something: for the message of `check`. */
static struct mp_slice last_line(struct mp_slice text) {
  while (text.len > 0 && (text.at[text.len - 1] == '\n' || text.at[text.len - 1] == '\r')) text.len--;
  size_t start = text.len;
  while (start > 0 && text.at[start - 1] != '\n') start--;
  return mp_slice(text.at + start, text.len - start);
}

static int l_check_tostring(lua_State *L) {
  lua_getfield(L, 1, "message");
  return 1;
}

int mp_result_raise(lua_State *L, int result, const char *code) {
  lua_createtable(L, 0, 3);
  lua_insert(L, -2);
  lua_setfield(L, -2, "message");
  if (result) {
    lua_pushvalue(L, result);
    lua_setfield(L, -2, "result");
  }
  if (code) set_text(L, "code", code);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_check_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_setmetatable(L, -2);
  return lua_error(L);
}

int mp_result_check(lua_State *L, int result, const char *name) {
  struct mp_slice text = {"", 0};
  lua_getfield(L, result, "ok");
  if (lua_toboolean(L, -1)) {
    lua_settop(L, result);
    return 1;
  }
  if (lua_getfield(L, result, "stderr") == LUA_TSTRING) text.at = lua_tolstring(L, -1, &text.len);
  text = last_line(text);
  luaL_tolstring(L, result, NULL);
  lua_pushfstring(L, "%s: %s", name, lua_tostring(L, -1));
  if (text.len > 0) {
    lua_pushliteral(L, ": ");
    lua_pushlstring(L, text.at, text.len);
    lua_concat(L, 3);
  }
  return mp_result_raise(L, result, NULL);
}

void mp_result_open(lua_State *L) {
  luaL_newmetatable(L, RESULT_NAME);
  lua_pushcfunction(L, l_result_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}
