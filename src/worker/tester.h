/* tester.h - one process that runs tests: what a worker has (loop, Lua state, watchdog, memory in common), without a
 * master, sockets or an app of its own. Nothing that it has started outlives it. */
#ifndef MP_WORKER_TESTER_H
#define MP_WORKER_TESTER_H

#include "base/config.h"

struct mp_tester_setup {
  struct mp_log *log;             /* borrowed; so are the others */
  const struct mp_config *config; /* its limits are those of the apps under test */
  const char *program;            /* our own executable */
  int argc;                       /* the words for moonpool.test.run */
  char **argv;
};

/* The exit code: of the run, 1 for an internal failure, 130 when it was interrupted. */
int mp_tester_run(const struct mp_tester_setup *setup);

#endif
