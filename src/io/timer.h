/* timer.h - many restartable timers on one clock.
 * A timer is 32 bytes inside its owner; starting and stopping cost a step in a heap and never fail once the owner was
 * registered by mp_timer_init. on_fire may restart, stop or free its own timer. Times are milliseconds of the loop's
 * monotonic clock. The heap itself knows no clock: it asks the one it was given, so that tests can hand it any time
 * they like. */
#ifndef MP_IO_TIMER_H
#define MP_IO_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct mp_timer {
  void (*on_fire)(struct mp_timer *timer);
  uint64_t due_ms;
  struct mp_timers *timers; /* borrowed: outlives every timer */
  uint32_t slot;            /* place in the heap + 1; 0: not started */
};

struct mp_timers {
  struct mp_timer **heap; /* owned; each entry is borrowed from its owner while started */
  uint32_t len, cap;
  uint32_t reserved; /* timers that were initialised and not deinitialised */
  const struct mp_timers_clock *clock;
};

/* Whose time it is: a loop's, or a test's. */
struct mp_timers_clock {
  uint64_t (*now_ms)(const struct mp_timers *timers);
  void (*on_sooner)(struct mp_timers *timers); /* the earliest due time has changed */
  /* How much later it is by now than now_ms says, which may stand for a while. NULL: never. */
  double (*late_ms)(const struct mp_timers *timers);
};

void mp_timers_init(struct mp_timers *timers, const struct mp_timers_clock *clock);
void mp_timers_deinit(struct mp_timers *timers);

/* 0 or -ENOMEM: room in the heap is set aside here, so that start cannot fail. */
int mp_timer_init(struct mp_timer *timer, struct mp_timers *timers, void (*on_fire)(struct mp_timer *timer));
void mp_timer_deinit(struct mp_timer *timer); /* stops it and gives its room back; harmless on all zero */

void mp_timer_start(struct mp_timer *timer, uint64_t after_ms); /* restarts when started */
/* Counts from this moment instead of from what the clock says, and never fires too early. */
void mp_timer_start_now(struct mp_timer *timer, double after_ms);
void mp_timer_stop(struct mp_timer *timer);

static inline bool mp_timer_started(const struct mp_timer *timer) {
  return timer->slot != 0;
}

/* Milliseconds until the earliest is due (0: now); UINT64_MAX when none is started. */
uint64_t mp_timers_next(const struct mp_timers *timers);

/* Fires what is due, earliest first; a timer restarted meanwhile with 0 may wait for the next call. */
void mp_timers_fire(struct mp_timers *timers);

#endif
