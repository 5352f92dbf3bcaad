/* whole.h - a whole file read or written by a thread of libuv's, while the loop goes on.
 *
 * The job is on the heap and its own: on_done is called on the loop, once, and the owner frees it there or later; or
 * lets go of it before, and then it ends and frees itself without a word. One that is let go of stops at the next
 * piece: a file that was being written is left cut short. */
#ifndef MP_IO_WHOLE_H
#define MP_IO_WHOLE_H

#include "base/slice.h"
#include "io/loop.h"
#include <stdatomic.h>

/* Beyond: -EFBIG. A file that does not know its size may have no end. */
enum { MP_WHOLE_MOST = 1 << 30, MP_WHOLE_MOST_UNSIZED = 1 << 26 };

struct mp_whole {
  uv_work_t work;
  void (*on_done)(struct mp_whole *whole);
  void *ctx;   /* borrowed: of on_done */
  char *path;  /* owned */
  char *bytes; /* owned: read, or to be written */
  size_t len, cap;
  size_t most; /* to be read */
  int err;     /* 0 or negative errno */
  bool writes, done;
  atomic_bool let_go;
};

/* NULL: out of memory. */
struct mp_whole *mp_whole_read(struct mp_loop *loop, const char *path, void (*on_done)(struct mp_whole *whole),
                               void *ctx);
/* Made with mode 0666 less the umask where there is none, emptied where there is one. */
struct mp_whole *mp_whole_write(struct mp_loop *loop, const char *path, struct mp_slice bytes,
                                void (*on_done)(struct mp_whole *whole), void *ctx);
/* Frees it, now or when its thread has come back. */
void mp_whole_let_go(struct mp_whole *whole);

#endif
