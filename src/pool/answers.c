/* What the control socket answers from the shared page, the roster and /proc alone: also while workers are stuck. */
#include "base/emit.h"
#include "io/procfs.h"
#include "pool/control.h"
#include "pool/inside.h"
#include <unistd.h>

enum { IDLE_MS = 2000 /* beyond a worker's window: what it says of its load is no longer so */ };

static uint64_t load(const _Atomic uint64_t *number) {
  return atomic_load_explicit(number, memory_order_relaxed);
}

static double seconds(uint64_t ms) {
  return (double)ms / 1000;
}

static double since(uint64_t now, uint64_t then) {
  return then && now > then ? seconds(now - then) : 0;
}

/* ---- one worker ---- */

static const char *state_name(enum mp_seat_state state) {
  static const char *const names[] = {"free", "starting", "serving", "leaving"};
  return names[state];
}

static double busy_ratio(const struct mp_shm_slot *slot, uint64_t now) {
  uint64_t busy = load(&slot->busy_since_ms), window = load(&slot->view.window_ms);
  if (busy && now > busy + MP_ROSTER_SILENCE_MS) return 1; /* it is in one turn all the time */
  if (now > window + IDLE_MS) return 0;
  return (double)load(&slot->view.busy_permille) / 1000;
}

/* What it is in the middle of counts too. */
static double lag(const struct mp_shm_slot *slot, uint64_t now) {
  double turn = since(now, load(&slot->busy_since_ms)), window = (double)load(&slot->view.lag_ns) / 1e9;
  if (now > load(&slot->view.window_ms) + IDLE_MS) window = 0;
  return turn > window ? turn : window;
}

static void emit_load(struct mp_emit *e, const struct mp_shm_slot *slot, uint64_t now) {
  const struct mp_view *view = &slot->view;
  mp_emit_count(e, "requests", load(&slot->requests));
  mp_emit_count(e, "in_flight", atomic_load(&slot->in_flight));
  mp_emit_count(e, "connections", atomic_load(&slot->connections));
  mp_emit_count(e, "tasks", load(&view->tasks));
  mp_emit_count(e, "processes", load(&view->processes));
  mp_emit_count(e, "processes_queued", load(&view->processes_queued));
  mp_emit_count(e, "offloads", load(&view->offloads));
  mp_emit_count(e, "offloads_queued", load(&view->offloads_queued));
  mp_emit_number(e, "offloads_oldest", since(now, load(&view->offload_since_ms)));
  mp_emit_count(e, "lua_memory", load(&view->lua_bytes));
  mp_emit_number(e, "busy", busy_ratio(slot, now));
  mp_emit_number(e, "lag", lag(slot, now));
}

static void emit_worker(struct mp_emit *e, struct mp_pool *pool, const struct mp_member *m) {
  const struct mp_shm_slot *slot = &pool->shm->slot[m->seat];
  const struct mp_seat *seat = &pool->roster->seat[m->seat];
  struct mp_process_facts facts = {.rss_bytes = load(&slot->view.rss_bytes)};
  uint64_t now = mp_loop_now(&pool->loop);
  bool stopped = mp_process_look(m->child.proc.pid, &facts) == 0 && (facts.state == 'T' || facts.state == 't');
  mp_emit_begin(e, NULL, '{');
  mp_emit_count(e, "worker", m->slot + 1);
  mp_emit_count(e, "pid", (uint64_t)m->child.proc.pid);
  mp_emit_count(e, "generation", m->generation);
  mp_emit_word(e, "state", state_name(seat->state));
  mp_emit_flag(e, "stopped", stopped);
  mp_emit_flag(e, "stuck", seat->stuck_ms != 0);
  mp_emit_number(e, "uptime", since(now, seat->born_ms));
  mp_emit_count(e, "rss", facts.rss_bytes);
  emit_load(e, slot, now);
  mp_emit_end(e, '}');
}

