#include "http/url.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void decodes_to(const char *from, bool plus, const char *want) {
  char *in = strndup(from, strlen(from)), *out = malloc(strlen(from) + 1);
  ssize_t n = mp_url_decode(out, mp_slice(in, strlen(from)), plus);
  if (want) {
    assert_int_equal(n, strlen(want));
    assert_memory_equal(out, want, strlen(want));
  } else {
    assert_int_equal(n, -EINVAL);
  }
  free(in);
  free(out);
}

static void escapes_are_decoded(void **state) {
  (void)state;
  decodes_to("", false, "");
  decodes_to("a%20b%2fc%2F", false, "a b/c/");
  decodes_to("%C3%A9%ff", false, "\xc3\xa9\xff");
  decodes_to("%25%32%30", false, "%20");
  decodes_to("a+b", false, "a+b");
  decodes_to("a+b%2B", true, "a b+");
}

static void broken_escapes_and_nul_are_refused(void **state) {
  (void)state;
  decodes_to("%", false, NULL);
  decodes_to("%4", false, NULL);
  decodes_to("%zz", false, NULL);
  decodes_to("%4g", true, NULL);
  decodes_to("a%00b", false, NULL);
  decodes_to("% 41", false, NULL);
}

static void all_but_unreserved_bytes_are_encoded(void **state) {
  (void)state;
  struct mp_buf out = {0};
  assert_int_equal(mp_buf_add(&out, "x", 1), 0);
  assert_int_equal(mp_url_encode(&out, MP_SLICE("Az09-._~ /?&=%+\0\xff")), 0);
  assert_true(mp_slice_is(mp_buf_slice(&out), MP_SLICE("xAz09-._~%20%2F%3F%26%3D%25%2B%00%FF")));
  assert_int_equal(mp_url_encode(&out, mp_slice(NULL, 0)), 0);
  mp_buf_free(&out);
}

static void what_is_encoded_decodes_to_itself(void **state) {
  (void)state;
  struct mp_buf out = {0};
  char all[255], back[3 * sizeof all];
  for (int i = 0; i < 255; i++) all[i] = (char)(i + 1);
  assert_int_equal(mp_url_encode(&out, mp_slice(all, sizeof all)), 0);
  assert_int_equal(mp_url_decode(back, mp_buf_slice(&out), true), sizeof all);
  assert_memory_equal(all, back, sizeof all);
  mp_buf_free(&out);
}

static void pairs(const char *query, const char *want) {
  struct mp_slice rest = mp_slice(query, query ? strlen(query) : 0), name, value;
  struct mp_buf got = {0};
  while (mp_query_next(&rest, &name, &value))
    assert_int_equal(mp_buf_addf(&got, "<%.*s|%.*s>", (int)name.len, name.at, (int)value.len, value.at), 0);
  assert_true(mp_slice_is(mp_buf_slice(&got), mp_slice(want, strlen(want))));
  mp_buf_free(&got);
}

static void a_query_is_a_row_of_pairs(void **state) {
  (void)state;
  pairs(NULL, "");
  pairs("", "");
  pairs("&&", "");
  pairs("a", "<a|>");
  pairs("a=1&b=2", "<a|1><b|2>");
  pairs("&a=1&&b&", "<a|1><b|>");
  pairs("=v&a=b=c&=", "<|v><a|b=c><|>");
  pairs("a%3Db=c;d=e", "<a%3Db|c;d=e>");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(escapes_are_decoded),
      cmocka_unit_test(broken_escapes_and_nul_are_refused),
      cmocka_unit_test(all_but_unreserved_bytes_are_encoded),
      cmocka_unit_test(what_is_encoded_decodes_to_itself),
      cmocka_unit_test(a_query_is_a_row_of_pairs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
