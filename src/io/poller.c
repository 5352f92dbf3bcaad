#include "io/poller.h"
#include <errno.h>
#include <unistd.h>

enum { BATCH = 256 /* the others come with the next turn */ };

static void on_set_ready(uv_poll_t *handle, int status, int uv_events) {
  struct mp_poller *poller = handle->data;
  struct epoll_event events[BATCH];
  (void)status, (void)uv_events;
  int n = epoll_wait(poller->fd, events, BATCH, 0); /* less than 0: EINTR, and the set stays ready */
  for (int i = 0; i < n; i++) {
    struct mp_polled *polled = events[i].data.ptr;
    polled->on_ready(polled, events[i].events);
  }
}

int mp_poller_init(struct mp_poller *poller, uv_loop_t *uv) {
  poller->fd = epoll_create1(EPOLL_CLOEXEC);
  if (poller->fd < 0) return -errno;
  int err = uv_poll_init(uv, &poller->handle, poller->fd);
  if (err < 0) {
    close(poller->fd);
    return err;
  }
  poller->handle.data = poller;
  return uv_poll_start(&poller->handle, UV_READABLE, on_set_ready);
}

void mp_poller_deinit(struct mp_poller *poller) {
  uv_close((uv_handle_t *)&poller->handle, NULL); /* takes it out of libuv's set at once */
  close(poller->fd);
}

int mp_poller_set(struct mp_poller *poller, struct mp_polled *polled, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = polled};
  int op = !polled->events ? EPOLL_CTL_ADD : !events ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  if (polled->events == events) return 0;
  if (epoll_ctl(poller->fd, op, polled->fd, &event) < 0) return -errno;
  polled->events = events;
  return 0;
}
