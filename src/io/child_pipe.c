#include "io/child_pipe.h"
#include "base/check.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct mp_child_stream *pipe_of(struct mp_stream *stream) {
  return MP_CONTAINER(stream, struct mp_child_stream, stream);
}

/* The first max_output bytes; what comes behind them is read and forgotten, so that the child is not held up. */
static void keep(struct mp_child_stream *s, const char *bytes, size_t n) {
  struct mp_child *child = s->child;
  size_t room = child->max_output - mp_buf_len(&s->collected), taken = n < room ? n : room;
  bool whole = mp_buf_add(&s->collected, bytes, taken) == 0 && taken == n;
  if (whole || s->truncated) return;
  s->truncated = true;
  mp_child_over_limit(child);
}

static void end_pipe(struct mp_child_stream *s) {
  mp_stream_close(&s->stream);
  if (s->ended) return;
  s->ended = true;
  s->end_due = s->wanted;
}

static void take(struct mp_child_stream *s, const char *bytes, size_t n) {
  struct mp_child *child = s->child;
  if (s->cut) {
    if (n > s->left) n = s->left;
    s->left -= (uint32_t)n;
  }
  if (s->collect)
    keep(s, bytes, n);
  else if (s->wanted)
    child->ops->on_output(child, (enum mp_child_pipe)s->which, bytes, n);
  else
    child->discarded += n;
  if (s->cut && s->left == 0) end_pipe(s);
}

static void on_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct mp_child_stream *s = pipe_of(stream);
  if (n > 0) take(s, bytes, (size_t)n);
  if (n < 0) s->truncated = true;
  if (n <= 0) end_pipe(s);
  if (s->ended) mp_child_advance(s->child);
}

/* What is still queued can never be written. */
static void close_input(struct mp_child_stream *s) {
  if (s->stream.err || mp_stream_queued(&s->stream) > 0) s->lost = true;
  mp_stream_close(&s->stream);
}

static void on_drained(struct mp_stream *stream) {
  struct mp_child_stream *s = pipe_of(stream);
  if (s->shut) close_input(s);
  mp_child_advance(s->child);
}

/* EPIPE is the child's right: it need not read. */
static void on_broken(struct mp_stream *stream, int err) {
  struct mp_child_stream *s = pipe_of(stream);
  if (err != -EPIPE)
    mp_log(mp_stream_loop(stream)->log, MP_LOG_WARN, "io", "input of a process cut short pid=%d error=%d",
           s->child->proc.pid, err);
  close_input(s);
  mp_child_advance(s->child);
}

static void free_pipe(struct mp_child_stream *s) {
  mp_buf_free(&s->collected);
  free(s);
}

static void on_closed(struct mp_stream *stream) {
  struct mp_child_stream *s = pipe_of(stream);
  if (!s->child) {
    free_pipe(s);
    return;
  }
  s->child->handles--;
  mp_child_advance(s->child);
}

static const struct mp_stream_ops pipe_ops = {
    .on_read = on_read, .on_drained = on_drained, .on_broken = on_broken, .on_closed = on_closed};

/* Each end has a file description of its own, so ours can be non-blocking and theirs is not. */
static int open_pipe(struct mp_child *child, enum mp_child_pipe which, int *theirs) {
  int ends[2];
  struct mp_child_stream *s = calloc(1, sizeof *s);
  if (!s) return -ENOMEM;
  if (pipe2(ends, O_CLOEXEC) < 0) {
    int err = -errno;
    free(s);
    return err;
  }
  int ours = ends[which == MP_CHILD_STDIN];
  *theirs = ends[which != MP_CHILD_STDIN];
  s->which = (uint8_t)which;
  int err = mp_stream_pipe(&s->stream, child->loop, ours, &pipe_ops);
  if (err < 0) return err; /* closing; nobody's child, so it frees itself */
  s->child = child;
  child->pipes[which] = s;
  child->handles++;
  return 0;
}

