/* What becomes of clients that go away, half-close, are slow or silent; of servers that are full, drained, closed. */
#include "web_toy.h"
#include <sys/resource.h>

static struct toy *toy;
static struct client client;

static void begin_with(const struct mp_server_config *config, const char *path) {
  toy = toy_open(config, path);
  client = client_open(toy);
}

static int begin(void **state) {
  (void)state;
  begin_with(&toy_config, NULL);
  return 0;
}

static int begin_on_unix_socket(void **state) {
  char path[100];
  (void)state;
  snprintf(path, sizeof path, "/tmp/moonpool-web-%d.sock", (int)getpid());
  begin_with(&toy_config, path);
  return 0;
}

static int begin_impatient(void **state) {
  struct mp_server_config config = toy_config;
  (void)state;
  config.keep_alive_ms = config.header_ms = config.body_ms = 150;
  config.write_ms = 300;
  begin_with(&config, NULL);
  return 0;
}

static int end(void **state) {
  (void)state;
  client_close(&client);
  toy_close(toy);
  return 0;
}

static struct toy_call *hold(const char *request, const char *target) {
  say(&client, request);
  UNTIL(toy, call_for(toy, target));
  return call_for(toy, target);
}

/* ---- half a close, or a whole one ---- */

static void a_half_closed_client_gets_its_answer(void **state) {
  (void)state;
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  half_close(&client);
  UNTIL(toy, heard(&client, "HTTP/1.1 100 Continue\r\n\r\n"));
  run_for(toy, 400);
  assert_int_equal(slow->gone, 0);
  answer(slow, "for you");
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "for you"));
  assert_int_equal(times_heard(&client, "100 Continue"), 1);
  assert_true(client.eof);
}

static void all_requests_sent_before_a_half_close_are_answered(void **state) {
  (void)state;
  struct toy_call *one = hold(GET("/slow/1") GET("/slow/2") GET("/stream/100000") GET("/hello/last"), "/slow/1");
  half_close(&client);
  run_for(toy, 50);
  answer(one, "one");
  UNTIL(toy, call_for(toy, "/slow/2"));
  run_for(toy, 50);
  answer(call_for(toy, "/slow/2"), "two");
  UNTIL(toy, saw_end(&client));
  assert_true(client.eof);
  assert_true(heard(&client, "/hello/last"));
}

static void a_request_and_its_end_of_file_at_once_are_answered(void **state) {
  (void)state;
  int on = 1;
  setsockopt(client.fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  assert_true(send(client.fd, GET("/hello"), sizeof GET("/hello") - 1, MSG_NOSIGNAL) > 0);
  half_close(&client);
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "/hello"));
}

static void a_client_that_closed_is_noticed_within_a_second(void **state) {
  (void)state;
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  uint64_t then = clock_ms();
  client_close(&client);
  UNTIL(toy, slow->gone);
  assert_true(clock_ms() - then < 1000);
  assert_int_equal(toy->server.n_held, 0);
}

static void a_client_that_reset_is_noticed_at_once(void **state) {
  (void)state;
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  client_reset(&client);
  UNTIL(toy, slow->gone);
}

static void a_held_call_is_told_once_and_then_refused(void **state) {
  (void)state;
  struct toy_call *keep = hold("POST /keep HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", "/keep");
  struct mp_slice piece;
  assert_false(read_on(keep)); /* waits for more */
  client_reset(&client);
  UNTIL(toy, keep->gone);
  run_for(toy, 50);
  assert_int_equal(keep->gone, 1);
  assert_int_equal(keep->readable, 1);
  assert_int_equal(mp_exchange_read(keep->ex, &piece, &keep->why), MP_REFUSE);
  assert_int_equal(keep->why.status, 400);
  assert_int_equal(mp_exchange_write(keep->ex, MP_SLICE("x")), -EPIPE);
  assert_int_equal(mp_exchange_send(keep->ex, MP_SLICE("x")), -EPIPE);
  assert_int_equal(mp_exchange_end(keep->ex), -EPIPE);
  assert_false(mp_exchange_full(keep->ex));
  assert_true(mp_slice_is(keep->ex->head.target, MP_SLICE("/keep")));
  finish(keep, false);
}

