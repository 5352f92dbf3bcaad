#include "io/stream.h"
#include "base/check.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Bytes on their way: what uv_try_write left over. */
struct mp_stream_write {
  uv_write_t req;
  struct mp_stream *stream; /* borrowed: libuv calls back before the stream's handle is closed */
  struct mp_buf bytes;      /* owned */
};

static void free_write(struct mp_stream_write *w) {
  mp_buf_free(&w->bytes);
  free(w);
}

static bool is_writing(const struct mp_stream *stream) {
  return !stream->untold && stream->writing;
}

static void forget_broken(struct mp_stream *stream) {
  struct mp_stream **at = &mp_stream_loop(stream)->broken;
  if (!stream->untold) return;
  while (*at != stream) at = &(*at)->next_broken;
  *at = stream->next_broken;
  stream->untold = false;
  stream->writing = NULL;
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
  struct mp_loop *loop = mp_stream_loop(stream);
  stream->untold = true;
  stream->next_broken = loop->broken;
  loop->broken = stream;
  mp_loop_post(loop, &loop->tell_broken);
}

static void start_with(struct mp_stream *stream, const struct mp_stream_ops *ops) {
  stream->ops = ops;
  stream->out = (struct mp_buf){0};
  stream->writing = NULL;
  stream->err = 0;
  stream->reading = stream->closing = stream->untold = stream->shut = false;
}

/* Cannot fail: it makes no system call. */
static void init_handle(struct mp_stream *stream, struct mp_loop *loop) {
  int err = uv_tcp_init(&loop->uv, &stream->uv.tcp);
  MP_CHECK(err == 0);
  stream->uv.handle.data = stream;
}

/* Answers are written whole, so nothing is won by waiting for more of them. A socket that has been reset already
 * refuses; its reader will hear of it. */
