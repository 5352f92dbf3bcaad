/* What a client says and what it is answered: order, framing, bodies, refusals. */
#include "web/conn.h"
#include "web_toy.h"

static struct toy *toy;
static struct client client;

static int begin(void **state) {
  (void)state;
  toy = toy_open(&toy_config, NULL);
  client = client_open(toy);
  return 0;
}

static int end(void **state) {
  (void)state;
  client_close(&client);
  toy_close(toy);
  return 0;
}

static void a_request_is_answered_and_the_connection_lives_on(void **state) {
  (void)state;
  say(&client, GET("/hello"));
  UNTIL(toy, heard(&client, "/hello"));
  assert_true(heard(&client, "HTTP/1.1 200 OK\r\n"));
  assert_true(heard(&client, "Content-Length: 6\r\n"));
  assert_false(heard(&client, "Connection:"));
  forget(&client);
  say(&client, GET("/hello2"));
  UNTIL(toy, heard(&client, "/hello2"));
  assert_int_equal(toy->server.n_requests, 2);
  assert_int_equal(toy->server.n_conns, 1);
  assert_int_equal(toy->server.n_held, 0);
}

static void pipelined_requests_are_answered_in_order_and_leave_together(void **state) {
  (void)state;
  say(&client, GET("/hello/1") GET("/hello/2") GET("/hello/3"));
  UNTIL(toy, times_heard(&client, "200 OK") == 3);
  const char *all = text_of(&client);
  assert_true(strstr(all, "/hello/1") < strstr(all, "/hello/2"));
  assert_true(strstr(all, "/hello/2") < strstr(all, "/hello/3"));
}

static void more_pipelined_requests_than_one_turn_takes_are_all_answered(void **state) {
  (void)state;
  struct mp_buf many = {0};
  for (int i = 0; i < 60; i++) mp_buf_addf(&many, "GET /hello/%02d HTTP/1.1\r\nHost: h\r\n\r\n", i);
  say_bytes(&client, mp_buf_at(&many), mp_buf_len(&many));
  mp_buf_free(&many);
  UNTIL(toy, heard(&client, "/hello/59"));
  assert_int_equal(times_heard(&client, "200 OK"), 60);
}

