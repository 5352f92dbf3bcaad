/* quiet.h - a stretch of our work on a thread of the host: what it writes to a broken pipe is told by EPIPE alone. */
#ifndef MP_EMBED_QUIET_H
#define MP_EMBED_QUIET_H

#include <signal.h>
#include <stdbool.h>

struct mp_quiet {
  sigset_t before;
  bool pending; /* one was, before us */
};

/* `interrupts`: the watchdog's signal may come meanwhile. */
void mp_quiet_begin(struct mp_quiet *quiet, bool interrupts);
void mp_quiet_end(struct mp_quiet *quiet);

#endif
