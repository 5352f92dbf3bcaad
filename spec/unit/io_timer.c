#include "io_fixture.h"

#include "base/list.h"

/* A clock that stands still until it is told. */
static uint64_t now;
static unsigned sooner;

static uint64_t test_now(const struct mp_timers *timers) {
  (void)timers;
  return now;
}

static void on_sooner(struct mp_timers *timers) {
  (void)timers;
  sooner++;
}

static const struct mp_timers_clock test_clock = {test_now, on_sooner, NULL};

struct alarm {
  struct mp_timer timer;
  uint64_t fired_at;
  unsigned fires, order;
  uint64_t again_ms; /* restarts itself; 0: does not */
  bool frees;
};

static unsigned fired;

static void on_fire(struct mp_timer *timer) {
  struct alarm *alarm = MP_CONTAINER(timer, struct alarm, timer);
  alarm->fired_at = now;
  alarm->fires++;
  alarm->order = fired++;
  if (alarm->again_ms) mp_timer_start(timer, alarm->again_ms - 1);
  if (alarm->frees) {
    mp_timer_deinit(timer);
    free(alarm);
  }
}

static int set_up(void **state) {
  static struct mp_timers timers;
  now = 1000;
  fired = sooner = 0;
  mp_timers_init(&timers, &test_clock);
  *state = &timers;
  return 0;
}

static int tear_down(void **state) {
  mp_timers_deinit(*state);
  return 0;
}

static void fires_the_earliest_first(void **state) {
  enum { MANY = 500 };
  struct mp_timers *timers = *state;
  static struct alarm alarms[MANY];
  uint64_t due[MANY], last = 0;
  memset(alarms, 0, sizeof alarms);
  for (unsigned i = 0; i < MANY; i++) {
    assert_int_equal(mp_timer_init(&alarms[i].timer, timers, on_fire), 0);
    due[i] = (i * 7919) % 1000;
    mp_timer_start(&alarms[i].timer, 5000);
    mp_timer_start(&alarms[i].timer, due[i]); /* sooner than it was */
  }
  for (unsigned i = 0; i < MANY; i += 3) mp_timer_stop(&alarms[i].timer);
  for (unsigned i = 0; i < 1001; i++, now++) mp_timers_fire(timers);
  for (unsigned i = 0; i < MANY; i++) {
    assert_int_equal(alarms[i].fires, i % 3 != 0);
    if (i % 3) assert_int_equal(alarms[i].fired_at, 1000 + due[i]);
    last += alarms[i].fires;
    mp_timer_deinit(&alarms[i].timer);
    mp_timer_deinit(&alarms[i].timer);
  }
  assert_int_equal(last, fired);
  assert_int_equal(mp_timers_next(timers), UINT64_MAX);
}

static void tells_when_the_next_is_due(void **state) {
  struct mp_timers *timers = *state;
  struct alarm a = {.fires = 0}, b = {.fires = 0};
  mp_timer_init(&a.timer, timers, on_fire);
  mp_timer_init(&b.timer, timers, on_fire);
  assert_int_equal(mp_timers_next(timers), UINT64_MAX);
  mp_timer_start(&a.timer, 50);
  assert_int_equal(sooner, 1);
  mp_timer_start(&b.timer, 70);
  assert_int_equal(sooner, 1);
  mp_timer_start(&b.timer, 20);
  assert_int_equal(sooner, 2);
  assert_int_equal(mp_timers_next(timers), 20);
  now += 30;
  assert_int_equal(mp_timers_next(timers), 0);
  mp_timers_fire(timers);
  assert_int_equal(mp_timers_next(timers), 20);
  assert_true(mp_timer_started(&a.timer));
  assert_false(mp_timer_started(&b.timer));
  mp_timer_deinit(&a.timer);
  mp_timer_deinit(&b.timer);
}

static void cannot_be_starved_by_one_that_restarts_itself(void **state) {
  struct mp_timers *timers = *state;
  struct alarm a = {.again_ms = 1}, b = {.fires = 0};
  mp_timer_init(&a.timer, timers, on_fire);
  mp_timer_init(&b.timer, timers, on_fire);
  mp_timer_start(&a.timer, 0);
  mp_timer_start(&b.timer, 0);
  mp_timers_fire(timers);
  assert_in_range(a.fires, 1, 2);
  mp_timers_fire(timers);
  assert_int_equal(b.fires, 1);
  mp_timer_deinit(&a.timer);
  mp_timer_deinit(&b.timer);
}

static void may_free_its_own_timer(void **state) {
  struct mp_timers *timers = *state;
  for (int i = 0; i < 100; i++) {
    struct alarm *alarm = calloc(1, sizeof *alarm);
    alarm->frees = true;
    assert_int_equal(mp_timer_init(&alarm->timer, timers, on_fire), 0);
    mp_timer_start(&alarm->timer, (uint64_t)(i % 10));
  }
  now += 10;
  mp_timers_fire(timers);
  assert_int_equal(fired, 100);
}

static void a_time_beyond_all_time_never_comes(void **state) {
  struct mp_timers *timers = *state;
  struct alarm a = {.fires = 0};
  mp_timer_init(&a.timer, timers, on_fire);
  mp_timer_start(&a.timer, UINT64_MAX);
  mp_timers_fire(timers);
  assert_int_equal(a.fires, 0);
  mp_timer_deinit(&a.timer);
  mp_timer_deinit(&(struct mp_timer){0}); /* one that was never made */
}

#define TIMER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TIMER_TEST(fires_the_earliest_first),
      TIMER_TEST(tells_when_the_next_is_due),
      TIMER_TEST(cannot_be_starved_by_one_that_restarts_itself),
      TIMER_TEST(may_free_its_own_timer),
      TIMER_TEST(a_time_beyond_all_time_never_comes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
