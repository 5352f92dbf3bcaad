/* values.h - what a function of the host gives back, kept outside Lua so that any thread may write it.
 * A stream of tagged values; a table holds values, each behind its key or else the next of a list. All zero is empty.
 */
#ifndef MP_EMBED_VALUES_H
#define MP_EMBED_VALUES_H

#include "base/buf.h"
#include <lua.h>

enum { MP_VALUES_DEPTH = 32 /* tables within each other */ };

struct mp_values {
  struct mp_buf bytes; /* owned */
  unsigned depth, n;   /* tables that are open; values outside of them */
  bool keyed;          /* a key waits for its value */
  const char *broken;  /* static: why they cannot be had; NULL: they can */
};

void mp_values_nil(struct mp_values *v);
void mp_values_boolean(struct mp_values *v, bool value);
void mp_values_integer(struct mp_values *v, int64_t value);
void mp_values_number(struct mp_values *v, double value);
void mp_values_bytes(struct mp_values *v, struct mp_slice bytes);
void mp_values_table(struct mp_values *v);
void mp_values_key(struct mp_values *v, struct mp_slice key);
void mp_values_end(struct mp_values *v);

/* Pushes them and returns how many; raises what is broken, or for want of memory. */
int mp_values_push(lua_State *L, struct mp_values *v);
void mp_values_reset(struct mp_values *v); /* empty again, and without memory */

#endif
