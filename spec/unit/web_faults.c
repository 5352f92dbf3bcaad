/* Memory, reads, writes and accepts that fail, each in turn: what a client gets is right or cut, never wrong, and
 * nothing is leaked. Linked with --wrap, so that every call of the server's own code passes here; libuv, which aborts
 * without memory, keeps the real allocator. */
#define TOY_CALLS 16
#include "web_toy.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
ssize_t __real_read(int fd, void *to, size_t n);
ssize_t __real_write(int fd, const void *from, size_t n);
ssize_t __real_writev(int fd, const struct iovec *pieces, int n);
int __real_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n);
ssize_t __wrap_writev(int fd, const struct iovec *pieces, int n);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags);

/* ---- what fails ---- */

enum what { MEMORY, READ, WRITE, ACCEPT };

static struct {
  enum what what;
  int armed; /* only the server's turns, not the client's */
  int left;  /* calls that still work; then one fails, or all */
  int err;
  bool ever; /* every one from there on */
  bool fired;
} fault;

static bool fails(enum what what) {
  if (!fault.armed || fault.what != what) return false;
  if (fault.left-- > 0) return false;
  if (fault.left < -1 && !fault.ever) return false;
  fault.fired = true;
  errno = fault.err;
  return true;
}

void *__wrap_malloc(size_t n) {
  return fails(MEMORY) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size) {
  return fails(MEMORY) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n) {
  return fails(MEMORY) ? NULL : __real_realloc(p, n);
}

