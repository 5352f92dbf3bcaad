#include "http/reply.h"
#include "http/status.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* One answer under way, to a request of that method and version. */
struct answer {
  struct mp_reply reply;
  struct mp_buf out;
};

static struct answer answer_to(const char *method, int minor, bool keep_alive) {
  struct answer a = {0};
  struct mp_head head = {.method = mp_slice(method, strlen(method)), .minor = (uint8_t)minor, .keep_alive = keep_alive};
  mp_reply_init(&a.reply, &head);
  a.reply.no_server = true;
  return a;
}

static void ends_as(struct answer *a, const char *want) {
  struct mp_slice got = mp_buf_slice(&a->out);
  if (!mp_slice_is(got, mp_slice(want, strlen(want)))) print_error("got: %.*s\n", (int)got.len, got.at);
  assert_true(mp_slice_is(got, mp_slice(want, strlen(want))));
  mp_reply_free(&a->reply);
  mp_buf_free(&a->out);
}

#define SET(a, name, value) mp_reply_set(&(a).reply, MP_SLICE(name), MP_SLICE(value))
#define ADD(a, name, value) mp_reply_add(&(a).reply, MP_SLICE(name), MP_SLICE(value))
#define HEAD(a, length) mp_reply_head(&(a).reply, &(a).out, length, NULL)
#define BODY(a, text) mp_reply_body(&(a).reply, &(a).out, MP_SLICE(text))
#define END(a) mp_reply_end(&(a).reply, &(a).out)

static void a_known_length_is_declared(void **state) {
  (void)state;
  struct answer a = answer_to("GET", 1, true);
  struct mp_date date = {0};
  mp_date_set(&date, 784111777);
  a.reply.no_server = false;
  assert_int_equal(SET(a, "Content-Type", "text/plain"), 0);
  assert_int_equal(mp_reply_head(&a.reply, &a.out, 2, &date), 0);
  assert_int_equal(BODY(a, "hi"), 0);
  assert_int_equal(END(a), 0);
  assert_true(a.reply.keep_alive && a.reply.ended);
  ends_as(&a, "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: moonpool\r\n"
              "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi");
}

static void date_and_server_of_the_handler_stand_alone(void **state) {
  (void)state;
  struct answer a = answer_to("GET", 1, true);
  struct mp_date date = {0};
  mp_date_set(&date, 0);
  a.reply.no_server = false;
  assert_int_equal(SET(a, "date", "x"), 0);
  assert_int_equal(SET(a, "server", "y"), 0);
  assert_int_equal(mp_reply_head(&a.reply, &a.out, 0, &date), 0);
  ends_as(&a, "HTTP/1.1 200 OK\r\ndate: x\r\nserver: y\r\nContent-Length: 0\r\n\r\n");
}

