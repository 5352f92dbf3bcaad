#include "base/robust.h"
#include "base/check.h"
#include <errno.h>
#include <time.h>

enum { SPINS = 100 }; /* what it guards is held for less than a microsecond as a rule */

static void rest(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

int mp_robust_init(pthread_mutex_t *lock) {
  pthread_mutexattr_t attr;
  int err = pthread_mutexattr_init(&attr);
  if (err == 0) err = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  if (err == 0) err = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  if (err == 0) err = pthread_mutex_init(lock, &attr);
  pthread_mutexattr_destroy(&attr);
  return -err;
}

/* ThreadSanitizer (seen with that of GCC 12) knows a lock that is taken by timedlock, and none by clocklock; timedlock
 * has only the clock that somebody may set. musl has no clocklock. */
#if defined __SANITIZE_THREAD__ || !defined __GLIBC__
#define LOCK_CLOCK CLOCK_REALTIME
#define LOCK_UNTIL(lock, until) pthread_mutex_timedlock((lock), (until))
#else
#define LOCK_CLOCK CLOCK_MONOTONIC
#define LOCK_UNTIL(lock, until) pthread_mutex_clocklock((lock), CLOCK_MONOTONIC, (until))
#endif

static struct timespec after(unsigned ms) {
  struct timespec t;
  clock_gettime(LOCK_CLOCK, &t);
  t.tv_sec += ms / 1000;
  t.tv_nsec += (long)(ms % 1000) * 1000000;
  if (t.tv_nsec >= 1000000000) {
    t.tv_sec++;
    t.tv_nsec -= 1000000000;
  }
  return t;
}

int mp_robust_try(pthread_mutex_t *lock) {
  int err = pthread_mutex_trylock(lock);
  MP_CHECK(err == 0 || err == EOWNERDEAD || err == EBUSY);
  return -err;
}

int mp_robust_lock(pthread_mutex_t *lock, unsigned most_ms) {
  int err;
  for (int i = 0; i < SPINS; i++) {
    if ((err = mp_robust_try(lock)) != -EBUSY) return err;
    rest();
  }
  struct timespec until = after(most_ms);
  err = LOCK_UNTIL(lock, &until);
  MP_CHECK(err == 0 || err == EOWNERDEAD || err == ETIMEDOUT);
  return -err;
}

void mp_robust_repaired(pthread_mutex_t *lock) {
  MP_CHECK(pthread_mutex_consistent(lock) == 0);
}

void mp_robust_unlock(pthread_mutex_t *lock) {
  MP_CHECK(pthread_mutex_unlock(lock) == 0);
}
