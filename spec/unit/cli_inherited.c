#include "cli/inherited.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* What a master is given: by the words of an old one, and by systemd's variables. */

static struct mp_inheritance in;
static char why[MP_WHY];

static int clear(void **state) {
  static const char *const names[] = {"LISTEN_PID",    "LISTEN_FDS",    "LISTEN_FDNAMES",
                                      "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
  (void)state;
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
  return 0;
}

static int take(int argc, char **argv, int *left) {
  int err = mp_inherited_read(&in, &argc, &argv, why);
  if (left) *left = argc;
  return err;
}

static void set_pid(const char *name, pid_t pid) {
  char text[24];
  snprintf(text, sizeof text, "%d", (int)pid);
  setenv(name, text, 1);
}

static void words_of_the_user_stay(void **state) {
  char *argv[] = {"app.lua", "--workers", "2", NULL};
  int left;
  (void)state;
  assert_int_equal(take(3, argv, &left), 0);
  assert_int_equal(left, 3);
  assert_ptr_equal(in.words, argv);
  assert_int_equal(in.old_fd, -1);
  mp_inherited_free(&in);
}

static void words_of_an_old_master_are_taken_off_the_front(void **state) {
  int a = dup(2), b = dup(2), left;
  char fd[40], listen[60];
  (void)state;
  snprintf(fd, sizeof fd, "--upgrade-fd=%d", a);
  snprintf(listen, sizeof listen, "--upgrade-listen=%d=unix:/a=b", b);
  char *argv[] = {fd,
                  listen,
                  "--upgrade-activated=2:web:admin",
                  "--upgrade-notify=@x",
                  "--upgrade-watchdog=5",
                  "--upgrade-later=of a newer one",
                  "app.lua",
                  "--upgrade-fd=99",
                  NULL};
  assert_int_equal(take(8, argv, &left), 0);
  assert_int_equal(left, 2);
  assert_int_equal(in.old_fd, a);
  assert_int_equal(fcntl(a, F_GETFD), FD_CLOEXEC);
  assert_int_equal(in.n_listeners, 1);
  assert_string_equal(in.listener[0].address, "unix:/a=b");
  assert_int_equal(in.n_activated, 2);
  assert_string_equal(in.names, "web:admin");
  assert_string_equal(in.notify, "@x");
  assert_int_equal(in.watchdog_us, 5);
  mp_inherited_free(&in);
  assert_int_equal(fcntl(a, F_GETFD), -1);
  assert_int_equal(fcntl(b, F_GETFD), -1);
}

static void words_that_make_no_sense_are_refused(void **state) {
  static const char *const bad[] = {"--upgrade-fd=900",     "--upgrade-fd=",   "--upgrade-fd",
                                    "--upgrade-listen=2",   "--upgrade-fd=2x", "--upgrade-activated=65",
                                    "--upgrade-watchdog=-1"};
  (void)state;
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    char word[64];
    char *argv[] = {word, NULL};
    snprintf(word, sizeof word, "%s", bad[i]);
    assert_int_equal(take(1, argv, NULL), -EINVAL);
    in.old_fd = -1; /* stderr, in one of them */
    for (unsigned n = 0; n < in.n_listeners; n++) in.listener[n].fd = -1;
    mp_inherited_free(&in);
    assert_non_null(strstr(why, "upgrade"));
  }
  fcntl(2, F_SETFD, 0);
}

static void variables_count_for_their_process_alone_and_then_are_gone(void **state) {
  char *argv[] = {"app.lua", NULL};
  (void)state;
  set_pid("LISTEN_PID", getppid());
  setenv("LISTEN_FDS", "1", 1);
  setenv("WATCHDOG_USEC", "1000", 1);
  set_pid("WATCHDOG_PID", getppid());
  setenv("NOTIFY_SOCKET", "/run/x", 1);
  assert_int_equal(take(1, argv, NULL), 0);
  assert_int_equal(in.n_activated, 0);
  assert_int_equal(in.watchdog_us, 0);
  assert_string_equal(in.notify, "/run/x");
  assert_null(getenv("LISTEN_PID"));
  assert_null(getenv("LISTEN_FDS"));
  assert_null(getenv("NOTIFY_SOCKET"));
  assert_null(getenv("WATCHDOG_USEC"));
  mp_inherited_free(&in);
}

static void where_to_listen(struct mp_options *o, const char *listen, const char *names, unsigned n, int result) {
  struct mp_inheritance given = {.n_activated = n, .names = (char *)(uintptr_t)names};
  assert_int_equal(mp_options_init(o), 0);
  if (listen) assert_int_equal(mp_options_set(o, mp_option_named("listen", 6), listen, MP_FROM_FLAG, why), 0);
  assert_int_equal(mp_inherited_listen(&given, o, why), result);
}

static void sockets_of_systemd_are_all_used_when_nobody_says_where(void **state) {
  struct mp_options o;
  (void)state;
  where_to_listen(&o, NULL, NULL, 2, 0);
  assert_int_equal(o.config.n_listen, 2);
  assert_string_equal(o.config.listen[0], "fd:3");
  assert_string_equal(o.config.listen[1], "fd:4");
  mp_options_free(&o);
  where_to_listen(&o, NULL, NULL, 0, 0);
  assert_string_equal(o.config.listen[0], "127.0.0.1:8080");
  mp_options_free(&o);
}

static void a_name_stands_for_each_socket_of_it(void **state) {
  struct mp_options o;
  (void)state;
  where_to_listen(&o, "fd:web,:81,fd:7", "web:a:web", 3, 0);
  assert_int_equal(o.config.n_listen, 4);
  assert_string_equal(o.config.listen[0], "fd:3");
  assert_string_equal(o.config.listen[1], "fd:5");
  assert_string_equal(o.config.listen[2], ":81");
  assert_string_equal(o.config.listen[3], "fd:7");
  mp_options_free(&o);
  where_to_listen(&o, "fd:we", "web:a:web", 3, -EINVAL);
  assert_non_null(strstr(why, "we"));
  mp_options_free(&o);
  where_to_listen(&o, "fd:web", NULL, 0, -EINVAL);
  mp_options_free(&o);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(words_of_the_user_stay, clear),
      cmocka_unit_test_setup(words_of_an_old_master_are_taken_off_the_front, clear),
      cmocka_unit_test_setup(words_that_make_no_sense_are_refused, clear),
      cmocka_unit_test_setup(variables_count_for_their_process_alone_and_then_are_gone, clear),
      cmocka_unit_test_setup(sockets_of_systemd_are_all_used_when_nobody_says_where, clear),
      cmocka_unit_test_setup(a_name_stands_for_each_socket_of_it, clear),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
