#include "worker/viewer.h"
#include "io/procfs.h"
#include "io/watchdog.h"
#include <stdio.h>
#include <unistd.h>

static void tell_rss(const struct mp_viewer *v) {
  struct mp_process_facts facts;
  if (mp_process_look(getpid(), &facts) == 0) mp_counter_set(&v->view->rss_bytes, facts.rss_bytes);
}

void mp_viewer_init(struct mp_viewer *v, struct mp_view *view, struct mp_loop *loop, const struct mp_api *api,
                    bool ids_are_given) {
  *v = (struct mp_viewer){
      .view = view, .loop = loop, .last_number = mp_api_last_number(api), .n_free = MP_VIEW_REQUESTS};
  for (unsigned i = 0; i < MP_VIEW_REQUESTS; i++) v->free[i] = (uint16_t)(MP_VIEW_REQUESTS - i);
  v->window_ms = mp_loop_now(loop);
  if (!ids_are_given) snprintf(view->id_prefix, sizeof view->id_prefix, "%s", mp_api_id_prefix(api));
  tell_rss(v);
}

/* ---- a request that waits ---- */

/* More of them than there are places are counted, and not named. */
void mp_viewer_park(struct mp_viewer *v, struct mp_exchange *ex) {
  if (v->n_free == 0 || ex->place) return;
  ex->place = v->free[--v->n_free];
  struct mp_view_request *r = &v->view->request[ex->place - 1];
  const struct mp_view_request *current = &v->view->current;
  mp_view_write_begin(r);
  r->began_ns = current->began_ns;
  r->number = current->number;
  mp_view_set_line(r, mp_slice(current->line, current->len));
  mp_api_request_id(ex, r->id, sizeof r->id);
  mp_view_write_end(r);
  atomic_store_explicit(&v->view->parked, MP_VIEW_REQUESTS - v->n_free, memory_order_relaxed);
}

void mp_viewer_forget(struct mp_viewer *v, const struct mp_exchange *ex) {
  if (ex->place == MP_VIEWER_UNSEEN) return;
  struct mp_view_request *r = &v->view->request[ex->place - 1];
  mp_view_write_begin(r);
  r->began_ns = 0;
  mp_view_write_end(r);
  v->free[v->n_free++] = ex->place;
  atomic_store_explicit(&v->view->parked, MP_VIEW_REQUESTS - v->n_free, memory_order_relaxed);
}

/* ---- its end ---- */

void mp_viewer_over(struct mp_viewer *v, const struct mp_exchange *ex) {
  struct mp_view *view = v->view;
  unsigned status = ex->told_status / 100U;
  if (!v->now_ns) v->turn_ns = mp_clock_ns();
  v->now_ns = mp_clock_ns();
  uint64_t took_us = v->now_ns > ex->began_ns ? v->now_ns - ex->began_ns : 0;
  mp_viewer_count(v, MP_COUNT_REQUESTS + mp_view_method(ex->head.method) * MP_VIEW_STATUSES +
                         (status < MP_VIEW_STATUSES ? status : 0));
  mp_view_latency(view, took_us);
  mp_counter_add(&view->count[MP_COUNT_BYTES], ex->body_sent);
}

/* ---- how the loop does ---- */

static uint64_t cpu_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void mp_viewer_tell_window(struct mp_viewer *v) {
  uint64_t now_ms = mp_loop_now(v->loop), wall_ms = now_ms - v->window_ms, cpu = cpu_us();
  uint64_t busy = wall_ms ? (cpu - v->window_cpu_us) / wall_ms : 0;
  mp_counter_set(&v->view->busy_permille, busy < 1000 ? busy : 1000);
  mp_counter_set(&v->view->lag_ns, v->lag_ns);
  mp_counter_set(&v->view->window_ms, now_ms);
  tell_rss(v);
  v->window_ms = now_ms;
  v->window_cpu_us = cpu;
  v->lag_ns = 0;
}

/* The loop's own clock says when this turn began, to a millisecond. */
void mp_viewer_look(struct mp_viewer *v) {
  uint64_t began_ms = mp_loop_now(v->loop) + 1, now_ms = mp_coarse_ms();
  if (now_ms <= began_ms) return;
  v->turn_ns = began_ms * 1000000;
  v->now_ns = now_ms * 1000000;
}
