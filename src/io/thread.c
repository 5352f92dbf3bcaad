#include "io/thread.h"
#include "base/libc.h"
#include "io/at_once.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct mp_thread {
  struct mp_list node;     /* of `threads`, `over` or nothing */
  struct mp_threads *pool; /* borrowed: outlives it */
  pthread_t id;
  pid_t tid;
  pthread_cond_t answered;           /* what its work waits for */
  _Atomic(struct mp_work *) current; /* borrowed; written and read by this thread alone, also in its signal handler */
  void *place;                       /* owned by the room above */
  unsigned number;
  bool behind;
};

/* Everything below `lock` is guarded by it. */
struct mp_threads {
  struct mp_threads_setup setup;
  uv_async_t async;
  pthread_mutex_t lock;
  pthread_cond_t more;  /* for idle threads: work, or the end */
  pthread_cond_t fewer; /* for close: a thread has ended */
  struct mp_list queue;
  struct mp_list posts;
  struct mp_list live, over; /* threads; those that have ended wait to be joined */
  unsigned n_queued, n_idle, n_live, n_behind, n_running;
  unsigned n_started; /* ever: their numbers */
  bool wants_room, has_room;
  bool retiring;
  bool closed; /* the loop is not to be touched any more */
  bool closing_async;
};

/* ---- on a thread ---- */

/* The pointer comes from the kernel as we sent it, and only we send it: a signal from elsewhere is told by its code. */
static void on_interrupt(int signo, siginfo_t *info, void *context) {
  (void)signo, (void)context;
  int saved = errno;
  if (info->si_code == SI_QUEUE && info->si_pid == getpid()) {
    struct mp_thread *thread = info->si_value.sival_ptr;
    struct mp_work *work = atomic_load_explicit(&thread->current, memory_order_relaxed);
    if (work) work->ops->interrupt(work);
  }
  errno = saved;
}

static void prepare_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, MP_SIGNAL_INTERRUPT);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void kick_loop(struct mp_threads *pool) {
  if (!pool->closed) uv_async_send(&pool->async);
}

/* Called with the lock held. NULL: the thread is to end. */
static struct mp_work *next_work(struct mp_thread *thread) {
  struct mp_threads *pool = thread->pool;
  while (!thread->behind && mp_list_empty(&pool->queue) && !pool->retiring) {
    pool->n_idle++;
    pthread_cond_wait(&pool->more, &pool->lock);
    pool->n_idle--;
  }
  if (thread->behind || mp_list_empty(&pool->queue)) return NULL;
  struct mp_work *work = MP_CONTAINER(mp_list_pop(&pool->queue), struct mp_work, node);
  pool->n_queued--;
  work->thread = thread;
  pool->n_running++;
  if (pool->wants_room) {
    pool->wants_room = false;
    pool->has_room = true;
    kick_loop(pool);
  }
  return work;
}

static void run_done(struct mp_post *post) {
  struct mp_work *work = MP_CONTAINER(post, struct mp_work, post);
  work->threads = NULL;
  work->ops->done(work);
}

static void run_work(struct mp_thread *thread, struct mp_work *work) {
  struct mp_threads *pool = thread->pool;
  pthread_mutex_unlock(&pool->lock);
  atomic_store_explicit(&thread->current, work, memory_order_relaxed);
  work->ops->run(work, &thread->place);
  atomic_store_explicit(&thread->current, NULL, memory_order_relaxed);
  pthread_mutex_lock(&pool->lock);
  work->thread = NULL;
  if (!thread->behind) pool->n_running--;
  work->post.run = run_done;
  mp_list_append(&pool->posts, &work->post.node);
  kick_loop(pool);
}

/* A thread that was left behind past the end of its pool keeps what it holds: the process is about to end. */
static void end_thread(struct mp_thread *thread) {
  struct mp_threads *pool = thread->pool;
  if (thread->place) pool->setup.leave(thread->place);
  pthread_mutex_lock(&pool->lock);
  while (pool->closed) {
    pthread_mutex_unlock(&pool->lock);
    pause();
    pthread_mutex_lock(&pool->lock);
  }
  mp_list_unlink(&thread->node);
  mp_list_append(&pool->over, &thread->node);
  if (thread->behind)
    pool->n_behind--;
  else
    pool->n_live--;
  pthread_cond_signal(&pool->fewer);
  kick_loop(pool);
  pthread_mutex_unlock(&pool->lock);
}

