/* pool.h - the master: it holds the listening sockets and keeps workers behind them. Knows no Lua and no HTTP.
 *
 *            start ───────► argv names the descriptors: control, death, shared page, listening sockets
 *   master ── death pipe ───► worker      nobody writes; its end of file says that the master is gone
 *            control ◄─────►              one word a line:  ◄ "ready" "stuck" "back" "spent N"   "drain" "finish"
 * "stop" ►
 *
 * What to do is decided in roster.h. A worker is a child like any other (io/child): told apart by its pidfd, waited for
 * by its number. Strangers that the master adopts from dead workers are ended and reaped, never interpreted. */
#ifndef MP_POOL_POOL_H
#define MP_POOL_POOL_H

#include "base/config.h"
#include "io/identity.h"
#include "io/loop.h"
#include "pool/inheritance.h"

/* What one generation of workers is started with. */
struct mp_plan {
  struct mp_config config;     /* owned */
  char **words;                /* owned, each too; ended by NULL: a worker's arguments behind "--" */
  char *folder;                /* owned: where workers run */
  struct mp_identity identity; /* owned: as whom workers run */
  int settings_fd;             /* owned: holds config.settings, which may be secret and long; -1: none */
};

void mp_plan_free(struct mp_plan *plan); /* harmless on NULL */

/* A program that has started this master to serve it: see keeper.h. */
struct mp_keeper_setup {
  int fd; /* taken over */
  /* A reload is asked for, and `word` says of what: reread comes next. */
  void (*on_reload)(void *ctx, const char *word);
  void *ctx; /* borrowed */
};

struct mp_pool_setup {
  struct mp_log *log;                   /* borrowed: outlives the pool */
  int error_log;                        /* borrowed: what becomes a worker's stdout and stderr */
  struct mp_plan *plan;                 /* taken over */
  struct mp_inheritance *inherited;     /* borrowed; its descriptors are taken over one by one */
  const struct mp_keeper_setup *keeper; /* borrowed; NULL: nobody's */
  mode_t umask;                         /* the one that we were started with */
  void *ctx;                            /* borrowed: of the functions below */
  /* Reads the configuration anew, on the loop: `done` is called later, once, with a plan that is its to keep, or with
   * NULL and a sentence. 0, or -errno and then `done` is never called. */
  int (*reread)(void *ctx, struct mp_loop *loop, void (*done)(void *pool, struct mp_plan *plan, const char *why),
                void *pool);
  /* Ends a reread that is under way; `done` comes soon, with NULL. Harmless when none is. */
  void (*stop_rereading)(void *ctx);
  /* Is that a child which reread has started? The sweep spares it. */
  bool (*owns)(void *ctx, pid_t pid);
};

/* Runs until it is told to stop. The exit code of the program; what went wrong at the start is on stderr. */
int mp_pool_run(const struct mp_pool_setup *setup);

#endif
