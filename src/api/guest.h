/* guest.h - what is different where the process is somebody else's, and what others add to the Lua side. */
#ifndef MP_API_GUEST_H
#define MP_API_GUEST_H

#include <stdbool.h>
#include <stddef.h>

struct lua_State;

/* How things are in a process that is not ours. There nobody is reaped whom we have not started. */
struct mp_guest {
  bool interrupts; /* Lua that does not come back may be interrupted by signals */
  /* Memory of the Lua state, as a lua_Alloc; NULL: malloc's. */
  void *(*allocate)(void *ctx, void *block, size_t old_size, size_t new_size);
  void *ctx; /* of allocate */
};

/* What Lua finds besides our own. */
struct mp_extension {
  void (*open)(void *ctx, struct lua_State *L); /* in a protected call: it may raise */
  void *ctx;
};

#endif
