#include "io/whole.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20, FIRST_READ = 4096 };

static bool is_let_go(struct mp_whole *w) {
  return atomic_load_explicit(&w->let_go, memory_order_relaxed);
}

/* ---- on the thread ---- */

/* O_NONBLOCK: a FIFO or a terminal must not hold the thread, which serves others too. A pipe and a socket are no files
 * that end, and are refused. */
static int open_file(struct mp_whole *w, struct stat *st) {
  int flags = w->writes ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY;
  int fd = open(w->path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
  if (fd < 0) return -errno;
  int err = fstat(fd, st) < 0 ? -errno : S_ISFIFO(st->st_mode) || S_ISSOCK(st->st_mode) ? -EINVAL : 0;
  if (err == 0) return fd;
  close(fd);
  return err;
}

static int make_room(struct mp_whole *w) {
  if (w->len < w->cap) return 0;
  if (w->cap > w->most) return -EFBIG;
  size_t cap = w->cap ? w->cap * 2 : FIRST_READ;
  char *bytes = realloc(w->bytes, cap);
  if (!bytes) return -ENOMEM;
  w->bytes = bytes;
  w->cap = cap;
  return 0;
}

/* One byte more than the file says, so that its end is seen without a second block. */
static int set_size(struct mp_whole *w, const struct stat *st) {
  w->most = MP_WHOLE_MOST_UNSIZED;
  if (!S_ISREG(st->st_mode) || st->st_size <= 0) return 0;
  w->most = MP_WHOLE_MOST;
  if (st->st_size > MP_WHOLE_MOST) return -EFBIG;
  w->cap = (size_t)st->st_size + 1;
  w->bytes = malloc(w->cap);
  return w->bytes ? 0 : -ENOMEM;
}

static int read_all(struct mp_whole *w, int fd) {
  for (;;) {
    int err = is_let_go(w) ? -ECANCELED : make_room(w);
    if (err < 0) return err;
    size_t room = w->cap - w->len;
    ssize_t n = read(fd, w->bytes + w->len, room < PIECE ? room : PIECE);
    if (n == 0) return w->len > w->most ? -EFBIG : 0;
    if (n < 0 && errno != EINTR) return -errno;
    if (n > 0) w->len += (size_t)n;
  }
}

static int write_all(struct mp_whole *w, int fd) {
  size_t at = 0;
  while (at < w->len) {
    if (is_let_go(w)) return -ECANCELED;
    size_t left = w->len - at;
    ssize_t n = write(fd, w->bytes + at, left < PIECE ? left : PIECE);
    if (n < 0 && errno != EINTR) return -errno;
    if (n > 0) at += (size_t)n;
  }
  return 0;
}

static void on_thread(uv_work_t *work) {
  struct mp_whole *w = MP_CONTAINER(work, struct mp_whole, work);
  struct stat st = {0};
  int fd = is_let_go(w) ? -ECANCELED : open_file(w, &st);
  if (fd < 0) {
    w->err = fd;
    return;
  }
  w->err = w->writes ? 0 : set_size(w, &st);
  if (w->err == 0) w->err = w->writes ? write_all(w, fd) : read_all(w, fd);
  /* A full disk or a lost server may come to light only here. EINTR: closed all the same. */
  if (close(fd) < 0 && w->writes && w->err == 0 && errno != EINTR) w->err = -errno;
}

/* ---- on the loop ---- */

static void free_whole(struct mp_whole *w) {
  free(w->path);
  free(w->bytes);
  free(w);
}

static void after_thread(uv_work_t *work, int status) {
  struct mp_whole *w = MP_CONTAINER(work, struct mp_whole, work);
  mp_loop_woke(work->loop->data);
  if (status < 0) w->err = status;
  w->done = true;
  if (is_let_go(w))
    free_whole(w);
  else
    w->on_done(w);
}

static struct mp_whole *new_whole(const char *path, void (*on_done)(struct mp_whole *whole), void *ctx) {
  struct mp_whole *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->on_done = on_done;
  w->ctx = ctx;
  w->path = strdup(path);
  if (w->path) return w;
  free(w);
  return NULL;
}

/* uv_queue_work fails only without a function to call. */
static struct mp_whole *start(struct mp_whole *w, struct mp_loop *loop) {
  uv_queue_work(&loop->uv, &w->work, on_thread, after_thread);
  return w;
}

struct mp_whole *mp_whole_read(struct mp_loop *loop, const char *path, void (*on_done)(struct mp_whole *whole),
                               void *ctx) {
  struct mp_whole *w = new_whole(path, on_done, ctx);
  return w ? start(w, loop) : NULL;
}

struct mp_whole *mp_whole_write(struct mp_loop *loop, const char *path, struct mp_slice bytes,
                                void (*on_done)(struct mp_whole *whole), void *ctx) {
  struct mp_whole *w = new_whole(path, on_done, ctx);
  if (!w) return NULL;
  w->writes = true;
  w->bytes = malloc(bytes.len ? bytes.len : 1);
  if (!w->bytes) {
    free_whole(w);
    return NULL;
  }
  memcpy(w->bytes, bytes.at, bytes.len);
  w->len = bytes.len;
  return start(w, loop);
}

void mp_whole_let_go(struct mp_whole *w) {
  if (w->done) {
    free_whole(w);
    return;
  }
  atomic_store_explicit(&w->let_go, true, memory_order_relaxed);
  uv_cancel((uv_req_t *)&w->work); /* if it has not begun; after_thread follows either way */
}
