#include "io/stream.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READS_MOST = 16 /* of one stream, before it is others' turn */ };

/* ---- what the kernel is asked to tell ---- */

static uint32_t wanted_of(const struct mp_stream *stream) {
  return (stream->reading ? EPOLLIN : 0U) | (stream->blocked ? EPOLLOUT : 0U);
}

static int watch(struct mp_stream *stream, uint32_t events) {
  return mp_poller_set(&stream->loop->poller, &stream->watch, events);
}

/* That reading has stopped is told when something comes that nobody reads: most often it starts again before. */
static int watch_on(struct mp_stream *stream) {
  return watch(stream, wanted_of(stream) | (stream->watch.events & EPOLLIN));
}

static void on_ready(struct mp_polled *watch, uint32_t events);

/* ---- broken, and closed ---- */

/* A stream stands in one of the two lists at most: what is closed is not told that it is broken. */
static void forget_broken(struct mp_stream *stream) {
  struct mp_stream **at = &stream->loop->broken;
  if (!stream->untold) return;
  while (*at != stream) at = &(*at)->next;
  *at = stream->next;
  stream->untold = false;
}

void mp_streams_tell_broken(struct mp_soon *soon) {
  struct mp_loop *loop = MP_CONTAINER(soon, struct mp_loop, tell_broken);
  while (loop->broken) {
    struct mp_stream *stream = loop->broken;
    forget_broken(stream);
    stream->ops->on_broken(stream, stream->err);
  }
}

static void tell_broken_later(struct mp_stream *stream) {
  struct mp_loop *loop = stream->loop;
  stream->untold = true;
  stream->next = loop->broken;
  loop->broken = stream;
  mp_loop_post(loop, &loop->tell_broken);
}

void mp_streams_tell_closed(struct mp_soon *soon) {
  struct mp_loop *loop = MP_CONTAINER(soon, struct mp_loop, tell_closed);
  while (loop->closed) {
    struct mp_stream *stream = loop->closed;
    loop->closed = stream->next;
    mp_buf_free(&stream->out);
    stream->ops->on_closed(stream);
  }
}

void mp_stream_close(struct mp_stream *stream) {
  struct mp_loop *loop = stream->loop;
  if (stream->closing) return;
  forget_broken(stream);
  stream->reading = stream->blocked = false;
  if (stream->watch.fd >= 0) {
    watch(stream, 0);
    close(stream->watch.fd);
  }
  stream->watch.fd = -1;
  stream->closing = true;
  stream->next = loop->closed;
  loop->closed = stream;
  mp_loop_post(loop, &loop->tell_closed);
}

/* ---- opening ---- */

/* Answers are written whole, so nothing is won by waiting for more of them. A socket that has been reset already
 * refuses; its reader will hear of it. */
