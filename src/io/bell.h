/* bell.h - an eventfd that every process of a pool hears, however many listen.
 *
 * Whoever rings writes to it, nobody reads it: each listener watches it by edges, in an epoll of its own, so that one
 * write wakes all of them and takes nothing from any. */
#ifndef MP_IO_BELL_H
#define MP_IO_BELL_H

#include "io/loop.h"

struct mp_bell {
  uv_poll_t poll;
  int epoll;                             /* owned */
  void (*on_ring)(struct mp_bell *bell); /* it has rung since, once or more */
  void (*on_closed)(struct mp_bell *bell);
  void *ctx; /* borrowed: the owner's */
};

/* `fd` is borrowed, and open as long as the bell is. What was rung before may be told, what is rung later is. 0 or
 * -errno: then there is nothing to close. */
int mp_bell_open(struct mp_bell *bell, struct mp_loop *loop, int fd, void (*on_ring)(struct mp_bell *bell));
void mp_bell_close(struct mp_bell *bell, void (*on_closed)(struct mp_bell *bell)); /* once; free it in on_closed */

#endif
