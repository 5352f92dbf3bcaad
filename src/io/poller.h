/* poller.h - descriptors of which the loop is told when they are ready, in an epoll set of our own below libuv's.
 *
 * libuv's handle for a socket takes 248 bytes and its way from epoll to a callback some 250 instructions; a connection
 * needs neither. libuv watches the set as one descriptor, which costs one more system call a turn, not a connection. */
#ifndef MP_IO_POLLER_H
#define MP_IO_POLLER_H

#include <stdint.h>
#include <sys/epoll.h>
#include <uv.h>

struct mp_poller {
  int fd; /* owned */
  uv_poll_t handle;
  /* `who` as it was given to mp_poller_set; events of epoll (EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR). It may have been
   * taken out earlier in the same turn: its memory stays until the loop's posted work runs. */
  void (*on_ready)(void *who, uint32_t events);
};

/* 0 or -errno. */
int mp_poller_init(struct mp_poller *poller, uv_loop_t *uv, void (*on_ready)(void *who, uint32_t events));
/* Before the loop runs out its closing handles. */
void mp_poller_deinit(struct mp_poller *poller);

/* From `was` to `events`, level-triggered; 0 of either: not in the set. A descriptor must be taken out before it is
 * closed. 0 or -errno (ENOMEM, ENOSPC: fs.epoll.max_user_watches), and nothing has changed. */
int mp_poller_set(struct mp_poller *poller, int fd, uint32_t was, uint32_t events, void *who);

#endif
