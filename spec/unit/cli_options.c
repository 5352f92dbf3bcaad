#include "cli/options.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mp_options o;
static char why[MP_WHY];

static int fresh(void **state) {
  (void)state;
  why[0] = '\0';
  assert_int_equal(mp_options_init(&o), 0);
  return 0;
}

static int freed(void **state) {
  (void)state;
  mp_options_free(&o);
  return 0;
}

static int flags(const char *line) {
  char copy[512], *words[32], *rest = copy, *word;
  int n = 0;
  snprintf(copy, sizeof copy, "%s", line);
  while ((word = strsep(&rest, " "))) words[n++] = word;
  return mp_options_flags(&o, n, words, why);
}

static int variables(char *a, char *b) {
  char *env[] = {"PATH=/bin", a, b, NULL};
  return mp_options_variables(&o, env, why);
}

static int file(const char *lines) {
  return mp_options_file(&o, mp_slice(lines, strlen(lines)), why);
}

static void has_the_defaults_of_the_manual(void **state) {
  (void)state;
  assert_int_equal(o.config.n_listen, 1);
  assert_string_equal(o.config.listen[0], "127.0.0.1:8080");
  assert_int_equal(o.config.workers, mp_cores());
  assert_int_equal(o.config.max_body, 8 << 20);
  assert_int_equal(o.config.limit_request_head, 64 << 10);
  assert_true(o.config.server_header);
  assert_true(o.config.graceful_timeout == 30.0);
  assert_string_equal(o.config.error_log, "-");
  assert_null(o.config.access_log);
}

static void takes_a_value_behind_an_equals_sign_or_as_the_next_word(void **state) {
  (void)state;
  assert_int_equal(flags("--workers=3 app.lua --max-body 16K"), 0);
  assert_int_equal(o.config.workers, 3);
  assert_int_equal(o.config.max_body, 16384);
  assert_string_equal(o.config.app, "app.lua");
}

static void takes_short_names(void **state) {
  (void)state;
  assert_int_equal(flags("-w 2 -b :80 -t7 a"), 0);
  assert_int_equal(o.config.workers, 2);
  assert_string_equal(o.config.listen[0], ":80");
  assert_true(o.config.timeout == 7.0);
}

static void switches_go_on_and_off(void **state) {
  (void)state;
  assert_int_equal(flags("--no-compress --dev --server-header off --no-new-privs app.lua"), 0);
  assert_false(o.config.compress);
  assert_true(o.config.dev);
  assert_false(o.config.server_header);
  assert_true(o.config.no_new_privs);
  assert_string_equal(o.config.app, "app.lua");
  assert_int_equal(flags("--no-no-new-privs --proxy-protocol=yes"), 0);
  assert_false(o.config.no_new_privs);
  assert_true(o.config.proxy_protocol);
}

static void a_list_is_repeated_or_written_with_commas(void **state) {
  (void)state;
  assert_int_equal(flags("--listen :1,:2 --listen unix:/a"), 0);
  assert_int_equal(o.config.n_listen, 3);
  assert_string_equal(o.config.listen[2], "unix:/a");
}

static void a_flag_beats_a_variable_beats_the_file_in_any_order(void **state) {
  (void)state;
  assert_int_equal(flags("--workers 5"), 0);
  assert_int_equal(variables("MOONPOOL_WORKERS=4", "MOONPOOL_BACKLOG=7"), 0);
  assert_int_equal(file("workers=3\nbacklog=8\nkeep_alive=9\n"), 0);
  assert_int_equal(o.config.workers, 5);
  assert_int_equal(o.config.backlog, 7);
  assert_true(o.config.keep_alive == 9.0);
}

static void a_list_is_taken_as_a_whole(void **state) {
  (void)state;
  assert_int_equal(file("listen=:1\nlisten=:2\n"), 0);
  assert_int_equal(o.config.n_listen, 2);
  assert_int_equal(variables("MOONPOOL_LISTEN=:3,:4", NULL), 0);
  assert_int_equal(o.config.n_listen, 2);
  assert_string_equal(o.config.listen[0], ":3");
  assert_int_equal(flags("-b :5"), 0);
  assert_int_equal(o.config.n_listen, 1);
  assert_int_equal(file("listen=:6\n"), 0);
  assert_string_equal(o.config.listen[0], ":5");
}

static void names_the_nearest_of_an_unknown_name(void **state) {
  (void)state;
  assert_int_equal(flags("--worker 2"), -EINVAL);
  assert_string_equal(why, "unknown option --worker (did you mean --workers?)");
  assert_int_equal(variables("MOONPOOL_MAX_BODDY=2", NULL), -EINVAL);
  assert_string_equal(why, "unknown variable MOONPOOL_MAX_BODDY (did you mean MOONPOOL_MAX_BODY?)");
  assert_int_equal(file("grace_full_timeout=1\n"), -EINVAL);
  assert_string_equal(why, "unknown key grace_full_timeout (did you mean graceful_timeout?)");
  assert_int_equal(flags("--frobnicate"), -EINVAL);
  assert_string_equal(why, "unknown option --frobnicate");
}

