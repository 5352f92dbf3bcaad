#include "io/watchdog.h"
#include "base/libc.h"
#include "io/at_once.h"
#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* No malloc on the watchdog's thread: the watched one may be stuck anywhere, a lock of malloc's in its hand. */

enum { STACK = 256 * 1024, NEAR_MS = 5, FAR_MS = 60000, INTERRUPT_MS = 50 };

/* ---- what to do ---- */

static void sooner(uint32_t *sleep_ms, uint64_t now, uint64_t due) {
  uint64_t left = due > now ? due - now : 1;
  if (left < *sleep_ms) *sleep_ms = (uint32_t)left;
}

static enum mp_watch_step take(struct mp_watch *w, enum mp_watch_step step, uint32_t *sleep_ms) {
  w->taken = step;
  *sleep_ms = NEAR_MS;
  return step;
}

/* Work that begins right after this look is late at the earliest then. */
static void sleep_long(const struct mp_watch *w, uint32_t *sleep_ms) {
  *sleep_ms = FAR_MS;
  if (w->over_ms) sooner(sleep_ms, 0, w->over_ms);
  if (w->slow_ms) sooner(sleep_ms, 0, w->slow_ms);
}

enum mp_watch_step mp_watch_look(struct mp_watch *w, uint64_t since, uint32_t most, uint64_t now, uint32_t *sleep_ms) {
  uint64_t over = most ? most : w->over_ms, begun = since + w->tick_ms;
  sleep_long(w, sleep_ms);
  if (since != w->about_ms) {
    bool back = w->taken == MP_WATCH_STUCK;
    w->about_ms = since;
    w->taken = MP_WATCH_NONE;
    *sleep_ms = NEAR_MS; /* who was late may be so again soon: the limit after an end by force is short */
    if (back) return MP_WATCH_BACK;
  }
  if (!since) return MP_WATCH_NONE;
  if (w->taken == MP_WATCH_STUCK) {
    *sleep_ms = NEAR_MS;
    return MP_WATCH_NONE;
  }
  if (w->taken == MP_WATCH_OVER) {
    if (now >= w->over_at_ms + MP_WATCH_STUCK_MS) return take(w, MP_WATCH_STUCK, sleep_ms);
    *sleep_ms = NEAR_MS;
    return MP_WATCH_NONE;
  }
  if (over && now >= begun + over) {
    w->over_at_ms = now;
    return take(w, MP_WATCH_OVER, sleep_ms);
  }
  if (over) sooner(sleep_ms, now, begun + over);
  if (w->slow_ms && w->taken == MP_WATCH_NONE) {
    if (now >= begun + w->slow_ms) return take(w, MP_WATCH_SLOW, sleep_ms);
    sooner(sleep_ms, now, begun + w->slow_ms);
  }
  return MP_WATCH_NONE;
}

/* ---- the signal ---- */

static void on_signal(int signo, siginfo_t *info, void *context) {
  int before = errno;
  (void)signo, (void)context;
  if (info->si_code == SI_QUEUE && info->si_pid == getpid()) {
    struct mp_watchdog *w = info->si_value.sival_ptr;
    uint64_t since = atomic_load_explicit(&w->hold->since_ms, memory_order_relaxed);
    if (since && since == atomic_load(&w->asked_ms)) w->interrupt(w->ctx, (enum mp_watch_step)atomic_load(&w->asked));
    atomic_store(&w->asked, MP_WATCH_NONE);
  }
  errno = before;
}

static int catch_signal(void) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
  sigfillset(&action.sa_mask);
  return mp_handle_at_once(MP_SIGNAL_WATCHDOG, &action);
}

static void interrupt_thread(struct mp_watchdog *w, enum mp_watch_step step) {
  atomic_store(&w->asked_ms, w->watch.about_ms);
  atomic_store(&w->asked, step);
  mp_signal_thread(w->watched, MP_SIGNAL_WATCHDOG, w);
}

