/* procfs.h - what the kernel shows of another process. */
#ifndef MP_IO_PROCFS_H
#define MP_IO_PROCFS_H

#include <stdint.h>
#include <sys/types.h>

struct mp_process_facts {
  char state;         /* as in ps: R, S, D, T (stopped by a signal), t (by a debugger), Z */
  uint64_t rss_bytes; /* resident, what it shares with others included */
};

/* 0 or -errno. The number should be held: of a child that was not reaped. */
int mp_process_look(pid_t pid, struct mp_process_facts *facts);

#endif
