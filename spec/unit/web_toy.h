/* web_toy.h - a small app in C above the room web, its clients over loopback, and one loop that both run on.
 * Everything waits for a fact, with a deadline; nothing sleeps for luck. */
#ifndef MP_SPEC_WEB_TOY_H
#define MP_SPEC_WEB_TOY_H

#include "io/loop.h"
#include "web/server.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
/* cmocka wants those above first */
#include <cmocka.h>

#ifndef TOY_CALLS
#define TOY_CALLS 64
#endif

/* One request of the app. Slots are never used twice, so that a test may look at what became of it. */
struct toy_call {
  struct mp_exchange *ex; /* borrowed until finished; then NULL */
  char target[256];
  struct mp_buf body;    /* owned */
  size_t to_stream;      /* bytes of the stream not yet written */
  struct mp_refusal why; /* of a read that was refused */
  int gone, readable, writable;
  bool ended;
};

struct toy {
  struct mp_loop loop;
  struct mp_log log;
  struct mp_server server;
  struct toy_call calls[TOY_CALLS];
  int n_calls;
  bool drained;
  int port;
  char path[108]; /* of a unix socket; empty: TCP */
  int fds_before;
};

struct client {
  struct toy *toy;   /* borrowed */
  int fd;            /* -1: closed */
  struct mp_buf got; /* owned: everything that came */
  bool eof, reset;
};

static uint64_t clock_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int open_fds(void) {
  int n = 0;
  DIR *dir = opendir("/proc/self/fd");
  while (readdir(dir)) n++;
  closedir(dir);
  return n;
}

/* ---- the app ---- */

static struct toy_call *call_of(struct mp_exchange *ex) {
  return ex->call;
}

static void finish(struct toy_call *call, bool cut) {
  struct mp_exchange *ex = call->ex;
  call->ex = NULL;
  mp_exchange_finish(ex, cut);
}

static inline void answer(struct toy_call *call, const char *text) {
  call->ended = mp_exchange_send(call->ex, mp_slice(text, strlen(text))) == 0;
  finish(call, !call->ended);
}

static void refuse_call(struct toy_call *call) {
  call->ex->reply.status = (uint16_t)call->why.status;
  answer(call, call->why.reason);
}

/* Reads until there is nothing more at hand; true at the end of the body. */
static bool read_on(struct toy_call *call) {
  for (;;) {
    struct mp_slice piece;
    enum mp_verdict v = mp_exchange_read(call->ex, &piece, &call->why);
    if (v != MP_REFUSE && mp_buf_add_slice(&call->body, piece) < 0) {
      call->why = (struct mp_refusal){503, "no memory"};
      v = MP_REFUSE;
    }
    if (v == MP_DONE) return true;
    if (v == MP_REFUSE) {
      refuse_call(call);
      return false;
    }
    if (piece.len == 0) return false;
  }
}

static void echo_on(struct toy_call *call) {
  if (!read_on(call)) return;
  call->ended = mp_exchange_send(call->ex, mp_buf_slice(&call->body)) == 0;
  finish(call, !call->ended);
}

static void stream_on(struct toy_call *call) {
  static char piece[16 * 1024];
  memset(piece, 's', sizeof piece);
  while (call->to_stream > 0) {
    if (mp_exchange_full(call->ex)) return;
    size_t n = call->to_stream < sizeof piece ? call->to_stream : sizeof piece;
    int err = mp_exchange_write(call->ex, mp_slice(piece, n));
    if (err == -ENOMEM) finish(call, true);
    if (err < 0) return;
    call->to_stream -= n;
  }
  call->ended = mp_exchange_end(call->ex) == 0;
  finish(call, false);
}

static bool is_at(const struct toy_call *call, const char *path) {
  return strncmp(call->target, path, strlen(path)) == 0;
}