static void send_at_once(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int open_as(struct mp_stream *stream, struct mp_loop *loop, int fd, bool known,
                   const struct mp_stream_ops *ops) {
  start_with(stream, ops);
  init_handle(stream, loop);
  int err = known ? uv_tcp_open(&stream->uv.tcp, fd) : -ENOTSUP;
  if (err == 0) return 0;
  if (fd >= 0) close(fd);
  mp_stream_close(stream);
  return err;
}

int mp_stream_open(struct mp_stream *stream, struct mp_loop *loop, int fd, const struct mp_stream_ops *ops) {
  uv_handle_type type = uv_guess_handle(fd);
  int err = open_as(stream, loop, fd, type == UV_TCP || type == UV_NAMED_PIPE, ops);
  if (err == 0 && type == UV_TCP) send_at_once(fd);
  return err;
}

int mp_stream_accepted(struct mp_stream *stream, struct mp_loop *loop, int fd, bool tcp,
                       const struct mp_stream_ops *ops) {
  int err = open_as(stream, loop, fd, true, ops);
  if (err == 0 && tcp) send_at_once(fd);
  return err;
}

int mp_stream_pipe(struct mp_stream *stream, struct mp_loop *loop, int fd, const struct mp_stream_ops *ops) {
  return open_as(stream, loop, fd, true, ops);
}

static void lend_scratch(uv_handle_t *handle, size_t wanted, uv_buf_t *buf) {
  struct mp_stream *stream = handle->data;
  size_t room = 0;
  (void)wanted;
  char *at = stream->ops->lend ? stream->ops->lend(stream, &room) : NULL;
  *buf = at ? uv_buf_init(at, (unsigned)room) : uv_buf_init(mp_stream_loop(stream)->scratch, MP_LOOP_SCRATCH);
}

static void on_uv_read(uv_stream_t *uv, ssize_t n, const uv_buf_t *buf) {
  struct mp_stream *stream = uv->data;
  if (n == 0) return; /* libuv's word for EAGAIN */
  mp_loop_woke(mp_stream_loop(stream));
  if (n < 0) mp_stream_read_stop(stream);
  stream->ops->on_read(stream, buf->base, n == UV_EOF ? 0 : n);
}

int mp_stream_read_start(struct mp_stream *stream) {
  if (stream->reading) return 0;
  if (stream->closing) return -EBADF;
  int err = uv_read_start(&stream->uv.stream, lend_scratch, on_uv_read);
  stream->reading = err == 0;
  return err;
}

void mp_stream_read_stop(struct mp_stream *stream) {
  if (!stream->reading) return;
  uv_read_stop(&stream->uv.stream);
  stream->reading = false;
}

int mp_stream_write(struct mp_stream *stream, struct mp_slice bytes) {
  if (stream->shut || stream->err || stream->closing) return -EPIPE;
  return mp_buf_add_slice(&stream->out, bytes);
}

static void drop_out(struct mp_stream *stream, int err) {
  stream->err = err;
  mp_buf_free(&stream->out);
}

static void half_close(struct mp_stream *stream) {
  /* ENOTSOCK: a pipe. ENOTCONN: the peer has reset it, which the reader hears of. */
  shutdown(mp_stream_fd(stream), SHUT_WR);
}

/* As much of `out` as the kernel takes now; only while no uv_write is under way, so nothing is overtaken. 0 or -errno.
 * SIGPIPE is ignored in every process of ours. */
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

static void on_uv_written(uv_write_t *req, int status);

/* What is left in `out` moves to a write that waits for the socket. 0 or -errno. */
static int write_later(struct mp_stream *stream) {
  struct mp_stream_write *w = malloc(sizeof *w);
  if (!w) return -ENOMEM;
  w->stream = stream;
  w->bytes = stream->out;
  uv_buf_t buf = uv_buf_init(mp_buf_at(&w->bytes), (unsigned)mp_buf_len(&w->bytes));
  int err = uv_write(&w->req, &stream->uv.stream, &buf, 1, on_uv_written);
  if (err < 0) {
    free(w);
    return err;
  }
  stream->out = (struct mp_buf){0};
  stream->writing = w;
  return 0;
}

/* 0: all that was queued is with the kernel, or waits for it; -errno: it can never be. */
static int push(struct mp_stream *stream) {
  int err = write_now(stream);
  if (err == 0 && mp_buf_len(&stream->out) > 0) return write_later(stream);
  if (err == 0 && stream->shut) half_close(stream);
  return err;
}

static void on_uv_written(uv_write_t *req, int status) {
  struct mp_stream_write *w = (struct mp_stream_write *)req;
  struct mp_stream *stream = w->stream;
  mp_loop_woke(mp_stream_loop(stream));
  stream->writing = NULL;
  free_write(w);
  if (stream->closing) return;
  if (status == 0) status = push(stream);
  if (status < 0) {
    drop_out(stream, status);
    stream->ops->on_broken(stream, status);
  } else if (!stream->writing && stream->ops->on_drained) {
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
  if (stream->closing || is_writing(stream) || mp_buf_len(&stream->out) == 0) return;
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
  int err = is_writing(stream) ? 0 : gather_now(stream, &bytes);
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

size_t mp_stream_queued(const struct mp_stream *stream) {
  return mp_buf_len(&stream->out) + (is_writing(stream) ? stream->uv.stream.write_queue_size : 0);
}

void mp_stream_shutdown(struct mp_stream *stream) {
  if (stream->shut || stream->closing) return;
  stream->shut = true;
  if (!stream->err && !is_writing(stream)) push_or_break(stream);
}

static void on_uv_closed(uv_handle_t *handle) {
  struct mp_stream *stream = handle->data;
  mp_buf_free(&stream->out);
  stream->ops->on_closed(stream);
}

void mp_stream_close(struct mp_stream *stream) {
  if (stream->closing) return;
  stream->closing = true;
  stream->reading = false;
  forget_broken(stream);
  uv_close(&stream->uv.handle, on_uv_closed);
}

int mp_stream_fd(const struct mp_stream *stream) {
  uv_os_fd_t fd;
  if (stream->closing || uv_fileno(&stream->uv.handle, &fd) < 0) return -1;
  return fd;
}
