/* view.h - what one worker shows of itself: counters, gauges, and the requests that are in flight.
 *
 * It lies in the shared page, so that it can be read while its worker is stuck or stopped, and after it was killed. The
 * worker writes, everybody else reads and believes nothing: a number may be torn off from its neighbours, a text has no
 * NUL that counts, and what is being written when a worker dies stays so (an odd `seq`) and is skipped.
 *
 * A counter has one writer, the worker's loop; when its worker has ended the master adds it to the pool's (shm.h). */
#ifndef MP_BASE_VIEW_H
#define MP_BASE_VIEW_H

#include "base/slice.h"
#include <stdatomic.h>
#include <stdint.h>

enum { MP_VIEW_REQUESTS = 64, MP_VIEW_LINE = 120, MP_VIEW_ID = 68 };

enum mp_view_method { MP_VIEW_GET, MP_VIEW_OTHER = 7, MP_VIEW_METHODS };
enum { MP_VIEW_STATUSES = 6 /* no answer, 1xx … 5xx */, MP_VIEW_LATENCIES = 13 /* and one without a bound */ };
enum mp_view_error {
  MP_VIEW_HANDLER,
  MP_VIEW_TASK,
  MP_VIEW_TIMER,
  MP_VIEW_OFFLOAD,
  MP_VIEW_SERVICE,
  MP_VIEW_PROCESS,
  MP_VIEW_LOAD,
  MP_VIEW_ERRORS
};
enum mp_view_end {
  MP_VIEW_OK,
  MP_VIEW_FAILED,    /* exit status other than 0 */
  MP_VIEW_SIGNALLED, /* by a signal that was not ours */
  MP_VIEW_TIMED_OUT,
  MP_VIEW_CANCELLED,
  MP_VIEW_LOST,
  MP_VIEW_NOT_STARTED,
  MP_VIEW_ENDS
};
enum { MP_VIEW_REFUSALS = 11 };

/* Where each counter stands. */
enum mp_count {
  MP_COUNT_REQUESTS = 0, /* + method * MP_VIEW_STATUSES + status / 100 */
  MP_COUNT_LATENCY = MP_COUNT_REQUESTS + MP_VIEW_METHODS * MP_VIEW_STATUSES, /* + which bound of mp_view_bound_ns */
  MP_COUNT_LATENCY_NS = MP_COUNT_LATENCY + MP_VIEW_LATENCIES + 1,
  MP_COUNT_BYTES, /* of answers' bodies */
  MP_COUNT_ACCEPTED,
  MP_COUNT_REFUSED,                                      /* + mp_view_refusal */
  MP_COUNT_ERRORS = MP_COUNT_REFUSED + MP_VIEW_REFUSALS, /* + enum mp_view_error */
  MP_COUNT_PROCESSES = MP_COUNT_ERRORS + MP_VIEW_ERRORS, /* + enum mp_view_end */
  MP_COUNT_HELD = MP_COUNT_PROCESSES + MP_VIEW_ENDS,     /* Lua that was ended for its time */
  MP_COUNT_SLOW,                                         /* requests that took longer than --slow-request */
  MP_COUNT_HEALTH,                                       /* health checks answered */
  MP_COUNTS
};

/* Counters of the pool, written by the master. */
enum mp_pool_count {
  MP_POOL_STARTED, /* workers */
  MP_POOL_EXITED,  /* the rest: workers that ended without being asked to, by cause */
  MP_POOL_SIGNALLED,
  MP_POOL_HUNG,
  MP_POOL_BOOT_TIMEOUT,
  MP_POOL_OVERDUE, /* were asked, and did not */
  MP_POOL_NOT_STARTED,
  MP_POOL_LOST,
  MP_POOL_MAX_REQUESTS, /* the next three: workers that were replaced at a limit */
  MP_POOL_MAX_RSS,
  MP_POOL_MAX_LIFETIME,
  MP_POOL_RELOADS, /* whole ones */
  MP_POOL_RELOADS_FAILED,
  MP_POOL_COUNTS
};

struct mp_view_request {
  _Atomic uint32_t seq;      /* odd while it is written */
  uint32_t len;              /* of `line` */
  _Atomic uint64_t began_ns; /* monotonic; 0: the place is free */
  uint64_t number;           /* in its worker; 0: not known */
  char line[MP_VIEW_LINE];   /* "GET /path", cut; as the client sent it */
  char id[MP_VIEW_ID];       /* what its log lines call it; empty: not known */
};