static void on_request(struct mp_server *server, struct mp_exchange *ex) {
  struct toy *toy = server->ctx;
  assert_true(toy->n_calls < TOY_CALLS);
  struct toy_call *call = &toy->calls[toy->n_calls++];
  call->ex = ex;
  ex->call = call;
  snprintf(call->target, sizeof call->target, "%.*s", (int)ex->head.target.len, ex->head.target.at);
  if (is_at(call, "/hello")) answer(call, call->target);
  if (is_at(call, "/ignore")) answer(call, "ignored");
  if (is_at(call, "/nothing")) finish(call, false);
  if (is_at(call, "/echo")) echo_on(call);
  if (is_at(call, "/stream")) {
    call->to_stream = (size_t)atol(call->target + sizeof "/stream/" - 1);
    stream_on(call);
  }
  /* everything else is held until the test says how it goes on */
}

static void on_readable(struct mp_exchange *ex) {
  struct toy_call *call = call_of(ex);
  call->readable++;
  if (is_at(call, "/echo")) echo_on(call);
  if (is_at(call, "/lazy") && read_on(call)) answer(call, "read");
}

static void on_writable(struct mp_exchange *ex) {
  call_of(ex)->writable++;
  if (is_at(call_of(ex), "/stream")) stream_on(call_of(ex));
}

static void on_gone(struct mp_exchange *ex) {
  call_of(ex)->gone++;
  if (!is_at(call_of(ex), "/keep")) finish(call_of(ex), false);
}

static void on_server_drained(struct mp_server *server) {
  ((struct toy *)server->ctx)->drained = true;
}

/* ---- the clock of a test ---- */

static void pump(struct client *client);

static void turn(struct toy *toy) {
  uv_run(&toy->loop.uv, UV_RUN_NOWAIT);
}

/* Turns the loop until `truth`; false after five seconds. */
#define UNTIL(toy, truth)                                                                                              \
  do {                                                                                                                 \
    uint64_t late_ = clock_ms() + 5000;                                                                                \
    while (!(truth)) {                                                                                                 \
      if (clock_ms() > late_) fail_msg("never came true: %s", #truth);                                                 \
      turn(toy);                                                                                                       \
      struct timespec pause_ = {.tv_nsec = 200 * 1000};                                                                \
      nanosleep(&pause_, NULL);                                                                                        \
    }                                                                                                                  \
  } while (0)

static inline void run_for(struct toy *toy, uint64_t ms) {
  uint64_t end = clock_ms() + ms;
  UNTIL(toy, clock_ms() >= end);
}

/* ---- the server ---- */

static const struct mp_server_ops toy_ops = {.on_request = on_request,
                                             .on_readable = on_readable,
                                             .on_writable = on_writable,
                                             .on_gone = on_gone,
                                             .on_drained = on_server_drained};

static const struct mp_server_config toy_config = {
    .limits = {.request_line = 1000, .fields = 50, .field_size = 1000, .head = 8192, .body = 1000 * 1000},
    .max_connections = 1000,
    .pipeline = 16,
    .keep_alive_ms = 60000,
    .header_ms = 60000,
    .body_ms = 60000,
    .write_ms = 60000,
};

/* libuv keeps a pipe for signals from its first loop on. */
static void warm_up(void) {
  uv_loop_t loop;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static struct toy *toy_open(const struct mp_server_config *config, const char *path) {
  struct toy *toy = calloc(1, sizeof *toy);
  char why[200], address[150] = "127.0.0.1:0";
  warm_up();
  signal(SIGPIPE, SIG_IGN);
  toy->fds_before = open_fds();
  toy->log = (struct mp_log){.fd = memfd_create("log", MFD_CLOEXEC), .least = MP_LOG_INFO};
  if (path) {
    snprintf(toy->path, sizeof toy->path, "%s", path);
    snprintf(address, sizeof address, "unix:%s", path);
  }
  int fd = mp_listen(address, 128, why, sizeof why);
  assert_true(fd >= 0);
  assert_int_equal(mp_listen_name(fd, address, sizeof address), 0);
  toy->port = path ? 0 : atoi(strrchr(address, ':') + 1);
  assert_int_equal(mp_loop_init(&toy->loop, &toy->log), 0);
  assert_int_equal(mp_server_init(&toy->server, &toy->loop, &toy->log, config, &toy_ops, toy), 0);
  assert_int_equal(mp_server_adopt(&toy->server, &fd, 1), 0);
  return toy;
}

/* Closes everything and proves that nothing stayed behind. */
static void toy_close(struct toy *toy) {
  mp_server_close(&toy->server);
  for (int i = 0; i < toy->n_calls; i++)
    if (toy->calls[i].ex) finish(&toy->calls[i], false);
  UNTIL(toy, toy->drained);
  assert_int_equal(toy->server.n_conns, 0);
  assert_int_equal(toy->server.n_held, 0);
  mp_server_deinit(&toy->server);
  mp_loop_deinit(&toy->loop);
  close(toy->log.fd);
  for (int i = 0; i < toy->n_calls; i++) mp_buf_free(&toy->calls[i].body);
  if (*toy->path) unlink(toy->path);
  assert_int_equal(open_fds(), toy->fds_before);
  free(toy);
}

static inline bool logged(struct toy *toy, const char *words) {
  static char text[65536];
  ssize_t n = pread(toy->log.fd, text, sizeof text - 1, 0);
  if (n < 0) return false;
  text[n] = '\0';
  return strstr(text, words) != NULL;
}

/* ---- its clients ---- */

static int connect_to(struct toy *toy) {
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)toy->port)};
  struct sockaddr_un local = {.sun_family = AF_UNIX};
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  snprintf(local.sun_path, sizeof local.sun_path, "%s", toy->path);
  bool is_unix = *toy->path != '\0';
  int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int err = is_unix ? connect(fd, (struct sockaddr *)&local, sizeof local)
                    : connect(fd, (struct sockaddr *)&four, sizeof four);
  assert_int_equal(err, 0);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

