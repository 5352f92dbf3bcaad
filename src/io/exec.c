#include "io/exec.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* ThreadSanitizer (of gcc 12) takes every clone for a fork, whose child has memory of its own, and gives up its locks
 * in both. The name behind clone is libc's own. */
#if defined(__SANITIZE_THREAD__)
int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

/* The child runs in our memory on a stack of its own, so it may do nothing but system calls: no lock of libc's, no
 * setuid of libc's (which would reach for our threads), no sanitizer's shadow. */
#define IN_CHILD __attribute__((no_sanitize("address", "undefined", "thread"), noinline))

enum { STACK = 16 * 1024, N_SIGNALS = 64, NO_CLONE_PIDFD = 1, NO_PIDFD = 2 };

/* What the parent hears of a child that could not run its program. */
struct failure {
  int err; /* of the step that failed, positive; 0: the program runs */
  enum mp_exec_step step;
};

/* On the parent's own stack, which stands still while the child uses it: memory that is there already costs nothing,
 * and a mapping of its own a twentieth of the whole start. */
struct birth {
  const struct mp_exec *exec; /* borrowed for the call */
  pid_t parent;
  int tell_fd; /* where a fork's child writes its failure; -1: it shares our memory */
  struct failure failure;
  char file[PATH_MAX]; /* the candidate along PATH */
  char listing[2048];  /* of /proc/self/fd */
  char stack[STACK] __attribute__((aligned(64)));
};

static atomic_uint pretended;

void mp_exec_pretend_old(unsigned bits) {
  atomic_store(&pretended, bits);
}

/* In the child ---------------------------------------------------------------------------------------------------- */

/* As rt_sigaction wants it: big enough for every layout, and all zero is SIG_DFL. */
struct kernel_action {
  unsigned long words[4];
};

IN_CHILD static void reset_signals(void) {
  struct kernel_action by_default = {{0}};
  for (int signo = 1; signo <= N_SIGNALS; signo++) {
    if (signo == SIGKILL || signo == SIGSTOP) continue;
    syscall(SYS_rt_sigaction, signo, &by_default, NULL, N_SIGNALS / 8);
  }
}

IN_CHILD static int join_group(const struct mp_exec *exec) {
  if (exec->session) return syscall(SYS_setsid) < 0 ? errno : 0;
  if (exec->own_group) return syscall(SYS_setpgid, 0, 0) < 0 ? errno : 0;
  return 0;
}

/* The source of descriptor `to`, moved out of the way of 0, 1 and 2. */
IN_CHILD static int source_of(const struct mp_exec *exec, int to) {
  int from = exec->stdio[to], fd = from;
  if (from < 0) fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
  if (fd < 0 && from < 0) fd = (int)syscall(SYS_memfd_create, "null", MFD_CLOEXEC); /* a root without /dev */
  if (fd < 0 || fd > 2) return fd;
  int moved = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
  if (from < 0) syscall(SYS_close, fd);
  return moved;
}

IN_CHILD static int set_stdio(const struct mp_exec *exec) {
  int sources[3];
  for (int i = 0; i < 3; i++)
    if ((sources[i] = source_of(exec, i)) < 0) return errno;
  for (int i = 0; i < 3; i++)
    if (syscall(SYS_dup3, sources[i], i, 0) < 0) return errno;
  return 0;
}

/* The entry of linux's getdents64. */
struct entry {
  uint64_t ino, off;
  uint16_t len;
  uint8_t type;
  char name[];
};

IN_CHILD static void mark_listed(const char *listing, long size, int except) {
  for (long at = 0; at < size;) {
    const struct entry *entry = (const struct entry *)(const void *)(listing + at);
    int fd = 0;
    const char *digit = entry->name;
    while (*digit >= '0' && *digit <= '9') fd = fd * 10 + (*digit++ - '0');
    if (digit != entry->name && fd > 2 && fd != except) syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
    at += entry->len;
  }
}

