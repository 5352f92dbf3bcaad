/* A whole connection over a socket, fed with split bytes: nothing crashes or leaks, nobody waits for what will not
 * come, and what comes back is a sequence of well-formed answers.
 *
 * The input is cut at 0xff: behind it stands a command, in front of it bytes of the client. The app's answers depend on
 * the target: /e echoes, /s streams, /l answers a turn later, /c is cut, /h is answered only when the client has gone.
 */
#include "io/listener.h"
#include "web/server.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HOLDS(truth)                                                                                                   \
  do                                                                                                                   \
    if (!(truth)) abort();                                                                                             \
  while (0)

enum { CALLS = 32, TURNS_MOST = 20000 };

struct call {
  struct mp_exchange *ex; /* borrowed until finished */
  struct mp_buf body;     /* owned */
  char kind;
};

static struct world {
  struct mp_loop loop;
  struct mp_log log;
  struct mp_server server;
  struct call calls[CALLS];
  struct sockaddr_un address;
  socklen_t address_len;
  char seen[1 << 16];
  size_t n_seen;
  bool started;
} world;

/* ---- the app ---- */

static void finish(struct call *call, bool cut) {
  struct mp_exchange *ex = call->ex;
  call->ex = NULL;
  mp_buf_free(&call->body);
  mp_exchange_finish(ex, cut);
}

static void echo(struct call *call) {
  struct mp_slice piece;
  struct mp_refusal why;
  enum mp_verdict v;
  do {
    v = mp_exchange_read(call->ex, &piece, &why);
    if (v != MP_REFUSE && piece.len) HOLDS(mp_buf_add_slice(&call->body, piece) == 0);
  } while (v == MP_MORE && piece.len > 0);
  if (v == MP_MORE) return;
  if (v == MP_REFUSE) call->ex->reply.status = (uint16_t)why.status;
  (void)mp_reply_set(&call->ex->reply, MP_SLICE("Content-Type"), MP_SLICE("text/plain"));
  (void)mp_exchange_send(call->ex, mp_buf_len(&call->body) ? mp_buf_slice(&call->body) : MP_SLICE(""));
  finish(call, false);
}

static void stream(struct call *call) {
  (void)mp_reply_set(&call->ex->reply, MP_SLICE("Content-Type"), MP_SLICE("text/plain"));
  for (int i = 0; i < 3; i++) (void)mp_exchange_write(call->ex, MP_SLICE("a piece of a stream\n"));
  finish(call, call->kind == 'c');
}

static void answer(struct call *call) {
  static char text[2048];
  memset(text, 't', sizeof text);
  (void)mp_reply_set(&call->ex->reply, MP_SLICE("Content-Type"), MP_SLICE("text/plain"));
  (void)mp_exchange_send(call->ex, mp_slice(text, sizeof text));
  finish(call, false);
}

static void on_request(struct mp_server *server, struct mp_exchange *ex) {
  struct call *call = world.calls;
  (void)server;
  while (call < world.calls + CALLS && call->ex) call++;
  HOLDS(call < world.calls + CALLS);
  *call = (struct call){.ex = ex, .kind = ex->head.path.len > 1 ? ex->head.path.at[1] : '/'};
  ex->call = call;
  if (call->kind == 'e') echo(call);
  if (call->kind == 's' || call->kind == 'c') stream(call);
  if (call->ex && !strchr("eslch", call->kind)) answer(call);
}

static void on_readable(struct mp_exchange *ex) {
  echo(ex->call);
}

static void on_gone(struct mp_exchange *ex) {
  finish(ex->call, false);
}

static void on_writable(struct mp_exchange *ex) {
  (void)ex;
}

static void on_drained(struct mp_server *server) {
  (void)server;
}

static const struct mp_server_ops ops = {.on_request = on_request,
                                         .on_readable = on_readable,
                                         .on_writable = on_writable,
                                         .on_gone = on_gone,
                                         .on_drained = on_drained};

