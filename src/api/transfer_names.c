#include "api/transfer.h"
#include <lauxlib.h>
#include <string.h>

/* What both states have of their own, value -> name. Made anew when a module was loaded since. Weak, so that it keeps
 * nothing alive that the script has let go. */

static const char names_key; /* its address is the key in the registry */

/* Libraries whose every function is known on both sides, Lua functions too (moonpool replaces some of Lua's own). */
static bool is_library(const char *module) {
  static const char *const libraries[] = {"_G",    "string", "table",   "math",      "os",      "io",
                                          "debug", "utf8",   "package", "coroutine", "moonpool"};
  for (unsigned i = 0; i < sizeof libraries / sizeof *libraries; i++)
    if (strcmp(libraries[i], module) == 0) return true;
  return false;
}

/* Sets names[value at the top] unless it has a name already; pops it. stack: … names … value, `name` above it. */
static void set_name(lua_State *L, int names) {
  lua_pushvalue(L, -2); /* stack: value name value */
  if (lua_rawget(L, names) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_rawset(L, names);
  } else {
    lua_pop(L, 3);
  }
}

static void push_name(lua_State *L, const char *module, const char *outer, const char *field) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  luaL_addstring(&b, module);
  if (outer) {
    luaL_addchar(&b, '\0');
    luaL_addstring(&b, outer);
  }
  if (field) {
    luaL_addchar(&b, '\0');
    luaL_addstring(&b, field);
  }
  luaL_pushresult(&b);
}

/* The fields of the table at the top: functions, and in libraries one level of tables below. */
static void name_fields(lua_State *L, int names, const char *module, const char *outer, bool library) {
  luaL_checkstack(L, 12, NULL);
  lua_pushnil(L);
  while (lua_next(L, -2)) { /* stack: table key value */
    int type = lua_type(L, -1);
    bool ours = type == LUA_TFUNCTION && (library || lua_iscfunction(L, -1));
    bool table = type == LUA_TTABLE && library && !outer && strcmp(module, "moonpool") == 0;
    if (lua_type(L, -2) != LUA_TSTRING || !(ours || table)) {
      lua_pop(L, 1);
      continue;
    }
    const char *field = lua_tostring(L, -2);
    if (table) name_fields(L, names, module, field, true);
    push_name(L, module, outer, field);
    set_name(L, names);
  }
}

static void name_module(lua_State *L, int names, const char *module) {
  int type = lua_type(L, -1);
  if (type != LUA_TTABLE && type != LUA_TFUNCTION && type != LUA_TUSERDATA) return;
  lua_pushvalue(L, -1);
  push_name(L, module, NULL, NULL);
  set_name(L, names);
  if (type == LUA_TTABLE) name_fields(L, names, module, NULL, is_library(module));
}

/* Two rounds: the public name of a function is preferred to where moonpool keeps it. */
static void name_all(lua_State *L, int names, int loaded, bool inner) {
  lua_pushnil(L);
  while (lua_next(L, loaded)) {
    const char *module = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    if (module && (strncmp(module, "moonpool.", 9) == 0) == inner) name_module(L, names, module);
    lua_pop(L, 1);
  }
}

static lua_Integer count(lua_State *L, int table) {
  lua_Integer n = 0;
  lua_pushnil(L);
  while (lua_next(L, table)) {
    n++;
    lua_pop(L, 1);
  }
  return n;
}

static void push_weak_table(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}

/* Its own number of modules is kept in it under `true`. */
void mp_transfer_names(lua_State *L) {
  luaL_checkstack(L, 12, NULL);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  int loaded = lua_gettop(L);
  lua_Integer n = count(L, loaded);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key) == LUA_TTABLE) {
    lua_pushboolean(L, 1);
    lua_rawget(L, -2);
    bool current = lua_tointeger(L, -1) == n;
    lua_pop(L, 1);
    if (current) {
      lua_remove(L, loaded);
      return;
    }
  }
  lua_settop(L, loaded);
  push_weak_table(L);
  int names = lua_gettop(L);
  name_all(L, names, loaded, false);
  name_all(L, names, loaded, true);
  lua_pushboolean(L, 1);
  lua_pushinteger(L, n);
  lua_rawset(L, names);
  lua_pushvalue(L, names);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &names_key);
  lua_remove(L, loaded);
}

bool mp_transfer_name_of(lua_State *L, int names, int index) {
  lua_pushvalue(L, index);
  if (lua_rawget(L, names) == LUA_TSTRING) return true;
  lua_pop(L, 1);
  return false;
}