/* In the order of their numbers; in one slot the older one first. */
static void each_worker(struct mp_pool *pool, struct mp_emit *e,
                        void (*emit)(struct mp_emit *e, struct mp_pool *pool, const struct mp_member *m)) {
  for (unsigned slot = 0; slot < MP_ROSTER_SLOTS; slot++) MP_LIST_EACH(node, &pool->members) {
      const struct mp_member *m = MP_CONTAINER(node, struct mp_member, node);
      if (m->slot == slot && pool->seats[m->seat] == m) emit(e, pool, m);
    }
}

int mp_answer_workers(struct mp_pool *pool, struct mp_buf *out) {
  struct mp_emit e = {.out = out};
  mp_emit_begin(&e, NULL, '{');
  mp_emit_begin(&e, "workers", '[');
  each_worker(pool, &e, emit_worker);
  mp_emit_end(&e, ']');
  mp_emit_end(&e, '}');
  return e.err;
}

/* ---- requests in flight ---- */

static void emit_request(struct mp_emit *e, const struct mp_member *m, const struct mp_view_request *r, uint64_t now_ns,
                         bool running) {
  mp_emit_begin(e, NULL, '{');
  mp_emit_count(e, "worker", m->slot + 1);
  mp_emit_count(e, "pid", (uint64_t)m->child.proc.pid);
  mp_emit_number(e, "age", now_ns > r->began_ns ? (double)(now_ns - r->began_ns) / 1e9 : 0);
  mp_emit_flag(e, "running", running);
  mp_emit_text(e, "request", mp_slice(r->line, r->len));
  if (*r->id)
    mp_emit_word(e, "id", r->id);
  else
    mp_emit_null(e, "id");
  mp_emit_end(e, '}');
}

static void emit_requests(struct mp_emit *e, struct mp_pool *pool, const struct mp_member *m) {
  struct mp_view_request list[MP_VIEW_REQUESTS + 1];
  uint64_t now_ns = mp_loop_now_ns(&pool->loop);
  int running;
  unsigned n = mp_view_in_flight(&pool->shm->slot[m->seat].view, list, MP_VIEW_REQUESTS + 1, &running);
  for (unsigned i = 0; i < n; i++) emit_request(e, m, &list[i], now_ns, running == (int)i);
}

static uint64_t unlisted(const struct mp_pool *pool) {
  uint64_t n = 0;
  for (unsigned i = 0; i < mp_shm_used(pool->shm); i++) {
    const struct mp_shm_slot *slot = &pool->shm->slot[i];
    uint32_t in_flight = atomic_load(&slot->in_flight);
    if (pool->seats[i] && in_flight > MP_VIEW_REQUESTS) n += in_flight - MP_VIEW_REQUESTS;
  }
  return n;
}

int mp_answer_requests(struct mp_pool *pool, struct mp_buf *out) {
  struct mp_emit e = {.out = out};
  mp_emit_begin(&e, NULL, '{');
  mp_emit_begin(&e, "requests", '[');
  each_worker(pool, &e, emit_requests);
  mp_emit_end(&e, ']');
  mp_emit_count(&e, "unlisted", unlisted(pool));
  mp_emit_end(&e, '}');
  return e.err;
}

/* ---- the pool ---- */

static const char *stage_name(const struct mp_roster *r) {
  static const char *const names[] = {"booting", "running", "stopping", "stopping"};
  if (r->stage == MP_STAGE_RUNNING && r->resting) return "resting";
  if (r->stage == MP_STAGE_RUNNING && (r->reloading || r->probing)) return "reloading";
  return names[r->stage];
}

static void emit_seats(struct mp_emit *e, const struct mp_roster *r) {
  unsigned n[MP_SEAT_LEAVING + 1] = {0};
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) n[r->seat[i].state]++;
  mp_emit_begin(e, "workers", '{');
  mp_emit_count(e, "wanted", r->wanted);
  for (unsigned i = MP_SEAT_STARTING; i <= MP_SEAT_LEAVING; i++) mp_emit_count(e, state_name(i), n[i]);
  mp_emit_end(e, '}');
}

