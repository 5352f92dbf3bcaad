/* source.h - one regular file that is being sent: held in memory when it is small, else by sendfile(2), and never in a
 * way that makes the loop wait for a disk: what is not at hand is said to be so, and a thread of the pool may fetch it
 * (see files.h). */
#ifndef MP_IO_SOURCE_H
#define MP_IO_SOURCE_H

#include "bundle/bundle.h"
#include "io/stream.h"
#include <sys/stat.h>

enum {
  MP_SOURCE_SMALL = 64 * 1024,   /* bytes, up to which a file may be held */
  MP_SOURCE_SLICE = 1024 * 1024, /* bytes of one file in one turn of the loop */
};

struct mp_source {
  int fd;        /* owned; -1: none, or `content` has taken its place */
  char *content; /* owned, unless `lent`: all of it; NULL: not held */
  uint64_t size;
  struct timespec modified, changed;
  bool lent; /* the content lies in a bundle */
  dev_t dev;
  ino_t ino;
  unsigned readers; /* threads that read the descriptor: it is not closed meanwhile */
  uint64_t seen;    /* a bit a block: it was found at hand … */
  uint64_t seen_ms; /* … since then, by the loop's clock */
};

/* Where in a file a reader is. */
struct mp_source_cursor {
  uint64_t at, end;
  uint64_t warm_to; /* what lies before it was at hand … */
  uint64_t warm_ms; /* … then, by the loop's clock */
};

/* Takes the descriptor over. */
void mp_source_set(struct mp_source *file, int fd, const struct stat *st);
/* What lies in a bundle, which stays open as long as the source: of no date, and told by its sum. */
void mp_source_set_bundled(struct mp_source *file, const struct mp_bundled *bundled);
void mp_source_close(struct mp_source *file); /* harmless when it was closed, or is all zero but for an fd of -1 */

/* The same file with the same content, as far as its facts tell. */
bool mp_source_is_same(const struct mp_source *file, const struct stat *st);

/* Whether it has changed under its descriptor since it was opened. Held ones have not. */
bool mp_source_has_changed(const struct mp_source *file);

/* Tries to hold a small file, if that needs no wait. One that was changed just now is not held: a second change within
 * the same tick of the clock could not be told. True: `content` is there. */
bool mp_source_hold(struct mp_source *file);

/* For a thread that may wait: all of a small file, into memory of the caller (NULL where that cannot be: it is not
 * small, or changes), or else its bytes from `at` into the page cache. */
char *mp_source_read_slowly(const struct mp_source *file, uint64_t at, uint64_t len);
/* Holds what was read so, unless another thread still reads; takes it over. */
void mp_source_take_content(struct mp_source *file, char *content);

/* Moves the cursor on by up to a slice, into a stream whose queue is empty. Bytes (what the socket had no room for
 * waits in the queue, a little of it: on_drained follows); 0: the file is shorter than it was; -EAGAIN: it is not at
 * hand; other -errno: it cannot be read, or the stream is broken. */
ssize_t mp_source_push(struct mp_source *file, struct mp_source_cursor *cursor, struct mp_stream *stream);

/* The same, of all that is left to the cursor's end, into a buffer instead: for small pieces. `now`: the loop's time.
 */
ssize_t mp_source_copy(struct mp_source *file, struct mp_source_cursor *cursor, struct mp_buf *out, uint64_t now);

#endif