static void a_reset_has_a_length_of_nothing(void **state) {
  (void)state;
  struct answer a = answer_to("GET", 1, true);
  a.reply.status = 205;
  assert_int_equal(SET(a, "Content-Length", "2"), 0);
  assert_int_equal(HEAD(a, 2), 0);
  assert_int_equal(BODY(a, "hi"), 0);
  assert_int_equal(END(a), 0);
  ends_as(&a, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n");
  a = answer_to("GET", 1, true);
  a.reply.status = 205;
  assert_int_equal(HEAD(a, MP_LENGTH_UNKNOWN), 0);
  assert_int_equal(BODY(a, "hi"), 0);
  assert_int_equal(END(a), 0);
  ends_as(&a, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n");
}

static void an_unknown_length_is_chunked_on_1_1(void **state) {
  (void)state;
  struct answer a = answer_to("GET", 1, true);
  assert_int_equal(HEAD(a, MP_LENGTH_UNKNOWN), 0);
  assert_int_equal(BODY(a, "hello, long world"), 0);
  assert_int_equal(BODY(a, ""), 0);
  assert_int_equal(BODY(a, "x"), 0);
  assert_int_equal(END(a), 0);
  ends_as(&a, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
              "11\r\nhello, long world\r\n1\r\nx\r\n0\r\n\r\n");
}

static void an_unknown_length_ends_by_close_on_1_0(void **state) {
  (void)state;
  struct answer a = answer_to("GET", 0, true);
  assert_int_equal(HEAD(a, MP_LENGTH_UNKNOWN), 0);
  assert_int_equal(BODY(a, "hi"), 0);
  assert_int_equal(END(a), 0);
  assert_false(a.reply.keep_alive);
  ends_as(&a, "HTTP/1.1 200 OK\r\n\r\nhi");
}

static void persistence_is_told_where_it_is_not_the_default(void **state) {
  (void)state;
  struct answer a = answer_to("GET", 0, true);
  assert_int_equal(HEAD(a, 0), 0);
  ends_as(&a, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
  a = answer_to("GET", 1, false);
  assert_int_equal(HEAD(a, 0), 0);
  ends_as(&a, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  a = answer_to("GET", 1, true);
  assert_int_equal(SET(a, "Connection", "Close"), 0);
  assert_int_equal(SET(a, "Connection", "keep-alive"), -EPERM);
  assert_int_equal(HEAD(a, 0), 0);
  ends_as(&a, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

static void a_head_answer_has_the_same_fields_and_no_body(void **state) {
  (void)state;
  struct answer a = answer_to("HEAD", 1, true);
  assert_int_equal(HEAD(a, 5), 0);
  assert_int_equal(BODY(a, "hello"), 0);
  assert_int_equal(END(a), 0);
  ends_as(&a, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
  a = answer_to("HEAD", 1, true);
  assert_int_equal(HEAD(a, MP_LENGTH_UNKNOWN), 0);
  assert_int_equal(BODY(a, "hello"), 0);
  assert_int_equal(END(a), 0);
  ends_as(&a, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  a = answer_to("HEAD", 1, true);
  assert_int_equal(SET(a, "Content-Length", "700"), 0);
  assert_int_equal(HEAD(a, 0), 0);
  assert_int_equal(END(a), 0);
  ends_as(&a, "HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n");
}

static void statuses_without_a_body_have_none(void **state) {
  (void)state;
  struct answer a = answer_to("GET", 1, true);
  a.reply.status = 204;
  assert_int_equal(SET(a, "Content-Length", "3"), 0);
  assert_int_equal(HEAD(a, MP_LENGTH_UNKNOWN), 0);
  assert_int_equal(BODY(a, "hey"), 0);
  assert_int_equal(END(a), 0);
  ends_as(&a, "HTTP/1.1 204 No Content\r\n\r\n");
  a = answer_to("GET", 1, true);
  a.reply.status = 304;
  assert_int_equal(SET(a, "Content-Length", "3"), 0);
  assert_int_equal(SET(a, "ETag", "\"x\""), 0);
  assert_int_equal(HEAD(a, 0), 0);
  assert_int_equal(END(a), 0);
  ends_as(&a, "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nETag: \"x\"\r\n\r\n");
  a = answer_to("GET", 0, true);
  a.reply.status = 304;
  assert_int_equal(HEAD(a, MP_LENGTH_UNKNOWN), 0);
  assert_int_equal(END(a), 0);
  assert_true(a.reply.keep_alive);
  ends_as(&a, "HTTP/1.1 304 Not Modified\r\nConnection: keep-alive\r\n\r\n");
}

static void a_declared_length_binds(void **state) {
  (void)state;
  struct answer a = answer_to("GET", 1, true);
  assert_int_equal(SET(a, "Content-Length", " 3 "), 0);
  assert_int_equal(HEAD(a, MP_LENGTH_UNKNOWN), 0);
  assert_int_equal(BODY(a, "ab"), 0);
  assert_int_equal(END(a), -EMSGSIZE);
  assert_int_equal(BODY(a, "cd"), -EMSGSIZE);
  assert_int_equal(BODY(a, "c"), 0);
  assert_int_equal(END(a), 0);
  assert_int_equal(BODY(a, "c"), -EALREADY);
  assert_int_equal(END(a), -EALREADY);
  ends_as(&a, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
  a = answer_to("GET", 1, true);
  assert_int_equal(SET(a, "Content-Length", "3"), 0);
  assert_int_equal(HEAD(a, 4), -EMSGSIZE);
  ends_as(&a, "");
}

static void fields_are_set_added_and_removed(void **state) {
  (void)state;
  struct mp_slice value;
  struct answer a = answer_to("GET", 1, true);
  assert_int_equal(ADD(a, "X-A", "1"), 0);
  assert_int_equal(ADD(a, "X-AB", "2"), 0);
  assert_int_equal(ADD(a, "x-a", "3"), 0);
  assert_true(mp_reply_get(&a.reply, MP_SLICE("X-a"), &value));
  assert_true(mp_slice_is(value, MP_SLICE("1")));
  assert_int_equal(SET(a, "X-A", "4"), 0);
  assert_int_equal(ADD(a, "Y", ""), 0);
  assert_int_equal(mp_reply_remove(&a.reply, MP_SLICE("x-ab")), 0);
  assert_false(mp_reply_get(&a.reply, MP_SLICE("X-AB"), &value));
  assert_true(mp_reply_get(&a.reply, MP_SLICE("y"), &value));
  assert_int_equal(value.len, 0);
  assert_int_equal(ADD(a, "content-length", "1"), 0);
  assert_int_equal(ADD(a, "Content-Length", "0"), 0);
  assert_int_equal(HEAD(a, 0), 0);
  assert_int_equal(HEAD(a, 0), -EALREADY);
  assert_int_equal(SET(a, "X", "y"), -EALREADY);
  assert_int_equal(mp_reply_remove(&a.reply, MP_SLICE("X")), -EALREADY);
  ends_as(&a, "HTTP/1.1 200 OK\r\nX-A: 4\r\nY: \r\nContent-Length: 0\r\n\r\n");
}

static void fields_that_would_break_the_head_are_refused(void **state) {
  (void)state;
  struct answer a = answer_to("GET", 1, true);
  assert_int_equal(SET(a, "X", "a\r\nB: c"), -EINVAL);
  assert_int_equal(SET(a, "X", "a\n"), -EINVAL);
  assert_int_equal(SET(a, "X", "a\0b"), -EINVAL);
  assert_int_equal(SET(a, "X", "a\x7f"), -EINVAL);
  assert_int_equal(SET(a, "X Y", "a"), -EINVAL);
  assert_int_equal(SET(a, "X:", "a"), -EINVAL);
  assert_int_equal(SET(a, "", "a"), -EINVAL);
  assert_int_equal(SET(a, "Content-Length", "x"), -EINVAL);
  assert_int_equal(SET(a, "Content-Length", ""), -EINVAL);
  assert_int_equal(SET(a, "Content-Length", "-1"), -EINVAL);
  assert_int_equal(SET(a, "Content-Length", "18446744073709551616"), -EINVAL);
  assert_int_equal(SET(a, "transfer-encoding", "chunked"), -EPERM);
  assert_int_equal(BODY(a, "x"), -EINVAL);
  assert_int_equal(SET(a, "X", "\t caf\xc3\xa9\t"), 0);
  assert_int_equal(HEAD(a, 0), 0);
  ends_as(&a, "HTTP/1.1 200 OK\r\nX: caf\xc3\xa9\r\nContent-Length: 0\r\n\r\n");
}

static void one_reply_serves_many_requests(void **state) {
  (void)state;
  struct answer a = answer_to("HEAD", 0, false);
  struct mp_head next = {.method = MP_SLICE("GET"), .minor = 1, .keep_alive = true};
  assert_int_equal(SET(a, "Date", "x"), 0);
  assert_int_equal(HEAD(a, 0), 0);
  char *mem = a.reply.fields.mem;
  mp_buf_reset(&a.out, 9999);
  mp_reply_init(&a.reply, &next);
  assert_ptr_equal(a.reply.fields.mem, mem);
  a.reply.status = 599;
  assert_int_equal(HEAD(a, 1), 0);
  ends_as(&a, "HTTP/1.1 599 Unknown\r\nServer: moonpool\r\nContent-Length: 1\r\n\r\n");
}

static void a_refusal_is_a_whole_answer(void **state) {
  (void)state;
  struct answer a = {0};
  struct mp_date date = {0};
  mp_date_set(&date, 951782400);
  assert_int_equal(mp_reply_refuse(&a.out, 431, false, NULL, true), 0);
  assert_int_equal(mp_reply_refuse(&a.out, 400, true, &date, false), 0);
  ends_as(&a, "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\nContent-Length: 36\r\n"
              "Connection: close\r\n\r\n431 Request Header Fields Too Large\n"
              "HTTP/1.1 400 Bad Request\r\nDate: Tue, 29 Feb 2000 00:00:00 GMT\r\nServer: moonpool\r\n"
              "Content-Type: text/plain\r\nContent-Length: 16\r\nConnection: close\r\n\r\n");
}

static void dates_are_those_of_strftime(void **state) {
  (void)state;
  struct mp_date date = {0};
  char want[30];
  for (time_t t = 0; t < 4102444800; t += 86399 * 11) {
    struct tm tm;
    mp_date_set(&date, t);
    strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
    assert_string_equal(date.text, want);
  }
}

static void every_status_fits_its_phrase(void **state) {
  (void)state;
  assert_string_equal(mp_status_phrase(404), "Not Found");
  assert_string_equal(mp_status_phrase(299), "Unknown");
  assert_string_equal(mp_status_phrase(-1), "Unknown");
  for (int status = 100; status < 600; status++) assert_true(strlen(mp_status_phrase(status)) <= 34);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_known_length_is_declared),
      cmocka_unit_test(date_and_server_of_the_handler_stand_alone),
      cmocka_unit_test(a_reset_has_a_length_of_nothing),
      cmocka_unit_test(an_unknown_length_is_chunked_on_1_1),
      cmocka_unit_test(an_unknown_length_ends_by_close_on_1_0),
      cmocka_unit_test(persistence_is_told_where_it_is_not_the_default),
      cmocka_unit_test(a_head_answer_has_the_same_fields_and_no_body),
      cmocka_unit_test(statuses_without_a_body_have_none),
      cmocka_unit_test(a_declared_length_binds),
      cmocka_unit_test(fields_are_set_added_and_removed),
      cmocka_unit_test(fields_that_would_break_the_head_are_refused),
      cmocka_unit_test(one_reply_serves_many_requests),
      cmocka_unit_test(a_refusal_is_a_whole_answer),
      cmocka_unit_test(dates_are_those_of_strftime),
      cmocka_unit_test(every_status_fits_its_phrase),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
