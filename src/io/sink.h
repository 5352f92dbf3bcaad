/* sink.h - a file that is written off the loop, and has its name only once it is whole.
 *
 *   open ─ write… ─► place ─► close
 *
 * Every step is a job on libuv's threads, one at a time; what is written meanwhile gathers. on_idle comes when all that
 * was asked for is done, or has failed: an error stays, and what comes behind it does nothing. A sink that was not
 * placed leaves nothing behind when it is closed, nor when the process is killed, unless a name was asked for or the
 * file system knows no files without one.
 *
 * Owned by the caller; free it in on_closed. close may be called twice, and in on_idle. */
#ifndef MP_IO_SINK_H
#define MP_IO_SINK_H

#include "base/buf.h"
#include "io/loop.h"

struct mp_sink {
  struct mp_loop *loop; /* borrowed: outlives the sink */
  void (*on_idle)(struct mp_sink *sink);
  void (*on_closed)(struct mp_sink *sink);
  uv_work_t work;
  void (*job)(struct mp_sink *sink); /* the one under way */
  struct mp_buf filling;             /* owned: to be written next */
  struct mp_buf writing;             /* owned: lent to the thread while it works */
  char *folder;                      /* owned: where it lies until it is placed */
  char *name;                        /* owned: its name in there; NULL: none */
  char *target;                      /* owned: where it is to be placed; NULL: not asked for */
  uint64_t size;                     /* bytes accepted */
  int fd;                            /* -1: not open */
  int err;                           /* the first failure, negative; what follows it does nothing */
  int job_err;                       /* of the job under way: the thread's until it is done; so are name, fd, placed */
  bool busy, placed, closing;
};

/* 0 or -ENOMEM; then no callback follows. `folder`: where the file will be placed, or one for temporary files. */
int mp_sink_open(struct mp_sink *sink, struct mp_loop *loop, const char *folder, void (*on_idle)(struct mp_sink *sink),
                 void (*on_closed)(struct mp_sink *sink));

/* 0, the sink's error, -ENOMEM, or -EALREADY once it is placed or being placed. */
int mp_sink_write(struct mp_sink *sink, struct mp_slice bytes);

/* Moves it to `path`, over what is there, when all of it is written and with the disk: it is there whole or not at all.
 * Across file systems it is copied. 0, -ENOMEM or -EALREADY; then on_idle tells by `err` what came of it. */
int mp_sink_place(struct mp_sink *sink, const char *path);

/* A path by which others can open it, borrowed until it is placed or closed; where it was placed if it was. Only while
 * idle; 0 or -errno. */
int mp_sink_name(struct mp_sink *sink, const char **path);

void mp_sink_close(struct mp_sink *sink);

/* Bytes not yet in the file. */
static inline size_t mp_sink_pending(const struct mp_sink *sink) {
  return mp_buf_len(&sink->filling) + mp_buf_len(&sink->writing);
}

static inline bool mp_sink_is_idle(const struct mp_sink *sink) {
  return !sink->busy;
}

#endif
