#include "sched/trace.h"
#include <lauxlib.h>

enum { DEEPEST = 1000, TOLD = 20 };

static void add_level(lua_State *L, luaL_Buffer *text, lua_State *of, lua_Debug *at) {
  lua_getinfo(of, "Sln", at);
  lua_pushfstring(L, "\n\t%s:", at->short_src);
  luaL_addvalue(text);
  if (at->currentline > 0) {
    lua_pushfstring(L, "%d:", at->currentline);
    luaL_addvalue(text);
  }
  if (*at->namewhat)
    lua_pushfstring(L, " in %s '%s'", at->namewhat, at->name);
  else if (*at->what == 'C')
    lua_pushliteral(L, " in ?");
  else
    lua_pushfstring(L, " in function <%s:%d>", at->short_src, at->linedefined);
  luaL_addvalue(text);
}

static void push_top(lua_State *L, lua_State *of, const char *message, int level) {
  luaL_Buffer text;
  lua_Debug at;
  luaL_buffinit(L, &text);
  if (message) {
    luaL_addstring(&text, message);
    luaL_addchar(&text, '\n');
  }
  luaL_addstring(&text, "stack traceback:");
  for (int i = level; i < level + TOLD && lua_getstack(of, i, &at); i++) add_level(L, &text, of, &at);
  luaL_addstring(&text, "\n\t...\t(more than 1000 levels)");
  luaL_pushresult(&text);
}

void mp_traceback(lua_State *L, lua_State *of, const char *message, int level) {
  lua_Debug at;
  if (lua_getstack(of, DEEPEST, &at))
    push_top(L, of, message, level);
  else
    luaL_traceback(L, of, message, level);
}
