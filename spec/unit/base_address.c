#include "base/address.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>

#include <cmocka.h>

static struct mp_address parsed(const char *text) {
  struct mp_address a;
  assert_true(mp_address_parse(&a, mp_slice(text, strlen(text))));
  return a;
}

static void text_becomes_an_address_and_text_again(void **state) {
  const char *const pairs[][2] = {
      {"192.0.2.1", "192.0.2.1"},
      {"2001:DB8:0::1", "2001:db8::1"},
      {"::", "::"},
      {"::ffff:192.0.2.1", "192.0.2.1"},
      {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}};
  char text[MP_ADDRESS_TEXT];
  (void)state;
  for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    struct mp_address a = parsed(pairs[i][0]);
    assert_string_equal(mp_address_text(&a, text), pairs[i][1]);
  }
}

static void what_is_not_exactly_an_address_is_none(void **state) {
  static const struct mp_slice bad[] = {{"", 0},
                                        {"1.2.3", 5},
                                        {"1.2.3.4 ", 8},
                                        {" 1.2.3.4", 8},
                                        {"01.2.3.4", 8},
                                        {"1.2.3.256", 9},
                                        {"[::1]", 5},
                                        {"fe80::1%lo", 10},
                                        {":::", 3},
                                        {"1.2.3.4\0", 8},
                                        {"localhost", 9},
                                        {"1.2.3.4:80", 10},
                                        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2551", 46}};
  struct mp_address a;
  (void)state;
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(mp_address_parse(&a, bad[i]));
}

static void ports_stand_behind(void **state) {
  char text[MP_ADDRESS_TEXT];
  struct mp_address a = parsed("2001:db8::1");
  (void)state;
  a.port = 65535;
  assert_string_equal(mp_address_text_port(&a, text), "[2001:db8::1]:65535");
  a = parsed("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
  a.port = 65535;
  assert_string_equal(mp_address_text_port(&a, text), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
  a = parsed("192.0.2.1");
  assert_string_equal(mp_address_text_port(&a, text), "192.0.2.1:0");
  a = (struct mp_address){.kind = MP_ADDRESS_UNIX};
  assert_string_equal(mp_address_text_port(&a, text), "unix:");
  a = (struct mp_address){0};
  assert_string_equal(mp_address_text(&a, text), "");
}

static void the_kernels_form_is_read(void **state) {
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
  struct sockaddr other = {.sa_family = AF_NETLINK};
  char text[MP_ADDRESS_TEXT];
  (void)state;
  inet_pton(AF_INET6, "::ffff:10.0.0.1", &six.sin6_addr);
  struct mp_address a = mp_address_of((struct sockaddr *)&six);
  assert_string_equal(mp_address_text_port(&a, text), "10.0.0.1:80");
  assert_int_equal(mp_address_of(&other).kind, MP_ADDRESS_NONE);
}

static bool within(const char *address, const char *net, unsigned bits) {
  struct mp_address a = parsed(address), n = parsed(net);
  return mp_address_within(&a, &n, bits);
}

static void nets_hold_by_their_first_bits(void **state) {
  (void)state;
  assert_true(within("10.1.2.3", "10.0.0.0", 8));
  assert_false(within("11.1.2.3", "10.0.0.0", 8));
  assert_true(within("10.1.2.3", "10.1.2.3", 32));
  assert_false(within("10.1.2.2", "10.1.2.3", 32));
  assert_true(within("10.1.2.2", "10.1.2.3", 31));
  assert_true(within("192.0.2.127", "192.0.2.0", 25));
  assert_false(within("192.0.2.128", "192.0.2.0", 25));
  assert_true(within("1.2.3.4", "0.0.0.0", 0));
  assert_false(within("::1", "0.0.0.0", 0));
  assert_true(within("2001:db8:ffff::1", "2001:db8::", 32));
  assert_true(within("::1", "::1", 128));
  assert_false(within("::2", "::1", 128));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(text_becomes_an_address_and_text_again),
      cmocka_unit_test(what_is_not_exactly_an_address_is_none),
      cmocka_unit_test(ports_stand_behind),
      cmocka_unit_test(the_kernels_form_is_read),
      cmocka_unit_test(nets_hold_by_their_first_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
