#include "io/listener.h"
#include "base/err.h"
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  ACCEPTS_A_TURN = 8, /* then others' turn: those connected already, and the siblings */
  SHORT_REST_MS = 100 /* without descriptors or memory: ten tries a second cost nothing */
};

static void on_uv_poll(uv_poll_t *poll, int status, int events);

static int poll_on(struct mp_listener *listener) {
  if (listener->polling || listener->closing) return 0;
  int err = uv_poll_start(&listener->poll, UV_READABLE, on_uv_poll);
  listener->polling = err == 0;
  return err;
}

static void poll_off(struct mp_listener *listener) {
  if (listener->polling) uv_poll_stop(&listener->poll);
  listener->polling = false;
}

static void complain(struct mp_listener *listener, int err) {
  uint64_t now = mp_loop_now(listener->loop);
  char text[128];
  if (listener->complained_ms && now - listener->complained_ms < 1000) return;
  listener->complained_ms = now;
  mp_log(listener->loop->log, MP_LOG_ERROR, "io", "a connection could not be accepted: %s",
         mp_err_text(err, text, sizeof text));
}

static void rest_after(struct mp_listener *listener, int err) {
  complain(listener, err);
  mp_listener_rest(listener, SHORT_REST_MS);
}

static void on_rested(struct mp_timer *timer) {
  struct mp_listener *listener = MP_CONTAINER(timer, struct mp_listener, rest);
  int err = poll_on(listener);
  if (err < 0) rest_after(listener, err);
}

/* Errors of the one connection, which is gone (accept(2) lists them), not of the socket. */
static bool is_of_the_connection(int err) {
  switch (err) {
  case -ECONNABORTED:
  case -EINTR:
  case -EPROTO:
  case -ENOPROTOOPT:
  case -EPERM:
  case -ENETDOWN:
  case -ENETUNREACH:
  case -EHOSTDOWN:
  case -EHOSTUNREACH:
  case -ENONET:
  case -EOPNOTSUPP:
    return true;
  }
  return false;
}

static int accept_one(const struct mp_listener *listener, struct mp_address *peer) {
  union {
    struct sockaddr any;
    struct sockaddr_in6 six;
    struct sockaddr_un local;
  } at = {.any = {.sa_family = AF_UNSPEC}};
  socklen_t len = sizeof at;
  int fd = accept4(listener->fd, &at.any, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return -errno;
  *peer = mp_address_of(&at.any);
  return fd;
}

/* False: nothing more for now. */
static bool take_one(struct mp_listener *listener) {
  struct mp_address peer;
  if (listener->on_offer && !listener->on_offer(listener)) return false;
  int fd = accept_one(listener, &peer);
  if (fd >= 0)
    listener->on_connection(listener, fd, &peer);
  else if (fd == -EAGAIN)
    return false; /* a sibling was faster, or there are no more */
  else if (!is_of_the_connection(fd))
    rest_after(listener, fd);
  return true;
}

static void on_uv_poll(uv_poll_t *poll, int status, int events) {
  struct mp_listener *listener = poll->data;
  (void)events;
  mp_loop_woke(listener->loop);
  listener->wakes++;
  if (status < 0) {
    rest_after(listener, status);
    return;
  }
  for (unsigned n = 0; n < ACCEPTS_A_TURN && listener->polling; n++)
    if (!take_one(listener)) break;
}

int mp_listener_open(struct mp_listener *listener, struct mp_loop *loop, int fd) {
  listener->loop = loop;
  listener->fd = fd;
  listener->complained_ms = listener->wakes = 0;
  listener->opened = listener->polling = listener->closing = false;
  listener->poll.data = listener;
  int err = mp_timer_init(&listener->rest, &loop->timers, on_rested);
  if (err == 0) err = uv_poll_init(&loop->uv, &listener->poll, fd);
  listener->opened = err == 0;
  return err;
}

int mp_listener_start(struct mp_listener *listener) {
  mp_timer_stop(&listener->rest);
  return poll_on(listener);
}

void mp_listener_rest(struct mp_listener *listener, int ms) {
  if (listener->closing) return;
  poll_off(listener);
  if (ms < 0)
    mp_timer_stop(&listener->rest);
  else
    mp_timer_start(&listener->rest, (uint64_t)ms);
}

static void on_uv_closed(uv_handle_t *handle) {
  struct mp_listener *listener = handle->data;
  if (listener->on_closed) listener->on_closed(listener);
}

/* The descriptor may be closed only when libuv polls it no more; an open that failed has no handle to wait for. */
void mp_listener_close(struct mp_listener *listener) {
  if (listener->closing) return;
  poll_off(listener);
  listener->closing = true;
  mp_timer_deinit(&listener->rest);
  if (listener->fd >= 0) close(listener->fd);
  if (listener->opened)
    uv_close((uv_handle_t *)&listener->poll, on_uv_closed);
  else if (listener->on_closed)
    listener->on_closed(listener);
}
