/* worker.h - one worker process: load the app, adopt the sockets, say "ready", serve, drain, leave.
 *
 *   load ─ on_start ─► serving ─ "drain" ─► draining ─ nothing busy ─► stopping ─► gone
 *     └ fails: exit 3      └──────── "stop" ──┴───────────────────────────┘
 *
 * It dies with its master: a guardian thread reads the death pipe whatever the loop's thread is doing. Nothing that it
 * has started outlives it. How many siblings it has, it does not know. */
#ifndef MP_WORKER_WORKER_H
#define MP_WORKER_WORKER_H

#include "base/buf.h"
#include "base/config.h"
#include "bundle/bundle.h"

struct mp_extension;

enum { MP_WORKER_LISTENERS = 64 };

struct mp_worker_setup {
  struct mp_log *log;             /* borrowed */
  const struct mp_config *config; /* borrowed */
  const struct mp_bundle *bundle; /* borrowed: what has the app; NULL: it lies on the disk */
  unsigned slot;                  /* moonpool.worker.id is one more */
  unsigned seat;                  /* its place in the shared page */
  unsigned generation;
  int control_fd, death_fd, shm_fd;    /* taken over */
  int commons_fd, bell_fd;             /* taken over: commons.h */
  int listen_fds[MP_WORKER_LISTENERS]; /* taken over */
  unsigned n_listen;
  const struct mp_extension *extension; /* borrowed; NULL: none */
};

/* Until it is told to leave. The exit code: 0, 1 an internal failure, 3 the app failed to load. */
int mp_worker_run(const struct mp_worker_setup *setup);

/* Loads the app as a worker would and takes it down again. The exit code: 0, 1, or 3 with the message in `why`. */
int mp_worker_check(struct mp_log *log, const struct mp_config *config, const struct mp_bundle *bundle,
                    struct mp_buf *why);

#endif
