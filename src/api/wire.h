/* wire.h - one end of a connected socket as Lua of our own has it (moonpool.test): bytes in, bytes out.
 * A userdata, anchored until its handle has closed. */
#ifndef MP_API_WIRE_H
#define MP_API_WIRE_H

#include <lua.h>

/* Pushes a wire for the descriptor, which is taken over; or raises, and it is closed. */
void mp_wire_push(lua_State *L, int fd);

/* core.trial.connect(address, port or nil) → a wire. A path when there is no port. Returns before it is connected: who
 * reads is told when it could not be. nil, message, code otherwise. */
int mp_l_wire_connect(lua_State *L);

void mp_wire_open(lua_State *L);

#endif
