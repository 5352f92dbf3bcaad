/* What is recalled of field lines is what would be read anew. */
#include "http/memo.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct mp_http_limits limits = {
    .request_line = 200, .fields = 40, .field_size = 1100, .head = 2000, .body = 1000};

static enum mp_verdict read_whole(struct mp_head *head, const char *bytes, size_t *used) {
  struct mp_head_scan scan = {0};
  struct mp_refusal why;
  return mp_head_parse(head, &scan, bytes, strlen(bytes), &limits, used, &why);
}

static bool keep(struct mp_head_memo *memo, const char *bytes) {
  struct mp_head head = {0};
  size_t used = 0;
  assert_int_equal(read_whole(&head, bytes, &used), MP_DONE);
  bool kept = mp_memo_keep(memo, &head, bytes, used);
  mp_head_free(&head);
  return kept;
}

static void assert_same_slice(struct mp_slice a, struct mp_slice b) {
  assert_ptr_equal(a.at, b.at);
  assert_int_equal(a.len, b.len);
}

static void assert_same(const struct mp_head *a, const struct mp_head *b) {
  assert_same_slice(a->method, b->method);
  assert_same_slice(a->target, b->target);
  assert_same_slice(a->path, b->path);
  assert_same_slice(a->query, b->query);
  assert_same_slice(a->host, b->host);
  assert_int_equal(a->n_fields, b->n_fields);
  for (unsigned i = 0; i < a->n_fields; i++) {
    assert_same_slice(a->fields[i].name, b->fields[i].name);
    assert_same_slice(a->fields[i].value, b->fields[i].value);
  }
  assert_int_equal(a->minor, b->minor);
  assert_int_equal(a->body, b->body);
  assert_int_equal(a->content_length, b->content_length);
  assert_int_equal(a->keep_alive, b->keep_alive);
  assert_int_equal(a->expect_continue, b->expect_continue);
  assert_int_equal(a->known_method, b->known_method);
}

/* With room for fields, as a head that was used before has it. */
static bool recall(struct mp_head_memo *memo, const char *bytes) {
  struct mp_head head = {.fields = calloc(40, sizeof(struct mp_field)), .cap_fields = 40}, anew = {0};
  size_t used = 0, used_anew = 0;
  assert_non_null(head.fields);
  bool known = mp_memo_recall(memo, &head, bytes, strlen(bytes), &limits, &used);
  if (known) {
    assert_int_equal(read_whole(&anew, bytes, &used_anew), MP_DONE);
    assert_int_equal(used, used_anew);
    assert_same(&head, &anew);
  }
  mp_head_free(&head);
  mp_head_free(&anew);
  return known;
}

#define FIELDS "Host: a.example:80\r\nX-One:  two \r\nCookie: a=b\r\n\r\n"

static void the_same_fields_are_known_whatever_the_target(void **state) {
  struct mp_head_memo memo = {0};
  (void)state;
  assert_false(recall(&memo, "GET / HTTP/1.1\r\n" FIELDS));
  assert_true(keep(&memo, "GET /a HTTP/1.1\r\n" FIELDS));
  assert_true(recall(&memo, "GET /a HTTP/1.1\r\n" FIELDS));
  assert_true(recall(&memo, "DELETE /another/one?with=query HTTP/1.1\r\n" FIELDS));
  assert_true(recall(&memo, "FROB / HTTP/1.1\r\n" FIELDS "GET /next HTTP/1.1\r\n"));
}

static void the_request_line_may_be_that_of_before_or_any_other(void **state) {
  static const char *const lines[] = {"GET /a?x=1 HTTP/1.1\r\n", "GET /a?x=1 HTTP/1.1\r\n", "GET /a?x=2 HTTP/1.1\r\n",
                                      "GET /a HTTP/1.1\r\n",     "GET /a HTTP/1.1\r\n",     "FROB /a? HTTP/1.1\r\n",
                                      "FROB /a? HTTP/1.1\r\n",   "GET /a?x=1 HTTP/1.1\r\n"};
  struct mp_head_memo memo = {0};
  char bytes[1000];
  (void)state;
  assert_true(keep(&memo, "GET /first HTTP/1.1\r\n" FIELDS));
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    snprintf(bytes, sizeof bytes, "%s" FIELDS, lines[i]);
    assert_true(recall(&memo, bytes));
  }
  snprintf(bytes, sizeof bytes, "GET /%0*d HTTP/1.1\r\n" FIELDS, MP_MEMO_LINE, 0); /* it does not fit */
  assert_true(recall(&memo, bytes));
  assert_true(recall(&memo, bytes));
  assert_true(recall(&memo, "GET /first HTTP/1.1\r\n" FIELDS));
}