static void a_request_may_come_byte_by_byte(void **state) {
  (void)state;
  say_byte_by_byte(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\n" GET("/hello"));
  UNTIL(toy, heard(&client, "/hello"));
  assert_true(heard(&client, "\r\n\r\nabcdefg"));
}

static void a_held_request_keeps_its_head_and_what_came_behind_it(void **state) {
  (void)state;
  say(&client, GET("/slow?a=b") GET("/hello/behind") "GET /hello/half HT");
  UNTIL(toy, call_for(toy, "/slow?a=b"));
  struct toy_call *slow = call_for(toy, "/slow?a=b");
  run_for(toy, 20);
  assert_null(call_for(toy, "/hello/behind"));
  memset(toy->loop.scratch, 'X', MP_LOOP_SCRATCH);
  assert_true(mp_slice_is(slow->ex->head.target, MP_SLICE("/slow?a=b")));
  assert_true(mp_slice_is(slow->ex->head.query, MP_SLICE("a=b")));
  assert_true(mp_slice_is(slow->ex->head.host, MP_SLICE("h")));
  assert_true(mp_slice_is(mp_head_field(&slow->ex->head, MP_SLICE("host"))->value, MP_SLICE("h")));
  say(&client, "TP/1.1\r\nHost: h\r\n\r\n");
  answer(slow, "at last");
  UNTIL(toy, heard(&client, "/hello/half"));
  assert_true(strstr(text_of(&client), "at last") < strstr(text_of(&client), "/hello/behind"));
}

static void an_exchange_may_be_held_after_its_answer_while_the_connection_goes_on(void **state) {
  (void)state;
  say(&client, GET("/slow"));
  UNTIL(toy, call_for(toy, "/slow"));
  struct toy_call *slow = call_for(toy, "/slow");
  assert_int_equal(mp_exchange_send(slow->ex, MP_SLICE("early")), 0);
  UNTIL(toy, heard(&client, "early"));
  say(&client, GET("/hello"));
  UNTIL(toy, heard(&client, "/hello"));
  assert_null(slow->ex->conn);
  assert_int_equal(mp_exchange_write(slow->ex, MP_SLICE("late")), -EALREADY);
  assert_true(mp_slice_is(slow->ex->head.target, MP_SLICE("/slow")));
  assert_int_equal(toy->server.n_held, 1);
  finish(slow, false);
  assert_int_equal(toy->server.n_held, 0);
}

static void a_head_request_gets_no_body(void **state) {
  (void)state;
  say(&client, "HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n" GET("/hello/2"));
  UNTIL(toy, heard(&client, "/hello/2"));
  assert_true(heard(&client, "Content-Length: 6\r\n\r\nHTTP/1.1 200"));
  assert_true(heard(&client, "Content-Length: 6"));
}

static void an_answer_never_begun_is_204(void **state) {
  (void)state;
  say(&client, GET("/nothing") GET("/hello"));
  UNTIL(toy, heard(&client, "/hello"));
  assert_true(heard(&client, "HTTP/1.1 204 "));
}

static void a_stream_is_chunked_for_1_1_and_ends_by_close_for_1_0(void **state) {
  (void)state;
  say(&client, GET("/stream/3") GET("/hello"));
  UNTIL(toy, heard(&client, "/hello"));
  assert_true(heard(&client, "Transfer-Encoding: chunked\r\n"));
  assert_true(heard(&client, "3\r\nsss\r\n0\r\n\r\n"));
  client_close(&client);
  client = client_open(toy);
  say(&client, "GET /stream/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "\r\n\r\nsss"));
  assert_false(heard(&client, "chunked"));
}

static void nothing_behind_connection_close_is_parsed(void **state) {
  (void)state;
  say(&client, "GET /hello/1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/hello/2") "garbage\n");
  UNTIL(toy, saw_end(&client));
  assert_true(client.eof);
  assert_true(heard(&client, "Connection: close\r\n"));
  assert_int_equal(toy->n_calls, 1);
  assert_false(logged(toy, "refused"));
}

static void a_body_of_known_length_is_echoed(void **state) {
  (void)state;
  say(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello");
  run_for(toy, 10);
  say(&client, " there" GET("/hello"));
  UNTIL(toy, heard(&client, "/hello"));
  assert_true(heard(&client, "\r\n\r\nhello thereHTTP/1.1"));
}

static void a_large_body_arrives_whole(void **state) {
  (void)state;
  enum { SIZE = 900 * 1000 };
  char *body = malloc(SIZE);
  for (int i = 0; i < SIZE; i++) body[i] = (char)('a' + i % 23);
  say(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n");
  say_bytes(&client, body, SIZE);
  UNTIL(toy, text_of(&client) && mp_buf_len(&client.got) > SIZE);
  assert_memory_equal(mp_buf_at(&client.got) + mp_buf_len(&client.got) - SIZE, body, SIZE);
  free(body);
}

static void a_body_nobody_asks_for_stops_being_read_at_a_bound(void **state) {
  (void)state;
  static char body[900 * 1000];
  memset(body, 'b', sizeof body);
  int small = 64 * 1024;
  setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  say(&client, "POST /lazy HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n");
  UNTIL(toy, call_for(toy, "/lazy"));
  struct toy_call *lazy = call_for(toy, "/lazy");
  size_t sent = 0;
  uint64_t quiet = clock_ms() + 300;
  while (clock_ms() < quiet && sent < sizeof body) {
    ssize_t n = send(client.fd, body + sent, sizeof body - sent, MSG_NOSIGNAL);
    if (n > 0) sent += (size_t)n;
    turn(toy);
  }
  assert_false(read_on(lazy));
  assert_in_range(mp_buf_len(&lazy->body), 1, 64 * 1024 + 65536);
  say_bytes(&client, body + sent, sizeof body - sent);
  UNTIL(toy, heard(&client, "\r\n\r\nread"));
  assert_int_equal(mp_buf_len(&lazy->body), sizeof body);
}

static void a_client_that_waits_for_100_gets_it_when_the_body_is_asked_for(void **state) {
  (void)state;
  say(&client, "POST /lazy HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  UNTIL(toy, call_for(toy, "/lazy"));
  run_for(toy, 20);
  assert_false(heard(&client, "100"));
  assert_false(read_on(call_for(toy, "/lazy")));
  UNTIL(toy, heard(&client, "HTTP/1.1 100 Continue\r\n\r\n"));
  say(&client, "abc");
  UNTIL(toy, heard(&client, "\r\n\r\nread"));
  assert_int_equal(times_heard(&client, "100 Continue"), 1);
  assert_false(heard(&client, "Connection: close"));
}

static void an_answer_instead_of_100_closes(void **state) {
  (void)state;
  say(&client, "POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  UNTIL(toy, saw_end(&client));
  assert_false(heard(&client, "100 Continue"));
  assert_true(heard(&client, "Connection: close\r\n"));
}

static void a_small_body_left_unread_is_passed_over(void **state) {
  (void)state;
  say(&client, "POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234");
  UNTIL(toy, heard(&client, "ignored"));
  say(&client,
      "56789"
      "POST /ignore HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" GET("/hello"));
  UNTIL(toy, heard(&client, "/hello"));
  assert_int_equal(times_heard(&client, "ignored"), 2);
  assert_int_equal(toy->server.n_held, 0);
}

static void a_large_body_left_unread_ends_the_connection(void **state) {
  (void)state;
  static char body[600 * 1000];
  say(&client, "POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n");
  say_bytes(&client, body, sizeof body);
  UNTIL(toy, saw_end(&client));
  assert_true(client.eof); /* no reset: the client could read its answer */
  assert_true(heard(&client, "Connection: close\r\n"));
  assert_true(heard(&client, "ignored"));
}

static void a_chunked_body_left_unread_has_the_same_bound(void **state) {
  (void)state;
  static char body[600 * 1000];
  say(&client, "POST /ignore HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n927c0\r\n");
  say_bytes(&client, body, sizeof body);
  say(&client, "\r\n0\r\n\r\n" GET("/hello"));
  UNTIL(toy, saw_end(&client));
  assert_true(client.eof);
  assert_false(heard(&client, "/hello"));
}

static void a_bad_request_is_refused_logged_and_closed(void **state) {
  (void)state;
  say(&client, "GET /hello HTTP/1.1\r\nHost : h\r\n\r\n" GET("/hello"));
  UNTIL(toy, saw_end(&client));
  assert_true(client.eof);
  assert_true(heard(&client, "HTTP/1.1 400 "));
  assert_int_equal(times_heard(&client, "HTTP/1.1"), 1);
  assert_int_equal(toy->n_calls, 0);
  assert_true(logged(toy, "http warn refused peer=127.0.0.1:"));
  assert_true(logged(toy, " status=400 reason=\""));
}

static void a_bad_request_behind_a_good_one_leaves_that_its_answer(void **state) {
  (void)state;
  say(&client, GET("/slow") "BAD\r\n\r\n");
  UNTIL(toy, call_for(toy, "/slow"));
  run_for(toy, 20);
  answer(call_for(toy, "/slow"), "good");
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "goodHTTP/1.1 400 "));
}

static void limits_have_their_statuses(void **state) {
  (void)state;
  static const struct {
    const char *head, *status;
  } cases[] = {
      {"GET /%01100d HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 414 "},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: %01100d\r\n\r\n", "HTTP/1.1 431 "},
      {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000001%.0d\r\n\r\n", "HTTP/1.1 413 "},
      {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nF4241%.0d\r\n", "HTTP/1.1 413 "},
      {"GET / HTTP/2.0%.0d\r\nHost: h\r\n\r\n", "HTTP/1.1 505 "},
      {"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked%.0d\r\n\r\n", "HTTP/1.1 501 "},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[2000];
    snprintf(text, sizeof text, cases[i].head, 0);
    client_close(&client);
    client = client_open(toy);
    say(&client, text);
    UNTIL(toy, saw_end(&client));
    if (!heard(&client, cases[i].status)) fail_msg("%s instead of %s", text_of(&client), cases[i].status);
    assert_true(client.eof);
  }
}

static void a_limit_may_be_lowered_for_one_request(void **state) {
  (void)state;
  say(&client, "POST /held HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n");
  UNTIL(toy, call_for(toy, "/held"));
  struct toy_call *held = call_for(toy, "/held");
  held->ex->max_body = 5;
  assert_false(read_on(held));
  assert_int_equal(held->why.status, 413);
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "HTTP/1.1 413 "));
}

static void a_malformed_chunk_makes_reading_refuse(void **state) {
  (void)state;
  say(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n");
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "HTTP/1.1 400 "));
  assert_true(heard(&client, "Connection: close"));
}

static void an_answer_cut_is_seen_broken(void **state) {
  (void)state;
  say(&client, GET("/slow"));
  UNTIL(toy, call_for(toy, "/slow"));
  assert_int_equal(mp_exchange_write(call_for(toy, "/slow")->ex, MP_SLICE("part")), 0);
  finish(call_for(toy, "/slow"), true);
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "part"));
  assert_false(heard(&client, "\r\n0\r\n\r\n"));
}

