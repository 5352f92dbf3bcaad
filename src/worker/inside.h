/* inside.h - what the files of this room share: the one struct of a worker. */
#ifndef MP_WORKER_INSIDE_H
#define MP_WORKER_INSIDE_H

#include "base/commons.h"
#include "base/lines.h"
#include "base/shm.h"
#include "io/signal.h"
#include "io/watchdog.h"
#include "worker/record.h"
#include "worker/share.h"
#include "worker/viewer.h"
#include "worker/worker.h"

enum mp_stage_of_work { MP_WORK_LOADING, MP_WORK_SERVING, MP_WORK_DRAINING, MP_WORK_STOPPING, MP_WORK_STOPPED };

struct mp_worker {
  const struct mp_worker_setup *setup; /* borrowed */
  struct mp_log *log;                  /* borrowed */
  struct mp_loop loop;
  struct mp_api *api; /* owned */
  struct mp_server server;
  struct mp_server_ops ops; /* the api's, but for a look at each request */
  struct mp_record record;
  struct mp_trust trust;
  struct mp_stream control;
  struct mp_lines lines;
  struct mp_signal term;
  struct mp_shm *shm;       /* owned */
  struct mp_shm_slot *slot; /* borrowed from shm */
  struct mp_share share;
  struct mp_viewer viewer;
  struct mp_slice health; /* borrowed from the configuration: the path of health checks; empty: none */
  struct mp_commons commons;
  struct mp_timer look;     /* is the drain over? */
  struct mp_timer slow;     /* is a request that waits slow by now? Only while any waits, and with --slow-request */
  struct mp_timer patience; /* end what does not end by itself, before the master does it harder */
  struct mp_watchdog watchdog;
  struct mp_soon leave;
  uint64_t enough; /* requests: then a successor is asked for */
  uint32_t n_accepted;
  enum mp_stage_of_work stage;
  bool has_server, server_drained, app_stopped, control_closed;
  int exit_code;
};

/* Relaxed, for each number stands alone. */
#define MP_PUBLISH(w, field, value) atomic_store_explicit(&(w)->slot->field, (value), memory_order_relaxed)

static inline uint64_t mp_worker_ms(double seconds) {
  return (uint64_t)(seconds * 1000);
}

/* serving.c: what happens on the server's side, and what is told of it */
int mp_worker_open_server(struct mp_worker *worker); /* 0 or -errno */
void mp_worker_on_sleep(struct mp_loop *loop);       /* of its loop */
void mp_worker_on_slow(struct mp_timer *timer);      /* of worker->slow */

#endif
