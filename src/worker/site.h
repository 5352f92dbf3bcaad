/* site.h - one app at work on a loop that somebody else runs.
 *
 *   open ─ load ─ start ─► serving ─ drain ─► draining ─ nothing busy ─► stopping ─► left ─ close
 *            └ fails          └──────── stop ──┴───────────────────────────┘
 *
 * A worker process holds one of them, a program that embeds us one for each generation of its app. Nothing here knows
 * of a master: whoever holds it says when to drain or to stop, and is told by the functions below. */
#ifndef MP_WORKER_SITE_H
#define MP_WORKER_SITE_H

#include "api/guest.h"
#include "base/buf.h"
#include "base/commons.h"
#include "base/config.h"
#include "base/shm.h"
#include "io/loop.h"
#include "io/watchdog.h"

struct mp_api;
struct mp_site;

struct mp_site_ops {
  void (*on_ready)(struct mp_site *site); /* it serves */
  /* So many requests as were to be enough. False: nobody could be told; asked again at the next turn. */
  bool (*on_spent)(struct mp_site *site, uint64_t requests);
  /* On the watchdog's thread: STUCK or BACK, and without `interrupts` OVER instead of STUCK. */
  void (*on_late)(struct mp_site *site, enum mp_watch_step step);
  /* It has ended, and why is final. Once, outside every other callback; close it then. */
  void (*on_left)(struct mp_site *site);
};

/* All of it is borrowed until the site is closed, but for the listening sockets, which are taken over. */
struct mp_site_setup {
  const struct mp_bundle *bundle; /* NULL: the app lies on the disk */
  struct mp_log *log;
  const struct mp_config *config;
  struct mp_loop *loop;
  struct mp_commons *commons;
  struct mp_shm *shm;
  unsigned seat;   /* its place in the shared page */
  unsigned worker; /* moonpool.worker.id */
  unsigned generation;
  const int *listen_fds;
  unsigned n_listen;
  const struct mp_site_ops *ops;
  void *ctx;
  const struct mp_guest *guest;         /* NULL: the process is ours, and ends with the site */
  const struct mp_extension *extension; /* NULL: Lua finds what is our own */
};

/* On the thread that will run the loop. NULL: `*err` is a negative errno. */
struct mp_site *mp_site_open(const struct mp_site_setup *setup, int *err);

int mp_site_load(struct mp_site *site);   /* runs the app file: 0; or -EINVAL, logged, and mp_site_why says why */
void mp_site_start(struct mp_site *site); /* on_ready or on_left follows, perhaps from within */

void mp_site_drain(struct mp_site *site, uint64_t idle_ms);
uint64_t mp_site_idle_ms(const struct mp_site *site); /* for drain, while others serve on */
void mp_site_stop(struct mp_site *site);
void mp_site_fail(struct mp_site *site, int code); /* the same, with that exit code */
void mp_site_sleep(struct mp_site *site);          /* the loop is about to wait */
void mp_site_reopen(struct mp_site *site);         /* its logs, under their names */

void *mp_site_ctx(const struct mp_site *site);
struct mp_api *mp_site_api(const struct mp_site *site);
bool mp_site_left(const struct mp_site *site);       /* all of it has ended, in order */
const char *mp_site_why(const struct mp_site *site); /* why the app does not serve, in a line; "" if it does */
int mp_site_exit_code(const struct mp_site *site);   /* 0, 1 an internal failure, 3 the app failed to load */

/* After on_left, or when nothing of it was started; frees it. False: a thread did not come back, and what the setup
 * names must stay where it is. */
bool mp_site_close(struct mp_site *site);
/* The process is about to end with what is left of it. */
void mp_site_abandon(struct mp_site *site);

#endif
