#include "io_fixture.h"

#include "io/listener.h"
#include "io/signal.h"
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct end {
  struct mp_stream stream;
  struct mp_buf got;
  ssize_t last;
  int broken;
  unsigned drains;
  bool ended, drained, closed, is_broken;
  bool close_on_read;
};

static struct end *end_of(struct mp_stream *stream) {
  return MP_CONTAINER(stream, struct end, stream);
}

static void on_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct end *end = end_of(stream);
  end->last = n;
  if (n > 0) assert_int_equal(mp_buf_add(&end->got, bytes, (size_t)n), 0);
  if (n <= 0) end->ended = true;
  if (end->close_on_read) mp_stream_close(stream);
}

static void on_drained(struct mp_stream *stream) {
  end_of(stream)->drained = true;
  end_of(stream)->drains++;
}

static void on_broken(struct mp_stream *stream, int err) {
  end_of(stream)->broken = err;
  end_of(stream)->is_broken = true;
}

static void on_closed(struct mp_stream *stream) {
  mp_buf_free(&end_of(stream)->got);
  end_of(stream)->closed = true;
}

static const struct mp_stream_ops ops = {
    .on_read = on_read, .on_drained = on_drained, .on_broken = on_broken, .on_closed = on_closed};

/* A stream on one end of a socket pair; the other is the caller's. */
static int open_pair(struct fixture *f, struct end *end) {
  int fds[2];
  memset(end, 0xa5, sizeof *end); /* nothing is taken for granted */
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  assert_int_equal(mp_stream_open(&end->stream, &f->loop, fds[0], &ops), 0);
  memset((char *)end + sizeof end->stream, 0, sizeof *end - sizeof end->stream);
  return fds[1];
}

static void close_end(struct fixture *f, struct end *end) {
  mp_stream_close(&end->stream);
  mp_stream_close(&end->stream);
  assert_false(end->closed);
  assert_int_equal(mp_stream_fd(&end->stream), -1);
  assert_true(turn_until(&f->loop, &end->closed, 5000));
}

static void reads_until_the_end(void **state) {
  struct fixture *f = *state;
  struct end end;
  int peer = open_pair(f, &end);
  assert_int_equal(mp_stream_read_start(&end.stream), 0);
  assert_int_equal(mp_stream_read_start(&end.stream), 0);
  assert_int_equal(write(peer, "hello", 5), 5);
  turn_for(&f->loop, 5);
  assert_int_equal(mp_buf_len(&end.got), 5);
  mp_stream_read_stop(&end.stream);
  assert_int_equal(write(peer, "more", 4), 4);
  turn_for(&f->loop, 5);
  assert_int_equal(mp_buf_len(&end.got), 5);
  close(peer);
  assert_int_equal(mp_stream_read_start(&end.stream), 0);
  assert_true(turn_until(&f->loop, &end.ended, 5000));
  assert_int_equal(end.last, 0);
  assert_false(end.stream.reading);
  assert_memory_equal(mp_buf_at(&end.got), "hellomore", 9);
  close_end(f, &end);
}

static void may_close_while_reading(void **state) {
  struct fixture *f = *state;
  struct end end;
  int peer = open_pair(f, &end);
  end.close_on_read = true;
  mp_stream_read_start(&end.stream);
  assert_int_equal(write(peer, "x", 1), 1);
  assert_true(turn_until(&f->loop, &end.closed, 5000));
  assert_int_equal(mp_stream_read_start(&end.stream), -EBADF);
  close(peer);
}

static void sends_nothing_before_the_flush(void **state) {
  struct fixture *f = *state;
  struct end end;
  char byte;
  int peer = open_pair(f, &end);
  assert_int_equal(mp_stream_write(&end.stream, MP_SLICE("ab")), 0);
  assert_int_equal(mp_stream_queued(&end.stream), 2);
  assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), -1);
  mp_stream_flush(&end.stream);
  assert_int_equal(mp_stream_queued(&end.stream), 0);
  assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), 1);
  turn_for(&f->loop, 5);
  assert_int_equal(end.drains, 0); /* it all went at once */
  close_end(f, &end);
  close(peer);
}