static void a_client_behind_a_full_read_ahead_is_noticed_too(void **state) {
  (void)state;
  static char junk[300 * 1000];
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  memset(junk, 'x', sizeof junk);
  ssize_t n = send(client.fd, junk, sizeof junk, MSG_NOSIGNAL);
  assert_true(n > 100 * 1000);
  run_for(toy, 50);
  uint64_t then = clock_ms();
  client_close(&client);
  UNTIL(toy, slow->gone);
  assert_true(clock_ms() - then < 1000);
}

static void a_1_0_client_that_ends_counts_as_gone(void **state) {
  (void)state;
  struct toy_call *slow = hold("GET /slow HTTP/1.0\r\n\r\n", "/slow");
  half_close(&client);
  UNTIL(toy, slow->gone);
  assert_false(heard(&client, "100"));
}

static void a_client_that_ends_within_a_stream_counts_as_gone(void **state) {
  (void)state;
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  assert_int_equal(mp_exchange_write(slow->ex, MP_SLICE("part")), 0);
  UNTIL(toy, heard(&client, "part"));
  half_close(&client);
  UNTIL(toy, slow->gone);
}

static void on_a_unix_socket_half_a_close_is_told_from_a_whole_one(void **state) {
  (void)state;
  struct toy_call *slow = hold(GET("/slow/1"), "/slow/1");
  half_close(&client);
  run_for(toy, 100);
  assert_int_equal(slow->gone, 0);
  answer(slow, "still here");
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "still here"));
  assert_false(heard(&client, "100 Continue"));
  client_close(&client);
  client = client_open(toy);
  slow = hold(GET("/slow/2"), "/slow/2");
  client_close(&client);
  UNTIL(toy, slow->gone);
}

static void a_body_cut_short_makes_reading_refuse(void **state) {
  (void)state;
  say(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
  UNTIL(toy, call_for(toy, "/echo"));
  half_close(&client);
  UNTIL(toy, saw_end(&client));
  assert_int_equal(call_for(toy, "/echo")->why.status, 400);
  assert_true(heard(&client, "HTTP/1.1 400 "));
}

static void half_a_head_is_no_request(void **state) {
  (void)state;
  say(&client, "GET /hello HTTP/1.1\r\nHo");
  run_for(toy, 10);
  half_close(&client);
  UNTIL(toy, saw_end(&client));
  assert_int_equal(toy->n_calls, 0);
}

/* ---- slow readers ---- */

static void a_slow_reader_costs_bounded_memory_and_gets_everything(void **state) {
  (void)state;
  enum { SIZE = 20 * 1000 * 1000 };
  int small = 16 * 1024;
  size_t got = 0;
  static char bytes[65536];
  setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  send(client.fd, "GET /stream/20000000 HTTP/1.0\r\n\r\n", 33, MSG_NOSIGNAL);
  UNTIL(toy, call_for(toy, "/stream/20000000"));
  struct toy_call *call = call_for(toy, "/stream/20000000");
  run_for(toy, 100);
  assert_true(call->to_stream > SIZE / 2);
  assert_true(call->ex->wants_room);
  for (uint64_t late = clock_ms() + 20000; got < SIZE;) {
    assert_true(clock_ms() < late);
    ssize_t n = recv(client.fd, bytes, sizeof bytes, 0);
    if (n == 0) break;
    if (n > 0) got += (size_t)n;
    turn(toy);
  }
  assert_true(got >= SIZE);
  assert_true(call->writable > 1);
  UNTIL(toy, toy->server.n_held == 0);
}

static void a_slow_reader_of_pipelined_answers_holds_up_the_next_ones(void **state) {
  (void)state;
  struct mp_buf many = {0};
  int small = 16 * 1024;
  setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  for (int i = 0; i < 14; i++) mp_buf_addf(&many, "GET /stream/1000000 HTTP/1.1\r\nHost: h\r\n\r\n");
  send(client.fd, mp_buf_at(&many), mp_buf_len(&many), MSG_NOSIGNAL);
  mp_buf_free(&many);
  run_for(toy, 200);
  assert_true(toy->n_calls < 14);
  UNTIL(toy, text_of(&client) && mp_buf_len(&client.got) > 14 * 1000000);
  UNTIL(toy, toy->server.n_requests == 14);
}

static void a_reader_that_does_not_go_on_is_cut(void **state) {
  (void)state;
  send(client.fd, "GET /stream/90000000 HTTP/1.0\r\n\r\n", 33, MSG_NOSIGNAL);
  UNTIL(toy, call_for(toy, "/stream/90000000"));
  UNTIL(toy, call_for(toy, "/stream/90000000")->gone);
  UNTIL(toy, toy->server.n_conns == 0);
}

static void a_waiting_writer_is_told_when_another_ends_the_answer(void **state) {
  (void)state;
  static char piece[600 * 1000];
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  int tries = 0;
  while (!mp_exchange_full(slow->ex) && ++tries < 100)
    assert_int_equal(mp_exchange_write(slow->ex, mp_slice(piece, sizeof piece)), 0);
  assert_int_equal(mp_exchange_end(slow->ex), 0);
  assert_int_equal(slow->writable, 0);
  UNTIL(toy, slow->writable == 1);
  finish(slow, false);
}

/* ---- time ---- */

static void a_silent_connection_is_closed_without_a_word(void **state) {
  (void)state;
  UNTIL(toy, saw_end(&client));
  assert_int_equal(mp_buf_len(&client.got), 0);
}

static void a_head_that_does_not_end_is_408(void **state) {
  (void)state;
  say(&client, "GET /hello HTTP/1.1\r\n");
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "HTTP/1.1 408 "));
  assert_true(logged(toy, "status=408"));
}