static void what_fields_say_of_the_body_and_the_connection_is_known(void **state) {
  static const char *const fields[] = {
      "Host: h\r\nContent-Length: 17\r\n\r\n",
      "Host: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
      "Host: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
      "Host:\r\n\r\n",
  };
  (void)state;
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    struct mp_head_memo memo = {0};
    char bytes[200];
    snprintf(bytes, sizeof bytes, "POST /a HTTP/1.1\r\n%s", fields[i]);
    assert_true(keep(&memo, bytes));
    assert_true(recall(&memo, bytes));
  }
}

static void nothing_else_is_known(void **state) {
  static const char *const others[] = {
      "GET / HTTP/1.0\r\n" FIELDS,
      "GET http://b.example/ HTTP/1.1\r\n" FIELDS,
      "OPTIONS * HTTP/1.1\r\n" FIELDS,
      "GET / HTTP/1.1\r\nHost: a.example:80\r\nX-One:  two \r\nCookie: a=c\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a.example:80\r\nX-One:  two \r\nCookie: a=b\r\nX: y\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a.example:80\r\nX-One:  two \r\nCookie: a=b\r\n",
      "GET /\x01 HTTP/1.1\r\n" FIELDS,
      "GET / / HTTP/1.1\r\n" FIELDS,
      "GET / HTTP/1.1\n" FIELDS,
      "GET /\tHTTP/1.1\r\n" FIELDS,
      "\r\nGET / HTTP/1.1\r\n" FIELDS,
      "\r\n" FIELDS,
      FIELDS,
  };
  struct mp_head_memo memo = {0};
  char too_long[300];
  (void)state;
  assert_true(keep(&memo, "GET /a HTTP/1.1\r\n" FIELDS));
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(recall(&memo, others[i]));
  snprintf(too_long, sizeof too_long, "GET /%0190d HTTP/1.1\r\n" FIELDS, 0);
  assert_false(recall(&memo, too_long));
}

static void heads_that_depend_on_their_request_line_are_not_kept(void **state) {
  struct mp_head_memo memo = {0};
  (void)state;
  assert_false(keep(&memo, "GET / HTTP/1.0\r\n" FIELDS));
  assert_false(keep(&memo, "GET http://b.example/ HTTP/1.1\r\n" FIELDS));
  assert_false(keep(&memo, "OPTIONS * HTTP/1.1\r\n" FIELDS));
  assert_int_equal(memo.len, 0);
}

static void heads_too_large_are_not_kept(void **state) {
  struct mp_head_memo memo = {0};
  char bytes[2000];
  (void)state;
  snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\nHost: h\r\nX: %01024d\r\n\r\n", 0);
  assert_false(keep(&memo, bytes));
  size_t len = (size_t)snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\nHost: h\r\n");
  for (int i = 0; i < MP_MEMO_FIELDS; i++) len += (size_t)snprintf(bytes + len, sizeof bytes - len, "X%d: y\r\n", i);
  snprintf(bytes + len, sizeof bytes - len, "\r\n");
  assert_false(keep(&memo, bytes));
}

static void a_head_larger_than_the_limit_is_not_known(void **state) {
  struct mp_http_limits narrow = limits;
  struct mp_head_memo memo = {0};
  struct mp_head head = {.fields = calloc(8, sizeof(struct mp_field)), .cap_fields = 8};
  const char *bytes = "GET /ab HTTP/1.1\r\n" FIELDS;
  size_t used;
  (void)state;
  assert_non_null(head.fields);
  narrow.head = (uint32_t)strlen(bytes);
  assert_true(keep(&memo, bytes));
  assert_true(mp_memo_recall(&memo, &head, bytes, strlen(bytes), &narrow, &used));
  narrow.head--;
  assert_false(mp_memo_recall(&memo, &head, bytes, strlen(bytes), &narrow, &used));
  head.cap_fields = 1;
  assert_false(mp_memo_recall(&memo, &head, bytes, strlen(bytes), &limits, &used));
  mp_head_free(&head);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_same_fields_are_known_whatever_the_target),
      cmocka_unit_test(the_request_line_may_be_that_of_before_or_any_other),
      cmocka_unit_test(what_fields_say_of_the_body_and_the_connection_is_known),
      cmocka_unit_test(nothing_else_is_known),
      cmocka_unit_test(heads_that_depend_on_their_request_line_are_not_kept),
      cmocka_unit_test(heads_too_large_are_not_kept),
      cmocka_unit_test(a_head_larger_than_the_limit_is_not_known),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