struct mp_view {
  _Atomic uint32_t parked;  /* how many have a place among `request` */
  _Atomic uint64_t running; /* the number of the request that was gone on with last, while its Lua runs; else 0 */
  char id_prefix[20]; /* an id is it with the number behind, in 8 or more hex digits; empty: ids come from outside */
  /* Whose handler is being called for the first time: `seq` and `id` are not used, and `began_ns` is written last. */
  struct mp_view_request current;
  struct mp_view_request request[MP_VIEW_REQUESTS]; /* those whose handler did not end at once */
  _Atomic uint64_t count[MP_COUNTS];
  /* Gauges: of the moment when the loop went to sleep last. */
  _Atomic uint64_t tasks, processes, processes_queued, offloads, offloads_queued, lua_bytes;
  _Atomic uint64_t offload_since_ms;      /* monotonic: how long the oldest queued one waits; 0: none does */
  _Atomic uint64_t rss_bytes;             /* as long ago as the next three */
  _Atomic uint64_t window_ms;             /* when the next two were told (monotonic) */
  _Atomic uint64_t busy_permille, lag_ns; /* of the second before: the loop's thread on a CPU; its longest turn */
};

/* Upper bounds of the latency buckets, rising. */
extern const uint64_t mp_view_bound_ns[MP_VIEW_LATENCIES];
extern const char *const mp_view_method_name[MP_VIEW_METHODS];
extern const char *const mp_view_status_name[MP_VIEW_STATUSES];
extern const char *const mp_view_error_name[MP_VIEW_ERRORS];
extern const char *const mp_view_end_name[MP_VIEW_ENDS];
extern const char *const mp_view_refusal_name[MP_VIEW_REFUSALS];
extern const char *const mp_pool_count_name[MP_POOL_COUNTS];

unsigned mp_view_refusal(int status); /* which of the refusals a status is; the last one for any other */

static inline uint64_t mp_counter_get(const _Atomic uint64_t *counter) {
  return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void mp_counter_set(_Atomic uint64_t *counter, uint64_t value) {
  atomic_store_explicit(counter, value, memory_order_relaxed);
}

/* Not for several writers: no locked instruction. */
static inline void mp_counter_add(_Atomic uint64_t *counter, uint64_t n) {
  mp_counter_set(counter, mp_counter_get(counter) + n);
}

unsigned mp_view_method_of(struct mp_slice method); /* but for GET */

static inline unsigned mp_view_method(struct mp_slice method) {
  return method.len == 3 && memcmp(method.at, "GET", 3) == 0 ? MP_VIEW_GET : mp_view_method_of(method);
}

static inline void mp_view_latency(struct mp_view *view, uint64_t ns) {
  unsigned i = 0;
  while (i < MP_VIEW_LATENCIES && ns > mp_view_bound_ns[i]) i++;
  mp_counter_add(&view->count[MP_COUNT_LATENCY + i], 1);
  mp_counter_add(&view->count[MP_COUNT_LATENCY_NS], ns);
}

static inline void mp_view_write_begin(struct mp_view_request *r) {
  atomic_store_explicit(&r->seq, atomic_load_explicit(&r->seq, memory_order_relaxed) | 1, memory_order_relaxed);
  atomic_thread_fence(memory_order_release);
}

static inline void mp_view_write_end(struct mp_view_request *r) {
  atomic_store_explicit(&r->seq, atomic_load_explicit(&r->seq, memory_order_relaxed) + 1, memory_order_release);
}

/* Between the two above. */
static inline void mp_view_set_line(struct mp_view_request *r, struct mp_slice line) {
  r->len = (uint32_t)(line.len < MP_VIEW_LINE ? line.len : MP_VIEW_LINE);
  memcpy(r->line, line.at, r->len);
}

/* A copy whose parts belong together, with `len` and `id` made safe. False: the place is free, or cannot be read. */
bool mp_view_read(const struct mp_view_request *from, struct mp_view_request *to);

/* Those in flight, the longest first, at most `most`; how many. `*running` (may be NULL): which of them has Lua running
 * for it, or -1. */
unsigned mp_view_in_flight(const struct mp_view *view, struct mp_view_request *out, unsigned most, int *running);

/* Counters and requests to nothing; while nobody writes. */
void mp_view_clear(struct mp_view *view);

#endif
