#include "embed/quiet.h"
#include "io/watchdog.h"
#include <time.h>

static bool is_pending(void) {
  sigset_t set;
  return sigpending(&set) == 0 && sigismember(&set, SIGPIPE) == 1;
}

void mp_quiet_begin(struct mp_quiet *quiet, bool interrupts) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  quiet->pending = is_pending();
  pthread_sigmask(SIG_BLOCK, &set, &quiet->before);
  if (!interrupts) return;
  sigemptyset(&set);
  sigaddset(&set, MP_SIGNAL_WATCHDOG);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* SIGPIPE of a write goes to the thread that wrote, and is taken away before it could come through. */
void mp_quiet_end(struct mp_quiet *quiet) {
  static const struct timespec at_once = {0, 0};
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  if (!quiet->pending && is_pending()) sigtimedwait(&set, NULL, &at_once);
  pthread_sigmask(SIG_SETMASK, &quiet->before, NULL);
}
