#include "io/timer.h"
#include "base/check.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void mp_timers_init(struct mp_timers *timers, const struct mp_timers_clock *clock) {
  memset(timers, 0, sizeof *timers);
  timers->clock = clock;
}

static uint64_t now_of(const struct mp_timers *timers) {
  return timers->clock->now_ms(timers);
}

void mp_timers_deinit(struct mp_timers *timers) {
  MP_CHECK(timers->len == 0);
  free(timers->heap);
  memset(timers, 0, sizeof *timers);
}

int mp_timer_init(struct mp_timer *timer, struct mp_timers *timers, void (*on_fire)(struct mp_timer *timer)) {
  if (timers->reserved == timers->cap) {
    uint32_t cap = timers->cap ? timers->cap * 2 : 64;
    struct mp_timer **heap = realloc(timers->heap, cap * sizeof *heap);
    if (!heap) return -ENOMEM;
    timers->heap = heap;
    timers->cap = cap;
  }
  timers->reserved++;
  *timer = (struct mp_timer){.on_fire = on_fire, .timers = timers};
  return 0;
}

static void put(struct mp_timers *timers, uint32_t at, struct mp_timer *timer) {
  timers->heap[at] = timer;
  timer->slot = at + 1;
}

static void sift_up(struct mp_timers *timers, uint32_t at, struct mp_timer *timer) {
  while (at > 0) {
    uint32_t above = (at - 1) / 2;
    if (timers->heap[above]->due_ms <= timer->due_ms) break;
    put(timers, at, timers->heap[above]);
    at = above;
  }
  put(timers, at, timer);
}

static void sift_down(struct mp_timers *timers, uint32_t at, struct mp_timer *timer) {
  for (;;) {
    uint32_t below = at * 2 + 1;
    if (below >= timers->len) break;
    if (below + 1 < timers->len && timers->heap[below + 1]->due_ms < timers->heap[below]->due_ms) below++;
    if (timer->due_ms <= timers->heap[below]->due_ms) break;
    put(timers, at, timers->heap[below]);
    at = below;
  }
  put(timers, at, timer);
}

static void place(struct mp_timers *timers, uint32_t at, struct mp_timer *timer) {
  if (at > 0 && timers->heap[(at - 1) / 2]->due_ms > timer->due_ms)
    sift_up(timers, at, timer);
  else
    sift_down(timers, at, timer);
}

void mp_timer_start(struct mp_timer *timer, uint64_t after_ms) {
  struct mp_timers *timers = timer->timers;
  uint64_t due = now_of(timers) + after_ms;
  timer->due_ms = due < after_ms ? UINT64_MAX : due;
  place(timers, timer->slot ? timer->slot - 1 : timers->len++, timer);
  if (timers->heap[0] == timer) timers->clock->on_sooner(timers);
}

void mp_timer_start_now(struct mp_timer *timer, double after_ms) {
  const struct mp_timers *timers = timer->timers;
  double late_ms = timers->clock->late_ms ? timers->clock->late_ms(timers) : 0;
  mp_timer_start(timer, (uint64_t)fmin(ceil(after_ms + late_ms), 9e15));
}

void mp_timer_stop(struct mp_timer *timer) {
  struct mp_timers *timers = timer->timers;
  if (!timer->slot) return;
  uint32_t at = timer->slot - 1;
  struct mp_timer *last = timers->heap[--timers->len];
  timer->slot = 0;
  if (last != timer) place(timers, at, last);
}

void mp_timer_deinit(struct mp_timer *timer) {
  if (!timer->timers) return;
  mp_timer_stop(timer);
  timer->timers->reserved--;
  timer->timers = NULL;
}

uint64_t mp_timers_next(const struct mp_timers *timers) {
  if (timers->len == 0) return UINT64_MAX;
  uint64_t due = timers->heap[0]->due_ms, now = now_of(timers);
  return due > now ? due - now : 0;
}

void mp_timers_fire(struct mp_timers *timers) {
  /* As many as there were: what is started while firing cannot spin here, though it be due at once. */
  uint64_t most = timers->len, now = now_of(timers);
  while (most-- > 0 && timers->len > 0 && timers->heap[0]->due_ms <= now) {
    struct mp_timer *timer = timers->heap[0];
    mp_timer_stop(timer);
    timer->on_fire(timer);
  }
  if (timers->len > 0) timers->clock->on_sooner(timers);
}
