/* How often Lua's collector runs. By itself it begins a cycle when the heap has doubled: a worker with a small heap
 * that handles large bodies would look through all of it every few requests. So there is always some garbage to be had
 * for a cycle; the pause is set anew after each, for the heap's size of then. */
#include "api/api.h"
#include <stdint.h>

enum { GARBAGE_LEAST = 1024 * 1024, PAUSE_LEAST = 200, PAUSE_MOST = 1000 /* percent; Lua cannot hold more */ };

static int l_cycle_over(lua_State *L);

/* Is found dead by each cycle, and made again. */
static void push_sentinel(lua_State *L) {
  lua_newuserdatauv(L, 0, 0);
  if (luaL_newmetatable(L, "moonpool._cycle")) {
    lua_pushcfunction(L, l_cycle_over);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
}

/* A finalizer cannot set the pause (seen with 5.4.4): the next request's end does. */
static int l_cycle_over(lua_State *L) {
  struct mp_api *api = mp_api_of(L);
  if (api->closing) return 0;
  api->cycle_over = true;
  push_sentinel(L);
  return 0;
}

static int pause_for(const struct mp_memory *memory) {
  size_t garbage = memory->limit / 8 < GARBAGE_LEAST ? memory->limit / 8 : GARBAGE_LEAST;
  size_t pause = 100 + 100 * garbage / (memory->used ? memory->used : 1);
  return pause < PAUSE_LEAST ? PAUSE_LEAST : pause > PAUSE_MOST ? PAUSE_MOST : (int)pause;
}

/* A script that has set a pause of its own keeps it. */
void mp_collector_tune(struct mp_api *api) {
  int pause = pause_for(&api->memory) / 4 * 4; /* as Lua holds it */
  int before = lua_gc(api->L, LUA_GCSETPAUSE, pause);
  api->cycle_over = false;
  if (before == api->pause)
    api->pause = pause;
  else
    lua_gc(api->L, LUA_GCSETPAUSE, before);
}

void mp_collector_open(lua_State *L) {
  struct mp_api *api = mp_api_of(L);
  api->pause = lua_gc(L, LUA_GCSETPAUSE, PAUSE_LEAST);
  lua_gc(L, LUA_GCSETPAUSE, api->pause);
  push_sentinel(L);
  lua_pop(L, 1);
}
