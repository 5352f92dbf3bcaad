#include "api/api.h"

static bool needs_quotes(struct mp_slice s) {
  for (size_t i = 0; i < s.len; i++) {
    unsigned char c = (unsigned char)s.at[i];
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '=') return true;
  }
  return s.len == 0;
}

/* Appends " key=value" to the string at `line`, for the pair at the top of the stack. */
static void add_field(lua_State *L, int line) {
  char quoted[1024];
  struct mp_slice value;
  int key = lua_gettop(L) - 1;
  value.at = luaL_tolstring(L, -1, &value.len);
  if (needs_quotes(value)) value.at = mp_log_quote(value, quoted, sizeof quoted);
  lua_pushvalue(L, key); /* a copy: tolstring must not change the key that lua_next needs */
  lua_pushfstring(L, "%s %s=%s", lua_tostring(L, line), luaL_tolstring(L, -1, NULL), value.at);
  lua_replace(L, line);
  lua_settop(L, key);
}

/* core.log(level, message[, fields]): one line; fields are key=value pairs behind it. */
static int l_log(lua_State *L) {
  enum mp_log_level level;
  struct mp_log *log = lua_touserdata(L, lua_upvalueindex(1));
  if (!mp_log_level_named(luaL_checkstring(L, 1), &level)) return luaL_argerror(L, 1, "no such log level");
  if (!mp_log_wants(log, level)) return 0;
  lua_settop(L, 3);
  luaL_tolstring(L, 2, NULL); /* stack: level message fields line */
  if (lua_istable(L, 3)) {
    lua_pushnil(L);
    while (lua_next(L, 3)) add_field(L, 4);
  }
  struct mp_slice line;
  line.at = lua_tolstring(L, 4, &line.len);
  mp_log_detail(log, level, "app", line, mp_slice("", 0));
  return 0;
}

void mp_logging_open(lua_State *L, struct mp_log *log) {
  lua_pushlightuserdata(L, log);
  lua_pushcclosure(L, l_log, 1);
  lua_setfield(L, -2, "log");
}
