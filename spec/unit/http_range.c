#include "http/range.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct mp_ranges ranges;

static int of(const char *value, uint64_t size) {
  return mp_ranges_read(&ranges, mp_slice(value, strlen(value)), size);
}

/* The next one. */
static void is(uint64_t first, uint64_t len) {
  struct mp_range r;
  assert_true(mp_ranges_next(&ranges, &r));
  assert_int_equal(r.first, first);
  assert_int_equal(r.len, len);
}

static void one_range_is_first_to_last(void **state) {
  (void)state;
  assert_int_equal(of("bytes=0-0", 100), 1);
  is(0, 1);
  assert_int_equal(of("bytes=10-19", 100), 1);
  is(10, 10);
  assert_int_equal(of("BYTES=10-", 100), 1);
  is(10, 90);
  assert_int_equal(of("bytes=90-1000", 100), 1);
  is(90, 10);
  assert_int_equal(of("bytes= 5 - 6 ", 100), 1);
  is(5, 2);
}

static void a_suffix_counts_from_the_end(void **state) {
  (void)state;
  assert_int_equal(of("bytes=-1", 100), 1);
  is(99, 1);
  assert_int_equal(of("bytes=-1000", 100), 1);
  is(0, 100);
}

static void several_ranges_keep_their_order(void **state) {
  (void)state;
  struct mp_range r;
  assert_int_equal(of("bytes=50-59, 0-9 ,-10", 100), 3);
  is(50, 10);
  is(0, 10);
  is(90, 10);
  assert_false(mp_ranges_next(&ranges, &r));
  assert_int_equal(of("bytes=0-9,200-300,5-3", 100), 1);
  is(0, 10);
}

static void what_nothing_satisfies_is_erange(void **state) {
  (void)state;
  static const char *const bad[] = {"bytes=100-",
                                    "bytes=100-200",
                                    "bytes=-0",
                                    "bytes=5-3",
                                    "bytes=,",
                                    "bytes=0\t-1",
                                    "bytes=a-b",
                                    "bytes=-",
                                    "bytes=5",
                                    "bytes=1-2x",
                                    "bytes=1--2",
                                    "bytes=+1-2",
                                    "bytes=0-9,x",
                                    "bytes=0x1-",
                                    "bytes=1-2-3",
                                    "bytes=99999999999999999999-",
                                    "bytes=0-99999999999999999999"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(of(bad[i], 100), -ERANGE);
}

static void other_units_and_more_than_all_send_all(void **state) {
  (void)state;
  assert_int_equal(of("lines=0-9", 100), 0);
  assert_int_equal(of("bytes", 100), 0);
  assert_int_equal(of("bytes=", 100), 0);
  assert_int_equal(of("", 100), 0);
  assert_int_equal(of("bytes=0-,0-", 100), 0);
  assert_int_equal(of("bytes=0-99,0-0", 100), 0);
}

static void of_nothing_all_is_sent_and_a_part_is_not(void **state) {
  (void)state;
  assert_int_equal(of("bytes=0-", 0), 0);
  assert_int_equal(of("bytes=0-9", 0), 0);
  assert_int_equal(of("bytes=-5", 0), 0);
  assert_int_equal(of("bytes=5-", 0), -ERANGE);
  assert_int_equal(of("bytes=x", 0), -ERANGE);
}

static void empty_elements_of_the_list_are_passed_over(void **state) {
  (void)state;
  assert_int_equal(of("bytes=,0-1,, ,5-5,", 100), 2);
  is(0, 2);
  is(5, 1);
}

static void their_number_has_no_bound(void **state) {
  (void)state;
  char many[8000] = "bytes=0-0";
  unsigned n = 1;
  for (char *end = many + strlen(many); end - many < 7990; end += 4, n++) strcpy(end, ",9-9");
  assert_int_equal(of(many, 5000), n);
  is(0, 1);
  for (unsigned i = 1; i < n; i++) is(9, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_range_is_first_to_last),
      cmocka_unit_test(a_suffix_counts_from_the_end),
      cmocka_unit_test(several_ranges_keep_their_order),
      cmocka_unit_test(what_nothing_satisfies_is_erange),
      cmocka_unit_test(other_units_and_more_than_all_send_all),
      cmocka_unit_test(of_nothing_all_is_sent_and_a_part_is_not),
      cmocka_unit_test(empty_elements_of_the_list_are_passed_over),
      cmocka_unit_test(their_number_has_no_bound),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
