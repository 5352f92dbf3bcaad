#include "base/buf.h"
#include "http/body.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct mp_http_limits limits = {
    .request_line = 100, .fields = 3, .field_size = 20, .head = 60, .body = 1000};

struct got {
  enum mp_verdict verdict;
  struct mp_refusal why;
  struct mp_buf body; /* owned */
  size_t eaten;
};

/* What is at hand is fed until it is eaten, in memory of exactly its size. */
static void feed_piece(struct mp_body *body, struct got *got, const char *bytes, size_t len) {
  char *copy = malloc(len ? len : 1);
  size_t at = 0, used;
  struct mp_slice piece;
  memcpy(copy, bytes, len);
  do {
    got->verdict = mp_body_feed(body, &limits, copy + at, len - at, &used, &piece, &got->why);
    if (got->verdict == MP_REFUSE) break;
    if (piece.len) assert_true(piece.at >= copy + at && piece.at + piece.len <= copy + at + used);
    if (got->verdict == MP_MORE && piece.len == 0) assert_int_equal(used, len - at);
    assert_int_equal(mp_buf_add_slice(&got->body, piece), 0);
    at += used;
  } while (got->verdict == MP_MORE && at < len);
  got->eaten += at;
  free(copy);
}

static struct got feed(const struct mp_head *head, const char *bytes, size_t len, size_t step) {
  struct got got = {0};
  struct mp_body body;
  got.verdict = mp_body_start(&body, head, &limits, &got.why);
  for (size_t at = 0; at < len && got.verdict == MP_MORE; at += step)
    feed_piece(&body, &got, bytes + at, len - at < step ? len - at : step);
  return got;
}

static struct got read_bytes(const struct mp_head *head, const char *bytes, size_t len) {
  struct got whole = feed(head, bytes, len, len);
  for (size_t step = 1; step < 9; step++) {
    struct got cut = feed(head, bytes, len, step);
    assert_int_equal(cut.verdict, whole.verdict);
    if (cut.verdict == MP_REFUSE)
      assert_int_equal(cut.why.status, whole.why.status);
    else
      assert_int_equal(cut.eaten, whole.eaten);
    if (cut.verdict != MP_REFUSE) assert_true(mp_slice_is(mp_buf_slice(&cut.body), mp_buf_slice(&whole.body)));
    mp_buf_free(&cut.body);
  }
  return whole;
}

static const struct mp_head chunked = {.body = MP_BODY_CHUNKED};

/* 200 when the body is whole, 0 when it goes on, else the refusal. */
static int status_of(const char *bytes, size_t len) {
  struct got got = read_bytes(&chunked, bytes, len);
  mp_buf_free(&got.body);
  return got.verdict == MP_DONE ? 200 : got.verdict == MP_MORE ? 0 : got.why.status;
}
#define CHUNKED(text) status_of(text, sizeof(text) - 1)
#define SIZE_LINE(text) CHUNKED(text "\r\nhello\r\n0\r\n\r\n")

static void a_length_is_counted_down(void **state) {
  (void)state;
  struct mp_head head = {.body = MP_BODY_LENGTH, .content_length = 5};
  struct got got = read_bytes(&head, "helloGET /", 10);
  assert_int_equal(got.verdict, MP_DONE);
  assert_int_equal(got.eaten, 5);
  assert_true(mp_slice_is(mp_buf_slice(&got.body), MP_SLICE("hello")));
  mp_buf_free(&got.body);
  got = read_bytes(&head, "hell", 4);
  assert_int_equal(got.verdict, MP_MORE);
  mp_buf_free(&got.body);
}

static void no_body_is_done_at_once(void **state) {
  (void)state;
  struct mp_body body;
  struct mp_refusal why;
  struct mp_slice piece;
  size_t used = 9;
  assert_int_equal(mp_body_start(&body, &(struct mp_head){0}, &limits, &why), MP_DONE);
  assert_int_equal(mp_body_feed(&body, &limits, "GET", 3, &used, &piece, &why), MP_DONE);
  assert_int_equal(used, 0);
  assert_int_equal(piece.len, 0);
}

