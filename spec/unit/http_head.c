#include "http/head.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct mp_http_limits limits = {
    .request_line = 100, .fields = 8, .field_size = 80, .head = 400, .body = 1000};

/* One request that was read, and the memory its slices borrow. */
struct got {
  enum mp_verdict verdict;
  struct mp_refusal why;
  struct mp_head head;
  size_t used;
  char *bytes; /* owned */
};

/* In pieces of `step` bytes, each time in memory of exactly that size. */
static struct got feed(const char *bytes, size_t len, size_t step) {
  struct got got = {.verdict = MP_MORE};
  struct mp_head_scan scan = {0};
  for (size_t have = 0; got.verdict == MP_MORE && have < len;) {
    have = len - have < step ? len : have + step;
    free(got.bytes);
    got.bytes = malloc(have);
    assert_non_null(got.bytes);
    memcpy(got.bytes, bytes, have);
    got.verdict = mp_head_parse(&got.head, &scan, got.bytes, have, &limits, &got.used, &got.why);
  }
  return got;
}

static void drop(struct got *got) {
  mp_head_free(&got->head);
  free(got->bytes);
}

/* The verdict is the same however the bytes were cut. */
static struct got read_bytes(const char *bytes, size_t len) {
  struct got whole = feed(bytes, len, len);
  for (size_t step = 1; step < 8; step++) {
    struct got cut = feed(bytes, len, step);
    assert_int_equal(cut.verdict, whole.verdict);
    if (cut.verdict == MP_REFUSE) assert_int_equal(cut.why.status, whole.why.status);
    if (cut.verdict == MP_DONE) assert_int_equal(cut.used, whole.used);
    drop(&cut);
  }
  return whole;
}

static int status_of(const char *bytes, size_t len) {
  struct got got = read_bytes(bytes, len);
  int status = got.verdict == MP_DONE ? 200 : got.verdict == MP_MORE ? 0 : got.why.status;
  drop(&got);
  return status;
}

/* Whole requests by their request line and fields, and by their fields alone. */
#define LINE(text) status_of(text "\r\nHost: h\r\n\r\n", sizeof(text "\r\nHost: h\r\n\r\n") - 1)
#define FIELDS(text)                                                                                                   \
  status_of("GET / HTTP/1.1\r\nHost: h\r\n" text "\r\n\r\n",                                                           \
            sizeof("GET / HTTP/1.1\r\nHost: h\r\n" text "\r\n\r\n") - 1)
#define RAW(text) status_of(text, sizeof(text) - 1)
#define READ(text) read_bytes(text, sizeof(text) - 1)
#define assert_slice(s, text)                                                                                          \
  do {                                                                                                                 \
    assert_int_equal((s).len, sizeof(text) - 1);                                                                       \
    assert_memory_equal((s).at, text, sizeof(text) - 1);                                                               \
  } while (0)

static void facts_of_a_plain_request(void **state) {
  (void)state;
  struct got got =
      READ("GET /a%20b?c=d?e HTTP/1.1\r\nhOsT:\texample.org:80 \t\r\nX-Empty:\r\nX: a\tb\xfc \r\n\r\nNEXT");
  assert_int_equal(got.verdict, MP_DONE);
  assert_slice(got.head.method, "GET");
  assert_slice(got.head.target, "/a%20b?c=d?e");
  assert_slice(got.head.path, "/a%20b");
  assert_slice(got.head.query, "c=d?e");
  assert_slice(got.head.host, "example.org:80");
  assert_int_equal(got.head.n_fields, 3);
  assert_slice(got.head.fields[1].name, "X-Empty");
  assert_int_equal(got.head.fields[1].value.len, 0);
  assert_slice(got.head.fields[2].value, "a\tb\xfc");
  assert_int_equal(got.head.minor, 1);
  assert_int_equal(got.head.body, MP_BODY_NONE);
  assert_true(got.head.keep_alive && got.head.known_method && !got.head.expect_continue);
  assert_null(mp_head_field(&got.head, MP_SLICE("Cookie")));
  assert_ptr_equal(mp_head_field(&got.head, MP_SLICE("x-empty")), &got.head.fields[1]);
  drop(&got);
}

