#include "io/source.h"
#include "base/libc.h"
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
  STRIDE = 128 * 1024,    /* between two looks into the page cache: what the kernel reads ahead at least */
  WARM_MS = 1000,         /* so long is believed what such a look has found */
  SETTLED_S = 2,          /* a change lies so far behind that the next one will show */
  COPIED_MOST = 2 * 1024, /* bytes that wait in the queue of a socket that is full */
  BLOCKS = 64
};

void mp_source_set(struct mp_source *file, int fd, const struct stat *st) {
  *file = (struct mp_source){.fd = fd,
                             .size = (uint64_t)st->st_size,
                             .modified = st->st_mtim,
                             .changed = st->st_ctim,
                             .dev = st->st_dev,
                             .ino = st->st_ino};
}

/* A date in the future is told to nobody, and no client has seen a later one. */
void mp_source_set_bundled(struct mp_source *file, const struct mp_bundled *bundled) {
  enum { NO_DATE_DAYS = 2932896 }; /* the last of the year 9999 */
  *file = (struct mp_source){.fd = -1,
                             .content = (char *)(uintptr_t)bundled->bytes.at,
                             .lent = true,
                             .size = bundled->bytes.len,
                             .modified = {.tv_sec = (time_t)NO_DATE_DAYS * 86400, .tv_nsec = (long)bundled->crc}};
}

void mp_source_close(struct mp_source *file) {
  if (file->fd >= 0) close(file->fd);
  if (!file->lent) free(file->content);
  file->fd = -1;
  file->content = NULL;
}

static bool same_time(struct timespec a, struct timespec b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool mp_source_is_same(const struct mp_source *file, const struct stat *st) {
  return file->dev == st->st_dev && file->ino == st->st_ino && file->size == (uint64_t)st->st_size &&
         same_time(file->modified, st->st_mtim) && same_time(file->changed, st->st_ctim);
}

bool mp_source_has_changed(const struct mp_source *file) {
  struct stat st;
  if (file->fd < 0) return false;
  return fstat(file->fd, &st) < 0 || !mp_source_is_same(file, &st);
}

/* ---- holding ---- */

static bool is_settled(const struct mp_source *file) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec - file->changed.tv_sec > SETTLED_S;
}

static bool may_hold(const struct mp_source *file) {
  return file->fd >= 0 && file->size <= MP_SOURCE_SMALL && is_settled(file);
}

/* All of it, or NULL. `flags` of preadv2(2). */
static char *read_all(const struct mp_source *file, int flags) {
  char *content = malloc(file->size ? file->size : 1);
  size_t got = 0;
  while (content && got < file->size) {
    struct iovec to = {content + got, file->size - got};
    ssize_t n = preadv2(file->fd, &to, 1, (off_t)got, flags);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    got += (size_t)n;
  }
  if (content && got == file->size && !mp_source_has_changed(file)) return content;
  free(content);
  return NULL;
}

void mp_source_take_content(struct mp_source *file, char *content) {
  if (file->content || file->fd < 0 || file->readers > 0) {
    free(content);
    return;
  }
  file->content = content;
  close(file->fd);
  file->fd = -1;
}

bool mp_source_hold(struct mp_source *file) {
  if (file->content) return true;
  if (file->readers > 0 || !may_hold(file)) return false;
  char *content = read_all(file, RWF_NOWAIT);
  if (content) mp_source_take_content(file, content);
  return content != NULL;
}

