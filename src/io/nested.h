/* nested.h - a loop of ours that does not run by itself: it takes turns when whoever has a loop of his own says so.
 *
 * Its descriptor can be read when it has something to do. With a libuv loop on the other side mp_nested_open does the
 * rest: it watches the descriptor and keeps the time there, and touches nothing else of that loop. */
#ifndef MP_IO_NESTED_H
#define MP_IO_NESTED_H

#include "io/loop.h"

/* Everything that is due, without waiting. `loop->busy_since_ms` must be set. Not to be called from within itself. */
void mp_loop_turn(struct mp_loop *loop);
int mp_loop_fd(const struct mp_loop *loop);
/* Milliseconds until the next turn is due even if nothing comes; -1: never. */
int mp_loop_due_ms(const struct mp_loop *loop);

struct mp_nested {
  uv_poll_t poll;
  uv_timer_t timer;
  struct mp_loop *loop;             /* borrowed */
  void (*turn)(struct mp_nested *); /* calls mp_loop_turn; may close it */
  void (*on_closed)(struct mp_nested *);
  uint8_t handles; /* still open there */
  bool closing;
};

/* On the outer loop's thread; turn and on_closed are set. 0 or -errno: then nothing is open there. */
int mp_nested_open(struct mp_nested *nested, struct uv_loop_s *outer, struct mp_loop *loop);
/* on_closed follows on the outer loop; harmless when it is closing already. */
void mp_nested_close(struct mp_nested *nested);

#endif