/* A reader slower than the writer, which goes on writing meanwhile. */
static void queues_what_the_kernel_does_not_take(void **state) {
  enum { WHOLE = 3 << 20 };
  struct fixture *f = *state;
  struct end end;
  char *bytes = malloc(WHOLE), *got = malloc(WHOLE);
  size_t len = 0;
  ssize_t n;
  int peer = open_pair(f, &end);
  for (size_t i = 0; i < WHOLE; i++) bytes[i] = (char)(i * 31 + i / 977);
  for (size_t at = 0; at < WHOLE; at += WHOLE / 3) {
    assert_int_equal(mp_stream_write(&end.stream, mp_slice(bytes + at, WHOLE / 3)), 0);
    mp_stream_flush(&end.stream);
  }
  assert_true(mp_stream_queued(&end.stream) > WHOLE / 2);
  mp_stream_shutdown(&end.stream);
  mp_stream_shutdown(&end.stream);
  assert_int_equal(mp_stream_write(&end.stream, MP_SLICE("late")), -EPIPE);
  while (len < WHOLE) {
    uv_run(&f->loop.uv, UV_RUN_NOWAIT);
    while ((n = recv(peer, got + len, WHOLE - len, MSG_DONTWAIT)) > 0) len += (size_t)n;
  }
  assert_memory_equal(got, bytes, WHOLE);
  assert_true(turn_until(&f->loop, &end.drained, 5000));
  assert_int_equal(mp_stream_queued(&end.stream), 0);
  assert_int_equal(end.drains, 1);
  assert_int_equal(recv(peer, got, 1, 0), 0); /* half-closed behind the last byte */
  assert_int_equal(send(peer, "x", 1, 0), 1); /* and the other half is open */
  mp_stream_read_start(&end.stream);
  turn_for(&f->loop, 5);
  assert_int_equal(mp_buf_len(&end.got), 1);
  close_end(f, &end);
  close(peer);
  free(bytes);
  free(got);
}

static void sends_what_it_does_not_own_and_keeps_what_has_to_wait(void **state) {
  enum { WHOLE = 3 << 20, HEAD = 100 };
  struct fixture *f = *state;
  struct end end;
  char *bytes = malloc(HEAD + WHOLE), *lent = malloc(WHOLE), *got = malloc(HEAD + WHOLE);
  size_t len = 0;
  ssize_t n;
  int peer = open_pair(f, &end);
  for (size_t i = 0; i < HEAD + WHOLE; i++) bytes[i] = (char)(i * 31 + i / 977);
  memcpy(lent, bytes + HEAD, WHOLE);
  assert_int_equal(mp_stream_write(&end.stream, mp_slice(bytes, 40)), 0);
  assert_int_equal(mp_stream_send(&end.stream, mp_slice(bytes + 40, HEAD - 40)), 0);
  assert_int_equal(mp_stream_queued(&end.stream), 0);
  assert_int_equal(mp_stream_send(&end.stream, mp_slice(lent, WHOLE)), 0);
  memset(lent, 0, WHOLE); /* it was lent for the call */
  assert_true(mp_stream_queued(&end.stream) > WHOLE / 2);
  while (len < HEAD + WHOLE) {
    uv_run(&f->loop.uv, UV_RUN_NOWAIT);
    while ((n = recv(peer, got + len, HEAD + WHOLE - len, MSG_DONTWAIT)) > 0) len += (size_t)n;
  }
  assert_memory_equal(got, bytes, HEAD + WHOLE);
  assert_true(turn_until(&f->loop, &end.drained, 5000));
  close(peer);
  (void)mp_stream_send(&end.stream, MP_SLICE("a"));
  (void)mp_stream_send(&end.stream, MP_SLICE("b"));
  assert_true(turn_until(&f->loop, &end.is_broken, 5000));
  close_end(f, &end);
  free(bytes);
  free(lent);
  free(got);
}

static void half_closes_at_once_when_nothing_is_queued(void **state) {
  struct fixture *f = *state;
  struct end end;
  char byte;
  int peer = open_pair(f, &end);
  mp_stream_shutdown(&end.stream);
  assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), 0);
  close_end(f, &end);
  close(peer);
}

static void tells_later_that_it_is_broken(void **state) {
  struct fixture *f = *state;
  struct end end;
  int peer = open_pair(f, &end);
  close(peer);
  assert_int_equal(mp_stream_write(&end.stream, MP_SLICE("x")), 0);
  mp_stream_flush(&end.stream);
  assert_false(end.is_broken); /* not from within the flush */
  assert_int_equal(mp_stream_queued(&end.stream), 0);
  assert_true(turn_until(&f->loop, &end.is_broken, 5000));
  assert_int_equal(end.broken, -EPIPE);
  assert_int_equal(mp_stream_write(&end.stream, MP_SLICE("x")), -EPIPE);
  mp_stream_flush(&end.stream);
  mp_stream_shutdown(&end.stream);
  close_end(f, &end);
}