static void emit_listeners(struct mp_emit *e, const struct mp_sockets *sockets) {
  char name[160];
  mp_emit_begin(e, "listen", '[');
  for (unsigned i = 0; i < sockets->n; i++)
    if (mp_listen_name(sockets->at[i]->fd, name, sizeof name) == 0) mp_emit_word(e, NULL, name);
  mp_emit_end(e, ']');
}

static uint64_t sum_of(const uint64_t *count, unsigned first, unsigned n) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < n; i++) sum += count[first + i];
  return sum;
}

static void emit_row(struct mp_emit *e, const char *key, const char *const *names, const uint64_t *count, unsigned n) {
  mp_emit_begin(e, key, '{');
  for (unsigned i = 0; i < n; i++) mp_emit_count(e, names[i], count[i]);
  mp_emit_end(e, '}');
}

static void emit_totals(struct mp_emit *e, const struct mp_pool *pool) {
  uint64_t count[MP_COUNTS], by_status[MP_VIEW_STATUSES] = {0}, restarts[MP_POOL_COUNTS];
  mp_shm_totals(pool->shm, count);
  for (unsigned i = 0; i < MP_VIEW_METHODS * MP_VIEW_STATUSES; i++)
    by_status[i % MP_VIEW_STATUSES] += count[MP_COUNT_REQUESTS + i];
  for (unsigned i = 0; i < MP_POOL_COUNTS; i++) restarts[i] = load(&pool->shm->pool.count[i]);
  mp_emit_count(e, "requests", sum_of(count, MP_COUNT_REQUESTS, MP_VIEW_METHODS * MP_VIEW_STATUSES));
  emit_row(e, "responses", mp_view_status_name, by_status, MP_VIEW_STATUSES);
  mp_emit_count(e, "accepted", count[MP_COUNT_ACCEPTED]);
  mp_emit_count(e, "refused", sum_of(count, MP_COUNT_REFUSED, MP_VIEW_REFUSALS));
  emit_row(e, "errors", mp_view_error_name, count + MP_COUNT_ERRORS, MP_VIEW_ERRORS);
  emit_row(e, "processes", mp_view_end_name, count + MP_COUNT_PROCESSES, MP_VIEW_ENDS);
  emit_row(e, "pool", mp_pool_count_name, restarts, MP_POOL_COUNTS);
}

static void emit_moment(struct mp_emit *e, const struct mp_pool *pool) {
  uint64_t in_flight = 0, connections = 0, tasks = 0, lua = 0, rss = 0;
  for (unsigned i = 0; i < mp_shm_used(pool->shm); i++) {
    const struct mp_shm_slot *slot = &pool->shm->slot[i];
    if (!pool->seats[i]) continue;
    in_flight += atomic_load(&slot->in_flight);
    connections += atomic_load(&slot->connections);
    tasks += load(&slot->view.tasks);
    lua += load(&slot->view.lua_bytes);
    rss += load(&slot->view.rss_bytes);
  }
  mp_emit_count(e, "in_flight", in_flight);
  mp_emit_count(e, "connections", connections);
  mp_emit_count(e, "tasks", tasks);
  mp_emit_count(e, "lua_memory", lua);
  mp_emit_count(e, "rss", rss);
}

int mp_answer_status(struct mp_pool *pool, struct mp_buf *out) {
  const struct mp_roster *r = pool->roster;
  struct mp_emit e = {.out = out};
  mp_emit_begin(&e, NULL, '{');
  mp_emit_word(&e, "version", MOONPOOL_VERSION);
  mp_emit_count(&e, "pid", (uint64_t)getpid());
  mp_emit_word(&e, "state", stage_name(r));
  mp_emit_number(&e, "uptime", since(mp_loop_now(&pool->loop), load(&pool->shm->pool.born_ms)));
  mp_emit_count(&e, "generation", r->generation);
  emit_seats(&e, r);
  emit_listeners(&e, &pool->sockets);
  emit_moment(&e, pool);
  emit_totals(&e, pool);
  mp_emit_end(&e, '}');
  return e.err;
}
