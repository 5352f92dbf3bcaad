/* viewer.h - writes what a worker shows of itself (base/view.h): each request while it is in flight, and counters.
 *
 *   begin ─► the api runs ─► leave: over already, or else given a place ─► over … forget
 *
 * All of it is on the way of the smallest request, so what is done for each is one copy of its line, a look at the
 * clock at its begin and at its end, and a few additions. */
#ifndef MP_WORKER_VIEWER_H
#define MP_WORKER_VIEWER_H

#include "api/open.h"
#include "base/view.h"
#include <time.h>

enum { MP_VIEWER_WINDOW_MS = 1000, MP_VIEWER_UNSEEN = UINT16_MAX /* place of what is not counted */ };

struct mp_viewer {
  struct mp_view *view;        /* borrowed */
  struct mp_loop *loop;        /* borrowed */
  const uint64_t *last_number; /* borrowed from the api: of requests */
  uint64_t turn_ns;            /* when this turn of the loop was first looked at; 0: not yet */
  uint64_t now_ns;             /* the last look at the clock in this turn */
  uint64_t lag_ns;             /* the longest turn since `window_ms` */
  uint64_t window_ms, window_cpu_us;
  uint16_t free[MP_VIEW_REQUESTS]; /* places, from 1 */
  unsigned n_free;
};

/* `ids_are_given`: requests may bring their own. */
void mp_viewer_init(struct mp_viewer *v, struct mp_view *view, struct mp_loop *loop, const struct mp_api *api,
                    bool ids_are_given);

static inline uint64_t mp_clock_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* What begins in one turn begins when the one before it ended. */
static inline void mp_viewer_begin(struct mp_viewer *v, struct mp_exchange *ex) {
  struct mp_view_request *r = &v->view->current;
  if (!v->now_ns) v->turn_ns = v->now_ns = mp_clock_ns();
  ex->began_ns = v->now_ns;
  r->number = *v->last_number + 1;
  /* The request line up to the end of its target lies in one piece. */
  mp_view_set_line(
      r, mp_slice(ex->head.method.at, (size_t)(ex->head.target.at - ex->head.method.at) + ex->head.target.len));
  atomic_store_explicit(&r->began_ns, ex->began_ns, memory_order_release);
}

void mp_viewer_park(struct mp_viewer *v, struct mp_exchange *ex);

/* The handler has come back. What is not over yet is `held`. */
static inline void mp_viewer_leave(struct mp_viewer *v, struct mp_exchange *ex, bool held) {
  if (held) mp_viewer_park(v, ex);
  atomic_store_explicit(&v->view->current.began_ns, 0, memory_order_relaxed);
}

void mp_viewer_over(struct mp_viewer *v, const struct mp_exchange *ex);
void mp_viewer_forget(struct mp_viewer *v, const struct mp_exchange *ex);

static inline void mp_viewer_count(struct mp_viewer *v, unsigned which) {
  mp_counter_add(&v->view->count[which], 1);
}

void mp_viewer_look(struct mp_viewer *v); /* at how long the turn took, without any request to tell */
void mp_viewer_tell_window(struct mp_viewer *v);

/* The loop is about to wait. */
static inline void mp_viewer_sleep(struct mp_viewer *v) {
  if (!v->now_ns) mp_viewer_look(v);
  if (v->now_ns - v->turn_ns > v->lag_ns) v->lag_ns = v->now_ns - v->turn_ns;
  v->turn_ns = v->now_ns = 0;
  if (mp_loop_now(v->loop) - v->window_ms >= MP_VIEWER_WINDOW_MS) mp_viewer_tell_window(v);
}

#endif
