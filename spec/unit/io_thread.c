#include "io_fixture.h"

#include "io/thread.h"
#include <pthread.h>

struct job {
  struct mp_work work;
  struct mp_post ask;
  void (*body)(struct job *job);
  int value;
  _Atomic bool began, interrupted;
  _Atomic bool release; /* the body may end */
  bool answered, done;
  unsigned *n_done;
};

static struct job *job_of(struct mp_work *work) {
  return MP_CONTAINER(work, struct job, work);
}

static void run_job(struct mp_work *work, void **place) {
  struct job *job = job_of(work);
  if (!*place) *place = calloc(1, 1);
  job->began = true;
  if (job->body) job->body(job);
  job->value++;
}

static void interrupt_job(struct mp_work *work) {
  job_of(work)->interrupted = true;
}

static void job_done(struct mp_work *work) {
  job_of(work)->done = true;
  if (job_of(work)->n_done) ++*job_of(work)->n_done;
}

static const struct mp_work_ops ops = {run_job, interrupt_job, job_done};

static struct job a_job(void (*body)(struct job *job)) {
  struct job job = {.body = body};
  job.work.ops = &ops;
  mp_list_init(&job.work.node);
  return job;
}

struct pool {
  struct mp_threads *threads;
  bool closed, room;
};

static void on_room(void *ctx) {
  ((struct pool *)ctx)->room = true;
}

static void on_closed(void *ctx) {
  ((struct pool *)ctx)->closed = true;
}

static void open_pool(struct pool *pool, struct fixture *f, unsigned most, unsigned bound) {
  struct mp_threads_setup setup = {.loop = &f->loop,
                                   .name = "spec",
                                   .most = most,
                                   .bound = bound,
                                   .leave = free,
                                   .on_room = on_room,
                                   .on_closed = on_closed,
                                   .ctx = pool};
  *pool = (struct pool){.threads = mp_threads_open(&setup)};
  assert_non_null(pool->threads);
}

static void retire(struct pool *pool, struct fixture *f) {
  mp_threads_retire(pool->threads);
  assert_true(turn_until(&f->loop, &pool->closed, 5000));
}

static void until_began(struct job *job) {
  for (int i = 0; i < 5000 && !job->began; i++) usleep(1000);
  assert_true(job->began);
}

static void wait_for_release(struct job *job) {
  while (!job->release) usleep(500);
}

static void sleep_long(struct job *job) {
  job->value = mp_work_wait(&job->work, NULL, 60) == -EINTR ? 100 : 0;
}

static void works_are_run_on_threads_and_done_on_the_loop(void **state) {
  struct fixture *f = *state;
  struct pool pool;
  struct job jobs[100];
  unsigned n_done = 0;
  open_pool(&pool, f, 3, 1000);
  for (int i = 0; i < 100; i++) {
    jobs[i] = a_job(NULL);
    jobs[i].n_done = &n_done;
    assert_int_equal(mp_work_submit(pool.threads, &jobs[i].work), 0);
  }
  for (int i = 0; i < 100; i++) assert_true(turn_until(&f->loop, &jobs[i].done, 5000));
  assert_int_equal(n_done, 100);
  for (int i = 0; i < 100; i++) assert_int_equal(jobs[i].value, 1);
  retire(&pool, f);
}

static void what_is_queued_can_be_taken_back_and_a_full_queue_says_so(void **state) {
  struct fixture *f = *state;
  struct pool pool;
  struct job first = a_job(wait_for_release), second = a_job(NULL), third = a_job(NULL);
  struct mp_threads_facts facts;
  open_pool(&pool, f, 1, 1);
  assert_int_equal(mp_work_submit(pool.threads, &first.work), 0);
  until_began(&first);
  assert_int_equal(mp_work_submit(pool.threads, &second.work), 0);
  assert_int_equal(mp_work_submit(pool.threads, &third.work), -EAGAIN);
  assert_false(mp_threads_has_room(pool.threads));
  mp_threads_look(pool.threads, &facts);
  assert_int_equal(facts.running, 1);
  assert_int_equal(facts.queued, 1);
  assert_true(mp_work_take_back(&second.work));
  assert_false(mp_work_take_back(&second.work));
  assert_false(mp_work_take_back(&first.work));
  assert_true(turn_until(&f->loop, &pool.room, 5000));
  first.release = true;
  assert_true(turn_until(&f->loop, &first.done, 5000));
  assert_int_equal(second.value, 0);
  retire(&pool, f);
}

static void a_waiting_work_is_interrupted_on_its_thread(void **state) {
  struct fixture *f = *state;
  struct pool pool;
  struct job job = a_job(sleep_long);
  open_pool(&pool, f, 1, 8);
  assert_int_equal(mp_work_submit(pool.threads, &job.work), 0);
  until_began(&job);
  assert_true(mp_work_runs(&job.work));
  assert_int_equal(mp_work_interrupt(&job.work, 1), 0);
  assert_true(turn_until(&f->loop, &job.done, 5000));
  assert_true(job.interrupted);
  assert_int_equal(job.value, 101);
  assert_int_equal(mp_work_interrupt(&job.work, 1), -ESRCH);
  retire(&pool, f);
}

