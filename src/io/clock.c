#include "io/clock.h"

enum { QUIET_TURNS = 3, MOST_TURNS = 20000 };

/* ---- the clock ---- */

void mp_loop_stop_clock(struct mp_loop *loop) {
  if (loop->stopped_ms) return;
  uv_update_time(&loop->uv);
  loop->stopped_ms = mp_loop_now(loop);
  loop->timers.clock->on_sooner(&loop->timers);
}

void mp_loop_start_clock(struct mp_loop *loop) {
  if (!loop->stopped_ms) return;
  uv_update_time(&loop->uv);
  uint64_t now = uv_now(&loop->uv) + loop->skew_ms;
  if (loop->stopped_ms >= now) loop->skew_ms += loop->stopped_ms - now + 1; /* parts of a millisecond are cut off */
  loop->stopped_ms = 0;
  if (loop->timers.len > 0) loop->timers.clock->on_sooner(&loop->timers);
}

bool mp_loop_move_clock(struct mp_loop *loop, uint64_t until_ms) {
  uint64_t in_ms = mp_timers_next(&loop->timers);
  uint64_t due_ms = in_ms == UINT64_MAX ? in_ms : loop->stopped_ms + in_ms;
  bool due = due_ms <= until_ms;
  if (due)
    loop->stopped_ms = due_ms;
  else if (until_ms > loop->stopped_ms)
    loop->stopped_ms = until_ms;
  if (due) loop->timers.clock->on_sooner(&loop->timers);
  return due;
}

/* ---- quiet ---- */

/* Work that is posted while this runs, or was posted behind it, is seen at the next turn at the latest: so one quiet
 * turn proves nothing, and a few do. */
static void on_turn(struct mp_soon *soon) {
  struct mp_quiet *quiet = MP_CONTAINER(soon, struct mp_quiet, turn);
  struct mp_loop *loop = quiet->loop;
  bool busy = atomic_load_explicit(loop->busy_since_ms, memory_order_relaxed) || !mp_list_empty(&loop->soon);
  quiet->n_quiet = busy ? 0 : quiet->n_quiet + 1;
  if (quiet->n_quiet >= QUIET_TURNS || ++quiet->n_turns >= MOST_TURNS)
    quiet->on_quiet(quiet);
  else
    mp_loop_post(loop, soon);
}

void mp_quiet_init(struct mp_quiet *quiet, struct mp_loop *loop, void (*on_quiet)(struct mp_quiet *quiet)) {
  *quiet = (struct mp_quiet){.loop = loop, .on_quiet = on_quiet};
  mp_soon_init(&quiet->turn, on_turn);
}

void mp_quiet_watch(struct mp_quiet *quiet) {
  quiet->n_quiet = quiet->n_turns = 0;
  mp_loop_post(quiet->loop, &quiet->turn);
}

void mp_quiet_stop(struct mp_quiet *quiet) {
  mp_soon_cancel(&quiet->turn);
}

/* ---- an alarm ---- */

static void on_uv_ring(uv_timer_t *uv) {
  struct mp_alarm *alarm = uv->data;
  mp_loop_woke(uv->loop->data);
  alarm->on_ring(alarm);
}

static void on_uv_closed(uv_handle_t *uv) {
  struct mp_alarm *alarm = uv->data;
  alarm->on_closed(alarm);
}

void mp_alarm_open(struct mp_alarm *alarm, struct mp_loop *loop, uint64_t after_ms) {
  uv_timer_init(&loop->uv, &alarm->uv);
  alarm->uv.data = alarm;
  uv_update_time(&loop->uv);
  uv_timer_start(&alarm->uv, on_uv_ring, after_ms, 0);
}

void mp_alarm_close(struct mp_alarm *alarm) {
  if (!uv_is_closing((uv_handle_t *)&alarm->uv)) uv_close((uv_handle_t *)&alarm->uv, on_uv_closed);
}
