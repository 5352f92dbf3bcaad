/* pidfd.h - what the kernel says of one process, and signals that cannot hit another. */
#ifndef MP_IO_PIDFD_H
#define MP_IO_PIDFD_H

#include "io/exec.h"

enum mp_end { MP_END_NONE, MP_END_EXIT, MP_END_SIGNAL, MP_END_LOST };

/* How a process ended. Three facts in three fields; `lost` when the kernel cannot say any more. */
struct mp_status {
  enum mp_end end;
  int code;   /* with MP_END_EXIT */
  int signal; /* with MP_END_SIGNAL */
  bool core;  /* with MP_END_SIGNAL: dumped */
};

/* Looks without reaping (the number stays held): 1 ended, 0 runs, -ECHILD somebody else reaped it. */
int mp_pidfd_peek(const struct mp_started *p);

/* Reaps: 1 and `*status` when it has ended, 0 when it runs. When the status was stolen: asks PIDFD_GET_INFO (Linux
 * 6.15), which knows it even then; 1 with MP_END_LOST where that does not help; -EAGAIN when the kernel has not yet
 * put it there (try again in 5 ms, at most 20 times, then take it as lost). */
int mp_pidfd_reap(const struct mp_started *p, struct mp_status *status);

/* 0, -ESRCH when it has ended, or -errno. */
int mp_pidfd_signal(const struct mp_started *p, int signo);

/* Waits, blocking the thread, for places where nothing can yield. timeout_ms < 0: for ever. 1, or 0 on timeout. */
int mp_pidfd_wait(const struct mp_started *p, int timeout_ms, struct mp_status *status);

#endif