static struct client client_open(struct toy *toy) {
  return (struct client){.toy = toy, .fd = connect_to(toy)};
}

static void client_close(struct client *client) {
  if (client->fd >= 0) close(client->fd);
  client->fd = -1;
  mp_buf_free(&client->got);
}

static inline void client_reset(struct client *client) {
  struct linger at_once = {1, 0};
  setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  client_close(client);
}

static inline void say_bytes(struct client *client, const char *bytes, size_t len) {
  uint64_t late = clock_ms() + 5000;
  while (len > 0) {
    assert_true(clock_ms() < late);
    ssize_t n = send(client->fd, bytes, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return; /* the server has closed: what it said is what counts */
    if (n > 0) bytes += n, len -= (size_t)n;
    turn(client->toy);
    pump(client);
  }
}

static inline void say(struct client *client, const char *text) {
  say_bytes(client, text, strlen(text));
}

static inline void say_byte_by_byte(struct client *client, const char *text) {
  for (; *text; text++) {
    say_bytes(client, text, 1);
    turn(client->toy);
  }
}

static inline void half_close(struct client *client) {
  shutdown(client->fd, SHUT_WR);
}

static void pump(struct client *client) {
  for (;;) {
    char *to = mp_buf_room(&client->got, 65536 + 1);
    assert_non_null(to);
    ssize_t n = recv(client->fd, to, 65536, 0);
    if (n > 0) mp_buf_grew(&client->got, (size_t)n);
    mp_buf_at(&client->got)[mp_buf_len(&client->got)] = '\0';
    if (n == 0) client->eof = true;
    if (n < 0 && errno == ECONNRESET) client->reset = true;
    if (n <= 0) return;
  }
}

static inline const char *text_of(struct client *client) {
  pump(client);
  return mp_buf_at(&client->got);
}

static inline bool heard(struct client *client, const char *words) {
  return strstr(text_of(client), words) != NULL;
}

static inline int times_heard(struct client *client, const char *words) {
  int n = 0;
  for (const char *at = text_of(client); (at = strstr(at, words)); at += strlen(words)) n++;
  return n;
}

static inline bool saw_end(struct client *client) {
  pump(client);
  return client->eof || client->reset;
}

static inline void forget(struct client *client) {
  mp_buf_reset(&client->got, client->got.cap);
}

/* The call that was begun by a request for `target`; NULL: none. */
static inline struct toy_call *call_for(struct toy *toy, const char *target) {
  for (int i = toy->n_calls - 1; i >= 0; i--)
    if (strcmp(toy->calls[i].target, target) == 0) return &toy->calls[i];
  return NULL;
}

#define GET(target) "GET " target " HTTP/1.1\r\nHost: h\r\n\r\n"

#endif
