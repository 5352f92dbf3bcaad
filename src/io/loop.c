#include "io/loop.h"
#include "base/check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static uint64_t loop_now(const struct mp_timers *timers) {
  return mp_loop_now(MP_CONTAINER(timers, struct mp_loop, timers));
}

static void on_uv_timer(uv_timer_t *timer) {
  struct mp_loop *loop = timer->data;
  mp_loop_woke(loop);
  mp_timers_fire(&loop->timers);
}

/* uv_timer_start counts from uv_now, and so does mp_timers_next: both read the time at which this turn began. While the
 * clock stands only what is due already will be. */
static void arm_uv_timer(struct mp_timers *timers) {
  struct mp_loop *loop = MP_CONTAINER(timers, struct mp_loop, timers);
  uint64_t in_ms = mp_timers_next(timers);
  if (loop->stopped_ms && in_ms > 0)
    uv_timer_stop(&loop->timer);
  else
    uv_timer_start(&loop->timer, on_uv_timer, in_ms, 0);
}

static double loop_late(const struct mp_timers *timers) {
  const struct mp_loop *loop = MP_CONTAINER(timers, struct mp_loop, timers);
  double late_ms = (double)uv_hrtime() / 1e6 - (double)uv_now(&loop->uv);
  return loop->stopped_ms || late_ms < 0 ? 0 : late_ms;
}

static const struct mp_timers_clock loop_clock = {loop_now, arm_uv_timer, loop_late};

/* What was posted up to now runs; what that posts in turn waits for the next call, so that no one can starve the loop.
 */
static void run_batch(struct mp_loop *loop) {
  struct mp_list batch, *node;
  mp_list_init(&batch);
  mp_list_splice(&batch, &loop->soon);
  while ((node = mp_list_pop(&batch))) {
    struct mp_soon *soon = MP_CONTAINER(node, struct mp_soon, node);
    soon->run(soon);
  }
}

/* Twice, for what one woke has often something to flush. */
static void run_posted(struct mp_loop *loop) {
  run_batch(loop);
  if (!mp_list_empty(&loop->soon)) run_batch(loop);
}

static void on_idle(uv_idle_t *idle) {
  (void)idle; /* its being started is what keeps the loop from sleeping */
}

static void on_prepare(uv_prepare_t *prepare) {
  struct mp_loop *loop = prepare->data;
  run_posted(loop);
  if (mp_list_empty(&loop->soon))
    uv_idle_stop(&loop->idle);
  else
    uv_idle_start(&loop->idle, on_idle);
  if (loop->on_sleep) loop->on_sleep(loop);
}

static int open_loop(struct mp_loop *loop) {
  int err = uv_loop_init(&loop->uv);
  if (err < 0) return err;
  err = mp_poller_init(&loop->poller, &loop->uv);
  if (err < 0) uv_loop_close(&loop->uv);
  return err;
}

int mp_loop_init(struct mp_loop *loop, struct mp_log *log) {
  memset(loop, 0, sizeof *loop);
  loop->log = log;
  loop->scratch = malloc(MP_LOOP_SCRATCH);
  if (!loop->scratch) return -ENOMEM;
  int err = open_loop(loop);
  if (err < 0) {
    free(loop->scratch);
    return err;
  }
  loop->uv.data = loop;
  mp_list_init(&loop->soon);
  mp_soon_init(&loop->tell_broken, mp_streams_tell_broken);
  mp_soon_init(&loop->tell_closed, mp_streams_tell_closed);
  mp_timers_init(&loop->timers, &loop_clock);
  uv_timer_init(&loop->uv, &loop->timer);
  uv_prepare_init(&loop->uv, &loop->prepare);
  uv_idle_init(&loop->uv, &loop->idle);
  loop->timer.data = loop->prepare.data = loop->idle.data = loop;
  uv_prepare_start(&loop->prepare, on_prepare);
  return 0;
}

static bool is_limited(int resource) {
  struct rlimit limit;
  return getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

static void no_work(uv_work_t *work) {
  (void)work; /* its being queued starts the threads */
}

static void free_work(uv_work_t *work, int status) {
  (void)status;
  free(work);
}

/* libuv (1.44) gives each of them what the main stack may grow to, 8 MiB, and aborts where that cannot be had. */
void mp_loop_spare_memory(struct mp_loop *loop) {
  enum { STACK = 256 * 1024 };
  struct rlimit stack;
  uv_work_t *work = NULL;
  if ((!is_limited(RLIMIT_DATA) && !is_limited(RLIMIT_AS)) || getrlimit(RLIMIT_STACK, &stack) < 0) return;
  struct rlimit small = {stack.rlim_cur < STACK ? stack.rlim_cur : STACK, stack.rlim_max};
  if (!(work = malloc(sizeof *work)) || setrlimit(RLIMIT_STACK, &small) < 0) {
    free(work);
    return;
  }
  uv_queue_work(&loop->uv, work, no_work, free_work);
  setrlimit(RLIMIT_STACK, &stack);
}

void mp_loop_run(struct mp_loop *loop) {
  uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void mp_loop_stop(struct mp_loop *loop) {
  uv_stop(&loop->uv);
}

void mp_loop_deinit(struct mp_loop *loop) {
  while (!mp_list_empty(&loop->soon)) run_posted(loop); /* the ends of what was closed since the last turn */
  mp_poller_deinit(&loop->poller);
  uv_close((uv_handle_t *)&loop->timer, NULL);
  uv_close((uv_handle_t *)&loop->prepare, NULL);
  uv_close((uv_handle_t *)&loop->idle, NULL);
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  MP_CHECK(uv_loop_close(&loop->uv) == 0);
  mp_timers_deinit(&loop->timers);
  free(loop->scratch);
}

void mp_soon_init(struct mp_soon *soon, void (*run)(struct mp_soon *soon)) {
  mp_list_init(&soon->node);
  soon->run = run;
}

void mp_loop_post(struct mp_loop *loop, struct mp_soon *soon) {
  if (mp_list_empty(&soon->node)) mp_list_append(&loop->soon, &soon->node);
}

void mp_soon_cancel(struct mp_soon *soon) {
  mp_list_unlink(&soon->node);
}

const char *mp_loop_library(void) {
  return uv_version_string();
}

unsigned mp_loop_cpus(void) {
  return uv_available_parallelism();
}
