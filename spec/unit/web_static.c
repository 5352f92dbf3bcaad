/* The paths that a folder is asked for: what each spelling means, or that it means nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "web/static.h"
#include <errno.h>
#include <limits.h>

static void check(const char *sent, size_t len, bool dotfiles, int err, const char *path) {
  char out[256];
  int got = mp_static_path(mp_slice(sent, len), dotfiles, out, sizeof out);
  if (got != err) fail_msg("%s: %d instead of %d", sent, got, err);
  if (err == 0) assert_string_equal(out, path);
}

#define GOOD(sent, path) check(sent, sizeof(sent) - 1, false, 0, path)
#define BAD(sent) check(sent, sizeof(sent) - 1, true, -ENOENT, NULL)

static void good_paths_are_decoded_once(void **state) {
  (void)state;
  GOOD("", "");
  GOOD("a", "a");
  GOOD("a/", "a/");
  GOOD("a/b.c", "a/b.c");
  GOOD("a%20b", "a b");
  GOOD("%61%2562", "a%62");
  GOOD("a+b", "a+b");
  GOOD("a..", "a..");
  GOOD("a./b", "a./b");
  GOOD("\xc3\xa4", "\xc3\xa4");
}

static void spellings_of_a_way_out_mean_nothing(void **state) {
  (void)state;
  BAD("..");
  BAD("../a");
  BAD("a/..");
  BAD("a/../b");
  BAD("%2e%2e/a");
  BAD(".%2E/a");
  BAD("%2e./a");
  BAD(".");
  BAD("./a");
  BAD("a/./b");
  BAD("/a");
  BAD("a//b");
  BAD("a%2fb");
  BAD("a%2Fb");
  BAD("..%2fa");
  BAD("a%5cb");
  BAD("a\\b");
  BAD("..\\a");
  BAD("a%00");
  BAD("%00");
  BAD("a\0b");
  BAD("a%");
  BAD("a%2");
  BAD("a%zz");
  BAD("a%0ab");
  BAD("a%7f");
}

static void dotfiles_are_asked_for_or_not_there(void **state) {
  (void)state;
  check(".a", 2, false, -ENOENT, NULL);
  check("a/.b/c", 6, false, -ENOENT, NULL);
  check("%2ea", 4, false, -ENOENT, NULL);
  check("...", 3, false, -ENOENT, NULL);
  check(".a/b", 4, true, 0, ".a/b");
  check("...", 3, true, 0, "...");
}

static void a_path_too_long_is_refused(void **state) {
  (void)state;
  char sent[300], out[256];
  memset(sent, 'a', sizeof sent);
  assert_int_equal(mp_static_path(mp_slice(sent, 255), false, out, sizeof out), -ENAMETOOLONG);
  assert_int_equal(mp_static_path(mp_slice(sent, 254), false, out, sizeof out), 0);
}

static void a_straight_path_has_no_dots_and_no_nul(void **state) {
  (void)state;
  assert_true(mp_static_is_straight(MP_SLICE("/a/b")));
  assert_true(mp_static_is_straight(MP_SLICE("a..b/...")));
  assert_false(mp_static_is_straight(MP_SLICE("..")));
  assert_false(mp_static_is_straight(MP_SLICE("a/../b")));
  assert_false(mp_static_is_straight(MP_SLICE("a/..")));
  assert_false(mp_static_is_straight(MP_SLICE("a\0b")));
}

static void errors_have_their_status(void **state) {
  (void)state;
  assert_int_equal(mp_static_status(-ENOENT), 404);
  assert_int_equal(mp_static_status(-EXDEV), 404);
  assert_int_equal(mp_static_status(-EACCES), 403);
  assert_int_equal(mp_static_status(-EMFILE), 503);
  assert_int_equal(mp_static_status(-EIO), 500);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_paths_are_decoded_once),
      cmocka_unit_test(spellings_of_a_way_out_mean_nothing),
      cmocka_unit_test(dotfiles_are_asked_for_or_not_there),
      cmocka_unit_test(a_path_too_long_is_refused),
      cmocka_unit_test(a_straight_path_has_no_dots_and_no_nul),
      cmocka_unit_test(errors_have_their_status),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