/* ---- the world, once ---- */

static void start(void) {
  static const struct mp_server_config config = {
      .limits = {.request_line = 200, .fields = 10, .field_size = 200, .head = 1000, .body = 3000},
      .max_connections = 10,
      .pipeline = 4,
      .keep_alive_ms = 60000,
      .header_ms = 60000,
      .body_ms = 60000,
      .write_ms = 60000,
      .compress = true};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  signal(SIGPIPE, SIG_IGN);
  world.log = (struct mp_log){.fd = -1, .least = MP_LOG_ERROR + 1};
  world.address.sun_family = AF_UNIX; /* bind chooses an abstract name */
  HOLDS(bind(fd, (struct sockaddr *)&world.address, sizeof(sa_family_t)) == 0 && listen(fd, 8) == 0);
  world.address_len = sizeof world.address;
  HOLDS(getsockname(fd, (struct sockaddr *)&world.address, &world.address_len) == 0);
  HOLDS(mp_loop_init(&world.loop, &world.log) == 0);
  HOLDS(mp_server_init(&world.server, &world.loop, &world.log, &config, &ops, &world) == 0);
  HOLDS(mp_server_adopt(&world.server, &fd, 1) == 0);
  world.started = true;
}

/* ---- one client ---- */

static void hear(int fd) {
  ssize_t n;
  while ((n = recv(fd, world.seen + world.n_seen, sizeof world.seen - world.n_seen, MSG_DONTWAIT)) > 0)
    world.n_seen += (size_t)n;
}

static void turn(int fd) {
  uv_run(&world.loop.uv, UV_RUN_NOWAIT);
  if (fd >= 0) hear(fd);
}

static void answer_late_ones(void) {
  for (struct call *call = world.calls; call < world.calls + CALLS; call++)
    if (call->ex && call->kind == 'l') answer(call);
}

static int open_client(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  HOLDS(fd >= 0 && connect(fd, (struct sockaddr *)&world.address, world.address_len) == 0);
  turn(fd);
  return fd;
}

static void obey(int fd, uint8_t command) {
  switch (command) {
  case 'h':
    shutdown(fd, SHUT_WR);
    break;
  case 'l':
    answer_late_ones();
    break;
  default:
    break; /* only the cut counts */
  }
  turn(fd);
}

static void say(int fd, const uint8_t *data, size_t len) {
  while (len > 0) {
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) return; /* the server has closed: what it said is what counts */
    if (n > 0) data += n, len -= (size_t)n;
    turn(fd);
  }
}

static void play(int fd, const uint8_t *data, size_t len) {
  while (len > 0) {
    const uint8_t *mark = memchr(data, 0xff, len);
    size_t n = mark ? (size_t)(mark - data) : len;
    say(fd, data, n);
    data += n, len -= n;
    if (len == 0) break;
    obey(fd, len > 1 ? data[1] : 0);
    n = len > 1 ? 2 : 1;
    data += n, len -= n;
  }
  turn(fd);
}

/* Everything that belongs to the connection goes once the client has gone. */
static void part(int fd) {
  struct timespec pause = {.tv_nsec = 100 * 1000};
  answer_late_ones();
  for (int i = 0; i < 3; i++) turn(fd);
  close(fd);
  for (int i = 0; world.server.n_conns || world.server.n_held; i++) {
    HOLDS(i < TURNS_MOST);
    turn(-1);
    answer_late_ones();
    if (i > 10) nanosleep(&pause, NULL);
  }
}

static void check_answers(void) {
  if (world.n_seen == 0) return;
  HOLDS(world.n_seen < 9 || memcmp(world.seen, "HTTP/1.1 ", 9) == 0);
  HOLDS(world.n_seen == sizeof world.seen || memmem(world.seen, world.n_seen, "\r\n\r\n", 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (!world.started) start();
  world.n_seen = 0;
  int fd = open_client();
  play(fd, data, len);
  part(fd);
  check_answers();
  return 0;
}
