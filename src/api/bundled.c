#include "api/bundled.h"
#include "api/push.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct mp_bundle *bundle_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* Development alone: that it waits for the disk does no harm. Pushes the bytes, or raises. */
static int p_read(lua_State *L) {
  char piece[4096];
  luaL_Buffer bytes;
  FILE *file = lua_touserdata(L, 1);
  luaL_buffinit(L, &bytes);
  for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;) luaL_addlstring(&bytes, piece, n);
  if (ferror(file)) return luaL_error(L, "a file that wins over the bundle's cannot be read");
  luaL_pushresult(&bytes);
  return 1;
}

/* Takes the path over. */
static int push_overridden(lua_State *L, char *path) {
  FILE *file = fopen(path, "re");
  free(path);
  if (!file) return luaL_error(L, "a file that wins over the bundle's cannot be opened: %s", strerror(errno));
  lua_pushcfunction(L, p_read);
  lua_pushlightuserdata(L, file);
  int status = lua_pcall(L, 1, 1, 0);
  fclose(file);
  return status == LUA_OK ? 1 : lua_error(L);
}

int mp_bundled_push(lua_State *L, const struct mp_bundle *bundle, const char *path) {
  char *wins = mp_bundle_overridden(bundle, NULL, path);
  if (wins) return push_overridden(L, wins);
  const struct mp_bundled *file = mp_bundle_find(bundle, NULL, path);
  if (!file) return 0;
  lua_pushlstring(L, file->bytes.at, file->bytes.len);
  return 1;
}

/* app_file(name) → its bytes or nil */
static int l_app_file(lua_State *L) {
  size_t len;
  const char *name = luaL_checklstring(L, 1, &len);
  luaL_argcheck(L, strlen(name) == len, 1, "a path holds no NUL");
  return mp_bundled_push(L, bundle_of(L), name);
}

/* is_app_folder(name): in the bundle, or in the folder that wins over it */
static int l_is_app_folder(lua_State *L) {
  const struct mp_bundle *bundle = bundle_of(L);
  const char *name = luaL_checkstring(L, 1);
  struct stat st;
  bool is = mp_bundle_has_folder(bundle, NULL, name);
  if (!is && bundle->override && name[0] != '/') {
    const char *path = lua_pushfstring(L, "%s/%s", bundle->override, name);
    is = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
  }
  lua_pushboolean(L, is);
  return 1;
}

void mp_bundled_open(lua_State *L, const struct mp_bundle *bundle) {
  static const luaL_Reg functions[] = {{"app_file", l_app_file}, {"is_app_folder", l_is_app_folder}, {NULL, NULL}};
  if (!bundle) return;
  lua_pushlightuserdata(L, (void *)(uintptr_t)bundle);
  luaL_setfuncs(L, functions, 1);
}

/* ---- require ---- */

static const char *const places[] = {"%s.lua",
                                     "%s/init.lua",
                                     "lua/%s.lua",
                                     "lua/%s/init.lua",
                                     "lua_modules/share/lua/5.4/%s.lua",
                                     "lua_modules/share/lua/5.4/%s/init.lua"};

static int l_searcher(lua_State *L) {
  const char *module = luaL_gsub(L, luaL_checkstring(L, 1), ".", "/");
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    size_t len;
    const char *name = lua_pushfstring(L, places[i], module);
    if (!mp_bundled_push(L, bundle_of(L), name)) continue;
    const char *text = lua_tolstring(L, -1, &len), *chunk = lua_pushfstring(L, "@%s", name);
    if (luaL_loadbufferx(L, text, len, chunk, "t") == LUA_OK) {
      lua_pushstring(L, name);
      return 2;
    }
    return luaL_error(L, "error loading module '%s' from file '%s' of the bundle:\n\t%s", lua_tostring(L, 1), name,
                      lua_tostring(L, -1));
  }
  lua_pushfstring(L, "no module '%s' in the bundle", lua_tostring(L, 1));
  return 1;
}

void mp_bundled_search(lua_State *L, const struct mp_bundle *bundle, lua_Integer at) {
  if (!bundle) return;
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= at; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushlightuserdata(L, (void *)(uintptr_t)bundle);
  lua_pushcclosure(L, l_searcher, 1);
  lua_rawseti(L, -2, at);
}
