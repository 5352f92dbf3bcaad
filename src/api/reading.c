#include "api/reading.h"
#include <string.h>

void mp_reading_anchor(lua_State *L, int scratch) {
  lua_getiuservalue(L, scratch, 1);
  lua_insert(L, -2);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_pop(L, 1);
}

const char *mp_reading_string(lua_State *L, const struct mp_reading *r, int index, const char *name) {
  size_t len;
  if (lua_type(L, index) != LUA_TSTRING && lua_type(L, index) != LUA_TNUMBER)
    luaL_error(L, "%s: %s must be a string, not %s", r->args->what, name, luaL_typename(L, index));
  lua_pushvalue(L, index);
  const char *s = lua_tolstring(L, -1, &len);
  if (strlen(s) != len) luaL_error(L, "%s: %s holds a NUL byte", r->args->what, name);
  mp_reading_anchor(L, r->scratch);
  return s;
}

char **mp_reading_array(lua_State *L, const struct mp_reading *r, size_t n) {
  char **array = lua_newuserdatauv(L, (n + 1) * sizeof *array, 0);
  array[n] = NULL;
  mp_reading_anchor(L, r->scratch);
  return array;
}
