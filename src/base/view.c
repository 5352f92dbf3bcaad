#include "base/view.h"
#include <stdio.h>
#include <stdlib.h>

const uint64_t mp_view_bound_ns[MP_VIEW_LATENCIES] = {1000000,    2500000,    5000000,    10000000,  25000000,
                                                      50000000,   100000000,  250000000,  500000000, 1000000000,
                                                      2500000000, 5000000000, 10000000000};
const char *const mp_view_method_name[MP_VIEW_METHODS] = {"GET",   "HEAD",   "POST",    "PUT",
                                                          "PATCH", "DELETE", "OPTIONS", "other"};
const char *const mp_view_status_name[MP_VIEW_STATUSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
const char *const mp_view_error_name[MP_VIEW_ERRORS] = {"handler", "task",    "timer", "offload",
                                                        "service", "process", "load"};
const char *const mp_view_end_name[MP_VIEW_ENDS] = {"ok",        "failed", "signalled",  "timed_out",
                                                    "cancelled", "lost",   "not_started"};
const char *const mp_view_refusal_name[MP_VIEW_REFUSALS] = {"400", "408", "411", "413", "414",  "417",
                                                            "431", "501", "503", "505", "other"};
const char *const mp_pool_count_name[MP_POOL_COUNTS] = {
    "started", "exited",       "signalled", "hung",         "boot_timeout", "overdue",       "not_started",
    "lost",    "max_requests", "max_rss",   "max_lifetime", "reloads",      "reloads_failed"};

unsigned mp_view_refusal(int status) {
  static const int named[MP_VIEW_REFUSALS - 1] = {400, 408, 411, 413, 414, 417, 431, 501, 503, 505};
  for (unsigned i = 0; i < MP_VIEW_REFUSALS - 1; i++)
    if (named[i] == status) return i;
  return MP_VIEW_REFUSALS - 1;
}

unsigned mp_view_method_of(struct mp_slice method) {
  for (unsigned i = 0; i < MP_VIEW_OTHER; i++)
    if (mp_slice_is(method, mp_slice(mp_view_method_name[i], strlen(mp_view_method_name[i])))) return i;
  return MP_VIEW_OTHER;
}

/* ---- reading ---- */

static void copy(const struct mp_view_request *from, struct mp_view_request *to) {
  to->len = from->len < MP_VIEW_LINE ? from->len : MP_VIEW_LINE;
  to->began_ns = from->began_ns;
  to->number = from->number;
  memcpy(to->line, from->line, sizeof to->line);
  memcpy(to->id, from->id, sizeof to->id);
  to->id[MP_VIEW_ID - 1] = '\0';
}

bool mp_view_read(const struct mp_view_request *from, struct mp_view_request *to) {
  enum { TRIES = 8 };
  for (int i = 0; i < TRIES; i++) {
    uint32_t seq = atomic_load_explicit(&from->seq, memory_order_acquire);
    if (seq & 1) continue;
    copy(from, to);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&from->seq, memory_order_relaxed) != seq) continue;
    return to->began_ns != 0;
  }
  return false;
}

static int by_age(const void *a, const void *b) {
  const struct mp_view_request *x = a, *y = b;
  return x->began_ns < y->began_ns ? -1 : x->began_ns > y->began_ns;
}

/* The oldest ones are kept: `out` holds n, of which the last is to give way. */
static void keep_older(struct mp_view_request *out, unsigned n, const struct mp_view_request *r) {
  unsigned youngest = 0;
  for (unsigned i = 1; i < n; i++)
    if (out[i].began_ns > out[youngest].began_ns) youngest = i;
  if (n > 0 && r->began_ns < out[youngest].began_ns) out[youngest] = *r;
}

static unsigned add(struct mp_view_request *out, unsigned n, unsigned most, const struct mp_view_request *r) {
  if (n == most) {
    keep_older(out, n, r);
    return n;
  }
  out[n] = *r;
  return n + 1;
}

static int find(const struct mp_view_request *list, unsigned n, uint64_t number, uint64_t began_ns) {
  for (unsigned i = 0; i < n; i++)
    if (number ? list[i].number == number : list[i].began_ns == began_ns) return (int)i;
  return -1;
}

/* No two of them begin at the same time, so the time tells whether what was copied is of one. */
static bool read_current(const struct mp_view *view, struct mp_view_request *r) {
  enum { TRIES = 8 };
  for (int i = 0; i < TRIES; i++) {
    uint64_t began_ns = atomic_load_explicit(&view->current.began_ns, memory_order_acquire);
    if (!began_ns) return false;
    copy(&view->current, r);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&view->current.began_ns, memory_order_relaxed) == began_ns) return true;
  }
  return false;
}

static void name_current(const struct mp_view *view, struct mp_view_request *r) {
  char prefix[sizeof view->id_prefix];
  memcpy(prefix, view->id_prefix, sizeof prefix);
  prefix[sizeof prefix - 1] = '\0';
  if (*prefix && r->number) snprintf(r->id, sizeof r->id, "%s%08llx", prefix, (unsigned long long)r->number);
}

unsigned mp_view_in_flight(const struct mp_view *view, struct mp_view_request *out, unsigned most, int *running) {
  struct mp_view_request r;
  unsigned n = 0;
  uint64_t number = atomic_load_explicit(&view->running, memory_order_relaxed), began_ns = 0;
  for (unsigned i = 0; i < MP_VIEW_REQUESTS; i++)
    if (mp_view_read(&view->request[i], &r)) n = add(out, n, most, &r);
  if (read_current(view, &r)) {
    if (find(out, n, r.number, r.began_ns) < 0 && most > 0) {
      if (n == most) n--; /* it may be what all others wait for */
      name_current(view, &r);
      out[n++] = r;
    }
    number = r.number;
    began_ns = r.began_ns;
  }
  qsort(out, n, sizeof *out, by_age);
  if (running) *running = number || began_ns ? find(out, n, number, began_ns) : -1;
  return n;
}

static void forget(struct mp_view_request *r) {
  atomic_store_explicit(&r->seq, 0, memory_order_relaxed);
  r->began_ns = 0;
}

void mp_view_clear(struct mp_view *view) {
  atomic_store_explicit(&view->parked, 0, memory_order_relaxed);
  atomic_store_explicit(&view->running, 0, memory_order_relaxed);
  forget(&view->current);
  view->id_prefix[0] = view->current.id[0] = '\0';
  for (unsigned i = 0; i < MP_VIEW_REQUESTS; i++) forget(&view->request[i]);
  for (unsigned i = 0; i < MP_COUNTS; i++) mp_counter_set(&view->count[i], 0);
  _Atomic uint64_t *const gauges[] = {
      &view->tasks,           &view->processes, &view->processes_queued, &view->offloads,
      &view->offloads_queued, &view->lua_bytes, &view->offload_since_ms, &view->window_ms,
      &view->busy_permille,   &view->lag_ns,    &view->rss_bytes};
  for (unsigned i = 0; i < sizeof gauges / sizeof *gauges; i++) mp_counter_set(gauges[i], 0);
}
