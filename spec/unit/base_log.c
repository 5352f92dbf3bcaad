#include "base/log.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* All that is in the pipe; what is kept of it is the last, as a string. */
static void read_all(int fd, char *last, size_t size) {
  ssize_t n;
  last[0] = '\0';
  while ((n = read(fd, last, size - 1)) > 0) last[n] = '\0';
}

static void a_pipe_that_nobody_reads_holds_nobody(void **state) {
  (void)state;
  static char text[1 << 17];
  int ends[2];
  long before = now_ms();
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  struct mp_log log = {.fd = ends[1], .least = MP_LOG_INFO};
  for (int i = 0; i < 5000; i++) mp_log(&log, MP_LOG_INFO, "spec", "line %d of many that are not read", i);
  assert_true(now_ms() - before < 2000);
  assert_true(log.lost > 0 && log.lost < 5000);
  uint64_t lost = log.lost;
  read_all(ends[0], text, sizeof text);
  mp_log(&log, MP_LOG_INFO, "spec", "read again");
  read_all(ends[0], text, sizeof text);
  char want[64];
  snprintf(want, sizeof want, "lines=%llu\n", (unsigned long long)lost);
  assert_non_null(strstr(text, want));
  assert_non_null(strstr(text, "spec info read again\n"));
  mp_log(&log, MP_LOG_INFO, "spec", "and once more");
  read_all(ends[0], text, sizeof text);
  assert_null(strstr(text, "could not be written"));
  close(ends[0]);
  close(ends[1]);
}

static void a_line_longer_than_the_pipe_is_torn_and_told(void **state) {
  (void)state;
  static char text[1 << 17], longest[100000];
  int ends[2];
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  struct mp_log log = {.fd = ends[1], .least = MP_LOG_INFO};
  memset(longest, 'x', sizeof longest);
  mp_log_detail(&log, MP_LOG_INFO, "spec", mp_slice(longest, sizeof longest), mp_slice("", 0));
  assert_int_equal(log.lost, 1);
  read_all(ends[0], text, sizeof text);
  mp_log(&log, MP_LOG_INFO, "spec", "next");
  read_all(ends[0], text, sizeof text);
  assert_int_equal(text[0], '\n');
  assert_non_null(strstr(text, "lines=1\n"));
  close(ends[0]);
  close(ends[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_pipe_that_nobody_reads_holds_nobody),
      cmocka_unit_test(a_line_longer_than_the_pipe_is_torn_and_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
