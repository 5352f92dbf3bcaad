#include "io/family.h"
#include "io/bare.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LISTING = 4096 };

struct listing {
  pid_t pid; /* whose children */
  void (*each)(int child, void *arg);
  void *arg; /* borrowed for the call */
};

/* Every folder of `path` that is a number. */
static void each_number(const char *path, void (*each)(int number, struct listing *l), struct listing *l) {
  _Alignas(uint64_t) char entries[LISTING];
  int dir = mp_bare_open(path, O_DIRECTORY);
  long size;
  if (dir < 0) return;
  while ((size = syscall(SYS_getdents64, dir, entries, sizeof entries)) > 0) {
    for (long at = 0; at < size;) {
      uint16_t len; /* struct linux_dirent64: ino, off, len, type, name */
      memcpy(&len, entries + at + 16, sizeof len);
      int number = (int)strtol(entries + at + 19, NULL, 10); /* 0: none */
      if (number > 0) each(number, l);
      at += len;
    }
  }
  mp_bare_close(dir);
}

/* The numbers of one thread's children file, which may be longer than the buffer. */
static void read_children(int fd, const struct listing *l) {
  char text[LISTING];
  pid_t pid = 0;
  ssize_t n;
  while ((n = mp_bare_read(fd, text, sizeof text)) > 0) {
    for (ssize_t i = 0; i < n; i++) {
      if (text[i] >= '0' && text[i] <= '9') {
        pid = pid * 10 + (text[i] - '0');
      } else if (pid > 0) {
        l->each(pid, l->arg);
        pid = 0;
      }
    }
  }
}

static void look_at_thread(int tid, struct listing *l) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)l->pid, tid);
  int fd = mp_bare_open(path, 0);
  if (fd < 0) return; /* the thread has ended */
  read_children(fd, l);
  mp_bare_close(fd);
}

/* "pid (name) state ppid ...", where the name may hold anything. */
pid_t mp_family_parent(pid_t pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = mp_bare_open(path, 0);
  ssize_t n = fd < 0 ? -1 : mp_bare_read(fd, text, sizeof text - 1);
  mp_bare_close(fd);
  if (n <= 0) return -1;
  text[n] = '\0';
  const char *behind = strrchr(text, ')');
  return behind && strlen(behind) > 4 ? (int)strtol(behind + 4, NULL, 10) : -1;
}

static void look_at_process(int pid, struct listing *l) {
  if (mp_family_parent(pid) == l->pid) l->each(pid, l->arg);
}

/* Kernels without CONFIG_PROC_CHILDREN make us look at every process. */
void mp_family_each(pid_t pid, void (*each)(int child, void *arg), void *arg) {
  struct listing l = {pid, each, arg};
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  if (access("/proc/thread-self/children", R_OK) == 0)
    each_number(path, look_at_thread, &l);
  else
    each_number("/proc", look_at_process, &l);
}
