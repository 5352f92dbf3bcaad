/* changes.h - says when the sources below a folder have changed.
 *
 * An event of any folder starts a short wait, after which all is looked at once: names, times and sizes of the files
 * that make an app, summed up in one number. So it does not matter how an editor saves (in place, by renaming, in two
 * steps). What an app writes itself is left out: only known kinds of text count, and no hidden names, node_modules,
 * data, tmp, uploads, logs. Where the kernel has no watches left, it looks once a second instead. */
#ifndef MP_IO_CHANGES_H
#define MP_IO_CHANGES_H

#include "base/list.h"
#include "io/loop.h"
#include "io/timer.h"

struct mp_changes {
  struct mp_loop *loop; /* borrowed */
  char *root;           /* owned; NULL: not open */
  struct mp_timer timer;
  struct mp_list folders; /* of struct mp_changes_folder (changes.c), owned */
  uint64_t print;         /* of all that was there */
  uint64_t since_ms;      /* of the first event that has not been looked at; 0: none */
  bool polling;
  void (*on_change)(struct mp_changes *changes);
  void *ctx; /* borrowed: the owner's */
};

/* 0 or -errno: then there is nothing to close. */
int mp_changes_open(struct mp_changes *changes, struct mp_loop *loop, const char *root,
                    void (*on_change)(struct mp_changes *changes));
void mp_changes_close(struct mp_changes *changes); /* harmless on all zero; before the loop's end */

#endif
