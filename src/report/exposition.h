/* exposition.h - the shared page as Prometheus reads it (text format 0.0.4). docs/operations.md names every metric. */
#ifndef MP_REPORT_EXPOSITION_H
#define MP_REPORT_EXPOSITION_H

#include "base/buf.h"
#include "base/shm.h"

/* Now, by the clock that the page uses, and by the calendar. */
struct mp_moment {
  uint64_t mono_ns;
  double wall_s;
  /* Resident bytes of a process, or 0: it cannot be known. */
  uint64_t (*rss)(int pid);
};

int mp_expose(const struct mp_shm *shm, const struct mp_moment *now, struct mp_buf *out); /* 0 or -ENOMEM */

#endif