static void an_idle_connection_is_closed_without_a_word(void **state) {
  (void)state;
  say(&client, GET("/hello") "\r\n");
  UNTIL(toy, saw_end(&client));
  assert_int_equal(times_heard(&client, "HTTP/1.1"), 1);
}

static void a_body_that_does_not_come_is_408(void **state) {
  (void)state;
  say(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "HTTP/1.1 408 "));
}

static void a_body_that_keeps_coming_is_waited_for(void **state) {
  (void)state;
  toy->server.config.body_ms = 600;
  say(&client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n");
  for (int i = 0; i < 8; i++) {
    run_for(toy, 100);
    say(&client, "x");
  }
  UNTIL(toy, heard(&client, "xxxxxxxx"));
}

static void a_handler_may_take_its_time(void **state) {
  (void)state;
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  run_for(toy, 400);
  answer(slow, "in the end");
  UNTIL(toy, heard(&client, "in the end"));
}

static void a_request_over_its_time_is_503(void **state) {
  (void)state;
  toy->server.config.request_ms = 100;
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  UNTIL(toy, saw_end(&client));
  assert_int_equal(slow->gone, 1);
  assert_true(heard(&client, "HTTP/1.1 503 "));
}

/* ---- full, drained, closed ---- */

static void at_the_limit_connections_wait_and_then_are_served(void **state) {
  (void)state;
  toy->server.config.max_connections = 2;
  struct client second = client_open(toy), third = client_open(toy);
  UNTIL(toy, toy->server.n_conns == 2);
  say(&third, GET("/hello/3"));
  run_for(toy, 50);
  assert_int_equal(toy->server.n_conns, 2);
  assert_true(toy->server.paused);
  assert_false(heard(&third, "/hello/3"));
  client_close(&second);
  UNTIL(toy, heard(&third, "/hello/3"));
  client_close(&third);
  UNTIL(toy, toy->server.n_conns == 1);
  assert_false(toy->server.paused);
}

static void a_drain_leaves_the_connection_that_waits_at_the_door_to_siblings(void **state) {
  (void)state;
  toy->server.config.max_connections = 1;
  UNTIL(toy, toy->server.n_conns == 1);
  int sibling = dup(toy->server.doors[0].listener.fd);
  struct client second = client_open(toy);
  UNTIL(toy, toy->server.paused);
  mp_server_drain(&toy->server, 0);
  run_for(toy, 20);
  int fd = accept(sibling, NULL, NULL);
  assert_true(fd >= 0);
  close(fd);
  close(sibling);
  client_close(&second);
}

static int sockets_left_in_the_way(int *fds, int most) {
  int n = 0;
  while (n < most && (fds[n] = dup(0)) >= 0) n++;
  return n;
}

static void without_descriptors_clients_wait_until_there_are_some(void **state) {
  (void)state;
  struct rlimit was, few;
  int fds[64];
  UNTIL(toy, toy->server.n_conns == 1);
  struct client unlucky = client_open(toy);
  getrlimit(RLIMIT_NOFILE, &was);
  few = was;
  few.rlim_cur = (rlim_t)unlucky.fd + 1 + 8;
  setrlimit(RLIMIT_NOFILE, &few);
  int n = sockets_left_in_the_way(fds, 64);
  say(&unlucky, GET("/hello"));
  UNTIL(toy, logged(toy, "could not be accepted"));
  uint64_t wakes = toy->server.doors[0].listener.wakes;
  run_for(toy, 250);
  assert_true(toy->server.doors[0].listener.wakes - wakes <= 4); /* it rests between its tries */
  assert_false(heard(&unlucky, "/hello"));
  for (int i = 0; i < n; i++) close(fds[i]);
  setrlimit(RLIMIT_NOFILE, &was);
  UNTIL(toy, heard(&unlucky, "/hello"));
  client_close(&unlucky);
}

static void clients_wait_while_few_descriptors_are_left(void **state) {
  (void)state;
  UNTIL(toy, toy->server.n_conns == 1);
  toy->server.fd_most = 1;
  struct client second = client_open(toy), third = client_open(toy);
  UNTIL(toy, toy->server.n_conns == 2 && toy->server.paused);
  assert_true(logged(toy, "few descriptors left"));
  say(&third, GET("/hello/3"));
  run_for(toy, 30);
  assert_false(heard(&third, "/hello/3"));
  client_close(&second);
  UNTIL(toy, heard(&third, "/hello/3"));
  client_close(&third);
}

static void a_drain_waits_for_answers_and_says_close(void **state) {
  (void)state;
  struct client idle = client_open(toy);
  say(&idle, GET("/hello"));
  UNTIL(toy, heard(&idle, "/hello"));
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  mp_server_drain(&toy->server, 0);
  UNTIL(toy, saw_end(&idle));
  run_for(toy, 50);
  assert_false(toy->drained);
  answer(slow, "last words");
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "Connection: close\r\n"));
  assert_true(heard(&client, "last words"));
  client_close(&client);
  UNTIL(toy, toy->drained);
  client_close(&idle);
}

