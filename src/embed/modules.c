#include "embed/modules.h"
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

struct mp_modules *mp_modules_new(void) {
  return calloc(1, sizeof(struct mp_modules));
}

static void free_function(struct mp_host_function *f) {
  if (!f) return;
  free(f->module);
  free(f->name);
  free(f);
}

void mp_modules_free(struct mp_modules *modules) {
  if (!modules) return;
  for (unsigned i = 0; i < modules->n; i++) free_function(modules->list[i]);
  free(modules->list);
  free(modules);
}

static bool is_same(const char *a, const char *b) {
  return a && b ? strcmp(a, b) == 0 : a == b;
}

static int add(struct mp_modules *modules, const struct mp_host_function *given) {
  struct mp_host_function *f = malloc(sizeof *f), **grown;
  if (!f) return -ENOMEM;
  *f = *given;
  f->module = strdup(given->module);
  f->name = given->name ? strdup(given->name) : NULL;
  if (!f->module || (given->name && !f->name)) goto fail;
  for (unsigned i = 0; i < modules->n; i++) {
    if (!is_same(modules->list[i]->module, f->module) || !is_same(modules->list[i]->name, f->name)) continue;
    free_function(modules->list[i]);
    modules->list[i] = f;
    return 0;
  }
  grown = realloc(modules->list, (modules->n + 1) * sizeof *grown);
  if (!grown) goto fail;
  modules->list = grown;
  grown[modules->n++] = f;
  return 0;
fail:
  free_function(f);
  return -ENOMEM;
}

int mp_modules_function(struct mp_modules *modules, const char *module, const char *name,
                        void (*function)(struct mp_call *call, void *ctx), void *ctx, unsigned flags) {
  struct mp_host_function f = {(char *)module, (char *)name, function, ctx, flags, NULL};
  if (!module || !*module || !name || !*name || !function || (flags & ~(unsigned)MP_FUNCTION_WAITS)) return -EINVAL;
  return add(modules, &f);
}

int mp_modules_lua(struct mp_modules *modules, const char *module, int (*open)(struct lua_State *L)) {
  struct mp_host_function f = {.module = (char *)module, .open = open};
  if (!module || !*module || !open) return -EINVAL;
  return add(modules, &f);
}

/* ---- in a Lua state ---- */

/* The loader in package.preload: a table of the functions of that module. Upvalues: the set, what calls share. */
static int l_load(lua_State *L) {
  const struct mp_modules *modules = lua_touserdata(L, lua_upvalueindex(1));
  const char *name = luaL_checkstring(L, 1);
  lua_newtable(L);
  for (unsigned i = 0; i < modules->n; i++) {
    const struct mp_host_function *f = modules->list[i];
    if (!f->name || strcmp(f->module, name) != 0) continue;
    mp_call_push_function(L, f, lua_upvalueindex(2));
    lua_setfield(L, -2, f->name);
  }
  return 1;
}

/* stack: preload box */
static void add_loader(lua_State *L, const struct mp_modules *modules, const struct mp_host_function *f) {
  if (f->open) {
    lua_pushcfunction(L, f->open);
  } else {
    lua_pushlightuserdata(L, (void *)(uintptr_t)modules);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, l_load, 2);
  }
  lua_setfield(L, -3, f->module);
}

void mp_modules_open(void *ctx, lua_State *L) {
  const struct mp_modules *modules = ctx;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  mp_calls_push(L);
  for (unsigned i = 0; i < modules->n; i++) add_loader(L, modules, modules->list[i]);
  lua_pop(L, 2);
}
