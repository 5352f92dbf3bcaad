/* secret.h - what secrets are kept with: sealed and signed text, passwords, comparison that takes the same time. */
#ifndef MP_API_SECRET_H
#define MP_API_SECRET_H

#include <lua.h>

/* stack: core. Needs no loop: a thread's state has it too. */
void mp_secret_open(lua_State *L);

#endif
