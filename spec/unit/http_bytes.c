#include "http/bytes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void control_bytes_are_found_at_every_place(void **state) {
  (void)state;
  for (size_t len = 1; len < 50; len++) {
    char *bytes = malloc(len);
    memset(bytes, 'x', len);
    assert_int_equal(mp_next_control(bytes, 0, len), len);
    for (size_t i = 0; i < len; i++) {
      for (int c = 0; c < 256; c++) {
        bytes[i] = (char)c;
        bool control = c < 32 || c == 127;
        for (size_t from = 0; from <= i; from += 5)
          assert_int_equal(mp_next_control(bytes, from, len), control ? i : len);
        assert_int_equal(mp_is_value(mp_slice(bytes, len)), !control || c == '\t');
      }
      bytes[i] = (char)(i % 2 ? 0x80 : 0x20); /* neighbours of what is looked for */
    }
    free(bytes);
  }
}

static void the_first_of_several_control_bytes_is_found(void **state) {
  (void)state;
  char bytes[40];
  for (size_t i = 0; i < sizeof bytes; i++) {
    memset(bytes, i % 2 ? 0x21 : 0x7e, sizeof bytes);
    memset(bytes + i, '\r', sizeof bytes - i);
    assert_int_equal(mp_next_control(bytes, 0, sizeof bytes), i);
  }
}

static void classes_agree_with_their_sets(void **state) {
  (void)state;
  static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  static const char host[] = "-._~!$&'()*+,;=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (int c = 1; c < 256; c++) {
    assert_int_equal(mp_byte_is((char)c, MP_BYTE_TOKEN), (strchr(token, c)) != 0);
    assert_int_equal(mp_byte_is((char)c, MP_BYTE_HOST), (strchr(host, c)) != 0);
    assert_int_equal(mp_byte_is((char)c, MP_BYTE_VALUE), (c == '\t' || (c >= 32 && c != 127)) != 0);
    assert_int_equal(mp_byte_is((char)c, MP_BYTE_TARGET), (c > 32 && c < 127 && c != '#') != 0);
  }
  for (unsigned classes = 1; classes < 128; classes <<= 1) assert_false(mp_byte_is('\0', classes));
}

static bool number(const char *text, uint64_t want) {
  uint64_t got = 0;
  return mp_decimal(mp_slice(text, strlen(text)), &got) && got == want;
}

static void numbers_fit_or_are_none(void **state) {
  (void)state;
  assert_true(number("0", 0));
  assert_true(number("007", 7));
  assert_true(number("18446744073709551615", UINT64_MAX));
  assert_false(number("18446744073709551616", 0));
  assert_false(number("18446744073709551620", 4));
  assert_false(number("99999999999999999999999", 0));
  assert_false(number("", 0));
  assert_false(number(" 1", 1));
  assert_false(number("1a", 1));
}

static void lists_pass_over_empty_elements(void **state) {
  (void)state;
  struct mp_slice rest = MP_SLICE(", a ,,\tb c,"), element;
  assert_true(mp_list_next(&rest, &element) && mp_slice_is(element, MP_SLICE("a")));
  assert_true(mp_list_next(&rest, &element) && mp_slice_is(element, MP_SLICE("b c")));
  assert_false(mp_list_next(&rest, &element));
  assert_false(mp_list_next(&rest, &element));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(control_bytes_are_found_at_every_place),
      cmocka_unit_test(the_first_of_several_control_bytes_is_found),
      cmocka_unit_test(classes_agree_with_their_sets),
      cmocka_unit_test(numbers_fit_or_are_none),
      cmocka_unit_test(lists_pass_over_empty_elements),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