static void a_drain_leaves_idle_connections_their_time(void **state) {
  (void)state;
  struct client idle = client_open(toy);
  say(&client, GET("/hello/1"));
  say(&idle, GET("/hello/1"));
  UNTIL(toy, heard(&client, "/hello/1") && heard(&idle, "/hello/1"));
  mp_server_drain(&toy->server, 200);
  run_for(toy, 50);
  assert_false(saw_end(&client));
  say(&client, GET("/hello/2") GET("/hello/3"));
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "/hello/2") && heard(&client, "/hello/3"));
  assert_int_equal(times_heard(&client, "Connection: close"), 1);
  UNTIL(toy, saw_end(&idle));
  client_close(&client);
  client_close(&idle);
  UNTIL(toy, toy->drained);
}

static void a_request_that_has_come_is_answered_by_a_drain(void **state) {
  (void)state;
  say(&client, GET("/hello/1"));
  UNTIL(toy, heard(&client, "/hello/1"));
  assert_true(send(client.fd, GET("/hello/2"), sizeof GET("/hello/2") - 1, MSG_NOSIGNAL) > 0);
  mp_server_drain(&toy->server, 0);
  UNTIL(toy, saw_end(&client));
  assert_true(heard(&client, "/hello/2"));
}

static void a_drain_waits_for_exchanges_without_a_client(void **state) {
  (void)state;
  struct toy_call *keep = hold(GET("/keep"), "/keep");
  client_reset(&client);
  UNTIL(toy, keep->gone);
  mp_server_drain(&toy->server, 0);
  run_for(toy, 50);
  assert_false(toy->drained);
  finish(keep, false);
  UNTIL(toy, toy->drained);
}