static void on_ask(struct mp_post *post) {
  struct job *job = MP_CONTAINER(post, struct job, ask);
  job->value = 41;
  mp_work_answer(&job->work, &job->answered);
}

static void ask_the_loop(struct job *job) {
  mp_list_init(&job->ask.node);
  job->ask.run = on_ask;
  if (mp_threads_post(job->work.threads, &job->ask)) mp_work_wait(&job->work, &job->answered, -1);
}

static void a_thread_asks_and_the_loop_answers(void **state) {
  struct fixture *f = *state;
  struct pool pool;
  struct job job = a_job(ask_the_loop);
  open_pool(&pool, f, 1, 8);
  assert_int_equal(mp_work_submit(pool.threads, &job.work), 0);
  assert_true(turn_until(&f->loop, &job.done, 5000));
  assert_int_equal(job.value, 42);
  retire(&pool, f);
}

static void time_out(struct job *job) {
  job->value = mp_work_wait(&job->work, &job->answered, 0.02);
}

static void a_wait_of_a_thread_may_run_out_of_time(void **state) {
  struct fixture *f = *state;
  struct pool pool;
  struct job job = a_job(time_out);
  open_pool(&pool, f, 1, 8);
  assert_int_equal(mp_work_submit(pool.threads, &job.work), 0);
  assert_true(turn_until(&f->loop, &job.done, 5000));
  assert_int_equal(job.value, -ETIMEDOUT + 1);
  retire(&pool, f);
}

static void a_thread_that_does_not_come_back_is_replaced(void **state) {
  struct fixture *f = *state;
  struct pool pool;
  struct job stuck = a_job(wait_for_release), next = a_job(NULL);
  struct mp_threads_facts facts;
  open_pool(&pool, f, 1, 8);
  assert_int_equal(mp_work_submit(pool.threads, &stuck.work), 0);
  until_began(&stuck);
  assert_int_equal(mp_work_submit(pool.threads, &next.work), 0);
  turn_for(&f->loop, 20);
  assert_false(next.done);
  mp_work_leave_behind(&stuck.work);
  mp_work_leave_behind(&stuck.work);
  assert_true(turn_until(&f->loop, &next.done, 5000));
  mp_threads_look(pool.threads, &facts);
  assert_int_equal(facts.left_behind, 1);
  assert_int_equal(facts.running, 0);
  stuck.release = true;
  assert_true(turn_until(&f->loop, &stuck.done, 5000));
  retire(&pool, f);
}

static void close_waits_for_what_was_interrupted(void **state) {
  struct fixture *f = *state;
  struct pool pool;
  struct job job = a_job(sleep_long);
  open_pool(&pool, f, 2, 8);
  assert_int_equal(mp_work_submit(pool.threads, &job.work), 0);
  until_began(&job);
  mp_work_interrupt(&job.work, 1);
  mp_threads_close(pool.threads, 5000);
  assert_true(job.done);
}

static void a_pool_without_work_has_no_thread_and_closes(void **state) {
  struct fixture *f = *state;
  struct pool pool;
  open_pool(&pool, f, 4, 8);
  mp_threads_close(pool.threads, 1000);
  open_pool(&pool, f, 4, 8);
  retire(&pool, f);
}

static _Atomic unsigned strangers;

static void *send_signals(void *arg) {
  for (int i = 0; i < 200; i++) {
    if (pthread_kill(*(pthread_t *)arg, MP_SIGNAL_INTERRUPT) == 0) strangers++;
    usleep(100);
  }
  return NULL;
}

/* The handler believes only what this process has queued for one of its threads. */
static void a_stray_signal_is_ignored(void **state) {
  struct fixture *f = *state;
  struct pool pool;
  pthread_t self = pthread_self(), sender;
  struct job job = a_job(time_out);
  open_pool(&pool, f, 1, 8);
  assert_int_equal(pthread_create(&sender, NULL, send_signals, &self), 0);
  assert_int_equal(mp_work_submit(pool.threads, &job.work), 0);
  assert_true(turn_until(&f->loop, &job.done, 5000));
  pthread_join(sender, NULL);
  assert_true(strangers > 0);
  assert_false(job.interrupted);
  retire(&pool, f);
}

#define SPEC(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void) {
  const struct CMUnitTest tests[] = {
      SPEC(works_are_run_on_threads_and_done_on_the_loop),
      SPEC(what_is_queued_can_be_taken_back_and_a_full_queue_says_so),
      SPEC(a_waiting_work_is_interrupted_on_its_thread),
      SPEC(a_thread_asks_and_the_loop_answers),
      SPEC(a_wait_of_a_thread_may_run_out_of_time),
      SPEC(a_thread_that_does_not_come_back_is_replaced),
      SPEC(close_waits_for_what_was_interrupted),
      SPEC(a_pool_without_work_has_no_thread_and_closes),
      SPEC(a_stray_signal_is_ignored),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
