/* listener.h - listening sockets: opened by the master, adopted by each worker.
 * An address is "HOST:PORT", ":PORT" (every address), "[::1]:PORT", "unix:PATH" (with "?mode=660&group=NAME" where the
 * file is to be others'), "unix:@NAME" (a name without a file) or "fd:N". */
#ifndef MP_IO_LISTENER_H
#define MP_IO_LISTENER_H

#include "base/address.h"
#include "io/stream.h"

/* A bound, listening, close-on-exec, non-blocking descriptor, or -errno; `why` gets a sentence that names the address
 * ("cannot listen on 127.0.0.1:80: permission denied"). -EINVAL: not an address. A stale unix socket that nobody
 * listens on is replaced; a live one is -EADDRINUSE. */
int mp_listen(const char *address, int backlog, char *why, unsigned size);

/* The file that listening on the address has made, for who removes it. False: it makes none. */
bool mp_listen_path(const char *address, char *out, unsigned size);

/* A unix socket at that path which nobody listens on any more; false for anything else. Waits for nobody. */
bool mp_listen_is_stale(const char *path);

/* "127.0.0.1:8080", "[::1]:8080", "unix:/path" or "unix:@name": where a listening descriptor really listens (port 0
 * resolved). */
int mp_listen_name(int fd, char *out, unsigned size);

/* One listening socket that this process accepts from. The kernel may offer one connection to several processes: who
 * takes it is decided here, before accept, so that nobody has to drop one that it cannot serve.
 *
 *   open ─ start ─► asks on_offer ─ true ─► accepts ─► on_connection
 *                      └ false: rests, as the callee has said by mp_listener_rest
 *
 * With no descriptor or no memory left it rests by itself, logs so (once a second), and tries again: connections wait
 * in the kernel's queue, or go to a sibling. */
struct mp_listener {
  uv_poll_t poll;
  struct mp_loop *loop; /* borrowed */
  int fd;               /* owned */
  struct mp_timer rest; /* until it polls again */
  /* Will we have the next connection? Asked when one waits, and again behind each that was taken, be there another or
   * not. False: mp_listener_rest was called, or it is asked again at once. May be NULL. */
  bool (*on_offer)(struct mp_listener *listener);
  /* A connected, non-blocking, close-on-exec descriptor, the callee's now. */
  void (*on_connection)(struct mp_listener *listener, int fd, const struct mp_address *peer);
  void (*on_closed)(struct mp_listener *listener);
  uint64_t complained_ms; /* when an accept that failed was last logged; 0: never */
  uint64_t wakes;         /* how often it was told that a connection waits */
  bool opened, polling, closing;
};

enum { MP_LISTENER_FOREVER = -1 };

/* Takes over a descriptor that listens already (inherited). 0 or -errno; then close is still needed, and calls
 * on_closed from within. The callbacks may be set before or after it. */
int mp_listener_open(struct mp_listener *listener, struct mp_loop *loop, int fd);
int mp_listener_start(struct mp_listener *listener); /* polls (again); harmless when it does */
/* Polls no more for `ms`, or until mp_listener_start. */
void mp_listener_rest(struct mp_listener *listener, int ms);
void mp_listener_close(struct mp_listener *listener);

#endif
