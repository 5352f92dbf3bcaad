#include "api/job.h"
#include "api/transfer.h"
#include <math.h>
#include <stdlib.h>

/* moonpool.offload([options,] fn or "module.fn", …) */

static void free_crew(struct mp_crew *crew) {
  free(crew);
}

/* Made at the first offload: a worker that never asks for threads has none. */
static struct mp_crew *offload_crew(lua_State *L) {
  struct mp_api *api = mp_api_of(L);
  if (api->offload) return api->offload;
  struct mp_crew *crew = calloc(1, sizeof *crew);
  if (!crew) luaL_error(L, "offload: not enough memory");
  crew->kind = "offload";
  crew->free = free_crew;
  if (mp_crew_open(L, crew, "offload", api->setup.config->threads) < 0) {
    free(crew);
    luaL_error(L, "offload: out of memory or descriptors");
  }
  return api->offload = crew;
}

uint64_t mp_check_max_memory(lua_State *L, int index, const char *what) {
  lua_Number n = lua_tonumber(L, index);
  if (lua_type(L, index) != LUA_TNUMBER || !(n >= 0) || n > 9e15)
    luaL_error(L, "%s: max_memory must be a number of bytes from 0", what);
  return (uint64_t)n;
}

static void read_options(lua_State *L, int index, struct mp_job *job) {
  lua_pushnil(L);
  while (lua_next(L, index)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    if (strcmp(name, "max_memory") != 0) {
      lua_pop(L, 1);
      luaL_error(L, "offload: unknown option %s", luaL_tolstring(L, -1, NULL));
    }
    job->max_memory = mp_check_max_memory(L, -1, "offload");
    lua_pop(L, 1);
  }
}

static void check_target(lua_State *L, int index) {
  if (lua_isfunction(L, index)) return;
  if (lua_type(L, index) != LUA_TSTRING)
    luaL_error(L, "offload: a function or \"module.function\" is wanted, not %s", luaL_typename(L, index));
  const char *name = lua_tostring(L, index), *dot = strrchr(name, '.');
  if (!dot || dot == name || !dot[1])
    luaL_error(L, "offload: \"%s\" names no function of a module, as in \"module.function\"", name);
}

/* The target has words of its own: scripts see it as the function, and what follows as the arguments. */
static void pack(lua_State *L, int target, int n, struct mp_job *job) {
  struct mp_transfer_words words = {
      .what = "offload", .item = "argument", .number = 0, .name = "the function", .carrier = &job->carrier};
  mp_transfer_pack(L, target, n, &words, &job->in);
}

static int l_offload(lua_State *L) {
  int target = lua_istable(L, 1) ? 2 : 1, top = lua_gettop(L);
  check_target(L, target);
  struct mp_job *job = mp_job_push(L, offload_crew(L)); /* stack: … job */
  if (target == 2) read_options(L, 1, job);
  pack(L, target, top - target + 1, job);
  return mp_job_start(L, top + 1, mp_api_scope(L));
}

void mp_offload_open(lua_State *L) {
  lua_pushcfunction(L, l_offload);
  lua_setfield(L, -2, "offload");
}