/* ---- the thread ---- */

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* With the lock held. */
static void sleep_for(struct mp_watchdog *w, uint32_t ms) {
  uint64_t until = now_ms() + ms;
  struct timespec t = {(time_t)(until / 1000), (long)(until % 1000) * 1000000};
  pthread_cond_timedwait(&w->wake, &w->lock, &t);
}

/* What it has to say is worth a short wait; a thread that sleeps in the kernel for good says nothing. */
static void await_interrupt(struct mp_watchdog *w) {
  for (int ms = 0; ms < INTERRUPT_MS && !w->over && atomic_load(&w->asked) != MP_WATCH_NONE; ms++) sleep_for(w, 1);
}

static void act(struct mp_watchdog *w, enum mp_watch_step step) {
  if (step == MP_WATCH_NONE) return;
  if (w->only_tells) {
    if (step == MP_WATCH_OVER || step == MP_WATCH_BACK) w->told(w->ctx, step);
    return;
  }
  if (step != MP_WATCH_BACK) interrupt_thread(w, step);
  if (step == MP_WATCH_STUCK) await_interrupt(w);
  if (step == MP_WATCH_STUCK || step == MP_WATCH_BACK) w->told(w->ctx, step);
}

static void *keep_watch(void *arg) {
  struct mp_watchdog *w = arg;
  pthread_mutex_lock(&w->lock);
  while (!w->over) {
    uint32_t sleep_ms;
    uint64_t since = atomic_load_explicit(&w->hold->since_ms, memory_order_acquire);
    uint32_t most = atomic_load_explicit(&w->hold->most_ms, memory_order_relaxed);
    act(w, mp_watch_look(&w->watch, since, most, now_ms(), &sleep_ms));
    if (!w->over) sleep_for(w, sleep_ms);
  }
  pthread_mutex_unlock(&w->lock);
  return NULL;
}

static int start_thread(struct mp_watchdog *w) {
  pthread_attr_t attr;
  int err = pthread_attr_init(&attr);
  if (err) return -err;
  pthread_attr_setstacksize(&attr, STACK);
  err = pthread_create(&w->thread, &attr, keep_watch, w);
  pthread_attr_destroy(&attr);
  return -err;
}

static int make_lock(struct mp_watchdog *w) {
  pthread_condattr_t attr;
  int err = pthread_condattr_init(&attr);
  if (err) return -err;
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  err = pthread_cond_init(&w->wake, &attr);
  pthread_condattr_destroy(&attr);
  if (err) return -err;
  err = pthread_mutex_init(&w->lock, NULL);
  if (err) pthread_cond_destroy(&w->wake);
  return -err;
}

static uint32_t coarse_tick_ms(void) {
  struct timespec t;
  return clock_getres(CLOCK_MONOTONIC_COARSE, &t) < 0 ? 10 : (uint32_t)((t.tv_nsec + 999999) / 1000000);
}

int mp_watchdog_start(struct mp_watchdog *w) {
  sigset_t all, before;
  if (!w->watch.slow_ms && !w->watch.over_ms) return 0;
  w->watched = gettid();
  w->watch.tick_ms = coarse_tick_ms() + 1; /* times are cut to whole ones */
  int err = w->only_tells ? 0 : catch_signal();
  if (err == 0) err = make_lock(w);
  if (err < 0) return err;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it: signals are the loop's */
  err = start_thread(w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  w->started = err == 0;
  if (err == 0) return 0;
  pthread_cond_destroy(&w->wake);
  pthread_mutex_destroy(&w->lock);
  return err;
}

void mp_watchdog_stop(struct mp_watchdog *w) {
  if (!w->started) return;
  w->started = false;
  pthread_mutex_lock(&w->lock);
  w->over = true;
  pthread_cond_signal(&w->wake);
  pthread_mutex_unlock(&w->lock);
  pthread_join(w->thread, NULL);
  pthread_cond_destroy(&w->wake);
  pthread_mutex_destroy(&w->lock);
}
