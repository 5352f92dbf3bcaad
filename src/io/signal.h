/* signal.h - signals of this process, posted as events of the loop. */
#ifndef MP_IO_SIGNAL_H
#define MP_IO_SIGNAL_H

#include "io/loop.h"

struct mp_signal {
  uv_signal_t uv;
  void (*on_signal)(struct mp_signal *signal, int signo);
  void *ctx; /* borrowed: the owner's */
};

/* 0 or -errno; after an error there is nothing to close, but the memory is needed until the loop has turned. */
int mp_signal_open(struct mp_signal *signal, struct mp_loop *loop, int signo,
                   void (*on_signal)(struct mp_signal *signal, int signo));
void mp_signal_close(struct mp_signal *signal); /* freed by the owner after the loop has run out its closings */

/* At its end, before the signals are closed: what comes now is too late and must not change the exit code. */
void mp_signal_end(void);

/* At the start of a process of ours: SIGCHLD to default (nohup-like parents hand down "ignore", and then the kernel
 * throws statuses away), SIGPIPE ignored, nothing blocked. */
void mp_signal_begin(void);

#endif
