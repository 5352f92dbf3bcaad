/* listener.h - listening sockets: opened by the master, adopted by each worker.
 * An address is "HOST:PORT", ":PORT" (every address), "[::1]:PORT", "unix:PATH" or "fd:N". */
#ifndef MP_IO_LISTENER_H
#define MP_IO_LISTENER_H

#include "io/stream.h"

/* A bound, listening, close-on-exec, non-blocking descriptor, or -errno; `why` gets a sentence that names the address
 * ("cannot listen on 127.0.0.1:80: permission denied"). -EINVAL: not an address. A stale unix socket that nobody
 * listens on is replaced; a live one is -EADDRINUSE. */
int mp_listen(const char *address, int backlog, char *why, unsigned size);

/* "127.0.0.1:8080", "[::1]:8080" or "unix:/path": where a listening descriptor really listens (port 0 resolved). */
int mp_listen_name(int fd, char *out, unsigned size);

struct mp_listener {
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } uv;
  struct mp_loop *loop; /* borrowed */
  /* A connection waits: call mp_stream_accept once, or it will not be asked again. */
  void (*on_connection)(struct mp_listener *listener);
  void (*on_closed)(struct mp_listener *listener);
  uint64_t complained_ms; /* when an accept that failed was last logged; 0: never */
  bool closing;
};

/* Takes over a descriptor that listens already (inherited). 0 or -errno; then close is still needed. The callbacks may
 * be set before or after it. A connection that cannot be accepted (no descriptor left) is logged, once a second. */
int mp_listener_open(struct mp_listener *listener, struct mp_loop *loop, int fd);
int mp_listener_start(struct mp_listener *listener, int backlog);
void mp_listener_close(struct mp_listener *listener);

#endif
