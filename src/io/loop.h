/* loop.h - one event loop: the clock, the timers, and the work that waits for the end of a callback.
 * Owned by the caller; init, run, then deinit when everything on it has been closed. */
#ifndef MP_IO_LOOP_H
#define MP_IO_LOOP_H

#include "base/list.h"
#include "base/log.h"
#include "io/poller.h"
#include "io/timer.h"
#include <stdatomic.h>
#include <uv.h>

/* Work to be done before the loop sleeps again, outside every callback of a lower room. Posting twice is harmless. */
struct mp_soon {
  struct mp_list node;
  void (*run)(struct mp_soon *soon);
};

enum { MP_LOOP_SCRATCH = 72 * 1024 /* a head and a body of 64 KiB in one piece */ };

struct mp_loop {
  uv_loop_t uv;
  struct mp_log *log; /* borrowed: outlives the loop */
  struct mp_timers timers;
  struct mp_list soon;
  struct mp_poller poller;  /* of streams and processes */
  struct mp_stream *broken; /* borrowed until told: streams of which a flush has found so (stream.c) */
  struct mp_stream *closed; /* likewise: those that are closing */
  struct mp_soon tell_broken, tell_closed;
  char *scratch; /* owned: bytes just read, lent for the length of one callback (MP_LOOP_SCRATCH) */
  uv_timer_t timer;
  uv_prepare_t prepare;
  /* The loop is about to wait. NULL: nobody cares. Called at each turn, so it should cost nothing. */
  void (*on_sleep)(struct mp_loop *loop);
  /* Since when this turn is at work, 0 while the loop waits: for whoever looks from outside. NULL: nobody does.
   * Borrowed; set to 0 by on_sleep. */
  _Atomic uint64_t *busy_since_ms;
  uint64_t stopped_ms; /* not 0: the clock stands there (clock.h) */
  uint64_t skew_ms;    /* how far it is ahead of the machine's, since it stood */
  bool more_due;       /* of a loop that is driven (nested.h): its last turn has left something */
  uv_idle_t idle;      /* started only while `soon` has leftovers, so that the loop does not sleep on them */
};

/* stream.c */
void mp_streams_tell_broken(struct mp_soon *soon);
void mp_streams_tell_closed(struct mp_soon *soon);

int mp_loop_init(struct mp_loop *loop, struct mp_log *log);
/* Of a process with a limit on its memory (RLIMIT_DATA, RLIMIT_AS): libuv's own threads, which do what waits for a
 * disk, are started now, with small stacks. Before there are other threads. */
void mp_loop_spare_memory(struct mp_loop *loop);
void mp_loop_run(struct mp_loop *loop); /* until mp_loop_stop */
void mp_loop_stop(struct mp_loop *loop);
/* Closes the loop's own handles and runs out the closing of others; everything else must have been closed. */
void mp_loop_deinit(struct mp_loop *loop);

void mp_soon_init(struct mp_soon *soon, void (*run)(struct mp_soon *soon));
void mp_loop_post(struct mp_loop *loop, struct mp_soon *soon);
void mp_soon_cancel(struct mp_soon *soon);

/* The time at which this turn of the loop began, in milliseconds (monotonic). */
static inline uint64_t mp_loop_now(const struct mp_loop *loop) {
  return loop->stopped_ms ? loop->stopped_ms : uv_now(&loop->uv) + loop->skew_ms;
}

/* The time as it is now, in nanoseconds (monotonic): for ages, across processes too. */
static inline uint64_t mp_loop_now_ns(const struct mp_loop *loop) {
  (void)loop;
  return uv_hrtime();
}

/* What libuv calls back begins with this. */
static inline void mp_loop_woke(struct mp_loop *loop) {
  _Atomic uint64_t *since = loop->busy_since_ms;
  if (since && !atomic_load_explicit(since, memory_order_relaxed))
    atomic_store_explicit(since, mp_loop_now(loop), memory_order_relaxed);
}

/* "1.44.2": of the library below. Static. */
const char *mp_loop_library(void);

/* Processors that this process may use, at least 1. */
unsigned mp_loop_cpus(void);

#endif
