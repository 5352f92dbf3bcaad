/* clock.h - what tests need of time: a loop whose clock stands and is moved by hand, and a wait for the moment at which
 * nothing more happens by itself.
 *
 * The clock never goes back: one that runs again is ahead of the machine's by what it was moved. A standing clock holds
 * up timers alone: sockets, children and threads go on in their own time. */
#ifndef MP_IO_CLOCK_H
#define MP_IO_CLOCK_H

#include "io/loop.h"

void mp_loop_stop_clock(struct mp_loop *loop);
void mp_loop_start_clock(struct mp_loop *loop);

/* Moves a standing clock to the next due timer, at most to `until_ms`; what is due then fires on the loop. False: it
 * stands at `until_ms`, and nothing is due there. */
bool mp_loop_move_clock(struct mp_loop *loop, uint64_t until_ms);

/* Looks at each turn; tells once that several in a row had nothing to do, or that there were too many. It needs
 * busy_since_ms of the loop, and that on_sleep sets it to 0. */
struct mp_quiet {
  struct mp_soon turn;
  struct mp_loop *loop; /* borrowed */
  unsigned n_quiet, n_turns;
  void (*on_quiet)(struct mp_quiet *quiet);
};

void mp_quiet_init(struct mp_quiet *quiet, struct mp_loop *loop, void (*on_quiet)(struct mp_quiet *quiet));
void mp_quiet_watch(struct mp_quiet *quiet); /* begins anew when it watches already */
void mp_quiet_stop(struct mp_quiet *quiet);

/* One timer that a standing clock does not hold up. Closed by its owner, freed after on_closed. */
struct mp_alarm {
  uv_timer_t uv;
  void (*on_ring)(struct mp_alarm *alarm);
  void (*on_closed)(struct mp_alarm *alarm);
};

void mp_alarm_open(struct mp_alarm *alarm, struct mp_loop *loop, uint64_t after_ms);
void mp_alarm_close(struct mp_alarm *alarm);

#endif
