/* bare.h - files read by bare system calls, for threads beside the loop's.
 *
 * libuv closes descriptors so (seen with 1.44), and ThreadSanitizer does not know then that the loop's thread has
 * parted with one whose number another thread gets next: it would call that a race. What it does not see it does not
 * mistake. */
#ifndef MP_IO_BARE_H
#define MP_IO_BARE_H

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static inline int mp_bare_open(const char *path, int flags) {
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_RDONLY | O_CLOEXEC, 0);
}

static inline ssize_t mp_bare_read(int fd, char *to, size_t size) {
  return syscall(SYS_read, fd, to, size);
}

static inline void mp_bare_close(int fd) {
  if (fd >= 0) syscall(SYS_close, fd);
}

#endif