static void says_nothing_after_close(void **state) {
  struct fixture *f = *state;
  struct end end;
  int peer = open_pair(f, &end);
  close(peer);
  mp_stream_write(&end.stream, MP_SLICE("x"));
  mp_stream_flush(&end.stream);
  close_end(f, &end);
  assert_false(end.is_broken);
}

static void breaks_while_bytes_wait(void **state) {
  struct fixture *f = *state;
  struct end end;
  char *bytes = calloc(1, 1 << 20);
  int peer = open_pair(f, &end);
  mp_stream_write(&end.stream, mp_slice(bytes, 1 << 20));
  mp_stream_flush(&end.stream);
  mp_stream_write(&end.stream, mp_slice(bytes, 1 << 20));
  mp_stream_flush(&end.stream);
  close(peer);
  assert_true(turn_until(&f->loop, &end.is_broken, 5000));
  assert_int_equal(mp_stream_queued(&end.stream), 0);
  assert_false(end.drained);
  close_end(f, &end);
  free(bytes);
}

static void closes_with_bytes_still_queued(void **state) {
  struct fixture *f = *state;
  struct end end;
  char *bytes = calloc(1, 1 << 20);
  int peer = open_pair(f, &end);
  mp_stream_write(&end.stream, mp_slice(bytes, 1 << 20));
  mp_stream_flush(&end.stream);
  mp_stream_write(&end.stream, mp_slice(bytes, 100));
  close_end(f, &end);
  assert_false(end.is_broken);
  assert_false(end.drained);
  close(peer);
  free(bytes);
}

static void refuses_what_is_no_stream(void **state) {
  struct fixture *f = *state;
  struct end end = {.closed = false};
  int fds = open_fds(), fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  assert_int_equal(mp_stream_open(&end.stream, &f->loop, fd, &ops), -ENOTSUP);
  assert_true(turn_until(&f->loop, &end.closed, 5000));
  end.closed = false;
  assert_int_equal(mp_stream_open(&end.stream, &f->loop, -1, &ops), -ENOTSUP);
  assert_true(turn_until(&f->loop, &end.closed, 5000));
  assert_in_range(open_fds(), fds, fds + 1); /* libuv's reserve */
}

/* Listeners ------------------------------------------------------------------------------------------------------ */

struct server {
  struct mp_listener listener;
  struct end client;
  bool accepted, closed, tcp;
};

static void on_connection(struct mp_listener *listener, int fd, const struct mp_address *peer) {
  struct server *server = MP_CONTAINER(listener, struct server, listener);
  server->tcp = peer->kind != MP_ADDRESS_UNIX;
  assert_int_equal(mp_stream_accepted(&server->client.stream, listener->loop, fd, server->tcp, &ops), 0);
  server->accepted = true;
}

static void on_listener_closed(struct mp_listener *listener) {
  MP_CONTAINER(listener, struct server, listener)->closed = true;
}

/* A path of this run alone. */
static const char *socket_path(void) {
  static char path[64];
  snprintf(path, sizeof path, "/tmp/io_stream.%d.sock", (int)getpid());
  return path;
}

static const char *socket_address(void) {
  static char address[80];
  snprintf(address, sizeof address, "unix:%s", socket_path());
  return address;
}

static int listen_on(const char *address) {
  char why[256] = "";
  int fd = mp_listen(address, 16, why, sizeof why);
  if (fd < 0) print_error("%s\n", why);
  assert_true(fd >= 0);
  assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  return fd;
}

static const char *name_of(int fd, char out[128]) {
  assert_int_equal(mp_listen_name(fd, out, 128), 0);
  return out;
}

static int connect_to(int listening) {
  struct sockaddr_storage at;
  socklen_t len = sizeof at;
  assert_int_equal(getsockname(listening, (struct sockaddr *)&at, &len), 0);
  int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&at, len), 0);
  return fd;
}

static void serve_one(struct fixture *f, int fd) {
  struct server server = {.listener = {.on_connection = on_connection, .on_closed = on_listener_closed}};
  char text[8];
  int peer = connect_to(fd), nodelay = -1;
  socklen_t len = sizeof nodelay;
  assert_int_equal(mp_listener_open(&server.listener, &f->loop, fd), 0);
  assert_int_equal(mp_listener_start(&server.listener), 0);
  assert_true(turn_until(&f->loop, &server.accepted, 5000));
  if (server.tcp) {
    getsockopt(mp_stream_fd(&server.client.stream), IPPROTO_TCP, TCP_NODELAY, &nodelay, &len);
    assert_int_equal(nodelay, 1);
  }
  mp_stream_write(&server.client.stream, MP_SLICE("hi"));
  mp_stream_flush(&server.client.stream);
  assert_int_equal(read(peer, text, sizeof text), 2);
  close_end(f, &server.client);
  mp_listener_close(&server.listener);
  mp_listener_close(&server.listener);
  assert_true(turn_until(&f->loop, &server.closed, 5000));
  close(peer);
}