static void *thread_main(void *arg) {
  struct mp_thread *thread = arg;
  struct mp_threads *pool = thread->pool;
  char name[16];
  struct mp_work *work;
  thread->tid = gettid();
  snprintf(name, sizeof name, "%.11s-%u", pool->setup.name, thread->number % 1000);
  pthread_setname_np(pthread_self(), name);
  if (!thread->pool->setup.no_signals) prepare_signals();
  pthread_mutex_lock(&pool->lock);
  while ((work = next_work(thread))) run_work(thread, work);
  pthread_mutex_unlock(&pool->lock);
  end_thread(thread);
  return NULL;
}

/* ---- starting and ending threads ---- */

/* It inherits a mask of everything: signals are the loop's. */
static int create_thread(struct mp_thread *thread) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int err = pthread_create(&thread->id, NULL, thread_main, thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return -err;
}

static int init_cond(pthread_cond_t *cond) {
  pthread_condattr_t attr;
  int err = pthread_condattr_init(&attr);
  if (err) return -err;
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  err = pthread_cond_init(cond, &attr);
  pthread_condattr_destroy(&attr);
  return -err;
}

/* Called with the lock held. */
static int start_thread(struct mp_threads *pool) {
  struct mp_thread *thread = calloc(1, sizeof *thread);
  if (!thread) return -ENOMEM;
  thread->pool = pool;
  thread->number = ++pool->n_started;
  int err = init_cond(&thread->answered);
  if (err < 0) goto fail;
  mp_list_init(&thread->node);
  err = create_thread(thread);
  if (err < 0) goto fail_cond;
  mp_list_append(&pool->live, &thread->node);
  pool->n_live++;
  return 0;
fail_cond:
  pthread_cond_destroy(&thread->answered);
fail:
  free(thread);
  return err;
}

/* A thread for what is queued and finds none that is free; called with the lock held. An error only if there is no
 * thread at all that could ever take it. */
static int start_if_needed(struct mp_threads *pool) {
  if (pool->n_queued <= pool->n_idle || pool->n_live >= pool->setup.most) return 0;
  int err = start_thread(pool);
  return pool->n_live > 0 ? 0 : err;
}

static void join_thread(struct mp_thread *thread) {
  pthread_join(thread->id, NULL);
  pthread_cond_destroy(&thread->answered);
  free(thread);
}

/* ---- on the loop ---- */

static void free_pool(struct mp_threads *pool) {
  pthread_cond_destroy(&pool->more);
  pthread_cond_destroy(&pool->fewer);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}

static void on_async_closed(uv_handle_t *handle) {
  struct mp_threads *pool = handle->data;
  if (pool->setup.on_closed) pool->setup.on_closed(pool->setup.ctx);
  if (pool->n_behind == 0) free_pool(pool); /* else a thread still holds it */
}

static void close_when_empty(struct mp_threads *pool) {
  pthread_mutex_lock(&pool->lock);
  bool empty = pool->retiring && !pool->closing_async && pool->n_live == 0 && pool->n_behind == 0 &&
               mp_list_empty(&pool->posts) && mp_list_empty(&pool->over);
  if (empty) pool->closing_async = true;
  pthread_mutex_unlock(&pool->lock);
  if (empty) uv_close((uv_handle_t *)&pool->async, on_async_closed);
}

static void run_posts(struct mp_threads *pool) {
  struct mp_list posts, over, *node;
  mp_list_init(&posts);
  mp_list_init(&over);
  pthread_mutex_lock(&pool->lock);
  mp_list_splice(&posts, &pool->posts);
  mp_list_splice(&over, &pool->over);
  bool has_room = pool->has_room;
  pool->has_room = false;
  pthread_mutex_unlock(&pool->lock);
  while ((node = mp_list_pop(&over))) join_thread(MP_CONTAINER(node, struct mp_thread, node));
  while ((node = mp_list_pop(&posts))) {
    struct mp_post *post = MP_CONTAINER(node, struct mp_post, node);
    post->run(post);
  }
  if (has_room && pool->setup.on_room) pool->setup.on_room(pool->setup.ctx);
}

static void on_async(uv_async_t *async) {
  struct mp_threads *pool = async->data;
  mp_loop_woke(pool->setup.loop);
  run_posts(pool);
  close_when_empty(pool);
}

