#include "api/failure.h"
#include "base/err.h"
#include <stdarg.h>
#include <stdio.h>

int mp_push_failure(lua_State *L, int err, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  lua_pushnil(L);
  lua_pushstring(L, text);
  lua_pushstring(L, mp_err_name(err));
  return 3;
}
