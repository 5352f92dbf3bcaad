/* exec.h - start one process: clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD), a few system calls, execve.
 * The cost does not grow with the parent's memory (a fork copies its page tables). What fails before the new program
 * runs comes back as an errno and the step that failed, and nothing is left behind. Call it on the loop's thread only:
 * PR_SET_PDEATHSIG is bound to the thread that starts the child. Without CLONE_PIDFD (old kernels, some sandboxes) it
 * falls back to fork and pidfd_open, decided when the kernel says so. */
#ifndef MP_IO_EXEC_H
#define MP_IO_EXEC_H

#include "io/identity.h"
#include <stdint.h>
#include <sys/resource.h>

enum mp_exec_step {
  MP_EXEC_START, /* clone itself */
  MP_EXEC_STDIO,
  MP_EXEC_GROUP,
  MP_EXEC_CHDIR,
  MP_EXEC_LIMIT,
  MP_EXEC_USER,
  MP_EXEC_NICE,
  MP_EXEC_PROGRAM /* not found, not executable, too long */
};

struct mp_exec_rlimit {
  int resource;
  rlim_t value; /* soft and hard */
};

/* Everything is borrowed for the call. */
struct mp_exec {
  char *const *argv;   /* ended by NULL; argv[0] is looked up along `path` unless it holds a slash */
  const char *program; /* NULL: argv[0]; else exactly this file */
  char *const *envp;   /* ended by NULL */
  const char *path;    /* the child's PATH; NULL: /usr/local/bin:/usr/bin:/bin */
  const char *cwd;     /* NULL: stay */
  int stdio[3];        /* descriptors that become 0, 1 and 2; -1: /dev/null */
  const int *keep;     /* further descriptors that the child inherits under their own numbers (all else closes) */
  unsigned n_keep;
  bool session;      /* setsid instead of a process group of its own */
  bool own_group;    /* setpgid(0, 0); workers and spawned processes alike */
  bool dies_with_us; /* PR_SET_PDEATHSIG KILL */
  const struct mp_exec_rlimit *rlimits;
  unsigned n_rlimits;
  bool set_uid, set_gid, set_nice;
  uid_t uid;
  gid_t gid;
  int nice;                           /* added to ours */
  const struct mp_identity *identity; /* NULL: nothing of it changes; not together with set_uid, set_gid */
};

struct mp_started {
  pid_t pid;
  int pidfd; /* owned by the caller, close-on-exec; -1 where the kernel has none */
};

/* 0 or -errno, then `*step` says where. A child that failed has been reaped. */
int mp_exec(const struct mp_exec *exec, struct mp_started *started, enum mp_exec_step *step);

/* Makes the next starts take the fallback (for tests): bit 0: no clone with CLONE_PIDFD, bit 1: no pidfd at all. */
void mp_exec_pretend_old(unsigned bits);

#endif