static void an_answer_that_ends_by_close_is_cut_by_a_reset(void **state) {
  (void)state;
  say(&client, "GET /slow HTTP/1.0\r\n\r\n");
  UNTIL(toy, call_for(toy, "/slow"));
  assert_int_equal(mp_exchange_write(call_for(toy, "/slow")->ex, MP_SLICE("part")), 0);
  finish(call_for(toy, "/slow"), true);
  UNTIL(toy, saw_end(&client));
  assert_true(client.reset);
}

static void less_than_was_declared_is_cut(void **state) {
  (void)state;
  say(&client, GET("/slow"));
  UNTIL(toy, call_for(toy, "/slow"));
  struct toy_call *slow = call_for(toy, "/slow");
  assert_int_equal(mp_exchange_head(slow->ex, 10), 0);
  assert_int_equal(mp_exchange_head(slow->ex, 10), -EALREADY);
  assert_int_equal(mp_exchange_write(slow->ex, MP_SLICE("12345")), 0);
  assert_int_equal(mp_exchange_write(slow->ex, MP_SLICE("678901")), -EMSGSIZE);
  assert_int_equal(mp_exchange_end(slow->ex), -EMSGSIZE);
  finish(slow, false);
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "\r\n\r\n12345"));
}

static void an_idle_connection_holds_less_than_512_bytes(void **state) {
  (void)state;
  say(&client, GET("/hello") "GET /hel");
  UNTIL(toy, heard(&client, "/hello"));
  say(&client, "lo HTTP/1.1\r\nHost: h\r\n\r\n" GET("/slow"));
  UNTIL(toy, call_for(toy, "/slow"));
  answer(call_for(toy, "/slow"), "slowly");
  UNTIL(toy, heard(&client, "slowly"));
  struct mp_conn *c = MP_CONTAINER(toy->server.conns.next, struct mp_conn, node);
  assert_null(c->in.mem);
  assert_null(c->stream.out.mem);
  assert_null(c->ex);
  assert_true(sizeof(struct mp_conn) + sizeof(size_t) < 512 - 8); /* and what malloc adds */
  assert_int_equal(toy->server.n_free, 1);
}

