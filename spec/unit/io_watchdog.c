/* The watchdog: its decisions with a clock of our own, then its thread and its signal. */
#include "io/watchdog.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint32_t sleep_ms;

static enum mp_watch_step look(struct mp_watch *w, uint64_t since, uint64_t now) {
  return mp_watch_look(w, since, 0, now, &sleep_ms);
}

static void sleeps_as_long_as_nothing_can_be_late(void **state) {
  struct mp_watch w = {.over_ms = 30000, .tick_ms = 5};
  (void)state;
  assert_int_equal(look(&w, 0, 1000), MP_WATCH_NONE);
  assert_int_equal(sleep_ms, 30000);
  w.slow_ms = 100;
  assert_int_equal(look(&w, 0, 2000), MP_WATCH_NONE);
  assert_int_equal(sleep_ms, 100);
}

static void asks_once_for_each_step_in_its_order(void **state) {
  struct mp_watch w = {.slow_ms = 100, .over_ms = 1000, .tick_ms = 5};
  (void)state;
  assert_int_equal(look(&w, 5000, 5050), MP_WATCH_NONE);
  assert_int_equal(look(&w, 5000, 5104), MP_WATCH_NONE);
  assert_int_equal(sleep_ms, 1);
  assert_int_equal(look(&w, 5000, 5105), MP_WATCH_SLOW);
  assert_int_equal(look(&w, 5000, 5110), MP_WATCH_NONE);
  assert_int_equal(sleep_ms, 100);
  assert_int_equal(look(&w, 5000, 6005), MP_WATCH_OVER);
  assert_int_equal(look(&w, 5000, 6100), MP_WATCH_NONE);
  assert_int_equal(look(&w, 5000, 6505), MP_WATCH_STUCK);
  assert_int_equal(look(&w, 5000, 60000), MP_WATCH_NONE);
  assert_int_equal(look(&w, 0, 60001), MP_WATCH_BACK);
  assert_int_equal(look(&w, 0, 60002), MP_WATCH_NONE);
}

static void judges_each_piece_of_work_by_itself(void **state) {
  struct mp_watch w = {.over_ms = 1000};
  (void)state;
  for (uint64_t now = 5000; now < 20000; now += 900) assert_int_equal(look(&w, now - 899, now), MP_WATCH_NONE);
  assert_int_equal(look(&w, 30000, 31000), MP_WATCH_OVER);
  assert_int_equal(look(&w, 31001, 31002), MP_WATCH_NONE);
  assert_true(sleep_ms < 10);
  assert_int_equal(look(&w, 31001, 32001), MP_WATCH_OVER);
}

static void takes_a_limit_for_one_piece_of_work(void **state) {
  struct mp_watch w = {.over_ms = 1000};
  (void)state;
  assert_int_equal(mp_watch_look(&w, 5000, 20, 5019, &sleep_ms), MP_WATCH_NONE);
  assert_int_equal(mp_watch_look(&w, 5000, 20, 5020, &sleep_ms), MP_WATCH_OVER);
  assert_int_equal(mp_watch_look(&w, 6000, UINT32_MAX, 60000, &sleep_ms), MP_WATCH_NONE);
}

/* ---- the thread ---- */

struct seen {
  struct mp_hold hold;
  struct mp_watchdog dog;
  _Atomic int slow, over, stuck, told_stuck, told_back;
  pthread_t handler_thread;
};

static void interrupt(void *ctx, enum mp_watch_step step) {
  struct seen *seen = ctx;
  seen->handler_thread = pthread_self();
  atomic_fetch_add(step == MP_WATCH_SLOW ? &seen->slow : step == MP_WATCH_OVER ? &seen->over : &seen->stuck, 1);
}

static void told(void *ctx, enum mp_watch_step step) {
  struct seen *seen = ctx;
  atomic_fetch_add(step == MP_WATCH_STUCK ? &seen->told_stuck : &seen->told_back, 1);
}

static void begin(struct seen *seen, uint32_t slow_ms, uint32_t over_ms) {
  memset(seen, 0, sizeof *seen);
  seen->dog.hold = &seen->hold;
  seen->dog.watch.slow_ms = slow_ms;
  seen->dog.watch.over_ms = over_ms;
  seen->dog.ctx = seen;
  seen->dog.interrupt = interrupt;
  seen->dog.told = told;
  assert_int_equal(mp_watchdog_start(&seen->dog), 0);
}

static void work(_Atomic int *until, int ms) {
  for (int i = 0; i < ms && !atomic_load(until); i++) usleep(1000);
}

static void interrupts_the_thread_that_is_late_and_tells_when_that_did_not_help(void **state) {
  struct seen seen;
  (void)state;
  begin(&seen, 20, 60);
  uint64_t before = mp_hold_begin(&seen.hold);
  work(&seen.told_stuck, 5000);
  mp_hold_end(&seen.hold, before);
  work(&seen.told_back, 5000);
  mp_watchdog_stop(&seen.dog);
  assert_int_equal(seen.slow, 1);
  assert_int_equal(seen.over, 1);
  assert_int_equal(seen.stuck, 1);
  assert_int_equal(seen.told_stuck, 1);
  assert_int_equal(seen.told_back, 1);
  assert_true(pthread_equal(seen.handler_thread, pthread_self()));
}

static void leaves_alone_who_is_never_late(void **state) {
  struct seen seen;
  (void)state;
  begin(&seen, 0, 400);
  for (int i = 0; i < 100; i++) {
    uint64_t before = mp_hold_begin(&seen.hold);
    uint64_t inner = mp_hold_begin(&seen.hold);
    usleep(5000);
    mp_hold_end(&seen.hold, inner);
    mp_hold_end(&seen.hold, before);
    assert_int_equal(atomic_load(&seen.hold.since_ms), 0);
  }
  mp_watchdog_stop(&seen.dog);
  assert_int_equal(seen.over, 0);
}

static void stops_at_once_and_twice(void **state) {
  struct seen seen;
  (void)state;
  begin(&seen, 0, 60000);
  mp_watchdog_stop(&seen.dog);
  mp_watchdog_stop(&seen.dog);
  begin(&seen, 0, 0);
  assert_false(seen.dog.started);
  mp_watchdog_stop(&seen.dog);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sleeps_as_long_as_nothing_can_be_late),
      cmocka_unit_test(asks_once_for_each_step_in_its_order),
      cmocka_unit_test(judges_each_piece_of_work_by_itself),
      cmocka_unit_test(takes_a_limit_for_one_piece_of_work),
      cmocka_unit_test(interrupts_the_thread_that_is_late_and_tells_when_that_did_not_help),
      cmocka_unit_test(leaves_alone_who_is_never_late),
      cmocka_unit_test(stops_at_once_and_twice),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
