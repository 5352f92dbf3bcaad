#include "report/exposition.h"
#include <errno.h>
#include <stdlib.h>

enum { STUCK_MS = 1000 /* a request that holds its worker for so long is named */, WORKERS_MOST = 1024 };

/* One pass over the page. */
struct page {
  const struct mp_shm *shm;
  const struct mp_moment *now;
  struct mp_buf *out; /* borrowed */
  int err;
  uint64_t count[MP_COUNTS];
};

/* printf with an error that stays. */
#define put(p, ...)                                                                                                    \
  do {                                                                                                                 \
    if ((p)->err == 0) (p)->err = mp_buf_addf((p)->out, __VA_ARGS__);                                                  \
  } while (0)

static void family(struct page *p, const char *name, const char *type, const char *help) {
  put(p, "# HELP moonpool_%s %s\n# TYPE moonpool_%s %s\n", name, help, name, type);
}

static uint64_t load(const _Atomic uint64_t *number) {
  return atomic_load_explicit(number, memory_order_relaxed);
}

/* ---- counters ---- */

static void counter(struct page *p, const char *name, const char *help, uint64_t n) {
  family(p, name, "counter", help);
  put(p, "moonpool_%s %llu\n", name, (unsigned long long)n);
}

/* One series for each name of a label. */
static void counters(struct page *p, const char *name, const char *help, const char *label, const char *const *names,
                     const uint64_t *count, unsigned n) {
  family(p, name, "counter", help);
  for (unsigned i = 0; i < n; i++)
    put(p, "moonpool_%s{%s=\"%s\"} %llu\n", name, label, names[i], (unsigned long long)count[i]);
}

static void put_requests(struct page *p) {
  family(p, "requests_total", "counter",
         "Requests whose answer has ended, by method and class of status; none: no answer was sent.");
  for (unsigned m = 0; m < MP_VIEW_METHODS; m++)
    for (unsigned s = 0; s < MP_VIEW_STATUSES; s++) {
      uint64_t n = p->count[MP_COUNT_REQUESTS + m * MP_VIEW_STATUSES + s];
      bool usual = m == MP_VIEW_GET && s >= 2;
      if (n || usual)
        put(p, "moonpool_requests_total{method=\"%s\",status=\"%s\"} %llu\n", mp_view_method_name[m],
            mp_view_status_name[s], (unsigned long long)n);
    }
}