/* Without close_range (before Linux 5.11): what /proc lists, and without /proc every number there can be. */
IN_CHILD static int mark_each(struct birth *birth) {
  int dir = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  long size;
  if (dir >= 0) {
    while ((size = syscall(SYS_getdents64, dir, birth->listing, sizeof birth->listing)) > 0)
      mark_listed(birth->listing, size, dir);
    if (size == 0) return 0;
  }
  struct {
    uint64_t soft, hard;
  } limit = {0, 0};
  if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0) return errno;
  uint64_t most = limit.soft < 1 << 20 ? limit.soft : 1 << 20;
  for (uint64_t fd = 3; fd < most; fd++) syscall(SYS_fcntl, (int)fd, F_SETFD, FD_CLOEXEC);
  return 0;
}

IN_CHILD static int close_the_rest(struct birth *birth) {
  const struct mp_exec *exec = birth->exec;
  bool marked = !pretended && syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
  int err = marked ? 0 : mark_each(birth);
  for (unsigned i = 0; i < exec->n_keep && !err; i++)
    if (syscall(SYS_fcntl, exec->keep[i], F_SETFD, 0) < 0) err = errno;
  return err;
}

IN_CHILD static int set_limits(const struct mp_exec *exec) {
  for (unsigned i = 0; i < exec->n_rlimits; i++) {
    uint64_t both[2] = {exec->rlimits[i].value, exec->rlimits[i].value};
    if (syscall(SYS_prlimit64, 0, exec->rlimits[i].resource, both, NULL) < 0) return errno;
  }
  return 0;
}

IN_CHILD static int set_nice(const struct mp_exec *exec) {
  if (!exec->set_nice) return 0;
  long now = syscall(SYS_getpriority, PRIO_PROCESS, 0); /* the kernel's own, 20 - nice */
  if (now < 0) return errno;
  return syscall(SYS_setpriority, PRIO_PROCESS, 0, 20 - (int)now + exec->nice) < 0 ? errno : 0;
}