static int open_input(struct mp_child *child, const struct mp_child_spec *spec, int *theirs) {
  if (MP_BUG(spec->has_input && !spec->pipe[0])) return -EINVAL;
  if (!spec->pipe[0]) return 0;
  int err = open_pipe(child, MP_CHILD_STDIN, theirs);
  if (err < 0 || !spec->has_input) return err;
  child->pipes[0]->shut = true;
  return mp_stream_write(&child->pipes[0]->stream, spec->input);
}

static int open_output(struct mp_child *child, const struct mp_child_spec *spec, enum mp_child_pipe which,
                       int *theirs) {
  if (MP_BUG(spec->collect[which] && !spec->pipe[which])) return -EINVAL;
  if (!spec->pipe[which]) return 0;
  int err = open_pipe(child, which, theirs);
  if (err < 0 || !spec->collect[which]) return err;
  child->pipes[which]->collect = true;
  return mp_stream_read_start(&child->pipes[which]->stream);
}

int mp_child_pipes_open(struct mp_child *child, const struct mp_child_spec *spec, int theirs[3]) {
  int err = open_input(child, spec, &theirs[0]);
  if (err == 0) err = open_output(child, spec, MP_CHILD_STDOUT, &theirs[1]);
  if (err == 0 && !spec->merge_stderr) err = open_output(child, spec, MP_CHILD_STDERR, &theirs[2]);
  return err;
}

void mp_child_pipes_abandon(struct mp_child *child) {
  for (int i = 0; i < 3; i++) {
    if (!child->pipes[i]) continue;
    child->pipes[i]->child = NULL;
    mp_stream_close(&child->pipes[i]->stream);
    child->pipes[i] = NULL;
  }
}

/* No writer is left; there may be bytes. */
static bool has_hung_up(const struct mp_child_stream *s) {
  struct pollfd at = {.fd = mp_stream_fd(&s->stream), .events = 0};
  return poll(&at, 1, 0) == 1 && (at.revents & POLLHUP);
}

/* At its end, or closed by its owner. */
static bool is_over(const struct mp_child_stream *s) {
  return !s || s->stream.closing;
}

static bool is_done(const struct mp_child_stream *s) {
  return is_over(s) || (!s->stream.reading && has_hung_up(s));
}

bool mp_child_pipes_done(const struct mp_child *child) {
  return is_done(child->pipes[1]) && is_done(child->pipes[2]);
}

bool mp_child_pipes_unwatched(const struct mp_child *child) {
  for (int i = 1; i < 3; i++)
    if (!is_done(child->pipes[i]) && !child->pipes[i]->stream.reading) return true;
  return false;
}

bool mp_child_pipes_held(const struct mp_child *child) {
  for (int i = 1; i < 3; i++)
    if (!is_over(child->pipes[i]) && !has_hung_up(child->pipes[i])) return true;
  return false;
}

static uint32_t bytes_in(const struct mp_child_stream *s) {
  int n = 0;
  return ioctl(mp_stream_fd(&s->stream), FIONREAD, &n) < 0 || n < 0 ? 0 : (uint32_t)n;
}

/* No more than what was there: a writer that is left could go on for ever. */
static void take_the_rest(struct mp_child_stream *s) {
  struct mp_loop *loop = s->child->loop;
  uint32_t left = bytes_in(s);
  while (left > 0 && !s->ended) {
    ssize_t n = read(mp_stream_fd(&s->stream), loop->scratch, left < MP_LOOP_SCRATCH ? left : MP_LOOP_SCRATCH);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    left -= (uint32_t)n;
    take(s, loop->scratch, (size_t)n);
  }
  end_pipe(s);
}

/* Its owner reads at a pace of his own: what is there is his. */
static void cut_pipe(struct mp_child_stream *s) {
  s->cut = true;
  s->left = bytes_in(s);
  if (s->left == 0) end_pipe(s);
}

static void finish_pipe(struct mp_child_stream *s) {
  if (is_over(s)) return;
  if (s->collect || (s->discard && !s->wanted))
    take_the_rest(s);
  else if (!has_hung_up(s))
    cut_pipe(s);
}

void mp_child_pipes_finish(struct mp_child *child) {
  if (child->pipes[0]) close_input(child->pipes[0]);
  finish_pipe(child->pipes[1]);
  finish_pipe(child->pipes[2]);
}

