#include "io/below.h"
#include "io/family.h"
#include "io/pidfd.h"
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

enum { MOST = 4096 }; /* looked at; a tree that grows faster than we walk has an end for us */

/* All that is below the leader, in the order of finding. */
struct walk {
  pid_t leader;
  struct mp_below *below;
  pid_t *pids; /* owned */
  unsigned n, cap, at;
};

static bool has(const struct mp_below *below, pid_t pid) {
  for (unsigned i = 0; i < below->n; i++)
    if (below->at[i].pid == pid) return true;
  return false;
}

static bool has_room(struct mp_below *below) {
  if (below->n < below->cap) return true;
  unsigned cap = below->cap ? below->cap * 2 : 8;
  struct mp_started *at = realloc(below->at, cap * sizeof *at);
  if (!at) return false;
  below->at = at;
  below->cap = cap;
  return true;
}

/* The number was read from a list: who has it now must still be that one's child when we hold it. */
static void keep(struct mp_below *below, pid_t pid, pid_t parent) {
  if (has(below, pid) || !has_room(below)) return;
  struct mp_started p = {pid, (int)syscall(SYS_pidfd_open, pid, 0)};
  if (p.pidfd < 0) return;
  if (mp_family_parent(pid) == parent)
    below->at[below->n++] = p;
  else
    mp_pidfd_close(&p);
}

static void remember(struct walk *walk, pid_t pid) {
  if (walk->n == walk->cap) {
    unsigned cap = walk->cap ? walk->cap * 2 : 32;
    pid_t *pids = cap <= MOST ? realloc(walk->pids, cap * sizeof *pids) : NULL;
    if (!pids) return;
    walk->pids = pids;
    walk->cap = cap;
  }
  walk->pids[walk->n++] = pid;
}

static void on_child(int pid, void *arg) {
  struct walk *walk = arg;
  pid_t parent = walk->at == 0 ? walk->leader : walk->pids[walk->at - 1], group = getpgid(pid);
  if (group > 0 && group != walk->leader) keep(walk->below, pid, parent);
  remember(walk, pid);
}

void mp_below_collect(struct mp_below *below, pid_t leader) {
  struct walk walk = {.leader = leader, .below = below};
  mp_family_each(leader, on_child, &walk);
  while (walk.at < walk.n) {
    pid_t pid = walk.pids[walk.at++];
    mp_family_each(pid, on_child, &walk);
  }
  free(walk.pids);
}

void mp_below_signal(const struct mp_below *below, int signo) {
  for (unsigned i = 0; i < below->n; i++)
    if (below->at[i].pidfd >= 0) syscall(SYS_pidfd_send_signal, below->at[i].pidfd, signo, NULL, 0);
}

void mp_below_free(struct mp_below *below) {
  for (unsigned i = 0; i < below->n; i++) mp_pidfd_close(&below->at[i]);
  free(below->at);
  *below = (struct mp_below){0};
}
