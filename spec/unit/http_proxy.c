#include "http/proxy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define BYTES(literal) (literal), sizeof(literal) - 1
#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define FOUR "\313\0\161\11\306\63\144\1\334\4\1\273" /* 203.0.113.9:56324 to 198.51.100.1:443 */

static struct mp_proxy proxy;
static struct mp_refusal why;

/* In memory that ends where the bytes end. */
static enum mp_verdict parse(const char *bytes, size_t len, size_t *used) {
  char *copy = malloc(len ? len : 1);
  memcpy(copy, bytes, len);
  enum mp_verdict v = mp_proxy_parse(&proxy, copy, len, used, &why);
  free(copy);
  return v;
}

/* Every part of it asks for more; the whole, and the whole with more behind it, are done with. */
static const char *named(const char *bytes, size_t len) {
  static char text[MP_ADDRESS_TEXT];
  size_t used = 0;
  char *longer = malloc(len + 3);
  memcpy(longer, bytes, len);
  memcpy(longer + len, "GET", 3);
  for (size_t n = 0; n < len; n++) assert_int_equal(parse(bytes, n, &used), MP_MORE);
  assert_int_equal(parse(longer, len + 3, &used), MP_DONE);
  assert_int_equal(used, len);
  assert_int_equal(parse(bytes, len, &used), MP_DONE);
  free(longer);
  return mp_address_text_port(&proxy.source, text);
}

static void version_1_names_the_source(void **state) {
  (void)state;
  assert_string_equal(named(BYTES("PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n")), "203.0.113.9:56324");
  assert_string_equal(named(BYTES("PROXY TCP6 2001:db8::9 ::1 1 0\r\n")), "[2001:db8::9]:1");
  assert_string_equal(named(BYTES("PROXY UNKNOWN\r\n")), "");
  assert_string_equal(named(BYTES("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n")), "");
}

static void version_2_names_the_source(void **state) {
  (void)state;
  assert_string_equal(named(BYTES(V2 "\x21\x11\0\14" FOUR)), "203.0.113.9:56324");
  assert_false(proxy.secure);
  assert_string_equal(named(BYTES(V2 "\x21\x11\0\24" FOUR "\x20\0\5\1\0\0\0\0")), "203.0.113.9:56324");
  assert_true(proxy.secure);
  assert_string_equal(named(BYTES(V2 "\x21\x11\0\17" FOUR "\4\0\0")), "203.0.113.9:56324");
  assert_string_equal(named(BYTES(V2 "\x20\0\0\0")), "");
  assert_string_equal(named(BYTES(V2 "\x20\x11\0\2??")), "");
  assert_string_equal(named(BYTES(V2 "\x21\0\0\2??")), "");
}

static void version_2_knows_ipv6_and_local_sockets(void **state) {
  char bytes[16 + 216] = V2 "\x21\x21\0\44\x20\1\xd\xb8";
  (void)state;
  bytes[16 + 15] = 9;
  bytes[16 + 33] = 80;
  assert_string_equal(named(bytes, 16 + 36), "[2001:db8::9]:80");
  memset(bytes, 0, sizeof bytes);
  memcpy(bytes, V2 "\x21\x31\0\xd8", 16);
  assert_string_equal(named(bytes, sizeof bytes), "unix:");
}

static void whatever_else_comes_is_refused(void **state) {
  static const struct mp_slice bad[] = {{BYTES("GET / HTTP/1.1\r\n\r\n")},
                                        {BYTES("PROXX")},
                                        {BYTES("proxy TCP4")},
                                        {BYTES("PROXY \r\n")},
                                        {BYTES("PROXY TCP4\r\n")},
                                        {BYTES("PROXY TCP4 203.0.113.9 198.51.100.1 56324\r\n")},
                                        {BYTES("PROXY TCP4 203.0.113.9 198.51.100.1 56324 443 \r\n")},
                                        {BYTES("PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\n")},
                                        {BYTES("PROXY TCP4 203.0.113.9 198.51.100.1 56324 65536\r\n")},
                                        {BYTES("PROXY TCP4 203.0.113.9 198.51.100.1 056 443\r\n")},
                                        {BYTES("PROXY TCP4 203.0.113.9 198.51.100.1 -1 443\r\n")},
                                        {BYTES("PROXY TCP4  203.0.113.9 198.51.100.1 1 443\r\n")},
                                        {BYTES("PROXY TCP4 2001:db8::9 ::1 1 2\r\n")},
                                        {BYTES("PROXY TCP6 1.2.3.4 ::1 1 2\r\n")},
                                        {BYTES("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n")},
                                        {BYTES("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n")},
                                        {BYTES("\r\n\r\n\1")},
                                        {BYTES("\r\nGET")},
                                        {BYTES(V2 "\x11\x11\0\14" FOUR)},
                                        {BYTES(V2 "\x22\x11\0\14" FOUR)},
                                        {BYTES(V2 "\x21\x12\0\14" FOUR)},
                                        {BYTES(V2 "\x21\x11\0\13\313\0\161\11\306\63\144\1\334\4\1")},
                                        {BYTES(V2 "\x21\x11\xff\xff")},
                                        {BYTES(V2 "\x21\x11\0\15" FOUR "\4")},
                                        {BYTES(V2 "\x21\x11\0\17" FOUR "\4\0\1")},
                                        {BYTES(V2 "\x21\x11\0\20" FOUR "\x20\0\1\1")}};
  (void)state;
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    size_t used = 0;
    why = (struct mp_refusal){0};
    assert_int_equal(parse(bad[i].at, bad[i].len, &used), MP_REFUSE);
    assert_int_equal(why.status, 400);
    assert_int_equal(used, 0);
  }
}

static void a_line_without_an_end_is_bounded(void **state) {
  char bytes[200] = "PROXY UNKNOWN ";
  size_t used;
  (void)state;
  memset(bytes + 14, 'x', sizeof bytes - 14);
  assert_int_equal(parse(bytes, 106, &used), MP_MORE);
  assert_int_equal(parse(bytes, 107, &used), MP_REFUSE);
  memcpy(bytes + 105, "\r\n", 2);
  assert_int_equal(parse(bytes, 107, &used), MP_DONE);
}

static void no_bytes_whatever_break_it(void **state) {
  unsigned seed = 1;
  (void)state;
  for (int round = 0; round < 20000; round++) {
    char bytes[80] = V2 "\x21\x11\0\30" FOUR;
    size_t used = 0, len = 20 + (size_t)rand_r(&seed) % 60;
    for (int i = 0; i < 3; i++) bytes[12 + (size_t)rand_r(&seed) % (len - 12)] = (char)rand_r(&seed);
    if (parse(bytes, len, &used) == MP_DONE) assert_true(used <= len);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(version_1_names_the_source),
      cmocka_unit_test(version_2_names_the_source),
      cmocka_unit_test(version_2_knows_ipv6_and_local_sockets),
      cmocka_unit_test(whatever_else_comes_is_refused),
      cmocka_unit_test(a_line_without_an_end_is_bounded),
      cmocka_unit_test(no_bytes_whatever_break_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