/* Groups first, while we still may. */
IN_CHILD static int put_on(const struct mp_identity *id) {
  if (id->set_umask) syscall(SYS_umask, id->umask);
  if (id->set_user) {
    if (syscall(SYS_setgroups, id->n_groups, id->groups) < 0) return errno;
    if (syscall(SYS_setresgid, id->gid, id->gid, id->gid) < 0) return errno;
    if (syscall(SYS_setresuid, id->uid, id->uid, id->uid) < 0) return errno;
  }
  if (id->no_new_privs && syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return errno;
  return 0;
}

/* Whoever changes nothing needs no right to. */
IN_CHILD static int set_user(const struct mp_exec *exec) {
  if (exec->identity) return put_on(exec->identity);
  bool other_uid = exec->set_uid && exec->uid != (uid_t)syscall(SYS_geteuid);
  bool other_gid = exec->set_gid && exec->gid != (gid_t)syscall(SYS_getegid);
  if ((other_uid || other_gid) && syscall(SYS_setgroups, exec->set_gid, &exec->gid) < 0) return errno;
  if (exec->set_gid && syscall(SYS_setresgid, exec->gid, exec->gid, exec->gid) < 0) return errno;
  if (exec->set_uid && syscall(SYS_setresuid, exec->uid, exec->uid, exec->uid) < 0) return errno;
  return 0;
}

/* After the change of user, which would clear it. The parent may have died before: then nobody will tell us.
 * 0 is a parent outside our pid namespace, and not a dead one. */
IN_CHILD static void bind_to_parent(const struct birth *birth) {
  if (!birth->exec->dies_with_us) return;
  syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  long parent = syscall(SYS_getppid);
  if (parent != 0 && parent != birth->parent) syscall(SYS_exit_group, 127);
}

IN_CHILD static int exec_file(const struct mp_exec *exec, const char *file) {
  syscall(SYS_execve, file, exec->argv, exec->envp);
  return errno;
}

/* dir/name at birth->file; false when it is longer than a path may be. */
IN_CHILD static bool join_path(struct birth *birth, const char *dir, const char *dir_end, const char *name) {
  size_t n = 0;
  for (; dir < dir_end && n < PATH_MAX - 1; dir++) birth->file[n++] = *dir;
  if (n > 0 && n < PATH_MAX - 1) birth->file[n++] = '/'; /* an empty entry is the working directory */
  while (*name && n < PATH_MAX - 1) birth->file[n++] = *name++;
  birth->file[n] = '\0';
  return *name == '\0' && dir == dir_end;
}

IN_CHILD static bool tries_next(int err) {
  return err == ENOENT || err == EACCES || err == ENOTDIR || err == ESTALE || err == ENODEV || err == ETIMEDOUT ||
         err == ENAMETOOLONG;
}

/* As execvp does, but a file without a format is an error and no script. */
IN_CHILD static int exec_along_path(struct birth *birth) {
  const struct mp_exec *exec = birth->exec;
  const char *name = exec->argv[0], *dir = exec->path ? exec->path : "/usr/local/bin:/usr/bin:/bin", *end;
  bool denied = false;
  for (;; dir = end + 1) {
    for (end = dir; *end && *end != ':';) end++;
    int err = join_path(birth, dir, end, name) ? exec_file(exec, birth->file) : ENAMETOOLONG;
    if (!tries_next(err)) return err;
    if (err == EACCES) denied = true;
    if (!*end) return denied ? EACCES : ENOENT;
  }
}

IN_CHILD static bool has_slash(const char *s) {
  while (*s && *s != '/') s++;
  return *s == '/';
}

IN_CHILD static int run_program(struct birth *birth) {
  const struct mp_exec *exec = birth->exec;
  uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
  if (exec->program) return exec_file(exec, exec->program);
  if (exec->argv[0][0] == '\0') return ENOENT;
  return has_slash(exec->argv[0]) ? exec_file(exec, exec->argv[0]) : exec_along_path(birth);
}

IN_CHILD static int prepare(struct birth *birth, enum mp_exec_step *step) {
  const struct mp_exec *exec = birth->exec;
  int err;
  *step = MP_EXEC_GROUP;
  if ((err = join_group(exec))) return err;
  *step = MP_EXEC_STDIO;
  if ((err = set_stdio(exec)) || (err = close_the_rest(birth))) return err;
  *step = MP_EXEC_CHDIR;
  if (exec->cwd && syscall(SYS_chdir, exec->cwd) < 0) return errno;
  *step = MP_EXEC_LIMIT;
  if ((err = set_limits(exec))) return err;
  *step = MP_EXEC_NICE; /* before the user: going up needs the right to */
  if ((err = set_nice(exec))) return err;
  *step = MP_EXEC_USER;
  return set_user(exec);
}

IN_CHILD static int be_born(void *arg) {
  struct birth *birth = arg;
  enum mp_exec_step step;
  reset_signals();
  int err = prepare(birth, &step);
  if (!err) {
    bind_to_parent(birth);
    step = MP_EXEC_PROGRAM;
    err = run_program(birth);
  }
  birth->failure.step = step;
  birth->failure.err = err;
  if (birth->tell_fd >= 0) syscall(SYS_write, birth->tell_fd, &birth->failure, sizeof birth->failure);
  syscall(SYS_exit_group, 127);
  return 127;
}

/* In the parent --------------------------------------------------------------------------------------------------- */

static int reap_blocking(idtype_t by, int id) {
  siginfo_t info;
  int err;
  while ((err = waitid(by, (id_t)id, &info, WEXITED) < 0 ? -errno : 0) == -EINTR) continue;
  return err;
}

IN_CHILD static int leave_a_mark(void *arg) {
  *(volatile bool *)arg = true;
  syscall(SYS_exit_group, 0);
  return 0;
}

/* An emulator (valgrind 3.19, qemu-user) makes a plain fork of it and does not wait for the exec: we would not hear of
 * one that fails. A fact of the machine, so it is asked once a process. */
static bool clone_shares_memory(struct birth *birth) {
  enum { UNKNOWN, SHARES, FORKS };
  static atomic_int known = UNKNOWN;
  if (atomic_load(&known) == UNKNOWN) {
    bool marked = false;
    pid_t pid = clone(leave_a_mark, birth->stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, &marked);
    if (pid < 0) return true; /* the start itself will say why */
    reap_blocking(P_PID, pid);
    atomic_store(&known, *(volatile bool *)&marked ? SHARES : FORKS);
  }
  return atomic_load(&known) == SHARES;
}

static int start_by_clone(struct birth *birth, struct mp_started *started) {
  int flags = CLONE_PIDFD | CLONE_VM | CLONE_VFORK | SIGCHLD, pidfd = -1;
  if (atomic_load(&pretended) || !clone_shares_memory(birth)) return -ENOSYS;
  pid_t pid = clone(be_born, birth->stack + STACK, flags, birth, &pidfd);
  if (pid < 0) return -errno;
  *started = (struct mp_started){pid, pidfd};
  return 0;
}

/* Until the program runs or the child has given up: both close its end. */
static void await_done(int fd, struct failure *failure) {
  struct failure heard;
  ssize_t n;
  while ((n = read(fd, &heard, sizeof heard)) < 0 && errno == EINTR) continue;
  if (n == (ssize_t)sizeof heard) *failure = heard;
}

/* A pipe whose writing end is none of 0, 1 and 2, which the child fills. */
static int make_done_pipe(int done[2]) {
  if (pipe2(done, O_CLOEXEC) < 0) return -errno;
  if (done[1] > 2) return 0;
  int moved = fcntl(done[1], F_DUPFD_CLOEXEC, 3), err = -errno;
  close(done[1]);
  done[1] = moved;
  if (moved >= 0) return 0;
  close(done[0]);
  return err;
}

static int start_by_fork(struct birth *birth, struct mp_started *started) {
  int done[2], err = make_done_pipe(done);
  if (err < 0) return err;
  pid_t pid = fork();
  if (pid == 0) {
    birth->tell_fd = done[1];
    be_born(birth);
  }
  err = pid < 0 ? -errno : 0;
  close(done[1]);
  if (pid > 0) {
    bool old = atomic_load(&pretended) & NO_PIDFD;
    await_done(done[0], &birth->failure);
    *started = (struct mp_started){pid, old ? -1 : (int)syscall(SYS_pidfd_open, pid, 0)};
  }
  close(done[0]);
  return err;
}

static bool is_too_old(int err) {
  return err == -EINVAL || err == -ENOSYS || err == -EPERM;
}

/* Only a child that never ran the program: its status says nothing. ECHILD: somebody else was faster. EINVAL: a kernel
 * before 5.4. */
static void bury(struct mp_started *started) {
  int err = started->pidfd < 0 ? -EINVAL : reap_blocking(P_PIDFD, started->pidfd);
  if (err == -EINVAL) reap_blocking(P_PID, started->pid);
  if (started->pidfd >= 0) close(started->pidfd);
  *started = (struct mp_started){-1, -1};
}

static int start_masked(struct birth *birth, struct mp_started *started, enum mp_exec_step *step) {
  uint64_t all = ~(uint64_t)0, before;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all); /* libc's own signals too */
  int err = start_by_clone(birth, started);
  if (is_too_old(err)) err = start_by_fork(birth, started);
  if (err == 0 && birth->failure.err) {
    bury(started);
    *step = birth->failure.step;
    err = -birth->failure.err;
  }
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
  return err;
}

static bool is_sound(const struct mp_exec *exec) {
  for (unsigned i = 0; i < exec->n_keep; i++)
    if (exec->keep[i] < 3) return false; /* those are stdio's */
  return exec->argv && exec->argv[0] && exec->envp;
}

int mp_exec(const struct mp_exec *exec, struct mp_started *started, enum mp_exec_step *step) {
  *started = (struct mp_started){-1, -1};
  *step = MP_EXEC_START;
  if (!is_sound(exec)) return -EINVAL;
  struct birth birth; /* not cleared: it is large */
  birth.exec = exec;
  birth.parent = getpid();
  birth.tell_fd = -1;
  birth.failure = (struct failure){0, MP_EXEC_START};
  bool other_user = exec->set_uid || exec->set_gid || (exec->identity && exec->identity->set_user);
  int dumpable = other_user ? prctl(PR_GET_DUMPABLE) : 0;
  int err = start_masked(&birth, started, step);
  /* A change of user in memory shared with us takes our own core dumps away. */
  if (dumpable == 1) prctl(PR_SET_DUMPABLE, 1);
  return err;
}