static void the_peer_has_a_name(void **state) {
  (void)state;
  char name[80], wanted[80];
  struct sockaddr_in me;
  socklen_t len = sizeof me;
  say(&client, GET("/slow"));
  UNTIL(toy, call_for(toy, "/slow"));
  getsockname(client.fd, (struct sockaddr *)&me, &len);
  snprintf(wanted, sizeof wanted, "127.0.0.1:%d", ntohs(me.sin_port));
  struct mp_client asks = mp_exchange_client(call_for(toy, "/slow")->ex);
  assert_string_equal(mp_address_text_port(&asks.address, name), wanted);
  assert_false(asks.secure);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(a_request_is_answered_and_the_connection_lives_on),
      T(pipelined_requests_are_answered_in_order_and_leave_together),
      T(more_pipelined_requests_than_one_turn_takes_are_all_answered),
      T(a_request_may_come_byte_by_byte),
      T(a_held_request_keeps_its_head_and_what_came_behind_it),
      T(an_exchange_may_be_held_after_its_answer_while_the_connection_goes_on),
      T(a_head_request_gets_no_body),
      T(an_answer_never_begun_is_204),
      T(a_stream_is_chunked_for_1_1_and_ends_by_close_for_1_0),
      T(nothing_behind_connection_close_is_parsed),
      T(a_body_of_known_length_is_echoed),
      T(a_large_body_arrives_whole),
      T(a_body_nobody_asks_for_stops_being_read_at_a_bound),
      T(a_client_that_waits_for_100_gets_it_when_the_body_is_asked_for),
      T(an_answer_instead_of_100_closes),
      T(a_small_body_left_unread_is_passed_over),
      T(a_large_body_left_unread_ends_the_connection),
      T(a_chunked_body_left_unread_has_the_same_bound),
      T(a_bad_request_is_refused_logged_and_closed),
      T(a_bad_request_behind_a_good_one_leaves_that_its_answer),
      T(limits_have_their_statuses),
      T(a_limit_may_be_lowered_for_one_request),
      T(a_malformed_chunk_makes_reading_refuse),
      T(an_answer_cut_is_seen_broken),
      T(an_answer_that_ends_by_close_is_cut_by_a_reset),
      T(less_than_was_declared_is_cut),
      T(an_idle_connection_holds_less_than_512_bytes),
      T(the_peer_has_a_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