/* Errors are left to be found by who sends. */
static void read_into_cache(const struct mp_source *file, uint64_t at, uint64_t len) {
  char scratch[32 * 1024];
  while (len > 0) {
    size_t most = len < sizeof scratch ? (size_t)len : sizeof scratch;
    ssize_t n = pread(file->fd, scratch, most, (off_t)at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    at += (uint64_t)n;
    len -= (uint64_t)n;
  }
}

char *mp_source_read_slowly(const struct mp_source *file, uint64_t at, uint64_t len) {
  if (may_hold(file)) return read_all(file, 0);
  if (file->fd >= 0) read_into_cache(file, at, len);
  return NULL;
}

/* ---- is it at hand? ---- */

static bool lies_in_memory(int fd) {
  struct statfs fs;
  if (fstatfs(fd, &fs) < 0) return false;
  return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

/* One byte tells of the pages that were read with it. */
static bool byte_is_at_hand(int fd, uint64_t at) {
  char byte;
  struct iovec to = {&byte, 1};
  if (preadv2(fd, &to, 1, (off_t)at, RWF_NOWAIT) >= 0) return true; /* 0: behind the end, which needs no wait */
  if (errno == EAGAIN) return false;
  return errno != EOPNOTSUPP || lies_in_memory(fd); /* other errors: who sends will find them */
}

static bool range_is_at_hand(int fd, uint64_t at, uint64_t end) {
  for (; at < end; at += STRIDE)
    if (!byte_is_at_hand(fd, at)) return false;
  return byte_is_at_hand(fd, end - 1);
}

static uint64_t block_size(const struct mp_source *file) {
  uint64_t block = MP_SOURCE_SLICE;
  while (block * BLOCKS < file->size) block *= 2;
  return block;
}

/* Looked at as a whole, so that the other requests for it need not look. Where a block is there in part only, the range
 * itself decides. */
static bool blocks_are_at_hand(struct mp_source *file, uint64_t at, uint64_t end, uint64_t now) {
  uint64_t block = block_size(file);
  if (now - file->seen_ms >= WARM_MS) {
    file->seen_ms = now;
    file->seen = 0;
  }
  for (uint64_t i = at / block; i < BLOCKS && i * block < end; i++) {
    uint64_t from = i * block, to = from + block < file->size ? from + block : file->size;
    if (file->seen >> i & 1) continue;
    if (!range_is_at_hand(file->fd, from, to)) return range_is_at_hand(file->fd, at, end);
    file->seen |= UINT64_C(1) << i;
  }
  return true;
}

static bool is_at_hand(struct mp_source *file, const struct mp_source_cursor *cursor, uint64_t end, uint64_t now) {
  bool fresh = now - cursor->warm_ms < WARM_MS && cursor->warm_to >= cursor->at;
  uint64_t at = fresh ? cursor->warm_to : cursor->at;
  return at >= end || blocks_are_at_hand(file, at, end, now);
}

/* ---- sending ---- */

/* Bytes; 0: the file is shorter than it was; -errno. */
static ssize_t copy(const struct mp_source *file, uint64_t at, size_t most, struct mp_buf *out) {
  char *room = mp_buf_room(out, most);
  ssize_t n;
  if (!room) return -ENOMEM;
  do n = pread(file->fd, room, most, (off_t)at);
  while (n < 0 && errno == EINTR);
  if (n < 0) return -errno;
  mp_buf_grew(out, (size_t)n);
  return n;
}

/* What the stream's queue holds makes the loop tell when the socket has room again. */
static ssize_t copy_some(const struct mp_source *file, uint64_t at, uint64_t len, struct mp_stream *stream) {
  ssize_t n = copy(file, at, len < COPIED_MOST ? (size_t)len : COPIED_MOST, &stream->out);
  if (n > 0) mp_stream_flush(stream);
  return n;
}

static ssize_t send_held(const struct mp_source *file, uint64_t at, uint64_t len, struct mp_stream *stream) {
  int err = mp_stream_write(stream, mp_slice(file->content + at, (size_t)len));
  mp_stream_flush(stream);
  return err < 0 ? err : (ssize_t)len;
}

/* File systems without splicing are read instead. */
static ssize_t send_slice(const struct mp_source *file, uint64_t at, uint64_t len, struct mp_stream *stream) {
  off_t from = (off_t)at;
  ssize_t n = sendfile(mp_stream_fd(stream), file->fd, &from, (size_t)len);
  if (n < 0 && errno != EAGAIN && errno != EINTR && errno != EINVAL && errno != ENOSYS) return -errno;
  if (n == 0 || n == (ssize_t)len) return n;
  uint64_t sent = n < 0 ? 0 : (uint64_t)n;
  ssize_t more = copy_some(file, at + sent, len - sent, stream);
  return sent == 0 || more < 0 ? more : (ssize_t)sent + more;
}

ssize_t mp_source_push(struct mp_source *file, struct mp_source_cursor *cursor, struct mp_stream *stream) {
  uint64_t len = cursor->end - cursor->at, now = mp_loop_now(mp_stream_loop(stream));
  ssize_t n;
  if (stream->err || stream->closing || stream->shut) return -EPIPE;
  if (len > MP_SOURCE_SLICE) len = MP_SOURCE_SLICE;
  if (file->content)
    n = send_held(file, cursor->at, len, stream);
  else if (is_at_hand(file, cursor, cursor->at + len, now))
    n = send_slice(file, cursor->at, len, stream);
  else
    n = -EAGAIN;
  if (n > 0) cursor->at += (uint64_t)n;
  return n;
}

ssize_t mp_source_copy(struct mp_source *file, struct mp_source_cursor *cursor, struct mp_buf *out, uint64_t now) {
  size_t len = (size_t)(cursor->end - cursor->at);
  ssize_t n = -EAGAIN;
  if (file->content)
    n = mp_buf_add(out, file->content + cursor->at, len) < 0 ? -ENOMEM : (ssize_t)len;
  else if (is_at_hand(file, cursor, cursor->end, now))
    n = copy(file, cursor->at, len, out);
  if (n > 0) cursor->at += (uint64_t)n;
  return n;
}