/* A bare root has no /etc/hosts. */
static bool knows_localhost(void) {
  struct addrinfo *found = NULL;
  if (getaddrinfo("localhost", NULL, NULL, &found) != 0) return false;
  freeaddrinfo(found);
  return true;
}

static void listens_on_every_kind_of_address(void **state) {
  const char *const addresses[] = {"127.0.0.1:0", ":0", "[::1]:0", socket_address(), "localhost:0"};
  char name[128];
  for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
    if (strncmp(addresses[i], "localhost", 9) == 0 && !knows_localhost()) continue;
    int fd = listen_on(addresses[i]);
    name_of(fd, name);
    assert_null(strstr(name, ":0 "));
    serve_one(*state, fd);
  }
  unlink(socket_path());
}

static void names_where_it_listens(void **state) {
  char name[128];
  (void)state;
  int fd = listen_on("127.0.0.1:0");
  assert_true(strncmp(name_of(fd, name), "127.0.0.1:", 10) == 0 && atoi(name + 10) > 0);
  close(fd);
  fd = listen_on("[::1]:0");
  assert_true(strncmp(name_of(fd, name), "[::1]:", 6) == 0);
  close(fd);
  fd = listen_on(socket_address());
  assert_string_equal(name_of(fd, name), socket_address());
  close(fd);
  unlink(socket_path());
}

static void adopts_a_descriptor(void **state) {
  char address[32];
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(listen(fd, 5), 0);
  snprintf(address, sizeof address, "fd:%d", fd);
  assert_int_equal(listen_on(address), fd);
  serve_one(*state, fd);
}

static void assert_refused(const char *address, int err, const char *sentence) {
  char why[256] = "";
  assert_int_equal(mp_listen(address, 16, why, sizeof why), err);
  assert_string_equal(why, sentence);
}

#define NOT_ONE ": not an address (HOST:PORT, :PORT, [::1]:PORT, unix:PATH or fd:N)"

static void says_why_it_cannot_listen(void **state) {
  char name[128], sentence[256];
  (void)state;
  static const char *const bad[] = {
      "",      "8080", "localhost", "::1:80", "[::1]", "[::1]80",     "a:b",    "a:",       "a:65536",         "a:-1",
      "unix:", "fd:",  "fd:x",      "[]:80",  "[:1",   "1.2.3.4:80x", "[a]:80", "[::1:80:", "a:99999999999999"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    snprintf(sentence, sizeof sentence, "cannot listen on %s" NOT_ONE, bad[i]);
    assert_refused(bad[i], -EINVAL, sentence);
  }
  int fd = listen_on("127.0.0.1:0");
  name_of(fd, name);
  snprintf(sentence, sizeof sentence, "cannot listen on %s: address already in use", name);
  assert_refused(name, -EADDRINUSE, sentence);
  close(fd);
  assert_refused("192.0.2.1:80", -EADDRNOTAVAIL, "cannot listen on 192.0.2.1:80: cannot assign requested address");
  assert_refused("fd:999", -EBADF, "cannot listen on fd:999: bad file descriptor");
  assert_refused("unix:/nope/x", -ENOENT, "cannot listen on unix:/nope/x: no such file or directory");
}

/* The bits and the group of what a path with these options makes. */
static struct stat made_by(const char *options, mode_t mask) {
  char address[120], path[108];
  struct stat st;
  snprintf(address, sizeof address, "%s%s", socket_address(), options);
  unlink(socket_path());
  mode_t before = umask(mask);
  int fd = listen_on(address);
  umask(before);
  assert_int_equal(lstat(socket_path(), &st), 0);
  assert_true(mp_listen_path(address, path, sizeof path));
  assert_string_equal(path, socket_path());
  close(fd);
  close(listen_on(address)); /* stale now */
  unlink(path);
  return st;
}

static void a_local_socket_gets_its_mode_and_its_group(void **state) {
  char mine[40];
  (void)state;
  assert_int_equal(made_by("", 022).st_mode & 0777, 0755);
  assert_int_equal(made_by("?mode=660", 077).st_mode & 0777, 0660);
  assert_int_equal(made_by("?mode=0600", 0).st_mode & 0777, 0600);
  assert_int_equal(made_by("?mode=666", 022).st_mode & 0777, 0666);
  snprintf(mine, sizeof mine, "?group=%u", (unsigned)getgid());
  assert_int_equal(made_by(mine, 022).st_mode & 0777, 0770);
  snprintf(mine, sizeof mine, "?mode=620&group=%u", (unsigned)getgid());
  struct stat st = made_by(mine, 022);
  assert_int_equal(st.st_mode & 0777, 0620);
  assert_int_equal(st.st_gid, getgid());
}