static void a_length_above_the_limit_is_413_at_once(void **state) {
  (void)state;
  struct mp_head head = {.body = MP_BODY_LENGTH, .content_length = 1001};
  struct mp_body body;
  struct mp_refusal why;
  assert_int_equal(mp_body_start(&body, &head, &limits, &why), MP_REFUSE);
  assert_int_equal(why.status, 413);
  head.content_length = 1000;
  assert_int_equal(mp_body_start(&body, &head, &limits, &why), MP_MORE);
}

static void chunks_are_joined(void **state) {
  (void)state;
  static const char bytes[] =
      "5\r\nhello\r\n0001;a=b\r\n,\r\n6 ; x = \"y\\\"\" ; z\r\n world\r\n00\r\nA: b\r\nB:\r\n\r\nGET";
  struct got got = read_bytes(&chunked, bytes, sizeof bytes - 1);
  assert_int_equal(got.verdict, MP_DONE);
  assert_int_equal(got.eaten, sizeof bytes - 1 - 3);
  assert_true(mp_slice_is(mp_buf_slice(&got.body), MP_SLICE("hello, world")));
  mp_buf_free(&got.body);
}

static void chunk_sizes_are_hex_digits_and_nothing_else(void **state) {
  (void)state;
  assert_int_equal(SIZE_LINE("5"), 200);
  assert_int_equal(SIZE_LINE("0000000000000005"), 200);
  assert_int_equal(SIZE_LINE("00000000000000005"), 400);
  assert_int_equal(SIZE_LINE(""), 400);
  assert_int_equal(SIZE_LINE(" 5"), 400);
  assert_int_equal(SIZE_LINE("5 "), 400);
  assert_int_equal(SIZE_LINE("+5"), 400);
  assert_int_equal(SIZE_LINE("-5"), 400);
  assert_int_equal(SIZE_LINE("0x5"), 400);
  assert_int_equal(SIZE_LINE("5g"), 400);
  assert_int_equal(SIZE_LINE("5_0"), 400);
  assert_int_equal(SIZE_LINE(";a=b"), 400);
  assert_int_equal(SIZE_LINE("5\0"), 400);
  assert_int_equal(CHUNKED("a\r\n0123456789\r\n0\r\n\r\n"), 200);
  assert_int_equal(CHUNKED("A\r\n0123456789\r\n0\r\n\r\n"), 200);
}

