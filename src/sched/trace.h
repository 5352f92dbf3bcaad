/* trace.h - the traceback of a coroutine, at a bounded price.
 * Lua finds the bottom of a stack by walking down to it, again for each level it prints there: after endless recursion
 * that is seconds, in which the worker does nothing else. Of such a stack only the top is told. */
#ifndef MP_SCHED_TRACE_H
#define MP_SCHED_TRACE_H

#include <lua.h>

/* As luaL_traceback. */
void mp_traceback(lua_State *L, lua_State *of, const char *message, int level);

#endif