static int install_handler(void) {
  struct sigaction action = {.sa_sigaction = on_interrupt, .sa_flags = SA_SIGINFO};
  /* Not SA_RESTART: a thread that blocks in read(2) comes back to where it can be stopped. */
  sigfillset(&action.sa_mask);
  return mp_handle_at_once(MP_SIGNAL_INTERRUPT, &action);
}

struct mp_threads *mp_threads_open(const struct mp_threads_setup *setup) {
  struct mp_threads *pool = calloc(1, sizeof *pool);
  if (!pool) return NULL;
  pool->setup = *setup;
  mp_list_init(&pool->queue);
  mp_list_init(&pool->posts);
  mp_list_init(&pool->live);
  mp_list_init(&pool->over);
  if ((!setup->no_signals && install_handler() < 0) || pthread_mutex_init(&pool->lock, NULL) != 0) goto fail;
  if (init_cond(&pool->more) < 0) goto fail_lock;
  if (init_cond(&pool->fewer) < 0) goto fail_more;
  if (uv_async_init(&setup->loop->uv, &pool->async, on_async) < 0) goto fail_fewer;
  pool->async.data = pool;
  return pool;
fail_fewer:
  pthread_cond_destroy(&pool->fewer);
fail_more:
  pthread_cond_destroy(&pool->more);
fail_lock:
  pthread_mutex_destroy(&pool->lock);
fail:
  free(pool);
  return NULL;
}

void mp_threads_retire(struct mp_threads *pool) {
  pthread_mutex_lock(&pool->lock);
  pool->retiring = true;
  pthread_cond_broadcast(&pool->more);
  pthread_mutex_unlock(&pool->lock);
  close_when_empty(pool);
}

/* `ms` from now on the clock of our conditions. */
static struct timespec moment_after(double s) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  double whole = floor(s);
  at.tv_sec += (time_t)whole;
  at.tv_nsec += (long)((s - whole) * 1e9);
  if (at.tv_nsec >= 1000000000) {
    at.tv_sec++;
    at.tv_nsec -= 1000000000;
  }
  return at;
}

static void leave_all_behind(struct mp_threads *pool) {
  MP_LIST_EACH(node, &pool->live) {
    struct mp_thread *thread = MP_CONTAINER(node, struct mp_thread, node);
    thread->behind = true;
    mp_list_unlink(&thread->node);
    pool->n_live--;
    pool->n_behind++;
  }
}

bool mp_threads_close(struct mp_threads *pool, unsigned most_ms) {
  pool->setup.on_closed = pool->setup.on_room = NULL;
  if (pool->closing_async) return true;
  struct timespec until = moment_after(most_ms / 1000.0);
  pthread_mutex_lock(&pool->lock);
  pool->retiring = true;
  pthread_cond_broadcast(&pool->more);
  while (pool->n_live > 0 && pthread_cond_timedwait(&pool->fewer, &pool->lock, &until) == 0) {
  }
  leave_all_behind(pool);
  pthread_mutex_unlock(&pool->lock);
  run_posts(pool);
  pthread_mutex_lock(&pool->lock);
  pool->closed = pool->closing_async = true;
  bool whole = pool->n_behind == 0;
  pthread_mutex_unlock(&pool->lock);
  run_posts(pool); /* whoever ended between the two */
  uv_close((uv_handle_t *)&pool->async, on_async_closed);
  return whole;
}

/* ---- work ---- */

bool mp_threads_has_room(struct mp_threads *pool) {
  pthread_mutex_lock(&pool->lock);
  bool has = pool->n_queued < pool->setup.bound;
  if (!has) pool->wants_room = true;
  pthread_mutex_unlock(&pool->lock);
  return has;
}

int mp_work_submit(struct mp_threads *pool, struct mp_work *work) {
  int err = 0;
  pthread_mutex_lock(&pool->lock);
  if (pool->n_queued >= pool->setup.bound) {
    err = -EAGAIN;
  } else {
    work->threads = pool;
    work->thread = NULL;
    work->queued_ms = mp_loop_now(pool->setup.loop);
    mp_list_init(&work->post.node);
    mp_list_append(&pool->queue, &work->node);
    pool->n_queued++;
    err = start_if_needed(pool);
    if (err < 0) {
      mp_list_unlink(&work->node);
      pool->n_queued--;
      work->threads = NULL;
    } else {
      pthread_cond_signal(&pool->more);
    }
  }
  pthread_mutex_unlock(&pool->lock);
  return err;
}

