#include "io/pidfd.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

enum { STOLEN_TRIES = 20, STOLEN_PAUSE_MS = 5, NO_PIDFD_PAUSE_MS = 10, TO_GROUP = 1 << 2, INFO_EXIT = 1 << 3 };

/* struct pidfd_info of Linux 6.15, which Debian 12's headers do not have. */
struct pidfd_info {
  uint64_t mask;
  uint64_t cgroup;
  uint32_t pids[3], users[8];
  int32_t exit_code; /* a wait status */
};
_Static_assert(sizeof(struct pidfd_info) == 64, "the ioctl's number tells this size");

static struct mp_status status_of(const siginfo_t *info) {
  if (info->si_code == CLD_EXITED) return (struct mp_status){.end = MP_END_EXIT, .code = info->si_status};
  return (struct mp_status){.end = MP_END_SIGNAL, .signal = info->si_status, .core = info->si_code == CLD_DUMPED};
}

static struct mp_status status_of_wait(int word) {
  if (WIFEXITED(word)) return (struct mp_status){.end = MP_END_EXIT, .code = WEXITSTATUS(word)};
  return (struct mp_status){.end = MP_END_SIGNAL, .signal = WTERMSIG(word), .core = WCOREDUMP(word)};
}

static int ask(idtype_t by, int id, int options, siginfo_t *info) {
  int err;
  info->si_pid = 0;
  while ((err = waitid(by, (id_t)id, info, WEXITED | WNOHANG | options) < 0 ? -errno : 0) == -EINTR) continue;
  return err < 0 ? err : info->si_pid != 0;
}

/* waitid, by pidfd; Linux before 5.4 knows only the number (EINVAL). 1, 0 or -errno. */
static int wait_for(const struct mp_started *p, int options, struct mp_status *status) {
  siginfo_t info;
  int ended = p->pidfd < 0 ? -EINVAL : ask(P_PIDFD, p->pidfd, options, &info);
  if (ended == -EINVAL) ended = ask(P_PID, p->pid, options, &info);
  if (ended == 1 && status) *status = status_of(&info);
  return ended;
}

int mp_pidfd_look(const struct mp_started *p, struct mp_status *status) {
  return wait_for(p, WNOWAIT, status);
}

static bool is_reaped(int pidfd) {
  struct pollfd at = {.fd = pidfd, .events = POLLIN};
  return poll(&at, 1, 0) == 1 && (at.revents & POLLHUP);
}

/* The kernel keeps the status with the pidfd, whoever reaped (Linux 6.15). It writes it while the process is being
 * reaped, so before POLLHUP an answer without it means: not yet. */
static int ask_the_thieved(int pidfd, struct mp_status *status) {
  struct pidfd_info info = {.mask = INFO_EXIT};
  bool final = is_reaped(pidfd);
  int err = ioctl(pidfd, _IOWR(0xFF, 11, struct pidfd_info), &info) < 0 ? -errno : 0;
  if (err == 0 && (info.mask & INFO_EXIT)) {
    *status = status_of_wait(info.exit_code);
    return 1;
  }
  if (!final && (err == 0 || err == -ESRCH)) return -EAGAIN;
  *status = (struct mp_status){.end = MP_END_LOST};
  return 1;
}

int mp_pidfd_reap(const struct mp_started *p, struct mp_status *status) {
  int ended = wait_for(p, 0, status);
  if (ended >= 0) return ended;
  if (p->pidfd >= 0) return ask_the_thieved(p->pidfd, status);
  *status = (struct mp_status){.end = MP_END_LOST};
  return 1;
}

static int send_signal(const struct mp_started *p, int signo, unsigned flags) {
  if (p->pidfd < 0) return -ENOSYS;
  return syscall(SYS_pidfd_send_signal, p->pidfd, signo, NULL, flags) < 0 ? -errno : 0;
}

static bool is_unknown(int err) {
  return err == -ENOSYS || err == -EINVAL || err == -EPERM;
}

int mp_pidfd_signal(const struct mp_started *p, int signo) {
  if (signo < 0 || signo > SIGRTMAX) return -EINVAL;
  if (mp_pidfd_peek(p) != 0) return -ESRCH;
  int err = send_signal(p, signo, 0);
  if (is_unknown(err)) err = kill(p->pid, signo) < 0 ? -errno : 0; /* not reaped, so the number is its own */
  return err;
}

int mp_pidfd_signal_group(const struct mp_started *p, int signo) {
  if (signo < 0 || signo > SIGRTMAX) return -EINVAL;
  int err = send_signal(p, signo, TO_GROUP);
  if (!is_unknown(err)) return err;
  if (mp_pidfd_peek(p) < 0) return -ESRCH;
  return kill(-p->pid, signo) < 0 ? -errno : 0;
}

void mp_pidfd_close(struct mp_started *p) {
  if (p->pidfd >= 0) close(p->pidfd);
  p->pidfd = -1;
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until it may have ended, or `ms` are over (< 0: for ever). */
static void sleep_on(const struct mp_started *p, int64_t ms) {
  struct pollfd at = {.fd = p->pidfd, .events = POLLIN};
  if (p->pidfd < 0 && (ms < 0 || ms > NO_PIDFD_PAUSE_MS)) ms = NO_PIDFD_PAUSE_MS;
  poll(&at, 1, ms > INT32_MAX ? INT32_MAX : (int)ms); /* EINTR: looked at again */
}

/* Stolen, and the kernel is about to say how it ended. */
static int insist(const struct mp_started *p, struct mp_status *status) {
  for (int tries = 0; tries < STOLEN_TRIES; tries++) {
    if (mp_pidfd_reap(p, status) == 1) return 1;
    poll(NULL, 0, STOLEN_PAUSE_MS);
  }
  *status = (struct mp_status){.end = MP_END_LOST};
  return 1;
}

int mp_pidfd_wait(const struct mp_started *p, int timeout_ms, struct mp_status *status) {
  int64_t until = now_ms() + timeout_ms;
  for (;;) {
    int ended = mp_pidfd_reap(p, status);
    if (ended == 1) return 1;
    if (ended < 0) return insist(p, status);
    int64_t left = timeout_ms < 0 ? -1 : until - now_ms();
    if (timeout_ms >= 0 && left <= 0) return 0;
    sleep_on(p, left);
  }
}
