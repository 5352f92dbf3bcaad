/* failure.h - what Lua gets when the world fails. */
#ifndef MP_API_FAILURE_H
#define MP_API_FAILURE_H

#include <lua.h>

/* nil, message, code name */
int mp_push_failure(lua_State *L, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
