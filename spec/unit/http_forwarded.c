#include "http/forwarded.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mp_trust trust;

static int trust_the(const char *list) {
  struct mp_slice bad;
  mp_trust_free(&trust);
  return mp_trust_parse(&trust, mp_slice(list, strlen(list)), &bad);
}

/* What a request from `peer` with these lines comes to: "address" or "address https". Each line is copied to memory
 * that ends where it ends, for the sanitizer to see. */
static const char *asked(const char *peer, const char *const *lines) {
  static char out[MP_ADDRESS_TEXT + 8];
  struct mp_field fields[8];
  char *copies[8], text[MP_ADDRESS_TEXT];
  struct mp_head head = {.fields = fields, .cap_fields = 8};
  struct mp_client client = {0};
  for (; *lines; lines++) {
    const char *colon = strchr(*lines, ':');
    size_t len = strlen(colon + 1);
    char *copy = copies[head.n_fields] = malloc(len + 1);
    memcpy(copy, colon + 1, len);
    fields[head.n_fields++] = (struct mp_field){mp_slice(*lines, (size_t)(colon - *lines)), mp_slice(copy, len)};
  }
  if (strcmp(peer, "unix") == 0)
    client.address.kind = MP_ADDRESS_UNIX;
  else
    assert_true(mp_address_parse(&client.address, mp_slice(peer, strlen(peer))));
  mp_forwarded_read(&client, &head, &trust);
  snprintf(out, sizeof out, "%s%s", mp_address_text(&client.address, text), client.secure ? " https" : "");
  for (unsigned i = 0; i < head.n_fields; i++) free(copies[i]);
  return out;
}

#define ASKED(peer, ...) asked(peer, (const char *const[]){__VA_ARGS__, NULL})

static void lists_are_understood_or_refused(void **state) {
  static const char *const good[] = {"",          "10.0.0.0/8",          "::1",    "unix", "10.0.0.0/8, ::1/128 ,unix",
                                     "0.0.0.0/0", "::ffff:10.0.0.0/104", "1.2.3.4"};
  static const char *const bad[] = {"10.0.0.0/33", "::/129",      "localhost", "1.2.3.4/",           "1.2.3.4/a",
                                    "/8",          "1.2.3.4 ::1", "Unix",      "::ffff:10.0.0.0/95", "10/8"};
  (void)state;
  for (unsigned i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(trust_the(good[i]), 0);
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(trust_the(bad[i]), -EINVAL);
}

static void nobody_is_believed_who_is_not_listed(void **state) {
  (void)state;
  assert_int_equal(trust_the("10.0.0.0/8"), 0);
  assert_string_equal(ASKED("192.0.2.1", "X-Forwarded-For:1.2.3.4", "X-Forwarded-Proto:https"), "192.0.2.1");
  assert_string_equal(ASKED("192.0.2.1", "Forwarded:for=1.2.3.4;proto=https"), "192.0.2.1");
  assert_string_equal(ASKED("unix", "X-Forwarded-For:1.2.3.4"), "unix:");
  assert_int_equal(trust_the("unix"), 0);
  assert_string_equal(ASKED("unix", "X-Forwarded-For:1.2.3.4"), "1.2.3.4");
}

static void a_mapped_net_is_that_of_its_ipv4_addresses(void **state) {
  (void)state;
  assert_int_equal(trust_the("::ffff:10.0.0.0/104"), 0);
  assert_string_equal(ASKED("10.9.9.9", "X-Forwarded-For:1.2.3.4"), "1.2.3.4");
  assert_string_equal(ASKED("11.9.9.9", "X-Forwarded-For:1.2.3.4"), "11.9.9.9");
}

static void the_list_is_read_from_the_right(void **state) {
  (void)state;
  assert_int_equal(trust_the("10.0.0.0/8"), 0);
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:6.6.6.6, 1.2.3.4,10.0.0.2"), "1.2.3.4");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:6.6.6.6", "Other:9.9.9.9", "x-forwarded-for:1.2.3.4"),
                      "1.2.3.4");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:1.2.3.4, 10.0.0.2", "X-Forwarded-For:,,"), "1.2.3.4");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:10.0.0.3, 10.0.0.2"), "10.0.0.3");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:"), "10.0.0.1");
}

