/* libc.h - what glibc has and musl has not (seen with 1.2.3), by the names that glibc gave it. */
#ifndef MP_BASE_LIBC_H
#define MP_BASE_LIBC_H

#include <sys/types.h>

/* A signal to one thread of this process, with a pointer in si_value. `tid` as gettid gave it: pthread_sigqueue is
 * glibc's. 0 or -errno. */
int mp_signal_thread(pid_t tid, int signo, void *pointer);

/* Gives freed memory back to the kernel, if this libc keeps any. */
void mp_memory_trim(void);

#ifndef __GLIBC__
#include <sys/uio.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

const char *strerrorname_np(int err);
const char *strerrordesc_np(int err);
const char *sigabbrev_np(int signo);
ssize_t preadv2(int fd, const struct iovec *to, int n, off_t at, int flags);
#endif

#endif
