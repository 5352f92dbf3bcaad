#include "pool/inside.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int write_and_close(int fd) {
  int n = dprintf(fd, "%d\n", (int)getpid());
  int err = n < 0 ? -errno : 0;
  if (close(fd) < 0 && err == 0) err = -errno;
  return err;
}

/* Under another name first: who reads it sees a whole number or none. */
int mp_pidfile_write(const char *path) {
  char *temporary = NULL;
  if (asprintf(&temporary, "%s.%d", path, (int)getpid()) < 0) return -ENOMEM;
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
  int err = fd < 0 ? -errno : write_and_close(fd);
  if (err == 0 && rename(temporary, path) < 0) err = -errno;
  if (err < 0 && fd >= 0) unlink(temporary);
  free(temporary);
  return err;
}

void mp_pidfile_remove(const char *path) {
  char text[32] = "";
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n > 0 && strtol(text, NULL, 10) == (long)getpid()) unlink(path);
}
