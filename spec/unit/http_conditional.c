#include "http/conditional.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define OLDER "Sun, 06 Nov 1994 08:49:36 GMT"
#define SAME "Sun, 06 Nov 1994 08:49:37 GMT"
#define NEWER "Sun, 06 Nov 1994 08:49:38 GMT"

static const struct mp_validators strong = {.etag = {"\"a,b\"", 5}, .modified = 784111777};
static const struct mp_validators weak = {.etag = {"W/\"x\"", 5}, .modified = -1};

struct asked {
  const char *name, *value;
};

static struct mp_head request(const char *method, struct mp_field fields[2], struct asked a, struct asked b) {
  struct mp_head head = {.method = mp_slice(method, strlen(method)), .fields = fields};
  if (a.name)
    fields[head.n_fields++] = (struct mp_field){mp_slice(a.name, strlen(a.name)), mp_slice(a.value, strlen(a.value))};
  if (b.name)
    fields[head.n_fields++] = (struct mp_field){mp_slice(b.name, strlen(b.name)), mp_slice(b.value, strlen(b.value))};
  return head;
}

static int two(const char *method, struct asked a, struct asked b, const struct mp_validators *now) {
  struct mp_field fields[2];
  struct mp_head head = request(method, fields, a, b);
  return mp_conditional_status(&head, now);
}

static int one(const char *method, const char *name, const char *value, const struct mp_validators *now) {
  return two(method, (struct asked){name, value}, (struct asked){0}, now);
}

static bool range(const char *value, const struct mp_validators *now) {
  struct mp_field fields[2];
  struct mp_head head = request("GET", fields, (struct asked){value ? "if-range" : NULL, value}, (struct asked){0});
  return mp_conditional_range(&head, now);
}

static void if_none_match_compares_weakly(void **state) {
  (void)state;
  assert_int_equal(one("GET", "if-none-match", "\"a,b\"", &strong), 304);
  assert_int_equal(one("HEAD", "If-None-Match", "\"z\", W/\"a,b\"", &strong), 304);
  assert_int_equal(one("GET", "If-None-Match", ", \"z\" ,\"x\"", &weak), 304);
  assert_int_equal(one("GET", "If-None-Match", "*", &weak), 304);
  assert_int_equal(one("PUT", "If-None-Match", "*", &weak), 412);
  assert_int_equal(one("GET", "If-None-Match", "\"z\"", &strong), 0);
  assert_int_equal(one("GET", "If-None-Match", "a,b", &strong), 0);
  assert_int_equal(one("GET", "If-None-Match", "\"a,b", &strong), 0);
  assert_int_equal(one("GET", "If-None-Match", "\"z\"\"a,b\"", &strong), 0);
  assert_int_equal(one("GET", "If-None-Match", "", &strong), 0);
  assert_int_equal(
      two("GET", (struct asked){"If-None-Match", "\"z\""}, (struct asked){"If-None-Match", "\"a,b\""}, &strong), 304);
}

static void if_match_compares_strongly(void **state) {
  (void)state;
  assert_int_equal(one("PUT", "If-Match", "\"z\", \"a,b\"", &strong), 0);
  assert_int_equal(one("GET", "If-Match", "*", &weak), 0);
  assert_int_equal(one("GET", "If-Match", "W/\"a,b\"", &strong), 412);
  assert_int_equal(one("GET", "If-Match", "W/\"x\"", &weak), 412);
  assert_int_equal(one("GET", "If-Match", "\"z\"", &strong), 412);
}

static void dates_are_compared_where_no_tag_is_asked(void **state) {
  (void)state;
  assert_int_equal(one("GET", "If-Modified-Since", SAME, &strong), 304);
  assert_int_equal(one("GET", "If-Modified-Since", NEWER, &strong), 304);
  assert_int_equal(one("GET", "If-Modified-Since", OLDER, &strong), 0);
  assert_int_equal(one("POST", "If-Modified-Since", SAME, &strong), 0);
  assert_int_equal(one("GET", "If-Modified-Since", "yesterday", &strong), 0);
  assert_int_equal(one("GET", "If-Modified-Since", SAME, &weak), 0);
  assert_int_equal(one("GET", "If-Unmodified-Since", OLDER, &strong), 412);
  assert_int_equal(one("GET", "If-Unmodified-Since", SAME, &strong), 0);
  assert_int_equal(one("GET", "If-Unmodified-Since", "tomorrow", &strong), 0);
  assert_int_equal(
      two("GET", (struct asked){"If-None-Match", "\"z\""}, (struct asked){"If-Modified-Since", SAME}, &strong), 0);
  assert_int_equal(
      two("GET", (struct asked){"If-Match", "\"a,b\""}, (struct asked){"If-Unmodified-Since", OLDER}, &strong), 0);
  assert_int_equal(
      two("GET", (struct asked){"If-Modified-Since", SAME}, (struct asked){"If-Modified-Since", SAME}, &strong), 0);
}

static void if_range_needs_an_exact_strong_match(void **state) {
  (void)state;
  assert_true(range(NULL, &strong));
  assert_true(range("\"a,b\"", &strong));
  assert_true(range(SAME, &strong));
  assert_false(range(NEWER, &strong));
  assert_false(range("W/\"a,b\"", &strong));
  assert_false(range("W/\"x\"", &weak));
  assert_false(range("\"z\"", &strong));
  assert_false(range("", &strong));
  assert_false(range(SAME, &weak));
}

static void etags_of_files_tell_size_and_time(void **state) {
  (void)state;
  char out[MP_ETAG_SIZE], largest[MP_ETAG_SIZE];
  assert_true(mp_slice_is(mp_etag_of_file(out, 0, 0, 0), MP_SLICE("\"0.0-0\"")));
  assert_true(mp_slice_is(mp_etag_of_file(out, 16, 784111777, 10), MP_SLICE("\"2ebc98a1.a-10\"")));
  struct mp_slice tag = mp_etag_of_file(largest, UINT64_MAX, -1, UINT32_MAX);
  assert_true(mp_slice_is(tag, MP_SLICE("\"ffffffffffffffff.ffffffff-ffffffffffffffff\"")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(if_none_match_compares_weakly),
      cmocka_unit_test(if_match_compares_strongly),
      cmocka_unit_test(dates_are_compared_where_no_tag_is_asked),
      cmocka_unit_test(if_range_needs_an_exact_strong_match),
      cmocka_unit_test(etags_of_files_tell_size_and_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
