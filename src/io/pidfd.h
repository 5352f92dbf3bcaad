/* pidfd.h - what the kernel says of one process, and signals that cannot hit another. */
#ifndef MP_IO_PIDFD_H
#define MP_IO_PIDFD_H

#include "io/exec.h"
#include <stddef.h>

enum mp_end { MP_END_NONE, MP_END_EXIT, MP_END_SIGNAL, MP_END_LOST };

/* How a process ended. Three facts in three fields; `lost` when the kernel cannot say any more. */
struct mp_status {
  enum mp_end end;
  int code;   /* with MP_END_EXIT */
  int signal; /* with MP_END_SIGNAL */
  bool core;  /* with MP_END_SIGNAL: dumped */
};

/* Looks without reaping (the number stays held): 1 ended, and `*status` (may be NULL) says how; 0 runs; -ECHILD
 * somebody else reaped it. */
int mp_pidfd_look(const struct mp_started *p, struct mp_status *status);

static inline int mp_pidfd_peek(const struct mp_started *p) {
  return mp_pidfd_look(p, NULL);
}

/* Reaps: 1 and `*status` when it has ended, 0 when it runs. When the status was stolen: asks PIDFD_GET_INFO (Linux
 * 6.15), which knows it even then; 1 with MP_END_LOST where that does not help; -EAGAIN when the kernel has not yet
 * put it there (try again in 5 ms, at most 20 times, then take it as lost). */
int mp_pidfd_reap(const struct mp_started *p, struct mp_status *status);

/* 0, -ESRCH when it has ended, or -errno. */
int mp_pidfd_signal(const struct mp_started *p, int signo);

/* The same to the whole group that it leads. Where the kernel cannot address a group by pidfd (before 6.9) only while
 * its number is held, so not once it was reaped: -ESRCH. */
int mp_pidfd_signal_group(const struct mp_started *p, int signo);

/* Closes the pidfd; nothing can be asked or sent any more. */
void mp_pidfd_close(struct mp_started *p);

/* Waits, blocking the thread, for places where nothing can yield. timeout_ms < 0: for ever. 1, or 0 on timeout;
 * what was stolen is asked for as long as mp_pidfd_reap wants, then lost. */
int mp_pidfd_wait(const struct mp_started *p, int timeout_ms, struct mp_status *status);

#endif