bool mp_work_take_back(struct mp_work *work) {
  struct mp_threads *pool = work->threads;
  if (!pool) return false;
  pthread_mutex_lock(&pool->lock);
  bool queued = !work->thread && !mp_list_empty(&work->node);
  if (queued) {
    mp_list_unlink(&work->node);
    pool->n_queued--;
    work->threads = NULL;
    if (pool->wants_room) {
      pool->wants_room = false;
      pool->has_room = true;
      kick_loop(pool);
    }
  }
  pthread_mutex_unlock(&pool->lock);
  return queued;
}

bool mp_work_runs(struct mp_work *work) {
  struct mp_threads *pool = work->threads;
  if (!pool) return false;
  pthread_mutex_lock(&pool->lock);
  bool runs = work->thread != NULL;
  pthread_mutex_unlock(&pool->lock);
  return runs;
}

/* The lock keeps the thread from ending, and from parting with this work, while the signal is sent. */
int mp_work_interrupt(struct mp_work *work, int stop) {
  struct mp_threads *pool = work->threads;
  int err = -ESRCH;
  atomic_store_explicit(&work->stop, stop, memory_order_release);
  if (!pool) return err;
  pthread_mutex_lock(&pool->lock);
  if (work->thread) {
    pthread_cond_broadcast(&work->thread->answered);
    err = pool->setup.no_signals ? 0 : mp_signal_thread(work->thread->tid, MP_SIGNAL_INTERRUPT, work->thread);
  }
  pthread_mutex_unlock(&pool->lock);
  return err;
}

void mp_work_leave_behind(struct mp_work *work) {
  struct mp_threads *pool = work->threads;
  if (!pool) return;
  pthread_mutex_lock(&pool->lock);
  struct mp_thread *thread = work->thread;
  if (thread && !thread->behind) {
    thread->behind = true;
    mp_list_unlink(&thread->node);
    pool->n_live--;
    pool->n_running--;
    pool->n_behind++;
    start_if_needed(pool); /* an error: the next submit tries again */
  }
  pthread_mutex_unlock(&pool->lock);
}

bool mp_threads_post(struct mp_threads *pool, struct mp_post *post) {
  pthread_mutex_lock(&pool->lock);
  bool open = !pool->closed;
  if (open) {
    mp_list_append(&pool->posts, &post->node);
    kick_loop(pool);
  }
  pthread_mutex_unlock(&pool->lock);
  return open;
}

int mp_work_wait(struct mp_work *work, const bool *answered, double timeout_s) {
  struct mp_threads *pool = work->threads;
  bool timed = timeout_s >= 0 && timeout_s < 1e9;
  struct timespec until = moment_after(timed ? timeout_s : 0);
  int err = 0;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_t *cond = &work->thread->answered;
  for (;;) {
    if (answered && *answered) break;
    if (atomic_load_explicit(&work->stop, memory_order_acquire) || pool->closed) {
      err = -EINTR;
      break;
    }
    err = timed ? -pthread_cond_timedwait(cond, &pool->lock, &until) : -pthread_cond_wait(cond, &pool->lock);
    if (err == -ETIMEDOUT && !(answered && *answered)) break;
    err = 0;
  }
  pthread_mutex_unlock(&pool->lock);
  return err;
}

void mp_work_answer(struct mp_work *work, bool *answered) {
  struct mp_threads *pool = work->threads;
  if (!pool) return;
  pthread_mutex_lock(&pool->lock);
  *answered = true;
  if (work->thread) pthread_cond_broadcast(&work->thread->answered);
  pthread_mutex_unlock(&pool->lock);
}

void mp_threads_look(struct mp_threads *pool, struct mp_threads_facts *facts) {
  pthread_mutex_lock(&pool->lock);
  facts->running = pool->n_running;
  facts->queued = pool->n_queued;
  facts->left_behind = pool->n_behind;
  facts->oldest_ms = mp_list_empty(&pool->queue) ? 0 : MP_CONTAINER(pool->queue.next, struct mp_work, node)->queued_ms;
  pthread_mutex_unlock(&pool->lock);
}
