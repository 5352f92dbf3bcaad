#include "worker/share.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static struct mp_shm *shm;
static struct mp_share share; /* of seat 0 */
static int fd;

static void seat(unsigned i, uint32_t connections, uint32_t accepted) {
  if (atomic_load(&shm->top) <= i) atomic_store(&shm->top, i + 1);
  atomic_store(&shm->slot[i].pid, (int32_t)(100 + i));
  atomic_store(&shm->slot[i].accepting, 1);
  atomic_store(&shm->slot[i].connections, connections);
  atomic_store(&shm->slot[i].accepted, accepted);
}

static int begin(void **state) {
  (void)state;
  shm = mp_shm_create(4, &fd);
  return shm ? mp_share_init(&share, shm, 0) : -1;
}

static int end(void **state) {
  (void)state;
  mp_share_deinit(&share);
  mp_shm_unmap(shm);
  return close(fd);
}

static void alone_nobody_holds_back(void **state) {
  (void)state;
  seat(0, 1000, 1000);
  assert_false(mp_share_holds_back(&share, 1000, 5));
}

static void who_has_more_than_two_more_holds_back(void **state) {
  (void)state;
  seat(1, 5, 5);
  assert_false(mp_share_holds_back(&share, 2, 5));
  assert_false(mp_share_holds_back(&share, 7, 5));
  assert_true(mp_share_holds_back(&share, 8, 5));
  seat(2, 4, 4);
  assert_true(mp_share_holds_back(&share, 7, 6));
}

static void those_who_take_none_do_not_count(void **state) {
  (void)state;
  seat(1, 0, 0);
  assert_true(mp_share_holds_back(&share, 8, 1000));
  atomic_store(&shm->slot[1].accepting, 0);
  assert_false(mp_share_holds_back(&share, 8, 1000));
  seat(1, 0, 0);
  atomic_store(&shm->slot[1].busy_since_ms, 900);
  assert_false(mp_share_holds_back(&share, 8, 1000));
  atomic_store(&shm->slot[1].busy_since_ms, 990);
  assert_true(mp_share_holds_back(&share, 8, 1000));
}

/* It was left connections and did not take any: stopped by somebody, or full. */
static void a_deaf_sibling_is_waited_for_once(void **state) {
  (void)state;
  seat(1, 0, 7);
  uint64_t now = 1000;
  for (; now < 1000 + MP_SHARE_PATIENCE_MS; now++) assert_true(mp_share_holds_back(&share, 8, now));
  assert_false(mp_share_holds_back(&share, 8, now));
  assert_false(mp_share_holds_back(&share, 9, now + 100000));
  seat(1, 1, 8); /* it has woken up */
  assert_true(mp_share_holds_back(&share, 9, now + 100001));
}

static void a_successor_in_its_seat_is_waited_for_anew(void **state) {
  (void)state;
  seat(1, 0, 0);
  mp_share_holds_back(&share, 8, 1000);
  for (uint64_t now = 1000; now <= 1000 + MP_SHARE_PATIENCE_MS; now++) mp_share_holds_back(&share, 8, now);
  assert_false(mp_share_holds_back(&share, 8, 2000));
  atomic_store(&shm->slot[1].pid, 4711);
  assert_true(mp_share_holds_back(&share, 8, 2001));
}

static void waits_far_apart_are_waits_of_their_own(void **state) {
  (void)state;
  seat(1, 0, 0);
  for (uint64_t now = 1000; now < 100000; now += 1000) assert_true(mp_share_holds_back(&share, 8, now));
}

static void a_sibling_that_takes_some_is_never_deaf(void **state) {
  (void)state;
  for (uint32_t i = 0; i < 1000; i++) {
    seat(1, 0, i / 10);
    assert_true(mp_share_holds_back(&share, 8, 1000 + i));
  }
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(alone_nobody_holds_back),
      T(who_has_more_than_two_more_holds_back),
      T(those_who_take_none_do_not_count),
      T(a_deaf_sibling_is_waited_for_once),
      T(a_successor_in_its_seat_is_waited_for_anew),
      T(waits_far_apart_are_waits_of_their_own),
      T(a_sibling_that_takes_some_is_never_deaf),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
