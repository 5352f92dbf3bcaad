/* watchdog.h - sees that a thread has been in one piece of work for too long, and interrupts it.
 *
 *   the watched thread:  mp_hold_begin … work … mp_hold_end          two stores of a coarse time
 *   the watchdog:        slow_ms ─► SLOW   over_ms ─► OVER   STUCK_MS more ─► STUCK   the work goes on after all ─►
 * BACK
 *
 * SLOW, OVER and STUCK reach the watched thread as a signal, while it is in that very work; STUCK and BACK are told on
 * the watchdog's own thread. It sleeps until the work of this moment could be late: with nothing late it wakes once in
 * the shortest of its times. */
#ifndef MP_IO_WATCHDOG_H
#define MP_IO_WATCHDOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { MP_WATCH_STUCK_MS = 500 };

/* A real-time signal carries a pointer; the last ones but one are the least likely to be anybody's. */
#define MP_SIGNAL_WATCHDOG (SIGRTMAX - 1)

/* What the watched thread is in. */
struct mp_hold {
  _Atomic uint64_t since_ms; /* coarse, monotonic; 0: in nothing */
  _Atomic uint32_t most_ms;  /* instead of the watchdog's over_ms; 0: that. Stored before since_ms */
  _Atomic uint64_t
      *moved_ms; /* borrowed: the last since_ms that was a time, for whoever looks from outside; may be NULL */
};

enum mp_watch_step { MP_WATCH_NONE, MP_WATCH_SLOW, MP_WATCH_OVER, MP_WATCH_STUCK, MP_WATCH_BACK };

static inline uint64_t mp_coarse_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void mp_hold_note(struct mp_hold *hold) {
  uint64_t now = mp_coarse_ms();
  atomic_store_explicit(&hold->since_ms, now, memory_order_release);
  if (hold->moved_ms) atomic_store_explicit(hold->moved_ms, now, memory_order_relaxed);
}

/* Returns what mp_hold_end wants: work may be begun inside other work, whose time starts anew afterwards. */
static inline uint64_t mp_hold_begin(struct mp_hold *hold) {
  uint64_t before = atomic_load_explicit(&hold->since_ms, memory_order_relaxed);
  mp_hold_note(hold);
  return before;
}

static inline void mp_hold_end(struct mp_hold *hold, uint64_t before) {
  if (before)
    mp_hold_note(hold);
  else
    atomic_store_explicit(&hold->since_ms, 0, memory_order_release);
}

/* From now on, and for so long at most; 0: as long as usual. */
static inline void mp_hold_restart(struct mp_hold *hold, uint32_t most_ms) {
  atomic_store_explicit(&hold->most_ms, most_ms, memory_order_relaxed);
  if (atomic_load_explicit(&hold->since_ms, memory_order_relaxed)) mp_hold_note(hold);
}

/* What was seen of one piece of work, and done about it: the decision alone, without clock and thread. */
struct mp_watch {
  uint32_t slow_ms, over_ms; /* 0: never */
  uint32_t tick_ms;          /* of the coarse clock: so much later may the work have begun in truth */
  uint64_t about_ms;         /* the work that the steps below are about */
  enum mp_watch_step taken;  /* the last one */
  uint64_t over_at_ms;
};

/* The next step, or NONE; `*sleep_ms`: look again then at the latest. Looked at work that began at `since_ms` (0: none)
 * with that `most_ms`. */
enum mp_watch_step mp_watch_look(struct mp_watch *watch, uint64_t since_ms, uint32_t most_ms, uint64_t now_ms,
                                 uint32_t *sleep_ms);

struct mp_watchdog {
  struct mp_hold *hold; /* borrowed */
  struct mp_watch watch;
  void *ctx; /* borrowed: of the callbacks */
  /* In a signal handler of the watched thread, with its work under way: SLOW, OVER or STUCK. */
  void (*interrupt)(void *ctx, enum mp_watch_step step);
  /* On the watchdog's thread: STUCK (after the interrupt, if that could be had) or BACK. */
  void (*told)(void *ctx, enum mp_watch_step step);
  pid_t watched;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  _Atomic uint64_t asked_ms; /* the work that the signal under way is about */
  _Atomic int asked;         /* enum mp_watch_step */
  bool only_tells;           /* no signals: OVER is told in the place of STUCK, and nothing is interrupted */
  bool over, started;
};

/* Watches the calling thread; hold, watch.slow_ms, watch.over_ms, ctx, interrupt and told are set. With both times 0
 * nothing is started. 0 or -errno. */
int mp_watchdog_start(struct mp_watchdog *w);
void mp_watchdog_stop(struct mp_watchdog *w); /* waits for the thread; harmless when none was started */

#endif
