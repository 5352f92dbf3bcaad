/* poller.h - descriptors of which the loop is told when they are ready, in an epoll set of our own below libuv's.
 *
 * libuv's handle for a socket takes 248 bytes and its way from epoll to a callback some 250 instructions; a connection
 * needs neither. libuv watches the set as one descriptor, which costs one more system call a turn, not a connection. */
#ifndef MP_IO_POLLER_H
#define MP_IO_POLLER_H

#include <stdint.h>
#include <sys/epoll.h>
#include <uv.h>

/* One descriptor; inside a struct of its owner, who sets the first two and clears `events`. */
struct mp_polled {
  /* Events of epoll: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR. It may have been taken out earlier in the same turn: the
   * memory of a watch that others take out stays until the loop's posted work runs. */
  void (*on_ready)(struct mp_polled *watch, uint32_t events);
  int fd;          /* borrowed */
  uint32_t events; /* what the kernel was asked to tell, level-triggered; 0: not in the set */
};

struct mp_poller {
  int fd; /* owned */
  uv_poll_t handle;
};

/* 0 or -errno. */
int mp_poller_init(struct mp_poller *poller, uv_loop_t *uv);
/* Before the loop runs out its closing handles. */
void mp_poller_deinit(struct mp_poller *poller);

/* From now on `events`; to 0 it goes before the descriptor is closed, and then it cannot fail. 0 or -errno (ENOMEM,
 * ENOSPC: fs.epoll.max_user_watches), and nothing has changed. */
int mp_poller_set(struct mp_poller *poller, struct mp_polled *polled, uint32_t events);

#endif
