#include "base/lease.h"
#include "base_fork_with.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PLACES = 4 };

static struct mp_leases *new_leases(void) {
  struct mp_leases *all = mmap(NULL, mp_leases_size(PLACES), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(all, MAP_FAILED);
  assert_int_equal(mp_leases_format(all, PLACES), 0);
  return all;
}

static struct mp_lease lease_of(struct mp_leases *all, const char *name) {
  struct mp_lease lease;
  mp_lease_init(&lease, all, mp_slice(name, strlen(name)));
  return lease;
}

static int take(struct mp_leases *all, const char *name) {
  struct mp_lease lease = lease_of(all, name);
  uint64_t last;
  return mp_lease_take(&lease, &last);
}

/* The end of a process that says with its exit code what taking came to. */
static int take_elsewhere(struct mp_leases *all, const char *name) {
  int status;
  pid_t pid = fork_with();
  if (pid == 0) _exit(-take(all, name));
  waitpid(pid, &status, 0);
  return -WEXITSTATUS(status);
}

static void one_at_a_time_holds_it(void **state) {
  (void)state;
  struct mp_leases *all = new_leases();
  struct mp_lease lease = lease_of(all, "a");
  uint64_t last;
  assert_int_equal(mp_lease_take(&lease, &last), 0);
  assert_int_equal(last, 0);
  mp_lease_note(&lease, 77);
  assert_int_equal(take_elsewhere(all, "a"), -EBUSY);
  assert_int_equal(take(all, "a"), -EBUSY);
  assert_int_equal(take_elsewhere(all, "b"), 0);
  mp_lease_give(&lease);
  assert_int_equal(take_elsewhere(all, "a"), 0); /* and dies with it */
  assert_int_equal(mp_lease_take(&lease, &last), 0);
  assert_int_equal(last, 77);
  munmap(all, mp_leases_size(PLACES));
}

static void places_are_used_again(void **state) {
  (void)state;
  struct mp_leases *all = new_leases();
  char name[24];
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "short %d", i);
    assert_int_equal(take_elsewhere(all, name), 0);
  }
  for (int i = 0; i < PLACES; i++) {
    snprintf(name, sizeof name, "long %d", i);
    assert_int_equal(take(all, name), 0);
  }
  assert_int_equal(take(all, "one more"), -ENOSPC);
  assert_int_equal(take_elsewhere(all, "long 2"), -EBUSY);
  munmap(all, mp_leases_size(PLACES));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_at_a_time_holds_it),
      cmocka_unit_test(places_are_used_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
