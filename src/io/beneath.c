#include "io/beneath.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  TRIES = 8,       /* openat2 gives up while somebody renames folders */
  DEPTH_MOST = 64, /* of folders, walking by hand */
  LINKS_MOST = 40  /* as the kernel's own */
};

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

/* ---- by the kernel ---- */

static int open_how(int at, const char *path, int how, uint64_t resolve) {
  struct open_how args = {.flags = (uint64_t)how | O_CLOEXEC, .resolve = resolve};
  long fd = -1;
  for (int i = 0; i < TRIES; i++) {
    fd = syscall(SYS_openat2, at, path, &args, sizeof args);
    if (fd >= 0 || (errno != EINTR && (errno != EAGAIN || resolve & RESOLVE_CACHED))) break;
  }
  return fd >= 0 ? (int)fd : -errno;
}

/* Sandboxes that do not know the call say EPERM. */
static bool is_missing(int err) {
  return err == -ENOSYS || err == -EPERM;
}

/* ---- by hand: for kernels before 5.6 ---- */

struct walk {
  int folders[DEPTH_MOST]; /* owned; the first is the root and stays open */
  int depth;               /* the last of them */
  int links;
  char rest[PATH_MAX]; /* what is still to be walked */
};

static void leave_folder(struct walk *w) {
  close(w->folders[w->depth--]);
}

/* Takes the next component off the front of `rest` into `name`; false at the end. `last`: no other follows. */
static bool next_component(struct walk *w, char name[NAME_MAX + 1], bool *last, int *err) {
  char *from = w->rest + strspn(w->rest, "/");
  size_t n = strcspn(from, "/");
  if (n == 0) return false;
  if (n > NAME_MAX) {
    *err = -ENAMETOOLONG;
    return false;
  }
  memcpy(name, from, n);
  name[n] = '\0';
  *last = from[n] == '\0';
  memmove(w->rest, from + n, strlen(from + n) + 1);
  return true;
}

/* The link's target goes in front of what is still to be walked. 0 or -errno. */
static int follow_link(struct walk *w, int link) {
  char target[PATH_MAX];
  ssize_t n = readlinkat(link, "", target, sizeof target);
  size_t rest = strlen(w->rest);
  if (n < 0) return -errno;
  if (++w->links > LINKS_MOST) return -ELOOP;
  if (n == 0 || target[0] == '/') return -EXDEV;
  if ((size_t)n + rest >= sizeof w->rest) return -ENAMETOOLONG;
  memmove(w->rest + n, w->rest, rest + 1);
  memcpy(w->rest, target, (size_t)n);
  return 0;
}

static int enter_folder(struct walk *w, int fd) {
  if (w->depth == DEPTH_MOST - 1) {
    close(fd);
    return -ENAMETOOLONG;
  }
  w->folders[++w->depth] = fd;
  return 0;
}

