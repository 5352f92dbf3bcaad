/* gate.h - at most so many at once: what semaphores and limits are made of.
 * A permit is one place; it is given back once: by release, by the end of its block, by the end of the task or process
 * that holds it, or at last by the collector. */
#ifndef MP_API_GATE_H
#define MP_API_GATE_H

#include <lua.h>

/* The value at `index` may be a permit: it is given back. Never raises. */
void mp_permit_release(lua_State *L, int index);

/* Fills in moonpool.core, which is at the top:
 *   semaphore(n)                    → an object with acquire([timeout])
 *   gate(max, queue)                → likewise, with a bounded queue
 *   gate_enter(gate[, timeout])     → a permit; nil, "timeout", "timeout"; or nil, message, "EAGAIN" when it is full
 *   gate_spawn(gate, fn, …)         → a task that begins in its turn; or nil, message, "EAGAIN"
 *   gate_hold(permit, process)      the permit is given back when the process has ended */
void mp_gate_open(lua_State *L);

#endif
