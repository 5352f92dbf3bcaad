#include "http/date.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static time_t parsed(const char *text) {
  time_t at = -2;
  return mp_date_parse(mp_slice(text, strlen(text)), &at) ? at : -2;
}

static void all_three_forms_are_read(void **state) {
  (void)state;
  assert_int_equal(parsed("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
  assert_int_equal(parsed("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
  assert_int_equal(parsed("Sun Nov  6 08:49:37 1994"), 784111777);
  assert_int_equal(parsed("Sun Nov 06 08:49:37 1994"), 784111777);
  assert_int_equal(parsed("Tue, 29 Feb 2000 00:00:00 GMT"), 951782400);
  assert_int_equal(parsed("Wednesday, 01-Jan-20 00:00:00 GMT"), 1577836800);
  assert_int_equal(parsed("Sat, 31 Dec 2016 23:59:60 GMT"), 1483228800);
  assert_int_equal(parsed("Thu, 01 Jan 1970 00:00:00 GMT"), 0);
}

static void what_is_no_date_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "0",
                                    "784111777",
                                    "Sun, 06 Nov 1994 08:49:37",
                                    "Sun, 06 Nov 1994 08:49:37 UTC",
                                    "Sun, 06 Nov 1994 08:49:37 GMT ",
                                    "Sun, 6 Nov 1994 08:49:37 GMT",
                                    "Sun, 06 Nov 94 08:49:37 GMT",
                                    "Sun, 06 Foo 1994 08:49:37 GMT",
                                    "Sun, 31 Nov 1994 08:49:37 GMT",
                                    "Sun, 00 Nov 1994 08:49:37 GMT",
                                    "Wed, 29 Feb 2023 00:00:00 GMT",
                                    "Sun, 06 Nov 1994 24:00:00 GMT",
                                    "Sun, 06 Nov 1994 08:60:37 GMT",
                                    "Sun, 06 Nov 1994 08:49:61 GMT",
                                    "Sun, 06-Nov-94 08:49:37 GMT",
                                    "Sunday, 06-Nov-1994 08:49:37 GMT",
                                    "Sun Nov  6 08:49:37 1994 GMT"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(parsed(bad[i]), -2);
}

static void what_was_written_reads_back(void **state) {
  (void)state;
  struct mp_date date = {0};
  for (time_t t = 0; t < 4102444800; t += 86399 * 7) {
    mp_date_set(&date, t);
    assert_int_equal(parsed(date.text), t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_three_forms_are_read),
      cmocka_unit_test(what_is_no_date_is_refused),
      cmocka_unit_test(what_was_written_reads_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
