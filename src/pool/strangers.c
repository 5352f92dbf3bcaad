#include "io/guardian.h"
#include "pool/inside.h"

/* Ends what dead workers left behind: the master is the subreaper of all below it, so whatever lost its worker is a
 * child of the master now. A slice is short, for the loop has workers to look after. */

enum { SLICE_MS = 10, BETWEEN_MS = 10, LONG_MS = 1000, SLOW_MS = 250 };

bool mp_strangers_spared(pid_t pid, void *ctx) {
  struct mp_pool *pool = ctx;
  MP_LIST_EACH(node, &pool->members) {
    const struct mp_member *m = MP_CONTAINER(node, struct mp_member, node);
    if (m->child.proc.pid == pid && !m->child.settled) return true;
  }
  if (mp_reporter_owns(&pool->reporter, pid)) return true;
  return pool->setup->owns(pool->setup->ctx, pid);
}

static void sweep_slice(struct mp_pool *pool) {
  uint64_t now = mp_loop_now(&pool->loop);
  int ended = mp_sweep(mp_strangers_spared, pool, SLICE_MS);
  if (ended > 0) mp_log(pool->log, MP_LOG_INFO, "pool", "ended what a worker had left behind processes=%d", ended);
  if (ended == 0) {
    pool->sweep_since_ms = 0;
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
  int reaped = mp_reap_strangers(mp_strangers_spared, pool, NULL);
  if (reaped > 0) mp_log(pool->log, MP_LOG_DEBUG, "pool", "reaped strangers processes=%d", reaped);
}