static void refuses_values_that_are_not_of_their_kind(void **state) {
  static const char *const wrong[] = {"--workers 0",
                                      "--workers 257",
                                      "--workers x",
                                      "--workers -1",
                                      "--backlog 1x",
                                      "--backlog",
                                      "--timeout -1",
                                      "--timeout nan",
                                      "--timeout 1e999",
                                      "--max-body 8T",
                                      "--max-body 8MB",
                                      "--max-body",
                                      "--max-body=",
                                      "--max-body=-1",
                                      "--max-body 99999999999999999999",
                                      "--max-body 18446744073709551615K",
                                      "--log-level x",
                                      "--log-format=x",
                                      "--compress=maybe",
                                      "--limit-request-line 8G",
                                      "--listen=",
                                      "--listen :1,,:2",
                                      "--no-workers",
                                      "--no-compress=1",
                                      "--help=1",
                                      "a b",
                                      "--",
                                      "-x",
                                      "--=1",
                                      "--a"};
  (void)state;
  for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    why[0] = '\0';
    int err = flags(wrong[i]);
    if (strcmp(wrong[i], "--") == 0) {
      assert_int_equal(err, 0);
      continue;
    }
    if (err != -EINVAL || !why[0]) fail_msg("%s: %d \"%s\"", wrong[i], err, why);
  }
}

static void says_which_setting_is_wrong_as_its_source_spells_it(void **state) {
  (void)state;
  assert_int_equal(flags("--max-body x"), -EINVAL);
  assert_string_equal(why, "--max-body: a size is wanted (such as 512K or 8M), not \"x\"");
  assert_int_equal(variables("MOONPOOL_MAX_BODY=x", NULL), -EINVAL);
  assert_true(strncmp(why, "MOONPOOL_MAX_BODY: ", 19) == 0);
  assert_int_equal(file("max_body=x\n"), -EINVAL);
  assert_true(strncmp(why, "max_body: ", 10) == 0);
}

static void checks_also_what_it_does_not_take(void **state) {
  (void)state;
  assert_int_equal(flags("--workers 2"), 0);
  assert_int_equal(file("workers=many\n"), -EINVAL);
  assert_int_equal(o.config.workers, 2);
}

static void behind_two_dashes_there_are_only_names(void **state) {
  (void)state;
  assert_int_equal(flags("-- --dev"), 0);
  assert_string_equal(o.config.app, "--dev");
  assert_false(o.config.dev);
}

static void off_takes_a_text_away(void **state) {
  (void)state;
  assert_int_equal(file("pid=/run/x\ntrusted_proxies=10.0.0.1\ntrusted_proxies=10.0.0.2\n"), 0);
  assert_string_equal(o.config.trusted_proxies, "10.0.0.1,10.0.0.2");
  assert_int_equal(flags("--pid off --trusted-proxies none"), 0);
  assert_null(o.config.pid_file);
  assert_null(o.config.trusted_proxies);
}

static void the_file_may_hold_any_bytes_in_a_value(void **state) {
  (void)state;
  assert_int_equal(file("pid=/a\\nb\\\\c=d\napp={\"x\":1}\n"), 0);
  assert_string_equal(o.config.pid_file, "/a\nb\\c=d");
  assert_string_equal(o.config.settings, "{\"x\":1}");
}

static void some_defaults_hang_on_other_settings(void **state) {
  (void)state;
  assert_int_equal(flags("--dev --user www"), 0);
  mp_options_finish(&o);
  assert_true(o.config.slow_callback == 0.1);
  assert_true(o.config.no_new_privs);
}

/* What one process shows must mean the same to the next. */
static void every_value_reads_back_as_it_is_shown(void **state) {
  struct mp_options again;
  (void)state;
  assert_int_equal(flags("--max-body 1000001 --limit-request-head 3M --timeout 0.3 --keep-alive 1e9 --dev --listen :1 "
                         "--listen :2 --log-level warn --log-format json --pid /x --workers 9"),
                   0);
  assert_int_equal(mp_options_init(&again), 0);
  for (const struct mp_option *option = mp_option_table; option->name; option++) {
    struct mp_buf text = {0}, second = {0};
    assert_int_equal(mp_option_show(&o.config, option, &text), 0);
    mp_buf_add(&text, "", 1);
    const char *value = mp_buf_at(&text);
    assert_int_equal(mp_options_set(&again, option, *value ? value : "off", MP_FROM_FLAG, why), 0);
    assert_int_equal(mp_option_show(&again.config, option, &second), 0);
    mp_buf_add(&second, "", 1);
    assert_string_equal(mp_buf_at(&second), value);
    mp_buf_free(&text);
    mp_buf_free(&second);
  }
  assert_true(again.config.timeout == o.config.timeout);
  mp_options_free(&again);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, freed)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(has_the_defaults_of_the_manual),
      TEST(takes_a_value_behind_an_equals_sign_or_as_the_next_word),
      TEST(takes_short_names),
      TEST(switches_go_on_and_off),
      TEST(a_list_is_repeated_or_written_with_commas),
      TEST(a_flag_beats_a_variable_beats_the_file_in_any_order),
      TEST(a_list_is_taken_as_a_whole),
      TEST(names_the_nearest_of_an_unknown_name),
      TEST(refuses_values_that_are_not_of_their_kind),
      TEST(says_which_setting_is_wrong_as_its_source_spells_it),
      TEST(checks_also_what_it_does_not_take),
      TEST(behind_two_dashes_there_are_only_names),
      TEST(off_takes_a_text_away),
      TEST(the_file_may_hold_any_bytes_in_a_value),
      TEST(some_defaults_hang_on_other_settings),
      TEST(every_value_reads_back_as_it_is_shown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
