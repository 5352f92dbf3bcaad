/* analyzer.h - what clang-tidy cannot know from Lua's own headers: these never return. Given to it by script/check. */
#ifndef MP_ANALYZER_H
#define MP_ANALYZER_H

struct lua_State;
extern _Noreturn int lua_error(struct lua_State *L);
extern _Noreturn int luaL_error(struct lua_State *L, const char *format, ...);
extern _Noreturn int luaL_argerror(struct lua_State *L, int arg, const char *message);
extern _Noreturn int luaL_typeerror(struct lua_State *L, int arg, const char *name);

#endif