static void wrong_options_of_a_local_socket_make_none(void **state) {
  static const char *const wrong[] = {"?",        "?mode", "?mode=",     "?mode=8", "?mode=1000", "?mode=660x",
                                      "?mode=-1", "?x=1",  "?mode=660&", "?group=", "?b"};
  char address[120], why[256];
  (void)state;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(address, sizeof address, "%s%s", socket_address(), wrong[i]);
    assert_int_equal(mp_listen(address, 16, why, sizeof why), -EINVAL);
    assert_non_null(strstr(why, "mode=OCTAL"));
    assert_int_equal(access(socket_path(), F_OK), -1);
  }
  snprintf(address, sizeof address, "%s?group=no such group", socket_address());
  assert_int_equal(mp_listen(address, 16, why, sizeof why), -ENOENT);
  assert_non_null(strstr(why, "there is no such group"));
  assert_int_equal(access(socket_path(), F_OK), -1);
}

static void an_abstract_name_makes_no_file(void **state) {
  char address[80], name[128], why[256], path[108];
  snprintf(address, sizeof address, "unix:@io_stream.%d", (int)getpid());
  int fd = listen_on(address);
  assert_string_equal(name_of(fd, name), address);
  assert_false(mp_listen_path(address, path, sizeof path));
  assert_int_equal(mp_listen(address, 16, why, sizeof why), -EADDRINUSE);
  serve_one(*state, fd);
  close(listen_on(address)); /* free again, with nothing left behind */
  assert_int_equal(mp_listen("unix:@", 16, why, sizeof why), -EINVAL);
  assert_int_equal(mp_listen("unix:@a?mode=660", 16, why, sizeof why), -EINVAL);
}

static void replaces_a_stale_socket_and_nothing_else(void **state) {
  char why[256];
  (void)state;
  unlink(socket_path());
  int first = listen_on(socket_address());
  assert_int_equal(mp_listen(socket_address(), 16, why, sizeof why), -EADDRINUSE);
  close(first); /* the file stays */
  close(listen_on(socket_address()));
  unlink(socket_path());
  int file = open(socket_path(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  close(file);
  assert_int_equal(mp_listen(socket_address(), 16, why, sizeof why), -EADDRINUSE);
  assert_int_equal(unlink(socket_path()), 0);
}

/* Signals -------------------------------------------------------------------------------------------------------- */

static bool heard;

static void on_signal(struct mp_signal *signal, int signo) {
  (void)signal;
  heard = signo == SIGUSR1;
}

static void posts_signals_on_the_loop(void **state) {
  struct fixture *f = *state;
  struct mp_signal signal, refused;
  assert_int_equal(mp_signal_open(&signal, &f->loop, SIGUSR1, on_signal), 0);
  raise(SIGUSR1);
  assert_true(turn_until(&f->loop, &heard, 5000));
  mp_signal_close(&signal);
  mp_signal_close(&signal);
  assert_int_equal(mp_signal_open(&refused, &f->loop, SIGKILL, on_signal), -EINVAL);
  turn_for(&f->loop, 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LOOP_TEST(reads_until_the_end),
      LOOP_TEST(may_close_while_reading),
      LOOP_TEST(sends_nothing_before_the_flush),
      LOOP_TEST(queues_what_the_kernel_does_not_take),
      LOOP_TEST(sends_what_it_does_not_own_and_keeps_what_has_to_wait),
      LOOP_TEST(half_closes_at_once_when_nothing_is_queued),
      LOOP_TEST(tells_later_that_it_is_broken),
      LOOP_TEST(says_nothing_after_close),
      LOOP_TEST(breaks_while_bytes_wait),
      LOOP_TEST(closes_with_bytes_still_queued),
      LOOP_TEST(refuses_what_is_no_stream),
      LOOP_TEST(listens_on_every_kind_of_address),
      LOOP_TEST(names_where_it_listens),
      LOOP_TEST(adopts_a_descriptor),
      LOOP_TEST(says_why_it_cannot_listen),
      LOOP_TEST(a_local_socket_gets_its_mode_and_its_group),
      LOOP_TEST(wrong_options_of_a_local_socket_make_none),
      LOOP_TEST(an_abstract_name_makes_no_file),
      LOOP_TEST(replaces_a_stale_socket_and_nothing_else),
      LOOP_TEST(posts_signals_on_the_loop),
  };
  mp_signal_begin();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
