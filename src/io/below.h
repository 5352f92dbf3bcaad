/* below.h - what a process has started that has left its group: a daemon on its way, a shell's job of its own.
 * Found below it by /proc while it and all between them live; what was handed over to somebody else by then is not. */
#ifndef MP_IO_BELOW_H
#define MP_IO_BELOW_H

#include "io/exec.h"

/* All zero: none. */
struct mp_below {
  struct mp_started *at; /* owned; each with a pidfd of its own, so that no signal hits another */
  unsigned n, cap;
};

/* Adds what is below `leader` now and in another group. What there is no memory or descriptor for is left out. */
void mp_below_collect(struct mp_below *below, pid_t leader);
void mp_below_signal(const struct mp_below *below, int signo);
void mp_below_free(struct mp_below *below);

#endif