static void tell_input(struct mp_child *child, struct mp_child_stream *s) {
  if (!s || !s->due || (!s->lost && mp_stream_queued(&s->stream) > 0)) return;
  s->due = false;
  if (child->ops->on_input) child->ops->on_input(child, s->lost ? -EPIPE : 0);
}

static void tell_end(struct mp_child *child, struct mp_child_stream *s) {
  if (!s || !s->end_due || !s->wanted || child->closing) return;
  s->end_due = false;
  child->ops->on_output(child, (enum mp_child_pipe)s->which, NULL, 0);
}

void mp_child_pipes_tell(struct mp_child *child) {
  if (child->closing) return;
  tell_input(child, child->pipes[0]);
  tell_end(child, child->pipes[1]);
  tell_end(child, child->pipes[2]);
}

void mp_child_pipes_close(struct mp_child *child) {
  for (int i = 0; i < 3; i++)
    if (child->pipes[i]) mp_stream_close(&child->pipes[i]->stream);
}

void mp_child_pipes_free(struct mp_child *child) {
  for (int i = 0; i < 3; i++) {
    if (child->pipes[i]) free_pipe(child->pipes[i]);
    child->pipes[i] = NULL;
  }
}

static struct mp_child_stream *output_of(struct mp_child *child, enum mp_child_pipe which) {
  struct mp_child_stream *s = which == MP_CHILD_STDIN ? NULL : child->pipes[which];
  return s && !s->collect && !child->closing ? s : NULL;
}

int mp_child_read(struct mp_child *child, enum mp_child_pipe which) {
  struct mp_child_stream *s = output_of(child, which);
  if (!s || (s->stream.closing && !s->ended)) return -EBADF;
  s->wanted = s->was_read = true;
  if (!s->ended) return mp_stream_read_start(&s->stream);
  s->end_due = true;
  mp_loop_post(child->loop, &child->again);
  return 0;
}

void mp_child_read_stop(struct mp_child *child, enum mp_child_pipe which) {
  struct mp_child_stream *s = output_of(child, which);
  if (!s) return;
  s->wanted = false;
  if (!s->discard) mp_stream_read_stop(&s->stream);
  mp_loop_post(child->loop, &child->again);
}

void mp_child_close_pipe(struct mp_child *child, enum mp_child_pipe which) {
  struct mp_child_stream *s = child->pipes[which];
  if (!s || s->stream.closing) return;
  s->wanted = false;
  if (which == MP_CHILD_STDIN)
    close_input(s);
  else
    mp_stream_close(&s->stream);
  mp_loop_post(child->loop, &child->again);
}

void mp_child_discard(struct mp_child *child, enum mp_child_pipe which) {
  struct mp_child_stream *s = output_of(child, which);
  if (!s || s->stream.closing) return;
  s->discard = true;
  mp_stream_read_start(&s->stream); /* fails only when closing */
}

void mp_child_take_rest(struct mp_child *child, enum mp_child_pipe which) {
  struct mp_child_stream *s = output_of(child, which);
  if (!s || is_over(s)) return;
  s->wanted = true;
  take_the_rest(s);
}

void mp_child_drain(struct mp_child *child) {
  for (int i = 1; i < 3; i++)
    if (child->pipes[i] && !child->pipes[i]->was_read) mp_child_discard(child, (enum mp_child_pipe)i);
}

int mp_child_write(struct mp_child *child, struct mp_slice bytes) {
  struct mp_child_stream *s = child->pipes[0];
  if (!s || s->shut) return -EPIPE;
  int err = mp_stream_write(&s->stream, bytes);
  if (err < 0) return err;
  s->due = true;
  mp_stream_flush(&s->stream);
  mp_loop_post(child->loop, &child->again); /* on_drained is silent about what went at once */
  return 0;
}

void mp_child_close_stdin(struct mp_child *child) {
  struct mp_child_stream *s = child->pipes[0];
  if (!s || s->shut) return;
  s->shut = true;
  if (mp_stream_queued(&s->stream) == 0) close_input(s);
}
