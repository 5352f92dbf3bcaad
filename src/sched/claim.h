/* claim.h - waiting, among others, for what gives again and again: a channel, a semaphore, a timer.
 *
 * Such a thing (a source) has a line, and gives to whoever stands first in it. One wait for several makes a claim on
 * each source of its list: a waitable that ends once, when the source has called it. What a claim was given, and its
 * wait does not take because another came first, goes back to the source, as if it had never been given. */
#ifndef MP_SCHED_CLAIM_H
#define MP_SCHED_CLAIM_H

#include "sched/line.h"

struct mp_claim;

struct mp_source_ops {
  const char *kind; /* "channel" */
  /* `return wait(L, timeout_s)`: for this one alone; it stands at stack place 1, with nothing above it. */
  int (*wait)(lua_State *L, double timeout_s);
  struct mp_line *(*line)(void *source);
  /* What it would give now, without waiting: CALLED, and `*item`; DISMISSED: nothing, for ever; WAITING: not now. The
   * source stands at `index`. */
  enum mp_turn_state (*take)(lua_State *L, int index, void **item);
  /* Pushes what a wait returns; takes the item, if there is one, by mp_claim_take once nothing can fail any more. */
  int (*push)(lua_State *L, int index, struct mp_claim *claim, enum mp_turn_state state);
};

/* Marks the metatable at the top. `ops` is static. */
void mp_source_mark(lua_State *L, const struct mp_source_ops *ops);
const struct mp_source_ops *mp_source_at(lua_State *L, int index); /* NULL: the value is none */

/* Pushes a claim on the source at `index`; raises when there is no memory. It can be waited for as a waitable, once. */
void mp_claim_push(lua_State *L, int index, const struct mp_source_ops *ops);
void *mp_claim_take(struct mp_claim *claim);

#endif
