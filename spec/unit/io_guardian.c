#include "io_fixture.h"

#include "io/guardian.h"
#include "io/pidfd.h"
#include <fcntl.h>
#include <sys/prctl.h>

extern char **environ;

static pid_t start(const char *script, bool own_group) {
  struct mp_started p;
  enum mp_exec_step step;
  struct mp_exec exec = {.argv = (char *[]){"/bin/sh", "-c", (char *)(uintptr_t)script, NULL},
                         .envp = environ,
                         .stdio = {-1, -1, -1},
                         .own_group = own_group};
  assert_int_equal(mp_exec(&exec, &p, &step), 0);
  mp_pidfd_close(&p);
  return p.pid;
}

static bool is_that(pid_t pid, void *ctx) {
  return pid == *(pid_t *)ctx;
}

/* Each leaves its parent's group and hands its child to us. */
#define ESCAPING "setsid sh -c 'sh -c \"trap \\\"\\\" TERM; sleep 100\" & sleep 100' & sleep 100"

static void sweeps_everything_below(void **state) {
  (void)state;
  for (int i = 0; i < 5; i++) start(ESCAPING, true);
  usleep(100000);
  assert_true(mp_sweep(NULL, NULL, 3000) >= 5);
  assert_no_child();
  assert_int_equal(mp_sweep(NULL, NULL, 3000), 0);
}

static void sweeps_children_of_our_own_group_alone(void **state) {
  (void)state;
  pid_t pid = start("exec sleep 100", false);
  assert_int_equal(mp_sweep(NULL, NULL, 3000), 1); /* and we live */
  assert_true(has_ended(pid));
  assert_no_child();
}

static void spares_whom_it_is_told_to(void **state) {
  (void)state;
  pid_t spared = start("sleep 100 & exec sleep 100", true), other = start("exec sleep 100", true);
  assert_int_equal(mp_sweep(is_that, &spared, 3000), 1);
  assert_true(has_ended(other));
  assert_false(has_ended(spared));
  assert_int_equal(mp_sweep(NULL, NULL, 3000), 2); /* its child came to us */
  assert_no_child();
}

static void reaps_strangers_and_nobody_else(void **state) {
  (void)state;
  pid_t running = start("exec sleep 100", true), spared = start("exit 3", true), ended = start("exit 4", true);
  pid_t same_group = start("exit 5", false); /* as a C library's system() has */
  assert_true(is_gone(spared, 3000) && is_gone(ended, 3000) && is_gone(same_group, 3000));
  assert_int_equal(mp_reap_strangers(is_that, &spared, NULL), 1);
  assert_int_equal(waitpid(ended, NULL, WNOHANG), -1);
  assert_int_equal(waitpid(spared, NULL, WNOHANG), spared);
  assert_int_equal(waitpid(same_group, NULL, WNOHANG), same_group);
  assert_int_equal(waitpid(running, NULL, WNOHANG), 0);
  assert_int_equal(mp_sweep(NULL, NULL, 3000), 1);
}

static void lists_children_and_reaps_them_all_when_alone(void **state) {
  pid_t pids[2], same_group = start("exit 3", false), running = start("exec sleep 100", true);
  (void)state;
  assert_int_equal(mp_children(pids, 2), 2);
  assert_true((pids[0] == same_group && pids[1] == running) || (pids[1] == same_group && pids[0] == running));
  assert_int_equal(mp_children(pids, 1), 2);
  assert_int_equal(mp_children(NULL, 0), 2);
  assert_true(is_gone(same_group, 3000));
  assert_int_equal(mp_reap_all_strangers(is_that, &same_group), 0);
  assert_int_equal(mp_reap_all_strangers(NULL, NULL), 1);
  assert_int_equal(mp_children(NULL, 0), 1);
  assert_int_equal(mp_sweep(NULL, NULL, 3000), 1);
}

static void refuses_a_descriptor_that_is_none(void **state) {
  (void)state;
  assert_int_equal(mp_guardian_start(-1), -EBADF);
  assert_int_equal(mp_guardian_start(999), -EBADF);
}

/* A keeper whose loop is stuck: only the guardian can end it. */
static void be_stuck(int death_fd, int report) {
  mp_subreaper();
  if (mp_guardian_start(death_fd) < 0) _exit(9);
  for (int i = 0; i < 3; i++) start(ESCAPING, true);
  usleep(100000);
  if (write(report, "r", 1) != 1) _exit(9);
  for (;;) continue;
}

static void ends_all_when_the_master_dies(void **state) {
  int death[2], report[2], status;
  char byte;
  (void)state;
  assert_int_equal(pipe2(death, O_CLOEXEC) + pipe2(report, O_CLOEXEC), 0);
  pid_t worker = fork();
  if (worker == 0) {
    close(death[1]);
    be_stuck(death[0], report[1]);
  }
  assert_int_equal(read(report[0], &byte, 1), 1);
  assert_int_equal(write(death[1], "bytes say nothing", 17), 17);
  usleep(50000);
  assert_int_equal(waitpid(worker, &status, WNOHANG), 0);
  int64_t before = clock_ms();
  close(death[1]);
  assert_int_equal(waitpid(worker, &status, 0), worker);
  assert_true(clock_ms() - before < 2000);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  assert_int_equal(mp_reap_strangers(NULL, NULL, NULL), 0); /* nothing came to us */
  assert_no_child();
  close(death[0]);
  close(report[0]);
  close(report[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sweeps_everything_below),
      cmocka_unit_test(sweeps_children_of_our_own_group_alone),
      cmocka_unit_test(spares_whom_it_is_told_to),
      cmocka_unit_test(reaps_strangers_and_nobody_else),
      cmocka_unit_test(lists_children_and_reaps_them_all_when_alone),
      cmocka_unit_test(refuses_a_descriptor_that_is_none),
      cmocka_unit_test(ends_all_when_the_master_dies),
  };
  if (mp_subreaper() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
