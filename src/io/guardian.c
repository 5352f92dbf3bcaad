#include "io/guardian.h"
#include "io/bare.h"
#include "io/family.h"
#include "io/pidfd.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* No malloc here: the guardian runs while the loop's thread may be stuck anywhere, a lock of malloc's in its hand. */

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

enum { GUARDIAN_STACK = 256 * 1024, LAST_SWEEP_MS = 1500 };

int mp_subreaper(void) {
  return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* Who is to be visited, and what became of it. */
struct visit {
  bool (*spare)(pid_t pid, void *ctx); /* NULL: spares none */
  void *ctx;                           /* borrowed for the call */
  void (*meet)(struct visit *visit, pid_t pid);
  int found, ended;
  bool own_group; /* those of our own group are met too */
  pid_t *pids;    /* borrowed: room for `most` */
  unsigned most;
};

static void meet_unless_spared(struct visit *visit, pid_t pid) {
  if (visit->spare && visit->spare(pid, visit->ctx)) return;
  visit->meet(visit, pid);
}

static void visit_child(int pid, void *arg) {
  meet_unless_spared(arg, pid);
}

static void visit_children(struct visit *visit) {
  mp_family_each(getpid(), visit_child, visit);
}

/* The group, when there is one that is neither ours nor that of a child to be spared. Its number is held as long as we
 * have not reaped this member. */
static void kill_group_of(const struct visit *visit, pid_t pid) {
  pid_t group = getpgid(pid);
  if (group <= 1 || group == getpgrp()) return;
  if (visit->spare && visit->spare(group, visit->ctx)) return;
  kill(-group, SIGKILL);
}

/* By pidfd: the number was read from a list, and the loop's thread may have reaped it since. */
static void end_child(struct visit *visit, pid_t pid) {
  struct mp_started p = {pid, (int)syscall(SYS_pidfd_open, pid, 0)};
  struct mp_status status;
  if (mp_pidfd_peek(&p) >= 0) {
    visit->found++;
    kill_group_of(visit, pid);
    mp_pidfd_signal(&p, SIGKILL); /* ESRCH: it has ended already */
    if (mp_pidfd_reap(&p, &status) == 1) visit->ended++;
  }
  mp_bare_close(p.pidfd);
}

static void reap_stranger(struct visit *visit, pid_t pid) {
  siginfo_t info = {.si_pid = 0};
  if (!visit->own_group && getpgid(pid) == getpgrp()) return;
  if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) < 0) return;
  if (info.si_pid == pid)
    visit->ended++;
  else
    visit->found++;
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A list may miss one while others leave it, so an empty one is believed when the kernel agrees, or the second time. */
static bool has_children(void) {
  siginfo_t info;
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

int mp_sweep(bool (*spare)(pid_t pid, void *ctx), void *ctx, int most_ms) {
  struct visit visit = {.spare = spare, .ctx = ctx, .meet = end_child};
  int64_t until = now_ms() + most_ms;
  int empty = 0;
  for (;;) {
    visit.found = 0;
    visit_children(&visit);
    empty = visit.found ? 0 : empty + 1;
    if (!has_children() || empty > 1 || now_ms() >= until) return visit.ended;
    poll(NULL, 0, 2); /* what was killed ends, and what it leaves comes to us */
  }
}

int mp_reap_strangers(bool (*spare)(pid_t pid, void *ctx), void *ctx, int *left) {
  struct visit visit = {.spare = spare, .ctx = ctx, .meet = reap_stranger};
  visit_children(&visit);
  if (left) *left = visit.found;
  return visit.ended;
}

int mp_reap_all_strangers(bool (*spare)(pid_t pid, void *ctx), void *ctx) {
  struct visit visit = {.spare = spare, .ctx = ctx, .meet = reap_stranger, .own_group = true};
  visit_children(&visit);
  return visit.ended;
}

static void note_pid(struct visit *visit, pid_t pid) {
  if ((unsigned)visit->found < visit->most) visit->pids[visit->found] = pid;
  visit->found++;
}

unsigned mp_children(pid_t *pids, unsigned most) {
  struct visit visit = {.meet = note_pid, .pids = pids, .most = most};
  visit_children(&visit);
  return (unsigned)visit.found;
}

/* Until the last writer is dead. Bytes say nothing; a descriptor that can no longer be read tells us no more than a
 * dead one would. */
static void await_death(int fd) {
  char bytes[64];
  for (;;) {
    struct pollfd at = {.fd = fd, .events = POLLIN};
    ssize_t n = poll(&at, 1, -1) < 0 ? -1 : read(fd, bytes, sizeof bytes);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return;
  }
}

static void *guard(void *arg) {
  await_death((int)(intptr_t)arg);
  mp_sweep(NULL, NULL, LAST_SWEEP_MS);
  _exit(1);
}

static int start_thread(int death_fd) {
  pthread_attr_t attr;
  pthread_t thread;
  int err = pthread_attr_init(&attr);
  if (err) return -err;
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, GUARDIAN_STACK);
  err = pthread_create(&thread, &attr, guard, (void *)(intptr_t)death_fd);
  pthread_attr_destroy(&attr);
  return -err;
}

int mp_guardian_start(int death_fd) {
  sigset_t all, before;
  if (fcntl(death_fd, F_GETFD) < 0) return -errno;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it: signals are the loop's */
  int err = start_thread(death_fd);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return err;
}
