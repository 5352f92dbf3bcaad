#include "api/reading.h"
#include "http/traceparent.h"
#include <string.h>

static void check_name(lua_State *L, const struct mp_reading *r, int index) {
  size_t len;
  if (lua_type(L, index) != LUA_TSTRING) luaL_error(L, "%s: env: a name must be a string", r->args->what);
  const char *name = lua_tolstring(L, index, &len);
  if (len == 0 || strlen(name) != len || strchr(name, '='))
    luaL_error(L, "%s: env: a name must not be empty nor hold \"=\" or NUL", r->args->what);
}

/* `false` takes a variable out of what is heritage; an environment that replaces has nothing to take out. */
void mp_environment_read(lua_State *L, struct mp_reading *r, const char *name) {
  bool edits = name[0] == 's';
  if (!lua_istable(L, -1)) luaL_error(L, "%s: %s must be a table", r->args->what, name);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    check_name(L, r, -2);
    if (!(edits && lua_isboolean(L, -1) && !lua_toboolean(L, -1))) mp_reading_string(L, r, -1, name);
    lua_pop(L, 1);
  }
}

/* stack: … set; the names that stand in it are left out of what is inherited. */
static bool is_edited(lua_State *L, int set, const char *entry) {
  const char *equals = strchr(entry, '=');
  if (!equals || !lua_istable(L, set)) return false;
  lua_pushlstring(L, entry, (size_t)(equals - entry));
  lua_rawget(L, set);
  bool edited = !lua_isnil(L, -1);
  lua_pop(L, 1);
  return edited;
}

static size_t count_table(lua_State *L, int index) {
  size_t n = 0;
  if (!lua_istable(L, index)) return 0;
  lua_pushnil(L);
  for (; lua_next(L, index); n++) lua_pop(L, 1);
  return n;
}

static size_t add_table(lua_State *L, const struct mp_reading *r, int index, char **array, size_t n) {
  if (!lua_istable(L, index)) return n;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (!lua_isboolean(L, -1)) {
      lua_pushvalue(L, -1);
      const char *value = lua_tostring(L, -1);
      array[n++] = (char *)(uintptr_t)lua_pushfstring(L, "%s=%s", lua_tostring(L, -3), value);
      mp_reading_anchor(L, r->scratch);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  return n;
}

/* What the request of the running task says of the trace that it belongs to, if it says it well. */
static struct mp_slice traceparent_of(lua_State *L) {
  const struct mp_call *call = mp_call_of_scope(mp_api_of(L), mp_api_scope(L));
  return call && call->ex ? mp_traceparent_of(&call->ex->head) : mp_slice(NULL, 0);
}

/* The one variable that a client has a say in. */
static size_t add_traceparent(lua_State *L, const struct mp_reading *r, struct mp_slice value, char **array, size_t n) {
  lua_pushliteral(L, "TRACEPARENT=");
  lua_pushlstring(L, value.at, value.len);
  lua_concat(L, 2);
  array[n++] = (char *)(uintptr_t)lua_tostring(L, -1);
  mp_reading_anchor(L, r->scratch);
  return n;
}

static size_t add_inherited(lua_State *L, const struct mp_reading *r, int set, struct mp_slice trace, char **array) {
  size_t n = 0;
  for (char **entry = r->args->api->heritage.kept; *entry; entry++) {
    if (is_edited(L, set, *entry)) continue;
    if (trace.at && strncmp(*entry, "TRACEPARENT=", 12) == 0) continue;
    array[n++] = *entry;
  }
  if (trace.at && !is_edited(L, set, "TRACEPARENT=")) n = add_traceparent(L, r, trace, array, n);
  return n;
}

/* stack: … env setenv */
static void make_own(lua_State *L, const struct mp_reading *r, int env, struct mp_slice trace) {
  struct mp_heritage *heritage = &r->args->api->heritage;
  int set = env + 1;
  size_t n = 0;
  if (mp_heritage_look(heritage) < 0) luaL_error(L, "%s: not enough memory", r->args->what);
  char **array = mp_reading_array(L, r, heritage->n_seen + count_table(L, env) + count_table(L, set) + 1);
  n = lua_istable(L, env) ? add_table(L, r, env, array, n) : add_inherited(L, r, set, trace, array);
  n = add_table(L, r, set, array, n);
  array[n] = NULL;
  r->args->spec.exec.envp = array;
  r->args->spec.exec.path = mp_path_in(array);
}

void mp_environment_make(lua_State *L, const struct mp_reading *r) {
  struct mp_slice trace = {NULL, 0};
  bool replaces = lua_getfield(L, r->table, "env") == LUA_TTABLE;
  int env = lua_gettop(L);
  bool edits = lua_getfield(L, r->table, "setenv") == LUA_TTABLE;
  if (!replaces) trace = traceparent_of(L);
  if (replaces || edits || trace.at) make_own(L, r, env, trace);
  lua_settop(L, env - 1);
}
