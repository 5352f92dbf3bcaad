/* stream.h - bytes in and out of a connected socket or a pipe, with a bounded queue of what is still to be written.
 *
 * Owned by the caller, inside a struct of the room above; open, then close, and free only in on_closed. close may be
 * called twice, from anywhere, callbacks included; no other callback follows it but on_closed. */
#ifndef MP_IO_STREAM_H
#define MP_IO_STREAM_H

#include "base/buf.h"
#include "io/loop.h"

struct mp_stream;

struct mp_stream_ops {
  /* n > 0: bytes, borrowed for the call (they lie in the loop's scratch, or where lend said); n == 0: end of file;
   * n < 0: -errno. */
  void (*on_read)(struct mp_stream *stream, const char *bytes, ssize_t n);
  /* Where the next bytes are to go, and how many at most; NULL: into the loop's scratch. Nothing happens to the stream
   * before on_read, which may not come. May be NULL. */
  char *(*lend)(struct mp_stream *stream, size_t *room);
  /* All that was queued is with the kernel. May be NULL. */
  void (*on_drained)(struct mp_stream *stream);
  /* The queue can never be written: -errno (EPIPE, ECONNRESET). What was queued is dropped. */
  void (*on_broken)(struct mp_stream *stream, int err);
  void (*on_closed)(struct mp_stream *stream);
};

struct mp_stream {
  struct mp_polled watch;          /* of its descriptor, which is owned; -1 when closed */
  const struct mp_stream_ops *ops; /* static */
  struct mp_loop *loop;            /* borrowed: outlives the stream */
  struct mp_stream *next;          /* with `untold` or `closing`: of the loop's list; borrowed until told */
  struct mp_buf out;               /* owned: what the kernel has not taken yet; callers append here, then flush */
  int err;                         /* why nothing can be written any more, or 0 */
  bool reading;
  bool blocked; /* the kernel takes no more of `out` for now */
  bool closing;
  bool untold; /* a flush has found that it is broken: on_broken is still to be called */
  bool shut;   /* no more bytes will be queued; half-close when all is written */
};

/* Takes over the descriptor, a socket or a pipe end, whatever it returns. 0 or -errno; on an error the stream is
 * closing already, so the caller only waits for on_closed. */
int mp_stream_open(struct mp_stream *stream, struct mp_loop *loop, int fd, const struct mp_stream_ops *ops);
/* The same for a socket that accept gave: connected, close-on-exec, non-blocking. */
int mp_stream_accepted(struct mp_stream *stream, struct mp_loop *loop, int fd, bool tcp,
                       const struct mp_stream_ops *ops);

/* The same for our end of a pipe that was just made. */
int mp_stream_pipe(struct mp_stream *stream, struct mp_loop *loop, int fd, const struct mp_stream_ops *ops);

int mp_stream_read_start(struct mp_stream *stream); /* harmless when reading */
void mp_stream_read_stop(struct mp_stream *stream);

/* Appends to `out`; sends nothing before mp_stream_flush. 0 or -ENOMEM; -EPIPE once shut, broken or closing. */
int mp_stream_write(struct mp_stream *stream, struct mp_slice bytes);

/* Hands `out` to the kernel, the rest waits for the socket. Errors come by on_broken, never from within flush: it
 * posts. on_drained is only called for what did not go out at once. */
void mp_stream_flush(struct mp_stream *stream);

/* As write and flush, but what the kernel takes at once is not copied. 0; -ENOMEM and nothing is sent; -EPIPE. */
int mp_stream_send(struct mp_stream *stream, struct mp_slice bytes);

/* Bytes not yet with the kernel. */
static inline size_t mp_stream_queued(const struct mp_stream *stream) {
  return mp_buf_len(&stream->out);
}

/* Half-close once everything queued is written. A pipe knows no half: its owner closes it when it has drained. */
void mp_stream_shutdown(struct mp_stream *stream);

void mp_stream_close(struct mp_stream *stream);

static inline int mp_stream_fd(const struct mp_stream *stream) { /* -1 when closed */
  return stream->watch.fd;
}

/* Borrowed: outlives the stream. */
static inline struct mp_loop *mp_stream_loop(const struct mp_stream *stream) {
  return stream->loop;
}

#endif
