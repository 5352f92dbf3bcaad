/* report.h - the process that tells of the pool: `--metrics-listen`.
 *
 *   master ── exec ──► report: maps the shared page to read, serves GET /metrics on one listening socket
 *
 * It asks nobody anything, so it answers whatever the workers and the master are doing. It ends with its master. */
#ifndef MP_REPORT_REPORT_H
#define MP_REPORT_REPORT_H

#include "base/log.h"

struct mp_report_setup {
  struct mp_log *log;              /* borrowed */
  int listen_fd, death_fd, shm_fd; /* taken over */
};

/* Until TERM, or the master's end. The exit code: 0, or 1 an internal failure. */
int mp_report_run(const struct mp_report_setup *setup);

#endif