static void chunk_line_ends_are_crlf(void **state) {
  (void)state;
  assert_int_equal(CHUNKED("5\nhello\r\n0\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("5\r\nhello\n0\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("5\r\nhello0\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("5\r\nhello!\r\n0\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("5\r\nhell\r\n0\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("5\rhello\r\n0\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("5\r\r\nhello\r\n0\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("0\n\r\n"), 400);
  assert_int_equal(CHUNKED("0\r\n\n"), 400);
  assert_int_equal(CHUNKED("0\r\n\r\r\n"), 400);
  assert_int_equal(CHUNKED("0\r\nA: b\n\r\n"), 400);
  assert_int_equal(SIZE_LINE("5;a=b\n"), 400);
  assert_int_equal(SIZE_LINE("5;a=\"b\n\""), 400);
}

static void extensions_are_names_with_token_or_quoted_values(void **state) {
  (void)state;
  assert_int_equal(SIZE_LINE("5;a"), 200);
  assert_int_equal(SIZE_LINE("5\t;\ta ; b"), 200);
  assert_int_equal(SIZE_LINE("5;a= \"\" ;b"), 200);
  assert_int_equal(SIZE_LINE("5;a=\"\\\r\""), 400);
  assert_int_equal(SIZE_LINE("5;"), 400);
  assert_int_equal(SIZE_LINE("5;a;"), 400);
  assert_int_equal(SIZE_LINE("5;a "), 400);
  assert_int_equal(SIZE_LINE("5;a="), 400);
  assert_int_equal(SIZE_LINE("5;=b"), 400);
  assert_int_equal(SIZE_LINE("5;a=b c"), 400);
  assert_int_equal(SIZE_LINE("5;a=\"b\"c"), 400);
  assert_int_equal(SIZE_LINE("5;a=\"b"), 400);
  assert_int_equal(SIZE_LINE("5;a=\x80"), 400);
  assert_int_equal(SIZE_LINE("5;a=\"\x80\""), 200);
  assert_int_equal(SIZE_LINE("5 a"), 400);
}

static void extensions_are_bounded_in_all(void **state) {
  (void)state;
#define EXT20 ";abcdefghijklmnopqrs"
#define ONE "1" EXT20 EXT20 "\r\nx\r\n"
  assert_int_equal(CHUNKED("1" EXT20 EXT20 "ABCDEFGHIJKLMNOPQ\r\nx\r\n"), 0);
  assert_int_equal(CHUNKED("1" EXT20 EXT20 "ABCDEFGHIJKLMNOPQR\r\nx\r\n"), 400);
  assert_int_equal(CHUNKED(ONE "0\r\n\r\n"), 200);
  assert_int_equal(CHUNKED(ONE ONE ONE "0\r\n\r\n"), 400);
  /* A chunk pays for its own line. */
#define FORTY "0123456789012345678901234567890123456789"
#define FAIR "28" EXT20 EXT20 "\r\n" FORTY "\r\n"
  assert_int_equal(CHUNKED(FAIR FAIR FAIR FAIR FAIR FAIR "0\r\n\r\n"), 200);
}

static void many_small_chunks_are_no_flood(void **state) {
  (void)state;
  struct mp_buf bytes = {0};
  for (int i = 0; i < 1000; i++) assert_int_equal(mp_buf_add(&bytes, "1\r\nx\r\n", 6), 0);
  assert_int_equal(mp_buf_add(&bytes, "0\r\n\r\n", 5), 0);
  assert_int_equal(status_of(mp_buf_at(&bytes), mp_buf_len(&bytes)), 200);
  mp_buf_free(&bytes);
}

static void chunks_above_the_limit_are_413(void **state) {
  (void)state;
  assert_int_equal(CHUNKED("3e9\r\n"), 413);
  assert_int_equal(CHUNKED("3e8\r\n"), 0);
  assert_int_equal(CHUNKED("1\r\nx\r\n3e8\r\n"), 413);
  assert_int_equal(CHUNKED("1\r\nx\r\n3e7\r\n"), 0);
  assert_int_equal(CHUNKED("1\r\nx\r\nffffffffffffffff\r\n"), 413);
}

static void trailers_are_fields_and_bounded(void **state) {
  (void)state;
  assert_int_equal(CHUNKED("0\r\nA: b\r\nContent-Length: 5\r\n\r\n"), 200);
  assert_int_equal(CHUNKED("0\r\nA : b\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("0\r\nA\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("0\r\n: b\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("0\r\n A: b\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("0\r\nA: b\r\n c\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("0\r\nA: \0\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("0\r\nA: b\rc\r\n\r\n"), 400);
  assert_int_equal(CHUNKED("0\r\nA:\r\nB:\r\nC:\r\n\r\n"), 200);
  assert_int_equal(CHUNKED("0\r\nA:\r\nB:\r\nC:\r\nD:\r\n\r\n"), 431);
  assert_int_equal(CHUNKED("0\r\nA: 45678901234567890\r\n\r\n"), 200);
  assert_int_equal(CHUNKED("0\r\nA: 456789012345678901"), 431);
  assert_int_equal(CHUNKED("0\r\nA: 45678901234567890\r\nA: 45678901234567890\r\nA: 456789012345\r\n"), 431);
  assert_int_equal(CHUNKED("0\r\n"), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_length_is_counted_down),
      cmocka_unit_test(no_body_is_done_at_once),
      cmocka_unit_test(a_length_above_the_limit_is_413_at_once),
      cmocka_unit_test(chunks_are_joined),
      cmocka_unit_test(chunk_sizes_are_hex_digits_and_nothing_else),
      cmocka_unit_test(chunk_line_ends_are_crlf),
      cmocka_unit_test(extensions_are_names_with_token_or_quoted_values),
      cmocka_unit_test(extensions_are_bounded_in_all),
      cmocka_unit_test(many_small_chunks_are_no_flood),
      cmocka_unit_test(chunks_above_the_limit_are_413),
      cmocka_unit_test(trailers_are_fields_and_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
