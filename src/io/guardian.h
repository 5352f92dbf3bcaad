/* guardian.h - nothing outlives its keeper: a thread that waits for the master's death, and the sweep of children. */
#ifndef MP_IO_GUARDIAN_H
#define MP_IO_GUARDIAN_H

#include <stdbool.h>
#include <sys/types.h>

/* This process adopts what its descendants leave behind (PR_SET_CHILD_SUBREAPER). 0 or -errno. */
int mp_subreaper(void);

/* Starts a thread that blocks in read(2) on `death_fd`; at end-of-file (the last writer is dead) it sweeps the
 * children of this process and calls _exit(1), whatever the loop's thread is doing. 0 or -errno. */
int mp_guardian_start(int death_fd);

/* Kills every child of this process, and each child's group unless it is our own, reaps them by pid, and goes on with
 * what comes back to us from below, until none is left or `most_ms` is over. `spare(pid, ctx)` true: leave that child
 * alone; NULL spares none. Never waits for -1. Returns how many were ended. */
int mp_sweep(bool (*spare)(pid_t pid, void *ctx), void *ctx, int most_ms);

/* Reaps, by pid and without interpreting, every zombie child that `spare` does not claim: strangers that were adopted.
 * One of our own process group is never touched: it may be a C library's, who waits for it itself. Returns how many;
 * `*left` (may be NULL) gets how many strangers still run. */
int mp_reap_strangers(bool (*spare)(pid_t pid, void *ctx), void *ctx, int *left);

/* The same for a process in which nobody else waits for children: one of our own group is reaped too. */
int mp_reap_all_strangers(bool (*spare)(pid_t pid, void *ctx), void *ctx);

/* The children of this process, zombies too: at most `most` at `pids`; how many there are. */
unsigned mp_children(pid_t *pids, unsigned most);

#endif
