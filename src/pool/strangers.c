#include "io/guardian.h"
#include "pool/inside.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

/* Ends what dead workers left behind: the master is the subreaper of all below it, so whatever lost its worker is a
 * child of the master now. A slice is short, for the loop has workers to look after. */

enum { SLICE_MS = 10, BETWEEN_MS = 10, LONG_MS = 1000, SLOW_MS = 250 };

/* Whoever has exec'ed us may have started something of its own before (a container's first script does): when that ends
 * it is reaped, but it is not ours to end. */
int mp_strangers_note(struct mp_pool *pool) {
  unsigned most = mp_children(NULL, 0);
  if (most == 0) return 0;
  pool->earlier = calloc(most, sizeof *pool->earlier);
  if (!pool->earlier) return -ENOMEM;
  unsigned found = mp_children(pool->earlier, most);
  pool->n_earlier = found < most ? found : most;
  return 0;
}

/* A number that is nobody's any more may become a stranger's. */
static void forget_earlier(struct mp_pool *pool) {
  siginfo_t info;
  for (unsigned i = 0; i < pool->n_earlier; i++)
    if (waitid(P_PID, (id_t)pool->earlier[i], &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD)
      pool->earlier[i] = 0;
}

static bool is_one_of_us(pid_t pid, void *ctx) {
  struct mp_pool *pool = ctx;
  const struct mp_successor *next = pool->successor;
  if (pid == pool->heir || (next && next->child.proc.pid == pid && !next->child.settled)) return true;
  MP_LIST_EACH(node, &pool->members) {
    const struct mp_member *m = MP_CONTAINER(node, struct mp_member, node);
    if (m->child.proc.pid == pid && !m->child.settled) return true;
  }
  if (mp_reporter_owns(&pool->reporter, pid)) return true;
  return pool->setup->owns(pool->setup->ctx, pid);
}

bool mp_strangers_spared(pid_t pid, void *ctx) {
  struct mp_pool *pool = ctx;
  for (unsigned i = 0; i < pool->n_earlier; i++)
    if (pool->earlier[i] == pid) return true;
  return is_one_of_us(pid, pool);
}

static bool has_member(unsigned cgroup, void *ctx) {
  const struct mp_pool *pool = ctx;
  MP_LIST_EACH(node, &pool->members) {
    const struct mp_member *m = MP_CONTAINER(node, struct mp_member, node);
    if (m->cgroup == cgroup && !m->child.settled) return true;
  }
  return false;
}

static void sweep_slice(struct mp_pool *pool) {
  uint64_t now = mp_loop_now(&pool->loop);
  int ended = mp_sweep(mp_strangers_spared, pool, SLICE_MS);
  if (ended > 0) mp_log(pool->log, MP_LOG_INFO, "pool", "ended what a worker had left behind processes=%d", ended);
  if (ended == 0) {
    pool->sweep_since_ms = 0;
    mp_cgroups_tidy(&pool->cgroups, has_member, pool);
    return;
  }
  bool slow = now - pool->sweep_since_ms > LONG_MS; /* something does not die: held in the kernel, perhaps */
  mp_timer_start(&pool->sweep, slow ? SLOW_MS : BETWEEN_MS);
}

void mp_strangers_on_timer(struct mp_timer *timer) {
  sweep_slice(MP_CONTAINER(timer, struct mp_pool, sweep));
}

void mp_strangers_sweep(struct mp_pool *pool) {
  if (!pool->sweep_since_ms) pool->sweep_since_ms = mp_loop_now(&pool->loop);
  mp_timer_start(&pool->sweep, 0);
}

void mp_strangers_reap(struct mp_pool *pool) {
  int reaped = mp_reap_all_strangers(is_one_of_us, pool);
  forget_earlier(pool);
  if (reaped > 0) mp_log(pool->log, MP_LOG_DEBUG, "pool", "reaped strangers processes=%d", reaped);
}