static void put_latency(struct page *p) {
  static const char name[] = "request_duration_seconds";
  uint64_t sum = 0;
  family(p, name, "histogram", "From the head of a request to the end of its answer.");
  for (unsigned i = 0; i <= MP_VIEW_LATENCIES; i++) {
    sum += p->count[MP_COUNT_LATENCY + i];
    if (i < MP_VIEW_LATENCIES)
      put(p, "moonpool_%s_bucket{le=\"%g\"} %llu\n", name, (double)mp_view_bound_ns[i] / 1e9, (unsigned long long)sum);
    else
      put(p, "moonpool_%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)sum);
  }
  put(p, "moonpool_%s_sum %.6f\n", name, (double)p->count[MP_COUNT_LATENCY_NS] / 1e9);
  put(p, "moonpool_%s_count %llu\n", name, (unsigned long long)sum);
}

static void put_counters(struct page *p) {
  const uint64_t *count = p->count;
  put_requests(p);
  put_latency(p);
  counter(p, "response_body_bytes_total", "Bytes of answers' bodies.", count[MP_COUNT_BYTES]);
  counter(p, "connections_accepted_total", "Connections taken.", count[MP_COUNT_ACCEPTED]);
  counters(p, "refused_total", "What was refused before it was a request, by status.", "status", mp_view_refusal_name,
           count + MP_COUNT_REFUSED, MP_VIEW_REFUSALS);
  counters(p, "unhandled_errors_total", "Errors that nobody took, by where they came from.", "kind", mp_view_error_name,
           count + MP_COUNT_ERRORS, MP_VIEW_ERRORS);
  counters(p, "processes_total", "Child processes of the app, by how they ended.", "outcome", mp_view_end_name,
           count + MP_COUNT_PROCESSES, MP_VIEW_ENDS);
  counter(p, "lua_ended_total", "Times that Lua was ended because it held its worker for too long.",
          count[MP_COUNT_HELD]);
  counter(p, "slow_requests_total", "Requests that took longer than --slow-request.", count[MP_COUNT_SLOW]);
  counter(p, "health_checks_total", "Health checks answered.", count[MP_COUNT_HEALTH]);
}

/* ---- the pool ---- */

static void gauge(struct page *p, const char *name, const char *help, double n) {
  family(p, name, "gauge", help);
  put(p, "moonpool_%s %.10g\n", name, n);
}

static void put_states(struct page *p) {
  static const char *const names[] = {NULL, "starting", "serving", "leaving"};
  unsigned n[MP_SHM_LEAVING + 1] = {0};
  for (unsigned i = 0; i < mp_shm_used(p->shm); i++) {
    uint32_t state = atomic_load(&p->shm->slot[i].state);
    n[state <= MP_SHM_LEAVING ? state : MP_SHM_FREE]++;
  }
  family(p, "workers", "gauge", "Worker processes, by what they are doing.");
  for (unsigned i = MP_SHM_STARTING; i <= MP_SHM_LEAVING; i++)
    put(p, "moonpool_workers{state=\"%s\"} %u\n", names[i], n[i]);
}

static void put_pool(struct page *p) {
  const struct mp_shm_pool *pool = &p->shm->pool;
  uint64_t count[MP_POOL_COUNTS];
  double now_ms = (double)p->now->mono_ns / 1e6;
  for (unsigned i = 0; i < MP_POOL_COUNTS; i++) count[i] = load(&pool->count[i]);
  family(p, "info", "gauge", "Always 1; its label is the version.");
  put(p, "moonpool_info{version=\"%s\"} 1\n", MOONPOOL_VERSION);
  gauge(p, "start_time_seconds", "When the master was started, in seconds since 1970.",
        p->now->wall_s - (now_ms - (double)load(&pool->born_ms)) / 1e3);
  gauge(p, "generation", "How often the app was loaded anew, and 1.", atomic_load(&pool->generation));
  gauge(p, "workers_wanted", "Worker processes that there should be.", atomic_load(&pool->wanted));
  put_states(p);
  counter(p, "worker_starts_total", "Worker processes started.", count[MP_POOL_STARTED]);
  counters(p, "worker_restarts_total",
           "Workers that were lost or replaced, by cause; those that were asked to leave for a reload do not count.",
           "cause", mp_pool_count_name + MP_POOL_EXITED, count + MP_POOL_EXITED, MP_POOL_RELOADS - MP_POOL_EXITED);
  family(p, "reloads_total", "counter", "Reloads, by result.");
  put(p, "moonpool_reloads_total{result=\"ok\"} %llu\n", (unsigned long long)count[MP_POOL_RELOADS]);
  put(p, "moonpool_reloads_total{result=\"failed\"} %llu\n", (unsigned long long)count[MP_POOL_RELOADS_FAILED]);
}

/* ---- each worker, by its number ---- */

/* While one is being replaced, two processes have the number: their figures are one. */
struct worker {
  bool there;
  double in_flight, connections, tasks, processes, processes_queued, offloads, offloads_queued, lua_bytes, rss_bytes;
  double offload_wait_s, oldest_s, busy, lag_s, turn_s; /* the larger one */
};

static double larger(double a, double b) {
  return a > b ? a : b;
}

static double since_ms(const struct page *p, uint64_t then_ms) {
  uint64_t now_ms = p->now->mono_ns / 1000000;
  return then_ms && now_ms > then_ms ? (double)(now_ms - then_ms) / 1e3 : 0;
}

static double oldest(const struct page *p, const struct mp_view *view) {
  struct mp_view_request r;
  unsigned n = mp_view_in_flight(view, &r, 1, NULL);
  return n > 0 && p->now->mono_ns > r.began_ns ? (double)(p->now->mono_ns - r.began_ns) / 1e9 : 0;
}

static void add_load(const struct page *p, struct worker *w, const struct mp_shm_slot *slot) {
  enum { IDLE_S = 2 };
  const struct mp_view *view = &slot->view;
  double turn = since_ms(p, load(&slot->busy_since_ms));
  bool fresh = since_ms(p, load(&view->window_ms)) < IDLE_S;
  w->turn_s = larger(w->turn_s, turn);
  w->lag_s = larger(w->lag_s, larger(turn, fresh ? (double)load(&view->lag_ns) / 1e9 : 0));
  w->busy = larger(w->busy, turn > 1 ? 1 : fresh ? (double)load(&view->busy_permille) / 1e3 : 0);
  w->offload_wait_s = larger(w->offload_wait_s, since_ms(p, load(&view->offload_since_ms)));
  w->oldest_s = larger(w->oldest_s, oldest(p, view));
}

static void add(const struct page *p, struct worker *w, const struct mp_shm_slot *slot) {
  const struct mp_view *view = &slot->view;
  uint64_t rss = p->now->rss(atomic_load(&slot->pid));
  w->there = true;
  w->in_flight += atomic_load(&slot->in_flight);
  w->connections += atomic_load(&slot->connections);
  w->tasks += (double)load(&view->tasks);
  w->processes += (double)load(&view->processes);
  w->processes_queued += (double)load(&view->processes_queued);
  w->offloads += (double)load(&view->offloads);
  w->offloads_queued += (double)load(&view->offloads_queued);
  w->lua_bytes += (double)load(&view->lua_bytes);
  w->rss_bytes += (double)(rss ? rss : load(&view->rss_bytes));
  add_load(p, w, slot);
}

static bool is_living(const struct mp_shm_slot *slot) {
  uint32_t number = atomic_load(&slot->number);
  return atomic_load(&slot->state) != MP_SHM_FREE && atomic_load(&slot->pid) && number >= 1 && number <= WORKERS_MOST;
}

static void gather(const struct page *p, struct worker *workers) {
  for (unsigned i = 0; i < mp_shm_used(p->shm); i++) {
    const struct mp_shm_slot *slot = &p->shm->slot[i];
    if (is_living(slot)) add(p, &workers[atomic_load(&slot->number) - 1], slot);
  }
}

#define AT(field) offsetof(struct worker, field)

static const struct {
  const char *name, *help;
  size_t at;
} gauges[] = {
    {"worker_requests_in_flight", "Requests begun and not over.", AT(in_flight)},
    {"worker_oldest_request_seconds", "How long the oldest of them has been in flight.", AT(oldest_s)},
    {"worker_connections", "Open connections.", AT(connections)},
    {"worker_tasks", "Lua tasks that have not ended, those of requests too.", AT(tasks)},
    {"worker_processes", "Live child processes.", AT(processes)},
    {"worker_processes_queued", "Children that wait for a place among --max-procs.", AT(processes_queued)},
    {"worker_offloads", "Functions that run on threads.", AT(offloads)},
    {"worker_offloads_queued", "Functions that wait for a thread.", AT(offloads_queued)},
    {"worker_offload_wait_seconds", "How long the oldest of them has waited.", AT(offload_wait_s)},
    {"worker_loop_turn_seconds", "How long the turn of the event loop under way has taken; 0: it sleeps.", AT(turn_s)},
    {"worker_loop_lag_seconds", "The longest turn of the event loop in the last second of work.", AT(lag_s)},
    {"worker_loop_busy_ratio", "Share of the last second that the event loop's thread was on a CPU.", AT(busy)},
    {"worker_resident_memory_bytes", "Resident memory.", AT(rss_bytes)},
    {"worker_lua_memory_bytes", "The heap of the Lua state.", AT(lua_bytes)},
};

static double figure(const struct worker *w, size_t at) {
  double n;
  memcpy(&n, (const char *)w + at, sizeof n);
  return n;
}

static void put_workers(struct page *p) {
  struct worker *workers = calloc(WORKERS_MOST, sizeof *workers);
  if (!workers) {
    p->err = -ENOMEM;
    return;
  }
  gather(p, workers);
  for (unsigned g = 0; g < sizeof gauges / sizeof *gauges; g++) {
    family(p, gauges[g].name, "gauge", gauges[g].help);
    for (unsigned i = 0; i < WORKERS_MOST; i++)
      if (workers[i].there)
        put(p, "moonpool_%s{worker=\"%u\"} %.10g\n", gauges[g].name, i + 1, figure(&workers[i], gauges[g].at));
  }
  free(workers);
}

/* ---- what holds a worker ---- */

/* Escaped as labels are, and what is no printable ASCII as \xNN: the format wants UTF-8, and clients send anything. */
static void put_label(struct page *p, struct mp_slice text) {
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.at[i];
    if (c == '"' || c == '\\')
      put(p, "\\%c", c);
    else if (c < 0x20 || c >= 0x7f)
      put(p, "\\\\x%02x", c);
    else
      put(p, "%c", c);
  }
}

