/* cgroup.h - where a cgroup v2 was delegated to us: a cgroup for each worker, so that all it has started can be ended
 * in one stroke, whatever it has left and however fast it forks. Where none was, nothing is done, and nothing is lost
 * but that: the sweep of strangers ends them too.
 *
 * Delegated is what a manager has marked so (the extended attribute "user.delegate" or "trusted.delegate"), what
 * belongs to the user that we are unless that is root, and the whole of a cgroup namespace of our own. */
#ifndef MP_IO_CGROUP_H
#define MP_IO_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

struct mp_cgroups {
  char *folder;         /* owned: of this process's own; NULL: none is delegated */
  unsigned first, last; /* numbers of those that may be there still */
};

/* Finds it in /proc/self/mounts and /proc/self/cgroup, and takes away what masters before us have left in it. */
void mp_cgroups_open(struct mp_cgroups *cgroups);
void mp_cgroups_close(struct mp_cgroups *cgroups);

/* A new one with `pid` in it: its number; 0 where there is none, or -errno (then nothing is delegated any more). */
int mp_cgroups_enter(struct mp_cgroups *cgroups, pid_t pid);

/* Ends all that is in it, with a kernel that can (Linux 5.14). */
void mp_cgroups_kill(const struct mp_cgroups *cgroups, unsigned number);

/* Takes away those that are empty, but for numbers of which `used` says true. */
void mp_cgroups_tidy(struct mp_cgroups *cgroups, bool (*used)(unsigned number, void *ctx), void *ctx);

#endif