static void addresses_come_in_many_spellings(void **state) {
  (void)state;
  assert_int_equal(trust_the("10.0.0.0/8"), 0);
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:1.2.3.4:4711"), "1.2.3.4");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:[2001:db8::1]:4711"), "2001:db8::1");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:[2001:db8::1]"), "2001:db8::1");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:2001:db8::1"), "2001:db8::1");
  assert_string_equal(ASKED("10.0.0.1", "Forwarded:For=\"[2001:db8::1]:80\""), "2001:db8::1");
  assert_string_equal(ASKED("10.0.0.1", "Forwarded:by=x; for=1.2.3.4 ;host=\"a;b,c\""), "1.2.3.4");
}

static void what_is_no_address_ends_the_search(void **state) {
  static const char *const bad[] = {"unknown", "_hidden", "1.2.3.4:",      "1.2.3.4:x", "[1.2.3.4]",
                                    "[::1",    "[::1]x",  "1.2.3.4:70000", "[]",        "]",
                                    "[",       ":",       "1.2.3.4;",      "\"1.2.3.4"};
  char line[80];
  (void)state;
  assert_int_equal(trust_the("10.0.0.0/8"), 0);
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    snprintf(line, sizeof line, "X-Forwarded-For:6.6.6.6, %s, 10.0.0.2", bad[i]);
    assert_string_equal(ASKED("10.0.0.1", line), "10.0.0.2");
  }
  assert_string_equal(ASKED("10.0.0.1", "Forwarded:for=6.6.6.6, by=10.0.0.2, for=10.0.0.3"), "10.0.0.3");
}

static void a_quote_left_open_by_the_client_hides_nothing(void **state) {
  (void)state;
  assert_int_equal(trust_the("10.0.0.0/8"), 0);
  assert_string_equal(ASKED("10.0.0.1", "Forwarded:for=\"6.6.6.6, for=1.2.3.4"), "1.2.3.4");
  assert_string_equal(ASKED("10.0.0.1", "Forwarded:for=6.6.6.6;x=\"a\\\"b\", for=1.2.3.4;host=\"a\\\\\""), "1.2.3.4");
  assert_string_equal(ASKED("10.0.0.1", "Forwarded:\", for=1.2.3.4;host=\"a,b\""), "1.2.3.4");
}

static void the_scheme_is_the_one_beside_the_client(void **state) {
  (void)state;
  assert_int_equal(trust_the("10.0.0.0/8"), 0);
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:1.2.3.4", "X-Forwarded-Proto:HTTPS"), "1.2.3.4 https");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-Proto:https"), "10.0.0.1 https");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:1.2.3.4, 10.0.0.2", "X-Forwarded-Proto:https, http"),
                      "1.2.3.4 https");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:6.6.6.6, 1.2.3.4", "X-Forwarded-Proto:https, http"),
                      "1.2.3.4");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-For:1.2.3.4", "X-Forwarded-Proto:https, http"), "1.2.3.4");
  assert_string_equal(ASKED("10.0.0.1", "X-Forwarded-Proto:gopher"), "10.0.0.1");
  assert_string_equal(ASKED("10.0.0.1", "Forwarded:proto=https"), "10.0.0.1 https");
  assert_string_equal(ASKED("10.0.0.1", "Forwarded:for=1.2.3.4;proto=https, for=10.0.0.2;proto=http"), "1.2.3.4 https");
}

static void forwarded_gives_way_to_x_forwarded_for(void **state) {
  (void)state;
  assert_int_equal(trust_the("10.0.0.0/8"), 0);
  assert_string_equal(ASKED("10.0.0.1", "Forwarded:for=6.6.6.6;proto=https", "X-Forwarded-For:1.2.3.4"), "1.2.3.4");
}

static int tear_down(void **state) {
  (void)state;
  mp_trust_free(&trust);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lists_are_understood_or_refused),
      cmocka_unit_test(nobody_is_believed_who_is_not_listed),
      cmocka_unit_test(a_mapped_net_is_that_of_its_ipv4_addresses),
      cmocka_unit_test(the_list_is_read_from_the_right),
      cmocka_unit_test(addresses_come_in_many_spellings),
      cmocka_unit_test(what_is_no_address_ends_the_search),
      cmocka_unit_test(a_quote_left_open_by_the_client_hides_nothing),
      cmocka_unit_test(the_scheme_is_the_one_beside_the_client),
      cmocka_unit_test(forwarded_gives_way_to_x_forwarded_for),
  };
  return cmocka_run_group_tests(tests, NULL, tear_down);
}
