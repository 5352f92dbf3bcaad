/* at_once.h - a signal handler that runs wherever its thread is.
 *
 * ThreadSanitizer keeps signals back until the thread makes a call that it knows, and a loop in Lua makes none: under
 * it the handler is set behind its back, by libc's other name of sigaction. */
#ifndef MP_IO_AT_ONCE_H
#define MP_IO_AT_ONCE_H

#include <errno.h>
#include <signal.h>

#ifdef __SANITIZE_THREAD__
int __sigaction(int signo, const struct sigaction *action, struct sigaction *before);
#define MP_SIGACTION __sigaction
#else
#define MP_SIGACTION sigaction
#endif

/* 0 or -errno. */
static inline int mp_handle_at_once(int signo, const struct sigaction *action) {
  return MP_SIGACTION(signo, action, NULL) < 0 ? -errno : 0;
}

#endif
