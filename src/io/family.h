/* family.h - who is whose child, as /proc tells it. Allocates nothing. */
#ifndef MP_IO_FAMILY_H
#define MP_IO_FAMILY_H

#include <sys/types.h>

/* each(child, arg) for every child of `pid`, zombies too. A list may miss one while others leave it. */
void mp_family_each(pid_t pid, void (*each)(int child, void *arg), void *arg);

/* -1: it is gone. */
pid_t mp_family_parent(pid_t pid);

#endif