/* "." and ".." do not reach this. 1: `*found` is the end of the walk; 0: go on; -errno. */
static int step_into(struct walk *w, const char *name, bool last, int *found) {
  struct stat st = {0};
  int fd = openat(w->folders[w->depth], name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  int err = 0;
  if (fd < 0 || fstat(fd, &st) < 0) err = -errno;
  if (err == 0 && S_ISLNK(st.st_mode)) {
    err = follow_link(w, fd);
    close(fd);
    return err;
  }
  if (err == 0 && S_ISDIR(st.st_mode)) return enter_folder(w, fd);
  if (err == 0 && (!last || *w->rest)) err = -ENOTDIR;
  if (err == 0) {
    *found = fd;
    return 1;
  }
  if (fd >= 0) close(fd);
  return err;
}

static int walk_on(struct walk *w, int *found) {
  char name[NAME_MAX + 1];
  bool last = false;
  int err = 0;
  while (err == 0 && next_component(w, name, &last, &err)) {
    if (strcmp(name, ".") == 0) continue;
    if (strcmp(name, "..") != 0)
      err = step_into(w, name, last, found);
    else if (w->depth == 0)
      err = -EXDEV;
    else
      leave_folder(w);
  }
  return err;
}

/* An O_PATH descriptor of what `path` leads to below `root` (which is taken over), or -errno. */
static int walk_from(int root, const char *path) {
  struct walk w = {.folders = {root}};
  int found = -1, err = 0;
  size_t len = strlen(path);
  if (path[0] == '/') err = -EXDEV;
  if (path[0] == '\0') err = -ENOENT;
  if (len >= sizeof w.rest) err = -ENAMETOOLONG;
  if (err == 0) {
    memcpy(w.rest, path, len + 1);
    err = walk_on(&w, &found);
  }
  if (err == 0) { /* it ended at a folder */
    found = w.folders[w.depth];
    w.folders[w.depth--] = -1;
  }
  while (w.depth >= 0) leave_folder(&w);
  return err < 0 ? err : found;
}

/* ---- both ---- */

static int open_root(const char *root, unsigned flags) {
  int fd = -ENOSYS, how = O_PATH | O_DIRECTORY;
  if (!(flags & MP_BENEATH_BY_HAND)) fd = open_how(AT_FDCWD, root, how, flags & MP_BENEATH_CACHED ? RESOLVE_CACHED : 0);
  if (!is_missing(fd)) return fd;
  if (flags & MP_BENEATH_CACHED) return -EAGAIN;
  fd = open(root, how | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static int open_path_by_hand(const char *root, const char *path) {
  int fd;
  if (root) {
    fd = open_root(root, MP_BENEATH_BY_HAND);
    return fd < 0 ? fd : walk_from(fd, path);
  }
  fd = open(path, O_PATH | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

/* The file that an O_PATH descriptor stands for, and no other. */
static int reopen(int path_fd) {
  char name[32];
  snprintf(name, sizeof name, "/proc/self/fd/%d", path_fd);
  int fd = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static int judge(const struct stat *st) {
  if (S_ISREG(st->st_mode)) return 0;
  return S_ISDIR(st->st_mode) ? -EISDIR : -ENXIO;
}

/* Whatever came between the two looks, only a regular file is given out; O_NONBLOCK saves from the rest. */
static int checked(int fd, struct stat *st) {
  if (fd < 0) return fd;
  int err = fstat(fd, st) < 0 ? -errno : judge(st);
  if (err == 0) return fd;
  close(fd);
  return err;
}

static int open_by_hand(const char *root, const char *path, struct stat *st) {
  int fd = open_path_by_hand(root, path);
  if (fd < 0) return fd;
  int err = fstat(fd, st) < 0 ? -errno : judge(st);
  int opened = err < 0 ? err : reopen(fd);
  close(fd);
  return checked(opened, st);
}

static int open_twice(int at, const char *path, uint64_t resolve, struct stat *st) {
  int fd = open_how(at, path, O_PATH, resolve);
  if (fd < 0) return fd;
  int err = fstat(fd, st) < 0 ? -errno : judge(st);
  close(fd);
  if (err < 0) return err;
  return checked(open_how(at, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, resolve), st);
}

static uint64_t resolve_of(const char *root, unsigned flags) {
  uint64_t resolve = root ? RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS : 0;
  return flags & MP_BENEATH_CACHED ? resolve | RESOLVE_CACHED : resolve;
}

/* Kernels before 5.12 know no RESOLVE_CACHED. */
static int told(int err, unsigned flags) {
  return err == -EINVAL && flags & MP_BENEATH_CACHED ? -EAGAIN : err;
}

int mp_beneath_open(const char *root, const char *path, unsigned flags, struct stat *st) {
  int fd = -ENOSYS, at = AT_FDCWD;
  if (!(flags & MP_BENEATH_BY_HAND)) {
    if (root) at = open_root(root, flags);
    fd = root && at < 0 ? at : open_twice(at, path, resolve_of(root, flags), st);
    if (root && at >= 0) close(at);
  }
  if (!is_missing(fd)) return told(fd, flags);
  if (flags & MP_BENEATH_CACHED) return -EAGAIN;
  return open_by_hand(root, path, st);
}

static int stat_and_close(int fd, struct stat *st) {
  if (fd < 0) return fd;
  int err = fstat(fd, st) < 0 ? -errno : 0;
  close(fd);
  return err;
}

int mp_beneath_stat(const char *root, const char *path, unsigned flags, struct stat *st) {
  int err = -ENOSYS, at = AT_FDCWD;
  if (!(flags & MP_BENEATH_BY_HAND)) {
    if (root) at = open_root(root, flags);
    err = root && at < 0 ? at : stat_and_close(open_how(at, path, O_PATH, resolve_of(root, flags)), st);
    if (root && at >= 0) close(at);
  }
  if (!is_missing(err)) return told(err, flags);
  if (flags & MP_BENEATH_CACHED) return -EAGAIN;
  return stat_and_close(open_path_by_hand(root, path), st);
}
