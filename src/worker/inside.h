/* inside.h - what the files of this room share: the one struct of a site. */
#ifndef MP_WORKER_INSIDE_H
#define MP_WORKER_INSIDE_H

#include "api/open.h"
#include "worker/record.h"
#include "worker/share.h"
#include "worker/site.h"
#include "worker/viewer.h"

enum mp_stage_of_work { MP_WORK_LOADING, MP_WORK_SERVING, MP_WORK_DRAINING, MP_WORK_STOPPING, MP_WORK_LEFT };

struct mp_site {
  struct mp_site_setup setup;
  struct mp_log *log; /* borrowed, as the next */
  struct mp_loop *loop;
  struct mp_api *api; /* owned */
  struct mp_server server;
  struct mp_server_ops ops; /* the api's, but for a look at each request */
  struct mp_record record;
  struct mp_trust trust;
  struct mp_shm_slot *slot; /* borrowed from the page */
  struct mp_share share;
  struct mp_viewer viewer;
  struct mp_slice health;   /* borrowed from the configuration: the path of health checks; empty: none */
  struct mp_timer look;     /* is the drain over? */
  struct mp_timer slow;     /* is a request that waits slow by now? Only while any waits, and with --slow-request */
  struct mp_timer patience; /* end what does not end by itself, before anybody does it harder */
  struct mp_watchdog watchdog;
  struct mp_soon leave;
  uint64_t enough; /* requests: then a successor is asked for */
  uint32_t n_accepted;
  enum mp_stage_of_work stage;
  bool has_server, has_doors, server_drained, app_stopped;
  char *why;     /* owned: the first line of why the app could not be loaded or started; NULL: none */
  int exit_code; /* 0, 1 an internal failure, 3 the app failed to load */
};

/* The shared page: what the master and the siblings may know. Relaxed, for each number stands alone. */
#define MP_PUBLISH(s, field, value) atomic_store_explicit(&(s)->slot->field, (value), memory_order_relaxed)

static inline uint64_t mp_site_ms(double seconds) {
  return (uint64_t)(seconds * 1000);
}

/* serving.c: what happens on the server's side, and what is told of it */
int mp_site_open_server(struct mp_site *site); /* 0 or -errno */
void mp_site_on_slow(struct mp_timer *timer);  /* of site->slow */

#endif