/* libuv's own pipes and event descriptors are not what fails here. */
static bool is_socket(int fd) {
  int type;
  socklen_t len = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

ssize_t __wrap_read(int fd, void *to, size_t n) {
  return is_socket(fd) && fails(READ) ? -1 : __real_read(fd, to, n);
}

ssize_t __wrap_write(int fd, const void *from, size_t n) {
  return is_socket(fd) && fails(WRITE) ? -1 : __real_write(fd, from, n);
}

ssize_t __wrap_writev(int fd, const struct iovec *pieces, int n) {
  return is_socket(fd) && fails(WRITE) ? -1 : __real_writev(fd, pieces, n);
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags) {
  return fails(ACCEPT) ? -1 : __real_accept4(fd, address, len, flags);
}

/* ---- one conversation ---- */

static const char requests[] = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"
                               "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde"
                               "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "3\r\nxyz\r\n0\r\n\r\n"
                               "GET /held HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n"
                               "GET /stream/40000 HTTP/1.1\r\nHost: h\r\n\r\n"
                               "BAD\r\n\r\n";

static void armed_turn(struct toy *toy) {
  fault.armed = 1;
  turn(toy);
  fault.armed = 0;
}

static void talk(struct client *client, size_t step) {
  for (size_t at = 0; at < sizeof requests - 1; at += step) {
    size_t n = sizeof requests - 1 - at < step ? sizeof requests - 1 - at : step;
    if (client->fd >= 0 && send(client->fd, requests + at, n, MSG_NOSIGNAL) < 0) return;
    armed_turn(client->toy);
  }
}

/* The app's own answer to /held: packed text, whole or in pieces. */
static void answer_held(struct toy_call *call, bool streams) {
  static char text[3000];
  memset(text, 'h', sizeof text);
  fault.armed = 1;
  struct mp_reply *reply = &call->ex->reply;
  int err = mp_reply_set(reply, MP_SLICE("Content-Type"), MP_SLICE("text/plain"));
  if (err == 0 && streams) err = mp_exchange_write(call->ex, mp_slice(text, sizeof text));
  if (err == 0) err = streams ? mp_exchange_end(call->ex) : mp_exchange_send(call->ex, mp_slice(text, sizeof text));
  finish(call, err < 0);
  fault.armed = 0;
}

/* ---- what a client may have got ---- */

/* A prefix of the right answers, each of which may instead be a refusal that ends the connection. */
static void check_hello(const char *text) {
  if (strncmp(text, "HTTP/1.1 200 OK\r\n", 17) != 0) {
    assert_true(strncmp(text, "HTTP/1.1 503 ", 13) == 0 || *text == '\0');
    return;
  }
  const char *body = strstr(text, "\r\n\r\n");
  if (!body) return;
  assert_non_null(strstr(text, "Content-Length: 6\r\n"));
  assert_true(strncmp(body + 4, "/hello", strlen(body + 4) < 6 ? strlen(body + 4) : 6) == 0);
}

/* Answers come in the order of their requests; one may be a refusal instead. */
static void check_answers(struct client *client) {
  static const char *const texts[] = {"\r\n\r\nabcde", "\r\n\r\nxyz", "ssss"};
  const char *text = mp_buf_len(&client->got) ? mp_buf_at(&client->got) : "", *last = text;
  check_hello(text);
  for (int i = 0; i < 3; i++) {
    const char *at = strstr(text, texts[i]);
    assert_true(!at || at > last);
    if (at) last = at;
  }
}

static bool is_over(struct toy *toy, struct client *client, bool streams) {
  for (int i = 0; i < toy->n_calls; i++)
    if (toy->calls[i].ex && is_at(&toy->calls[i], "/held")) answer_held(&toy->calls[i], streams);
  return saw_end(client);
}

/* True when the fault was met. */
static bool converse(const char *path, enum what what, int err, int after, bool ever, size_t step, bool streams) {
  struct mp_server_config config = toy_config;
  config.compress = true;
  struct toy *toy = toy_open(&config, path);
  fault.what = what, fault.err = err, fault.left = after, fault.ever = ever, fault.fired = false;
  struct client client = client_open(toy);
  talk(&client, step);
  uint64_t late = clock_ms() + 3000;
  bool over = false;
  while (!over && clock_ms() < late) {
    armed_turn(toy);
    over = is_over(toy, &client, streams);
    if (fault.fired && fault.ever && toy->server.n_conns == 0) break; /* as long as it lasts nobody is let in */
  }
  check_answers(&client);
  bool fired = fault.fired;
  assert_true(over || fired);
  client_close(&client);
  toy_close(toy);
  return fired;
}

/* After it has failed the server is as well as before: it was a fault of one call. */
static void each_in_turn(enum what what, int err, bool ever, size_t step, bool streams) {
  int k = 0;
  while (converse(NULL, what, err, k, ever, step, streams)) assert_true(++k < 2000);
  assert_true(k > 0);
}

/* ---- */

static void each_allocation_may_fail_once(void **state) {
  (void)state;
  each_in_turn(MEMORY, ENOMEM, false, sizeof requests, false);
  each_in_turn(MEMORY, ENOMEM, false, sizeof requests, true);
  each_in_turn(MEMORY, ENOMEM, false, 37, false);
}

static void all_allocations_may_fail_from_one_on(void **state) {
  (void)state;
  each_in_turn(MEMORY, ENOMEM, true, sizeof requests, true);
  each_in_turn(MEMORY, ENOMEM, true, 50, false);
}

static void each_read_may_fail(void **state) {
  (void)state;
  each_in_turn(READ, ECONNRESET, false, 50, false);
  each_in_turn(READ, ETIMEDOUT, false, 50, true);
  each_in_turn(READ, EAGAIN, false, 50, true);
  each_in_turn(READ, EINTR, false, 50, true);
}

static void each_write_may_fail(void **state) {
  (void)state;
  each_in_turn(WRITE, EPIPE, false, 50, false);
  each_in_turn(WRITE, ECONNRESET, false, sizeof requests, true);
  each_in_turn(WRITE, EAGAIN, false, 50, true);
  each_in_turn(WRITE, EINTR, false, 50, true);
}

static void each_accept_may_fail(void **state) {
  (void)state;
  each_in_turn(ACCEPT, ECONNABORTED, false, sizeof requests, false);
  each_in_turn(ACCEPT, EMFILE, false, sizeof requests, false);
  each_in_turn(ACCEPT, ENFILE, false, sizeof requests, false);
}

static void *allocate(size_t n) {
  return __real_malloc(n);
}

static void *allocate_zeroed(size_t n, size_t size) {
  return __real_calloc(n, size);
}

static void *allocate_again(void *p, size_t n) {
  return __real_realloc(p, n);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_allocation_may_fail_once),
      cmocka_unit_test(all_allocations_may_fail_from_one_on),
      cmocka_unit_test(each_read_may_fail),
      cmocka_unit_test(each_write_may_fail),
      cmocka_unit_test(each_accept_may_fail),
  };
  uv_replace_allocator(allocate, allocate_again, allocate_zeroed, free);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
