/* base_fork_with.h - a child of a test that does not outlive it, however the test ends. */
#ifndef MP_SPEC_UNIT_BASE_FORK_WITH_H
#define MP_SPEC_UNIT_BASE_FORK_WITH_H

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

static inline pid_t fork_with(void) {
  pid_t parent = getpid(), pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  return 0;
}

#endif
