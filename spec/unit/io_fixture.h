/* io_fixture.h - what the specs of the room io share: a loop, a deadline, and the counting of what stayed behind. */
#ifndef IO_FIXTURE_H
#define IO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/loop.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct fixture {
  struct mp_loop loop;
  struct mp_log log;
  int fds;
};

static inline int open_fds(void) {
  DIR *dir = opendir("/proc/self/fd");
  int n = 0;
  assert_non_null(dir);
  while (readdir(dir)) n++;
  closedir(dir);
  return n;
}

/* Not one child is left, alive or zombie. */
static inline void assert_no_child(void) {
  siginfo_t info;
  assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1);
  assert_int_equal(errno, ECHILD);
}

static inline int64_t clock_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline int open_loop(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  f->log = (struct mp_log){.fd = 2, .least = MP_LOG_ERROR};
  uv_signal_t signal; /* libuv keeps a pipe for signals from the first loop on */
  if (mp_loop_init(&f->loop, &f->log) != 0 || uv_signal_init(&f->loop.uv, &signal) != 0) return -1;
  uv_close((uv_handle_t *)&signal, NULL);
  mp_loop_deinit(&f->loop);
  f->fds = open_fds();
  if (mp_loop_init(&f->loop, &f->log) != 0) return -1;
  *state = f;
  return 0;
}

static inline int close_loop(void **state) {
  struct fixture *f = *state;
  mp_loop_deinit(&f->loop);
  int left = open_fds() - f->fds;
  free(f);
  if (left) print_error("%d descriptors stayed behind\n", left);
  return left;
}

struct deadline {
  struct mp_timer timer;
  bool over;
};

static inline void on_deadline(struct mp_timer *timer) {
  MP_CONTAINER(timer, struct deadline, timer)->over = true;
}

/* Turns the loop until `*done`, at most `most_ms`. */
static inline bool turn_until(struct mp_loop *loop, const bool *done, int64_t most_ms) {
  struct deadline deadline = {.over = false};
  assert_int_equal(mp_timer_init(&deadline.timer, &loop->timers, on_deadline), 0);
  uv_update_time(&loop->uv);
  mp_timer_start(&deadline.timer, (uint64_t)most_ms);
  while (!*done && !deadline.over) {
    struct pollfd at = {.fd = uv_backend_fd(&loop->uv), .events = POLLIN};
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    if (!*done && !deadline.over) poll(&at, 1, uv_backend_timeout(&loop->uv));
  }
  mp_timer_deinit(&deadline.timer);
  return *done;
}

static inline void turn_for(struct mp_loop *loop, int64_t ms) {
  bool never = false;
  turn_until(loop, &never, ms);
}

/* Gone, or a zombie that waits for whoever has adopted it. */
static inline bool has_ended(pid_t pid) {
  char path[64], text[256] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "r");
  if (!file) return true;
  bool read = fgets(text, sizeof text, file) != NULL;
  fclose(file);
  const char *behind = strrchr(text, ')');
  return !read || !behind || behind[2] == 'Z' || behind[2] == 'X';
}

static inline bool is_gone(pid_t pid, int64_t most_ms) {
  int64_t until = clock_ms() + most_ms;
  while (!has_ended(pid) && clock_ms() < until) usleep(1000);
  return has_ended(pid);
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)

#endif
