#include "api/reading.h"
#include "http/traceparent.h"
#include <string.h>

extern char **environ;

/* The worker's, less what is ours or the service manager's: a child must not take it for its own. */
static bool is_ours(const char *entry) {
  static const char *const prefixes[] = {"MOONPOOL_", "LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_"};
  for (unsigned i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
    if (strncmp(entry, prefixes[i], strlen(prefixes[i])) == 0) return true;
  return false;
}

static void check_name(lua_State *L, const struct mp_reading *r, int index) {
  size_t len;
  if (lua_type(L, index) != LUA_TSTRING) luaL_error(L, "%s: env: a name must be a string", r->args->what);
  const char *name = lua_tolstring(L, index, &len);
  if (len == 0 || strlen(name) != len || strchr(name, '='))
    luaL_error(L, "%s: env: a name must not be empty nor hold \"=\" or NUL", r->args->what);
}

/* `false` takes a variable out of what is inherited; an environment that replaces has nothing to take out. */
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

static const char *path_in(char *const *envp) {
  for (; *envp; envp++)
    if (strncmp(*envp, "PATH=", 5) == 0) return *envp + 5;
  return NULL;
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

static size_t add_inherited(lua_State *L, const struct mp_reading *r, int set, char **array) {
  struct mp_slice trace = traceparent_of(L);
  size_t n = 0;
  for (size_t i = 0; environ[i]; i++) {
    if (is_ours(environ[i]) || is_edited(L, set, environ[i])) continue;
    if (trace.at && strncmp(environ[i], "TRACEPARENT=", 12) == 0) continue;
    array[n++] = environ[i];
  }
  if (trace.at && !is_edited(L, set, "TRACEPARENT=")) n = add_traceparent(L, r, trace, array, n);
  return n;
}

void mp_environment_make(lua_State *L, const struct mp_reading *r) {
  size_t most = 0, n = 0;
  bool replaces = lua_getfield(L, r->table, "env") == LUA_TTABLE;
  int env = lua_gettop(L);
  lua_getfield(L, r->table, "setenv");
  int set = lua_gettop(L);
  while (environ[most]) most++;
  char **array = mp_reading_array(L, r, most + count_table(L, env) + count_table(L, set) + 1);
  n = replaces ? add_table(L, r, env, array, n) : add_inherited(L, r, set, array);
  n = add_table(L, r, set, array, n);
  array[n] = NULL;
  lua_settop(L, env - 1);
  r->args->spec.exec.envp = array;
  r->args->spec.exec.path = path_in(array);
}