static void send_at_once(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void start_with(struct mp_stream *stream, struct mp_loop *loop, int fd, const struct mp_stream_ops *ops) {
  *stream = (struct mp_stream){.watch = {on_ready, fd, 0}, .ops = ops, .loop = loop};
}

static int fail_opening(struct mp_stream *stream, int err) {
  mp_stream_close(stream);
  return err;
}

static int open_as(struct mp_stream *stream, struct mp_loop *loop, int fd, uv_handle_type type,
                   const struct mp_stream_ops *ops) {
  int on = 1;
  start_with(stream, loop, fd, ops);
  if (type != UV_TCP && type != UV_NAMED_PIPE) return fail_opening(stream, -ENOTSUP);
  if (ioctl(fd, FIONBIO, &on) < 0) return fail_opening(stream, -errno);
  if (type == UV_TCP) send_at_once(fd);
  return 0;
}

int mp_stream_open(struct mp_stream *stream, struct mp_loop *loop, int fd, const struct mp_stream_ops *ops) {
  return open_as(stream, loop, fd, uv_guess_handle(fd), ops);
}

int mp_stream_pipe(struct mp_stream *stream, struct mp_loop *loop, int fd, const struct mp_stream_ops *ops) {
  return open_as(stream, loop, fd, UV_NAMED_PIPE, ops);
}

int mp_stream_accepted(struct mp_stream *stream, struct mp_loop *loop, int fd, bool tcp,
                       const struct mp_stream_ops *ops) {
  start_with(stream, loop, fd, ops);
  if (tcp) send_at_once(fd);
  return 0;
}

/* ---- reading ---- */

static void end_reading(struct mp_stream *stream, ssize_t n) {
  mp_stream_read_stop(stream);
  stream->ops->on_read(stream, NULL, n);
}

/* False: nothing more is there, or nobody wants it. `to_end`: the end is known to be behind what is there. */
static bool read_once(struct mp_stream *stream, bool to_end) {
  size_t room = 0;
  char *at = stream->ops->lend ? stream->ops->lend(stream, &room) : NULL;
  if (!at) at = stream->loop->scratch, room = MP_LOOP_SCRATCH;
  ssize_t n = read(stream->watch.fd, at, room);
  if (n < 0 && errno == EINTR) return true;
  if (n < 0 && errno == EAGAIN) return false;
  if (n <= 0) {
    end_reading(stream, n < 0 ? -errno : 0);
    return false;
  }
  stream->ops->on_read(stream, at, n);
  return stream->reading && (to_end || (size_t)n == room);
}

int mp_stream_read_start(struct mp_stream *stream) {
  if (stream->reading) return 0;
  if (stream->closing) return -EBADF;
  stream->reading = true;
  int err = watch_on(stream);
  stream->reading = err == 0;
  return err;
}

void mp_stream_read_stop(struct mp_stream *stream) {
  stream->reading = false;
}

/* ---- writing ---- */

int mp_stream_write(struct mp_stream *stream, struct mp_slice bytes) {
  if (stream->shut || stream->err || stream->closing) return -EPIPE;
  return mp_buf_add_slice(&stream->out, bytes);
}

static void drop_out(struct mp_stream *stream, int err) {
  stream->err = err;
  stream->blocked = false;
  mp_buf_free(&stream->out);
}

static void half_close(struct mp_stream *stream) {
  /* ENOTSOCK: a pipe. ENOTCONN: the peer has reset it, which the reader hears of. */
  shutdown(mp_stream_fd(stream), SHUT_WR);
}

/* As much of `out` as the kernel takes now. 0 or -errno. SIGPIPE is ignored in every process of ours. */
static int write_now(struct mp_stream *stream) {
  int fd = mp_stream_fd(stream);
  while (mp_buf_len(&stream->out) > 0) {
    ssize_t n = write(fd, mp_buf_at(&stream->out), mp_buf_len(&stream->out));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN ? 0 : -errno;
    mp_buf_take(&stream->out, (size_t)n);
  }
  return 0;
}

/* 0: all that was queued is with the kernel, or waits for it; -errno: it can never be. */
static int push(struct mp_stream *stream) {
  int err = write_now(stream);
  stream->blocked = err == 0 && mp_buf_len(&stream->out) > 0;
  if (err == 0 && (stream->blocked || (stream->watch.events & EPOLLOUT))) err = watch_on(stream);
  if (err == 0 && stream->shut && !stream->blocked) half_close(stream);
  return err;
}

static void go_on_writing(struct mp_stream *stream) {
  int err = push(stream);
  if (err < 0) {
    drop_out(stream, err);
    stream->ops->on_broken(stream, err);
  } else if (!stream->blocked && stream->ops->on_drained) {
    stream->ops->on_drained(stream);
  }
}

static void push_or_break(struct mp_stream *stream) {
  int err = push(stream);
  if (err == 0) return;
  drop_out(stream, err);
  tell_broken_later(stream);
}

void mp_stream_flush(struct mp_stream *stream) {
  if (stream->err) mp_buf_free(&stream->out);
  if (stream->closing || stream->blocked || mp_buf_len(&stream->out) == 0) return;
  push_or_break(stream);
}

/* `out` and then `bytes`, as much as the kernel takes now; what is left of `bytes`, which are not copied. 0 or -errno.
 */
static int gather_now(struct mp_stream *stream, struct mp_slice *bytes) {
  struct mp_buf *out = &stream->out;
  while (bytes->len > 0) {
    size_t ahead = mp_buf_len(out);
    struct iovec parts[] = {{ahead ? mp_buf_at(out) : NULL, ahead}, {(void *)(uintptr_t)bytes->at, bytes->len}};
    ssize_t n = writev(mp_stream_fd(stream), parts, 2);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN ? 0 : -errno;
    size_t of_out = (size_t)n < ahead ? (size_t)n : ahead;
    mp_buf_take(out, of_out);
    *bytes = mp_slice(bytes->at + ((size_t)n - of_out), bytes->len - ((size_t)n - of_out));
  }
  return 0;
}

/* A part of the bytes may be gone already: then a queue that cannot grow can only break. */
int mp_stream_send(struct mp_stream *stream, struct mp_slice bytes) {
  size_t all = bytes.len;
  if (stream->shut || stream->err || stream->closing) return -EPIPE;
  int err = stream->blocked ? 0 : gather_now(stream, &bytes);
  if (err == 0) err = mp_buf_add_slice(&stream->out, bytes);
  if (err == -ENOMEM && bytes.len == all) return err;
  if (err < 0) {
    drop_out(stream, err);
    tell_broken_later(stream);
  } else {
    mp_stream_flush(stream);
  }
  return 0;
}

void mp_stream_shutdown(struct mp_stream *stream) {
  if (stream->shut || stream->closing) return;
  stream->shut = true;
  if (!stream->err && !stream->blocked) push_or_break(stream);
}

/* ---- what the kernel tells ---- */

static void on_ready(struct mp_polled *at, uint32_t events) {
  struct mp_stream *stream = MP_CONTAINER(at, struct mp_stream, watch);
  bool gone = events & (EPOLLHUP | EPOLLERR), reads = stream->reading, writes = stream->blocked;
  if (stream->closing) return;
  if (((events & EPOLLIN) && !reads) || (gone && !reads && !writes)) watch(stream, wanted_of(stream));
  if (!reads && !writes) return;
  mp_loop_woke(stream->loop);
  if (reads && (gone || (events & EPOLLIN)))
    for (int i = 0; i < READS_MOST && read_once(stream, gone); i++) continue;
  if (stream->blocked && (gone || (events & EPOLLOUT))) go_on_writing(stream);
}
