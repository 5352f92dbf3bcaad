/* beneath.h - opening regular files, below a folder when one is named: nothing on the way leads out of it, be it "..",
 * an absolute path or a symbolic link. Links that stay inside are followed. What is no regular file (FIFO, device,
 * socket) is looked at and never opened, so that nobody at its other end notices and nothing blocks.
 *
 * Any thread may call this. */
#ifndef MP_IO_BENEATH_H
#define MP_IO_BENEATH_H

#include <stdint.h>
#include <sys/stat.h>

enum {
  /* Only what the kernel knows by heart: -EAGAIN where it had to ask a disk or a server. Also said where it cannot
   * tell, so that a thread that may wait is asked instead. */
  MP_BENEATH_CACHED = 1,
  /* As on a kernel without openat2(2): each component is opened and each link resolved by hand. */
  MP_BENEATH_BY_HAND = 2,
};

/* `root`: a folder (its own path may lead anywhere), or NULL: then `path` is opened wherever it leads.
 * A descriptor to read from, with its facts in `st`; or -errno: -ENOENT, -ENOTDIR, -ELOOP, -EACCES…; -EXDEV: it leads
 * out; -EISDIR; -ENXIO: it is neither file nor folder. */
int mp_beneath_open(const char *root, const char *path, unsigned flags, struct stat *st);

/* The facts alone, of whatever is there. 0 or -errno. */
int mp_beneath_stat(const char *root, const char *path, unsigned flags, struct stat *st);

#endif