static void what_follows_the_head_is_not_eaten(void **state) {
  (void)state;
  struct got got = READ("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\n");
  assert_int_equal(got.used, strlen("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
  drop(&got);
  got = READ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n");
  assert_int_equal(got.used, strlen("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"));
  drop(&got);
}

static void slices_move_with_their_bytes(void **state) {
  (void)state;
  struct got got = READ("GET http://a.example?q HTTP/1.1\r\nHost: b\r\n\r\n");
  char *copy = malloc(got.used);
  memcpy(copy, got.bytes, got.used);
  mp_head_rebase(&got.head, got.bytes, copy);
  free(got.bytes);
  got.bytes = copy;
  assert_slice(got.head.method, "GET");
  assert_slice(got.head.path, "/");
  assert_slice(got.head.query, "q");
  assert_slice(got.head.host, "a.example");
  assert_slice(got.head.fields[0].name, "Host");
  assert_slice(got.head.fields[0].value, "b");
  drop(&got);
}

static void one_head_serves_many_requests(void **state) {
  (void)state;
  static const char first[] = "POST /x?y HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
  static const char second[] = "GET /z HTTP/1.0\r\n\r\n";
  struct mp_head head = {0};
  struct mp_refusal why;
  size_t used;
  assert_int_equal(mp_head_parse(&head, &(struct mp_head_scan){0}, first, sizeof first - 1, &limits, &used, &why),
                   MP_DONE);
  assert_int_equal(head.body, MP_BODY_LENGTH);
  assert_int_equal(head.content_length, 3);
  assert_true(head.expect_continue);
  struct mp_field *fields = head.fields;
  assert_int_equal(mp_head_parse(&head, &(struct mp_head_scan){0}, second, sizeof second - 1, &limits, &used, &why),
                   MP_DONE);
  assert_ptr_equal(head.fields, fields);
  assert_int_equal(head.n_fields, 0);
  assert_int_equal(head.body, MP_BODY_NONE);
  assert_null(head.query.at);
  assert_null(head.host.at);
  assert_false(head.expect_continue || head.keep_alive);
  mp_head_free(&head);
}

static void target_forms_fit_their_methods(void **state) {
  (void)state;
  assert_int_equal(LINE("GET //a/../b?x=[1]|\"{}\\^` HTTP/1.1"), 200);
  assert_int_equal(LINE("OPTIONS * HTTP/1.1"), 200);
  assert_int_equal(LINE("GET * HTTP/1.1"), 400);
  assert_int_equal(LINE("M-SEARCH * HTTP/1.1"), 400);
  assert_int_equal(LINE("GET *a HTTP/1.1"), 400);
  assert_int_equal(LINE("GET HTTPS://u.example/x HTTP/1.1"), 200);
  assert_int_equal(LINE("GET http://user@u.example/ HTTP/1.1"), 400);
  assert_int_equal(LINE("GET http:///x HTTP/1.1"), 400);
  assert_int_equal(LINE("GET http://:80/x HTTP/1.1"), 400);
  assert_int_equal(LINE("GET http:/x HTTP/1.1"), 400);
  assert_int_equal(LINE("GET ftp://h/x HTTP/1.1"), 400);
  assert_int_equal(LINE("GET a/b HTTP/1.1"), 400);
  assert_int_equal(LINE("GET h:80 HTTP/1.1"), 400);
  assert_int_equal(LINE("CONNECT h:80 HTTP/1.1"), 501);
  assert_int_equal(LINE("CONNECT /x HTTP/1.1"), 400);
  assert_int_equal(LINE("GET /#top HTTP/1.1"), 400);
  assert_int_equal(LINE("GET /\x7f HTTP/1.1"), 400);
  assert_int_equal(LINE("GET /\xc3\xa9 HTTP/1.1"), 400);
  assert_int_equal(LINE("GET /a\tb HTTP/1.1"), 400);
}

static void an_absolute_target_names_the_host(void **state) {
  (void)state;
  struct got got = READ("OPTIONS http://a.example:81 HTTP/1.1\r\nHost: b\r\n\r\n");
  assert_slice(got.head.host, "a.example:81");
  assert_slice(got.head.path, "*");
  drop(&got);
  got = READ("GET http://a.example/?x HTTP/1.1\r\nHost:\r\n\r\n");
  assert_slice(got.head.host, "a.example");
  assert_slice(got.head.path, "/");
  assert_slice(got.head.query, "x");
  drop(&got);
}

static void request_lines_have_three_parts_and_single_spaces(void **state) {
  (void)state;
  assert_int_equal(RAW("GET /\r\n\r\n"), 400);
  assert_int_equal(LINE("GET  / HTTP/1.1"), 400);
  assert_int_equal(LINE("GET /  HTTP/1.1"), 400);
  assert_int_equal(LINE("GET / HTTP/1.1 "), 400);
  assert_int_equal(LINE(" GET / HTTP/1.1"), 400);
  assert_int_equal(LINE("GET\t/ HTTP/1.1"), 400);
  assert_int_equal(LINE("GET / a HTTP/1.1"), 400);
  assert_int_equal(LINE("GET HTTP/1.1"), 400);
  assert_int_equal(LINE("GE(T / HTTP/1.1"), 400);
  assert_int_equal(LINE(": / HTTP/1.1"), 400);
}

static void methods_out_of_the_list_are_still_read(void **state) {
  (void)state;
  struct got got = READ("get /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
  assert_int_equal(got.verdict, MP_DONE);
  assert_slice(got.head.method, "get");
  assert_false(got.head.known_method);
  assert_int_equal(got.head.n_fields, 2);
  assert_int_equal(got.head.content_length, 2);
  drop(&got);
  assert_int_equal(LINE("GETX / HTTP/1.1"), 200);
  assert_int_equal(LINE("QUERY / HTTP/1.1"), 200);
  assert_int_equal(LINE("-!#$%&'*+.^_`|~ / HTTP/1.1"), 200);
}

static void versions_other_than_ours_are_505_or_400(void **state) {
  (void)state;
  assert_int_equal(RAW("GET / HTTP/1.0\r\n\r\n"), 200);
  assert_int_equal(LINE("GET / HTTP/1.2"), 505);
  assert_int_equal(LINE("GET / HTTP/2.0"), 505);
  assert_int_equal(LINE("GET / HTTP/0.9"), 505);
  assert_int_equal(LINE("GET / HTTP/1.10"), 400);
  assert_int_equal(LINE("GET / HTTP/01.1"), 400);
  assert_int_equal(LINE("GET / http/1.1"), 400);
  assert_int_equal(LINE("GET / RTSP/1.0"), 400);
  assert_int_equal(LINE("GET / HTTP/1,1"), 400);
}

static void line_ends_are_crlf(void **state) {
  (void)state;
  assert_int_equal(RAW("GET / HTTP/1.1\nHost: h\r\n\r\n"), 400);
  assert_int_equal(RAW("GET / HTTP/1.1\r\nHost: h\n\r\n"), 400);
  assert_int_equal(RAW("GET / HTTP/1.1\r\nHost: h\r\n\n"), 400);
  assert_int_equal(RAW("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  assert_int_equal(FIELDS("X: a\rb"), 400);
  assert_int_equal(FIELDS("X: \r"), 400);
  assert_int_equal(FIELDS("\rX: a"), 400);
  assert_int_equal(RAW("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n"), 400);
}

static void few_empty_lines_may_come_first(void **state) {
  (void)state;
  assert_int_equal(RAW("\r\n\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n"), 200);
  assert_int_equal(RAW("\r\n\r\n\r\n\r\n\r\n"), 400);
  assert_int_equal(RAW("\r\n \r\n\r\n"), 400);
}

static void field_lines_are_token_colon_value(void **state) {
  (void)state;
  assert_int_equal(FIELDS("X!#$%&'*+-.^_`|~: \x80\xff \t!"), 200);
  assert_int_equal(FIELDS("X : a"), 400);
  assert_int_equal(FIELDS("X\t: a"), 400);
  assert_int_equal(FIELDS("X Y: a"), 400);
  assert_int_equal(FIELDS(": a"), 400);
  assert_int_equal(FIELDS("X"), 400);
  assert_int_equal(FIELDS("X[]: a"), 400);
  assert_int_equal(FIELDS("X\xc3\xa9: a"), 400);
  assert_int_equal(FIELDS("X: a\0b"), 400);
  assert_int_equal(FIELDS("X: a\x01"), 400);
  assert_int_equal(FIELDS("X: a\x7f"), 400);
  assert_int_equal(FIELDS("X\0: a"), 400);
  assert_int_equal(FIELDS("X: a\r\n b"), 400);
  assert_int_equal(FIELDS("X: a\r\n\tb"), 400);
  assert_int_equal(RAW("GET / HTTP/1.1\r\n X: a\r\nHost: h\r\n\r\n"), 400);
}

static int host(const char *value, int minor) {
  char bytes[200];
  int n = snprintf(bytes, sizeof bytes, "GET / HTTP/1.%d\r\nHost: %s\r\n\r\n", minor, value);
  return status_of(bytes, (size_t)n);
}

static void there_is_one_host_and_it_is_well_formed(void **state) {
  (void)state;
  static const char *const good[] = {
      "",    "h",       "h:",         "h:0",     "h:65535",           "a_b.c-d~",  "%41b",
      "a=5", "1.2.3.4", "999.1.1.1:", "[::1]:8", "[::ffff:1.2.3.4]:", "[v1.a:b!]", "A.B."};
  static const char *const bad[] = {
      ":80", "h:65536", "h:8a",  "h:1:2",  "h/",    "u@h",    "a b",   "%4",   "%zz",       "[::1",         "[::1]x",
      "[]",  "[v.a]",   "[v1.]", "[vg.a]", "[::g]", "x[::1]", "\"h\"", "a\\b", "[1.2.3.4]", "[::1%25eth0]", "###"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(host(good[i], 1), 200);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(host(bad[i], 1), 400);
  assert_int_equal(host("a/b", 0), 400);
  assert_int_equal(RAW("GET / HTTP/1.1\r\n\r\n"), 400);
  assert_int_equal(RAW("GET http://h/ HTTP/1.1\r\n\r\n"), 400);
  assert_int_equal(FIELDS("Host: h"), 400);
  assert_int_equal(RAW("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
}

static void content_length_is_one_number(void **state) {
  (void)state;
  assert_int_equal(FIELDS("Content-Length: 0"), 200);
  assert_int_equal(FIELDS("content-length:\t0042 "), 200);
  assert_int_equal(FIELDS("Content-Length: 18446744073709551615"), 400);
  assert_int_equal(FIELDS("Content-Length: 18446744073709551616"), 400);
  assert_int_equal(FIELDS("Content-Length: 99999999999999999999"), 400);
  assert_int_equal(FIELDS("Content-Length: +1"), 400);
  assert_int_equal(FIELDS("Content-Length: -1"), 400);
  assert_int_equal(FIELDS("Content-Length: 0x1"), 400);
  assert_int_equal(FIELDS("Content-Length: 1 2"), 400);
  assert_int_equal(FIELDS("Content-Length: 1_0"), 400);
  assert_int_equal(FIELDS("Content-Length:"), 400);
  assert_int_equal(FIELDS("Content-Length: 5, 5"), 400);
  assert_int_equal(FIELDS("Content-Length: 5\r\nContent-Length: 5"), 400);
  assert_int_equal(FIELDS("Content-Length: 5\r\nContent-Length: 6"), 400);
}

static void transfer_encoding_is_chunked_alone(void **state) {
  (void)state;
  struct got got = READ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:  ChunkeD \r\n\r\n");
  assert_int_equal(got.head.body, MP_BODY_CHUNKED);
  drop(&got);
  assert_int_equal(FIELDS("Transfer-Encoding: gzip, chunked"), 501);
  assert_int_equal(FIELDS("Transfer-Encoding: gzip"), 400);
  assert_int_equal(FIELDS("Transfer-Encoding: identity"), 400);
  assert_int_equal(FIELDS("Transfer-Encoding: chunked, gzip"), 400);
  assert_int_equal(FIELDS("Transfer-Encoding: chunked, chunked"), 400);
  assert_int_equal(FIELDS("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400);
  assert_int_equal(FIELDS("Transfer-Encoding: xchunked"), 400);
  assert_int_equal(FIELDS("Transfer-Encoding: \"chunked\""), 400);
  assert_int_equal(FIELDS("Transfer-Encoding: chunked;q=1"), 400);
  assert_int_equal(FIELDS("Transfer-Encoding: chunked\xff"), 400);
  assert_int_equal(FIELDS("Transfer-Encoding:"), 400);
  assert_int_equal(FIELDS("Transfer-Encoding: chunked\r\nContent-Length: 5"), 400);
  assert_int_equal(FIELDS("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400);
  assert_int_equal(RAW("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

static bool persists(const char *version, const char *fields) {
  char bytes[200];
  int n = snprintf(bytes, sizeof bytes, "GET / HTTP/%s\r\nHost: h\r\n%s\r\n", version, fields);
  struct got got = read_bytes(bytes, (size_t)n);
  assert_int_equal(got.verdict, MP_DONE);
  bool keep = got.head.keep_alive;
  drop(&got);
  return keep;
}

static void connection_options_decide_about_persistence(void **state) {
  (void)state;
  assert_true(persists("1.1", ""));
  assert_true(persists("1.1", "Connection: upgrade\r\nUpgrade: x\r\n"));
  assert_false(persists("1.1", "Connection: x, ,CLOSE\r\n"));
  assert_false(persists("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
  assert_true(persists("1.1", "Connection: closed\r\n"));
  assert_false(persists("1.0", ""));
  assert_true(persists("1.0", "Connection: Keep-Alive\r\n"));
  assert_false(persists("1.0", "Connection: keep-alive, close\r\n"));
}

static void expectations_other_than_continue_are_417(void **state) {
  (void)state;
  assert_int_equal(FIELDS("Expect: 100-Continue"), 200);
  assert_int_equal(FIELDS("Expect: 200-ok"), 417);
  assert_int_equal(FIELDS("Expect: 100-continue, x"), 417);
  assert_int_equal(RAW("GET / HTTP/1.0\r\nExpect: x\r\n\r\n"), 200);
  struct got got = READ("GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n");
  assert_false(got.head.expect_continue);
  drop(&got);
}

/* `n` times `c`, without a line end: the verdict must come before one does. */
static int endless(const char *start, char c, size_t n) {
  char bytes[600];
  size_t len = strlen(start);
  memcpy(bytes, start, len);
  memset(bytes + len, c, n);
  return status_of(bytes, len + n);
}

static void limits_hold_before_the_line_ends(void **state) {
  (void)state;
  assert_int_equal(endless("GET /", 'a', 95), 0);
  assert_int_equal(endless("GET /", 'a', 96), 414);
  assert_int_equal(endless("GET / HTTP/1.1\r\nX:", 'a', 78), 0);
  assert_int_equal(endless("GET / HTTP/1.1\r\nX:", 'a', 79), 431);
}

static void a_head_has_bounded_fields_and_size(void **state) {
  (void)state;
#define SEVEN "A: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b"
#define LONG "A: 3456789 123456789 123456789 123456789 123456789 123456789 123456789 12345678"
  assert_int_equal(FIELDS(SEVEN), 200);
  assert_int_equal(FIELDS(SEVEN "\r\nA: b"), 431);
  assert_int_equal(FIELDS(LONG "\r\n" LONG "\r\n" LONG "\r\n" LONG), 200);
  assert_int_equal(FIELDS(LONG "\r\n" LONG "\r\n" LONG "\r\n" LONG "\r\n" LONG), 431);
}

static void large_limits_are_not_cut_by_the_parser_below(void **state) {
  (void)state;
  static const char start[] = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
  struct mp_http_limits large = {.request_line = 100, .fields = 8, .field_size = 200000, .head = 300000, .body = 0};
  size_t len = sizeof start - 1 + 150000, used = 0;
  char *bytes = malloc(len);
  struct mp_head head = {0};
  struct mp_refusal why;
  memset(bytes, 'x', len);
  memcpy(bytes, start, sizeof start - 1);
  memcpy(bytes + len - 4, "\r\n\r\n", 4);
  assert_int_equal(mp_head_parse(&head, &(struct mp_head_scan){0}, bytes, len, &large, &used, &why), MP_DONE);
  assert_int_equal(used, len);
  mp_head_free(&head);
  free(bytes);
}

static void many_fields_are_all_kept(void **state) {
  (void)state;
  struct mp_http_limits many = {.request_line = 100, .fields = 100, .field_size = 100, .head = 4000, .body = 0};
  char bytes[4000];
  size_t len = (size_t)sprintf(bytes, "GET / HTTP/1.1\r\nHost: h\r\n"), used;
  struct mp_head head = {0};
  struct mp_refusal why;
  for (int i = 0; i < 99; i++) len += (size_t)sprintf(bytes + len, "X-%d: %d\r\n", i, i);
  len += (size_t)sprintf(bytes + len, "\r\n");
  assert_int_equal(mp_head_parse(&head, &(struct mp_head_scan){0}, bytes, len, &many, &used, &why), MP_DONE);
  assert_int_equal(head.n_fields, 100);
  assert_slice(mp_head_field(&head, MP_SLICE("x-98"))->value, "98");
  mp_head_free(&head);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(facts_of_a_plain_request),
      cmocka_unit_test(what_follows_the_head_is_not_eaten),
      cmocka_unit_test(slices_move_with_their_bytes),
      cmocka_unit_test(one_head_serves_many_requests),
      cmocka_unit_test(target_forms_fit_their_methods),
      cmocka_unit_test(an_absolute_target_names_the_host),
      cmocka_unit_test(request_lines_have_three_parts_and_single_spaces),
      cmocka_unit_test(methods_out_of_the_list_are_still_read),
      cmocka_unit_test(versions_other_than_ours_are_505_or_400),
      cmocka_unit_test(line_ends_are_crlf),
      cmocka_unit_test(few_empty_lines_may_come_first),
      cmocka_unit_test(field_lines_are_token_colon_value),
      cmocka_unit_test(there_is_one_host_and_it_is_well_formed),
      cmocka_unit_test(content_length_is_one_number),
      cmocka_unit_test(transfer_encoding_is_chunked_alone),
      cmocka_unit_test(connection_options_decide_about_persistence),
      cmocka_unit_test(expectations_other_than_continue_are_417),
      cmocka_unit_test(limits_hold_before_the_line_ends),
      cmocka_unit_test(a_head_has_bounded_fields_and_size),
      cmocka_unit_test(large_limits_are_not_cut_by_the_parser_below),
      cmocka_unit_test(many_fields_are_all_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
