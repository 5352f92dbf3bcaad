#include "base_fork_with.h"
#include "io/procfs.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void this_process_runs_and_has_memory(void **state) {
  struct mp_process_facts facts;
  (void)state;
  assert_int_equal(mp_process_look(getpid(), &facts), 0);
  assert_int_equal(facts.state, 'R');
  assert_true(facts.rss_bytes > 100 * 1024 && facts.rss_bytes < UINT64_C(1) << 40);
}

static void memory_that_is_used_is_seen(void **state) {
  enum { SIZE = 32 * 1024 * 1024 };
  struct mp_process_facts before, after;
  (void)state;
  assert_int_equal(mp_process_look(getpid(), &before), 0);
  char *block = malloc(SIZE);
  assert_non_null(block);
  memset(block, 1, SIZE);
  assert_int_equal(mp_process_look(getpid(), &after), 0);
  assert_true(after.rss_bytes > before.rss_bytes + SIZE / 2);
  free(block);
}

/* Its name is made to look like the end of the name and other fields. */
static void a_name_of_any_kind_confuses_nobody(void **state) {
  struct mp_process_facts facts;
  int status;
  (void)state;
  pid_t child = fork_with();
  if (child == 0) {
    prctl(PR_SET_NAME, "a) R 1 (b) Z");
    raise(SIGSTOP);
    _exit(0);
  }
  assert_int_equal(waitpid(child, &status, WUNTRACED), child);
  assert_int_equal(mp_process_look(child, &facts), 0);
  assert_int_equal(facts.state, 'T');
  assert_true(facts.rss_bytes > 0);
  kill(child, SIGKILL);
  siginfo_t info;
  assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
  assert_int_equal(mp_process_look(child, &facts), 0);
  assert_int_equal(facts.state, 'Z');
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(mp_process_look(child, &facts) < 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(this_process_runs_and_has_memory),
      cmocka_unit_test(memory_that_is_used_is_seen),
      cmocka_unit_test(a_name_of_any_kind_confuses_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
