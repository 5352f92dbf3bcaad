/* modules.h - functions of the host that Lua may call: what was registered, and how a Lua state gets it.
 * A call of one is in call.c. */
#ifndef MP_EMBED_MODULES_H
#define MP_EMBED_MODULES_H

#include "moonpool.h"

struct mp_host_function {
  char *module, *name; /* owned */
  void (*function)(struct mp_call *call, void *ctx);
  void *ctx; /* borrowed for the life of the set */
  unsigned flags;
  int (*open)(struct lua_State *L); /* of a whole module instead; then `name` is NULL */
};

struct mp_modules {
  struct mp_host_function **list; /* owned, each too: addresses that stay */
  unsigned n;
};

/* An `open` of struct mp_extension with a `const struct mp_modules *` as its ctx: package.preload gets the modules, and
 * the state what their calls need. Raises out of memory. */
void mp_modules_open(void *modules, struct lua_State *L);

/* call.c: pushes the function as one of Lua's; stack: … box, which is what mp_calls_push has pushed and stays below. */
void mp_call_push_function(struct lua_State *L, const struct mp_host_function *function, int box);
/* Pushes what the calls of this state share; closed with the state. */
void mp_calls_push(struct lua_State *L);

#endif
