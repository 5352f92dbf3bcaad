/* Many clients that do anything at any time, and an app that does too. Nothing is expected of one answer; all that was
 * begun must end, and nothing may stay behind. The seed is printed, and may be given as an argument. */
#define TOY_CALLS 20000
#include "web_toy.h"

enum { CLIENTS = 12, STEPS = 6000 };

static unsigned seed;

static unsigned any(unsigned below) {
  seed = seed * 1103515245 + 12345;
  return (seed >> 16) % below;
}

static const char *const requests[] = {
    GET("/hello"),
    GET("/hello") GET("/hello") GET("/slow"),
    GET("/slow") GET("/slow") GET("/hello"),
    GET("/keep"),
    GET("/nothing"),
    GET("/stream/5"),
    GET("/stream/2000000"),
    "GET /stream/300000 HTTP/1.0\r\n\r\n",
    "GET /slow HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD /stream/10 HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/hello"),
    "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789",
    "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234",
    "POST /lazy HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" GET("/hello"),
    "POST /ignore HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" GET("/slow"),
    "POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
    "POST /lazy HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "nonsense\r\n\r\n",
    "GET /hel",
    "abc",
    "\r\n",
};

static void send_something(struct client *c) {
  const char *text = requests[any(sizeof requests / sizeof *requests)];
  size_t len = strlen(text), cut = any(8) ? len : any((unsigned)len);
  if (send(c->fd, text, cut, MSG_NOSIGNAL) < 0 && errno != EAGAIN) client_close(c);
}

static void flood(struct client *c) {
  static char junk[100 * 1000];
  if (send(c->fd, junk, sizeof junk, MSG_NOSIGNAL) < 0 && errno != EAGAIN) client_close(c);
}

static void disturb(struct toy *toy, struct client *c) {
  if (c->fd < 0) {
    *c = client_open(toy);
    return;
  }
  switch (any(16)) {
  case 0:
    client_close(c);
    break;
  case 1:
    client_reset(c);
    break;
  case 2:
    half_close(c);
    break;
  case 3:
    flood(c);
    break;
  case 4:
  case 5:
  case 6:
  case 7:
    pump(c);
    if (saw_end(c)) client_close(c);
    break;
  default:
    send_something(c);
  }
}

static void go_on(struct toy_call *call) {
  switch (any(7)) {
  case 0:
    answer(call, "done");
    break;
  case 1:
    finish(call, any(2));
    break;
  case 2:
    (void)mp_exchange_write(call->ex, MP_SLICE("piece"));
    break;
  case 3:
    (void)mp_exchange_full(call->ex);
    break;
  case 4:
    (void)mp_exchange_end(call->ex); /* and is held on */
    break;
  default:
    if (read_on(call)) answer(call, "read");
  }
}

static void nudge_the_app(struct toy *toy) {
  int from = toy->n_calls > 200 ? toy->n_calls - 200 : 0;
  for (int i = from; i < toy->n_calls; i++)
    if (toy->calls[i].ex && !is_at(&toy->calls[i], "/stream") && any(20) == 0) go_on(&toy->calls[i]);
}

/* What the clients sent last may still become requests that the app would hold for ever. */
static bool is_over(struct toy *toy) {
  for (int i = 0; i < toy->n_calls; i++)
    if (toy->calls[i].ex) finish(&toy->calls[i], false);
  return toy->drained;
}

static void a_storm_leaves_nothing_behind(void **state) {
  (void)state;
  struct mp_server_config config = toy_config;
  struct client clients[CLIENTS];
  config.keep_alive_ms = config.header_ms = config.body_ms = 60;
  config.write_ms = 200;
  config.max_connections = CLIENTS - 2;
  struct toy *toy = toy_open(&config, NULL);
  toy->log.least = MP_LOG_ERROR;
  for (int i = 0; i < CLIENTS; i++) clients[i] = client_open(toy);
  for (int i = 0; i < STEPS && toy->n_calls < TOY_CALLS - 1000; i++) {
    disturb(toy, &clients[any(CLIENTS)]);
    turn(toy);
    nudge_the_app(toy);
    if (any(100) == 0) run_for(toy, any(30));
  }
  print_message("%d requests, %d answers\n", toy->n_calls, (int)toy->server.n_requests);
  assert_true(toy->server.n_requests > 100);
  mp_server_drain(&toy->server, any(2) * 20);
  for (int i = 0; i < CLIENTS; i++) client_close(&clients[i]);
  UNTIL(toy, is_over(toy));
  toy_close(toy);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_storm_leaves_nothing_behind)};
  seed = argc > 1 ? (unsigned)atoi(argv[1]) : (unsigned)getpid();
  print_message("seed %u\n", seed);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