static void put_stuck(struct page *p, const struct mp_shm_slot *slot) {
  struct mp_view_request list[MP_VIEW_REQUESTS + 1];
  int running;
  double turn_s = since_ms(p, load(&slot->busy_since_ms));
  if (turn_s * 1000 < STUCK_MS) return;
  mp_view_in_flight(&slot->view, list, MP_VIEW_REQUESTS + 1, &running);
  if (running < 0) return;
  put(p, "moonpool_stuck_request_seconds{worker=\"%u\",pid=\"%d\",request=\"", atomic_load(&slot->number),
      atomic_load(&slot->pid));
  put_label(p, mp_slice(list[running].line, list[running].len));
  put(p, "\",id=\"");
  put_label(p, mp_slice(list[running].id, strlen(list[running].id)));
  put(p, "\"} %.3f\n", turn_s);
}

int mp_expose(const struct mp_shm *shm, const struct mp_moment *now, struct mp_buf *out) {
  struct page p = {.shm = shm, .now = now, .out = out};
  mp_shm_totals(shm, p.count);
  put_pool(&p);
  put_counters(&p);
  put_workers(&p);
  family(&p, "stuck_request_seconds", "gauge",
         "A request whose Lua has held its worker's loop for more than a second.");
  for (unsigned i = 0; i < mp_shm_used(shm); i++)
    if (is_living(&shm->slot[i])) put_stuck(&p, &shm->slot[i]);
  return p.err;
}
