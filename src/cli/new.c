/* The verb `new`: lua/moonpool/new.lua says what a project consists of; here is what Lua itself cannot do. */
#include "api/api.h"
#include "api/embedded.h"
#include "cli/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int result(lua_State *L, int err) {
  if (err == 0) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, strerror(err));
  return 2;
}

static int l_make_folder(lua_State *L) {
  return result(L, mkdir(luaL_checkstring(L, 1), 0777) < 0 ? errno : 0);
}

static int write_all(int fd, const char *at, size_t left) {
  while (left > 0) {
    ssize_t n = write(fd, at, left);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    at += n;
    left -= (size_t)n;
  }
  return 0;
}

/* Never over a file that is there. */
static int l_write_new(lua_State *L) {
  size_t len;
  const char *path = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &len);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return result(L, errno);
  int err = write_all(fd, text, len);
  if (close(fd) < 0 && err == 0) err = errno;
  return result(L, err);
}

/* Types for the editor: name → text. */
static void push_meta(lua_State *L) {
  static const char folder[] = "moonpool/meta/";
  lua_newtable(L);
  for (const struct mp_embedded *file = mp_embedded_files; file->module; file++) {
    if (strncmp(file->file, folder, sizeof folder - 1) != 0) continue;
    lua_pushlstring(L, mp_embedded_unpack(L, file), file->len);
    lua_setfield(L, -3, file->file + sizeof folder - 1);
    lua_pop(L, 1);
  }
}

/* stack: argc argv; → the exit code, and what to say. */
static int p_new(lua_State *L) {
  static const luaL_Reg verbs[] = {{"make_folder", l_make_folder}, {"write_new", l_write_new}, {NULL, NULL}};
  int argc = (int)lua_tointeger(L, 1);
  char **argv = lua_touserdata(L, 2);
  struct mp_config config = {0};
  struct mp_api_setup setup = {.config = &config};
  luaL_openlibs(L);
  mp_searcher_open(L, &setup);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonpool.new");
  lua_call(L, 1, 1);
  luaL_newlib(L, verbs);
  push_meta(L);
  lua_setfield(L, -2, "meta");
  lua_createtable(L, argc, 0);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_call(L, 2, 2);
  return 2;
}

int mp_verb_new(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (!L) return MP_EXIT_INTERNAL;
  lua_pushcfunction(L, p_new);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  int code = MP_EXIT_INTERNAL;
  if (lua_pcall(L, 2, 2, 0) == LUA_OK) code = (int)lua_tointeger(L, -2);
  const char *said = lua_tostring(L, -1);
  if (said && code == MP_EXIT_WELL) fputs(said, stdout);
  if (said && code != MP_EXIT_WELL) fprintf(stderr, "moonpool: %s\n", said);
  lua_close(L);
  return code;
}
