/* log.h - one line an event, with stable keys:
 *
 *   2026-01-02T03:04:05.678Z pool info worker ready slot=0 gen=2 pid=4711 took_ms=38
 *
 * Each line leaves in one write(2), so that processes may share a descriptor. Control bytes in what is logged are
 * escaped as \xNN (a newline too; a traceback keeps its line ends by being given as `detail`), so nobody can forge a
 * line. Writing never fails upward, and never waits long: a pipe that nobody reads gets 50 ms, then lines are lost
 * until there is room again. Lost lines are counted, and their number is told as soon as anything can be written. */
#ifndef MP_BASE_LOG_H
#define MP_BASE_LOG_H

#include "base/slice.h"
#include <stdint.h>

enum mp_log_level { MP_LOG_DEBUG, MP_LOG_INFO, MP_LOG_WARN, MP_LOG_ERROR };

struct mp_log {
  int fd;                  /* borrowed for the life of the process; usually 2 */
  enum mp_log_level least; /* quieter events are dropped */
  bool json;               /* one object a line instead of text */
  uint64_t lost;           /* lines that could not be written */
  uint64_t lost_told;      /* of which the log speaks already */
  bool stalled;            /* it was full, and nobody read it in time */
  bool torn;               /* the last line ends in its middle */
  /* Gets what would be written instead; any thread that has the log, or a copy of it, calls it. NULL: nobody does. */
  void (*sink)(void *ctx, enum mp_log_level level, const char *room, struct mp_slice message, struct mp_slice detail);
  void *sink_ctx; /* borrowed */
};

/* "info" and the like; false when there is no such level. */
bool mp_log_level_named(const char *name, enum mp_log_level *level);

static inline bool mp_log_wants(const struct mp_log *log, enum mp_log_level level) {
  return level >= log->least;
}

/* `room`: who speaks ("pool", "http", "app"). The message and its key=value pairs are formatted as by printf; write
 * values that may hold spaces or foreign bytes with mp_log_quote. */
void mp_log(struct mp_log *log, enum mp_log_level level, const char *room, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same with several lines of detail behind it (a traceback), each indented by a tab. */
void mp_log_detail(struct mp_log *log, enum mp_log_level level, const char *room, struct mp_slice message,
                   struct mp_slice detail);

/* `s` in double quotes, with quotes, backslashes, control and non-ASCII bytes escaped; cut with "..." at `size`. */
const char *mp_log_quote(struct mp_slice s, char *out, unsigned size);

#endif
