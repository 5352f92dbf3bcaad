#include "io_fixture.h"

struct work {
  struct mp_soon soon;
  struct mp_timer timer;
  struct mp_loop *loop;
  unsigned runs, most;
  bool done;
};

static void run_work(struct mp_soon *soon) {
  struct work *work = MP_CONTAINER(soon, struct work, soon);
  work->runs++;
  if (work->runs < work->most) mp_loop_post(work->loop, soon);
  work->done = work->runs >= work->most;
}

static void on_timer(struct mp_timer *timer) {
  struct work *work = MP_CONTAINER(timer, struct work, timer);
  work->runs++;
  work->done = true;
}

static struct work work_on(struct mp_loop *loop, unsigned most) {
  return (struct work){.loop = loop, .most = most};
}

static void runs_what_was_posted_once(void **state) {
  struct fixture *f = *state;
  struct work work = work_on(&f->loop, 1);
  mp_soon_init(&work.soon, run_work);
  mp_loop_post(&f->loop, &work.soon);
  mp_loop_post(&f->loop, &work.soon);
  assert_int_equal(work.runs, 0);
  assert_true(turn_until(&f->loop, &work.done, 1000));
  turn_for(&f->loop, 5);
  assert_int_equal(work.runs, 1);
}

static void forgets_what_was_cancelled(void **state) {
  struct fixture *f = *state;
  struct work work = work_on(&f->loop, 1);
  mp_soon_init(&work.soon, run_work);
  mp_loop_post(&f->loop, &work.soon);
  mp_soon_cancel(&work.soon);
  mp_soon_cancel(&work.soon);
  turn_for(&f->loop, 5);
  assert_int_equal(work.runs, 0);
}

/* The loop goes on turning for work that posts itself, and its timers still come. */
static void is_not_starved_by_what_posts_itself(void **state) {
  struct fixture *f = *state;
  struct work busy = work_on(&f->loop, UINT32_MAX), timed = work_on(&f->loop, 1);
  mp_soon_init(&busy.soon, run_work);
  assert_int_equal(mp_timer_init(&timed.timer, &f->loop.timers, on_timer), 0);
  mp_loop_post(&f->loop, &busy.soon);
  mp_timer_start(&timed.timer, 20);
  assert_true(turn_until(&f->loop, &timed.done, 1000));
  assert_true(busy.runs > 2);
  mp_soon_cancel(&busy.soon);
  mp_timer_deinit(&timed.timer);
}

static void wakes_for_a_timer(void **state) {
  struct fixture *f = *state;
  struct work work = work_on(&f->loop, 1);
  int64_t before = clock_ms();
  assert_int_equal(mp_timer_init(&work.timer, &f->loop.timers, on_timer), 0);
  uv_update_time(&f->loop.uv);
  mp_timer_start(&work.timer, 1000);
  mp_timer_start(&work.timer, 30);
  assert_true(turn_until(&f->loop, &work.done, 900));
  assert_in_range(clock_ms() - before, 29, 500);
  mp_timer_deinit(&work.timer);
}

static void stop_loop(struct mp_timer *timer) {
  mp_loop_stop(MP_CONTAINER(timer, struct work, timer)->loop);
}

static void runs_until_it_is_stopped(void **state) {
  struct fixture *f = *state;
  struct work work = work_on(&f->loop, 1);
  assert_int_equal(mp_timer_init(&work.timer, &f->loop.timers, stop_loop), 0);
  mp_timer_start(&work.timer, 5);
  mp_loop_run(&f->loop);
  mp_timer_deinit(&work.timer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LOOP_TEST(runs_what_was_posted_once),
      LOOP_TEST(forgets_what_was_cancelled),
      LOOP_TEST(is_not_starved_by_what_posts_itself),
      LOOP_TEST(wakes_for_a_timer),
      LOOP_TEST(runs_until_it_is_stopped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
