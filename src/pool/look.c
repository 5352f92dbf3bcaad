/* What workers cannot or do not say themselves: the master reads the shared page and /proc, now and then, while
 * anybody serves. The roster judges. */
#include "io/procfs.h"
#include "pool/inside.h"

enum { LOOK_MS = 1000, LEAST_LOOK_MS = 50 };

static uint64_t load(const _Atomic uint64_t *number) {
  return atomic_load_explicit(number, memory_order_relaxed);
}

/* The last sign of it; 0: its loop sleeps, as it should. */
static uint64_t last_sign(const struct mp_shm_slot *slot) {
  uint64_t busy = load(&slot->busy_since_ms), moved = load(&slot->moved_ms);
  if (!busy) return 0;
  return moved > busy ? moved : busy;
}

static uint64_t at_most(uint64_t ms) {
  return ms < LOOK_MS ? ms : LOOK_MS;
}

/* For so long it has given no sign. No look adds more than the time between two: when it was the master that could not
 * look, or the machine that stood still, the time is not the worker's. */
static uint64_t silent_for(struct mp_member *m, uint64_t sign, bool stopped, uint64_t now) {
  uint64_t since_look = at_most(now - m->looked_ms);
  if (!sign && !stopped)
    m->silent_ms = 0;
  else if (m->silent_ms && sign == m->sign_ms)
    m->silent_ms += since_look;
  else
    m->silent_ms = sign && now > sign ? at_most(now - sign) : 1;
  m->sign_ms = sign;
  m->looked_ms = now;
  return m->silent_ms;
}

static void tell_size(struct mp_pool *pool, const struct mp_member *m, uint64_t bytes) {
  uint64_t most = pool->plan->config.max_rss;
  if (!most || bytes <= most) return;
  mp_pool_tell(pool,
               &(struct mp_event){.kind = MP_EVENT_SPENT, .seat = m->seat, .limit = MP_LIMIT_MEMORY, .figure = bytes});
}

/* A stop by a debugger is its user's. Where there is no /proc, or no descriptor to read it by, the page must do. */
static uint64_t look_at(struct mp_pool *pool, struct mp_member *m, uint64_t now) {
  struct mp_process_facts facts;
  if (mp_process_look(m->child.proc.pid, &facts) < 0) facts = (struct mp_process_facts){0};
  bool stopped = facts.state == 'T';
  uint64_t sign = facts.state == 't' ? 0 : last_sign(&pool->shm->slot[m->seat]);
  uint64_t ms = silent_for(m, sign, stopped, now);
  if (ms)
    mp_pool_tell(pool, &(struct mp_event){.kind = MP_EVENT_SILENT, .seat = m->seat, .ms = ms, .stopped = stopped});
  tell_size(pool, m, facts.rss_bytes);
  return ms;
}

static uint64_t interval(const struct mp_pool *pool) {
  uint64_t timeout = pool->roster->timeout_ms;
  if (!timeout || timeout >= LOOK_MS) return LOOK_MS;
  return timeout > LEAST_LOOK_MS ? timeout : LEAST_LOOK_MS;
}

/* Who is silent is looked at again just when its time is over. */
static uint64_t next_look(const struct mp_pool *pool, uint64_t silent_ms) {
  uint64_t limit = pool->roster->timeout_ms + MP_ROSTER_SILENCE_MS, usual = interval(pool);
  if (!pool->roster->timeout_ms || !silent_ms || silent_ms >= limit) return usual;
  return limit - silent_ms < usual ? limit - silent_ms : usual;
}

static bool is_looked_at(const struct mp_pool *pool, const struct mp_member *m) {
  enum mp_seat_state state = pool->roster->seat[m->seat].state;
  return pool->seats[m->seat] == m && (state == MP_SEAT_SERVING || state == MP_SEAT_LEAVING);
}

static bool is_needed(const struct mp_pool *pool) {
  return !pool->over && (pool->roster->timeout_ms || pool->plan->config.max_rss);
}

void mp_pool_on_look(struct mp_timer *timer) {
  struct mp_pool *pool = MP_CONTAINER(timer, struct mp_pool, look);
  uint64_t now = mp_loop_now(&pool->loop), next = UINT64_MAX;
  MP_LIST_EACH(node, &pool->members) {
    struct mp_member *m = MP_CONTAINER(node, struct mp_member, node);
    if (!is_looked_at(pool, m)) continue;
    uint64_t ms = next_look(pool, look_at(pool, m, now));
    if (ms < next) next = ms;
  }
  if (next < UINT64_MAX && is_needed(pool)) mp_timer_start(&pool->look, next);
}

void mp_pool_look_soon(struct mp_pool *pool) {
  if (is_needed(pool) && !mp_timer_started(&pool->look)) mp_timer_start(&pool->look, interval(pool));
}
