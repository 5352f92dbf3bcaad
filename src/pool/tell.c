/* What the shared page tells of the pool: counters by cause, and who is in which state. */
#include "pool/inside.h"
#include <unistd.h>

static void count(struct mp_pool *pool, enum mp_pool_count which) {
  mp_counter_add(&pool->shm->pool.count[which], 1);
}

static void set_state(struct mp_pool *pool, unsigned seat, enum mp_shm_state state) {
  atomic_store(&pool->shm->slot[seat].state, state);
}

static enum mp_pool_count cause_of(const struct mp_pool *pool, unsigned seat, const struct mp_status *status) {
  if (pool->killed_for[seat]) return (enum mp_pool_count)pool->killed_for[seat];
  if (status->end == MP_END_EXIT) return MP_POOL_EXITED;
  return status->end == MP_END_SIGNAL ? MP_POOL_SIGNALLED : MP_POOL_LOST;
}

static void tell_ended(struct mp_pool *pool, const struct mp_action *a, const struct mp_event *event) {
  set_state(pool, a->seat, MP_SHM_FREE);
  if (!a->asked) count(pool, cause_of(pool, a->seat, &event->status));
  pool->killed_for[a->seat] = 0;
}

static void tell_fact(struct mp_pool *pool, const struct mp_action *a, const struct mp_event *event) {
  switch (a->fact) {
  case MP_FACT_READY:
    set_state(pool, a->seat, MP_SHM_SERVING);
    break;
  case MP_FACT_ENDED:
    tell_ended(pool, a, event);
    break;
  case MP_FACT_START_FAILED:
    count(pool, MP_POOL_NOT_STARTED);
    break;
  case MP_FACT_HUNG:
  case MP_FACT_SILENT:
    pool->killed_for[a->seat] = MP_POOL_HUNG;
    break;
  case MP_FACT_BOOT_TIMEOUT:
    pool->killed_for[a->seat] = MP_POOL_BOOT_TIMEOUT;
    break;
  case MP_FACT_OVERDUE:
    count(pool, MP_POOL_OVERDUE);
    break;
  case MP_FACT_RENEWED:
    if (a->limit) count(pool, MP_POOL_MAX_REQUESTS + a->limit - MP_LIMIT_REQUESTS);
    break;
  case MP_FACT_RELOADED:
    count(pool, MP_POOL_RELOADS);
    break;
  case MP_FACT_DROPPED:
    count(pool, MP_POOL_RELOADS_FAILED);
    break;
  default:
    break;
  }
}

void mp_tell_action(struct mp_pool *pool, const struct mp_action *a, const struct mp_event *event) {
  switch (a->kind) {
  case MP_ACTION_START:
    count(pool, MP_POOL_STARTED);
    break;
  case MP_ACTION_RETIRE:
  case MP_ACTION_FINISH:
  case MP_ACTION_HALT:
    set_state(pool, a->seat, MP_SHM_LEAVING);
    break;
  case MP_ACTION_SAY:
    tell_fact(pool, a, event);
    break;
  default:
    break;
  }
}

void mp_tell_after(struct mp_pool *pool) {
  atomic_store(&pool->shm->pool.generation, pool->roster->generation);
  atomic_store(&pool->shm->pool.wanted, pool->roster->wanted);
}

void mp_tell_begin(struct mp_pool *pool) {
  atomic_store(&pool->shm->pool.pid, (int32_t)getpid());
  atomic_store(&pool->shm->pool.born_ms, mp_loop_now(&pool->loop));
}
