#include "io/bell.h"
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Taking the edge off the inner epoll is all that is to be done. */
static void on_poll(uv_poll_t *poll, int status, int events) {
  struct mp_bell *bell = poll->data;
  struct epoll_event event;
  (void)status, (void)events;
  while (epoll_wait(bell->epoll, &event, 1, 0) < 0 && errno == EINTR) continue;
  bell->on_ring(bell);
}

static int watch(int fd) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLET};
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return -errno;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return epoll;
  int err = -errno;
  close(epoll);
  return err;
}

int mp_bell_open(struct mp_bell *bell, struct mp_loop *loop, int fd, void (*on_ring)(struct mp_bell *bell)) {
  bell->epoll = watch(fd);
  if (bell->epoll < 0) return bell->epoll;
  bell->on_ring = on_ring;
  bell->poll.data = bell;
  int err = uv_poll_init(&loop->uv, &bell->poll, bell->epoll);
  if (err < 0) {
    close(bell->epoll);
    return err;
  }
  return uv_poll_start(&bell->poll, UV_READABLE, on_poll); /* of a handle that is open: it cannot fail */
}

static void on_uv_closed(uv_handle_t *handle) {
  struct mp_bell *bell = handle->data;
  close(bell->epoll);
  bell->on_closed(bell);
}

void mp_bell_close(struct mp_bell *bell, void (*on_closed)(struct mp_bell *bell)) {
  bell->on_closed = on_closed;
  uv_poll_stop(&bell->poll);
  uv_close((uv_handle_t *)&bell->poll, on_uv_closed);
}