static void closing_tells_those_who_hold(void **state) {
  (void)state;
  struct toy_call *slow = hold(GET("/slow"), "/slow");
  mp_server_close(&toy->server);
  assert_int_equal(slow->gone, 1);
  UNTIL(toy, toy->drained);
  UNTIL(toy, saw_end(&client));
}

static void many_connections_leave_nothing_behind(void **state) {
  (void)state;
  for (int round = 0; round < 20; round++) {
    struct client some[3];
    for (int i = 0; i < 3; i++) {
      some[i] = client_open(toy);
      say(&some[i], GET("/hello") "GET /hel");
    }
    for (int i = 0; i < 3; i++) UNTIL(toy, heard(&some[i], "/hello"));
    client_close(&some[0]);
    client_reset(&some[1]);
    client_close(&some[2]);
    toy->n_calls = 0; /* all answered: the slots may be used again */
  }
  UNTIL(toy, toy->server.n_conns == 1);
  assert_int_equal(toy->server.n_held, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
#define T_UNIX(name) cmocka_unit_test_setup_teardown(name, begin_on_unix_socket, end)
#define T_IMPATIENT(name) cmocka_unit_test_setup_teardown(name, begin_impatient, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(a_half_closed_client_gets_its_answer),
      T(all_requests_sent_before_a_half_close_are_answered),
      T(a_request_and_its_end_of_file_at_once_are_answered),
      T(a_client_that_closed_is_noticed_within_a_second),
      T(a_client_that_reset_is_noticed_at_once),
      T(a_held_call_is_told_once_and_then_refused),
      T(a_client_behind_a_full_read_ahead_is_noticed_too),
      T(a_1_0_client_that_ends_counts_as_gone),
      T(a_client_that_ends_within_a_stream_counts_as_gone),
      T_UNIX(on_a_unix_socket_half_a_close_is_told_from_a_whole_one),
      T(a_body_cut_short_makes_reading_refuse),
      T(half_a_head_is_no_request),
      T(a_slow_reader_costs_bounded_memory_and_gets_everything),
      T(a_slow_reader_of_pipelined_answers_holds_up_the_next_ones),
      T_IMPATIENT(a_reader_that_does_not_go_on_is_cut),
      T(a_waiting_writer_is_told_when_another_ends_the_answer),
      T_IMPATIENT(a_silent_connection_is_closed_without_a_word),
      T_IMPATIENT(a_head_that_does_not_end_is_408),
      T_IMPATIENT(an_idle_connection_is_closed_without_a_word),
      T_IMPATIENT(a_body_that_does_not_come_is_408),
      T_IMPATIENT(a_body_that_keeps_coming_is_waited_for),
      T_IMPATIENT(a_handler_may_take_its_time),
      T(a_request_over_its_time_is_503),
      T(at_the_limit_connections_wait_and_then_are_served),
      T(a_drain_leaves_the_connection_that_waits_at_the_door_to_siblings),
      T(without_descriptors_clients_wait_until_there_are_some),
      T(clients_wait_while_few_descriptors_are_left),
      T(a_drain_waits_for_answers_and_says_close),
      T(a_drain_leaves_idle_connections_their_time),
      T(a_request_that_has_come_is_answered_by_a_drain),
      T(a_drain_waits_for_exchanges_without_a_client),
      T(closing_tells_those_who_hold),
      T_UNIX(closing_tells_those_who_hold),
      T(many_connections_leave_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
