#include "base/err.h"
#include "pool/inside.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { AGAIN_MS = 50, MOST_UNSENT = 16384, RESCUE_MS = 3000 };

static void complain(struct mp_pool *pool, int err) {
  char text[128];
  mp_log(pool->log, MP_LOG_WARN, "pool", "the service manager cannot be told: %s", mp_err_text(err, text, sizeof text));
}

/* Too much waits to be told: the last state says it all, and `look` will tell that. */
static void start_anew(struct mp_systemd *s) {
  mp_buf_reset(&s->unsent, MOST_UNSENT);
  s->told_ready = s->told_stopping = false;
  s->status[0] = '\0';
}

/* In order: what comes while something waits, waits behind it. */
static void keep(struct mp_pool *pool, struct mp_slice text) {
  struct mp_systemd *s = &pool->systemd;
  if (mp_buf_len(&s->unsent) + text.len > MOST_UNSENT) start_anew(s);
  int err = mp_buf_len(&s->unsent) ? mp_buf_add(&s->unsent, "\n", 1) : 0;
  if (err == 0) err = mp_buf_add_slice(&s->unsent, text);
  if (err < 0) complain(pool, err);
  mp_timer_start(&s->again, AGAIN_MS);
}

static void send_text(struct mp_pool *pool, struct mp_slice text) {
  struct mp_systemd *s = &pool->systemd;
  if (s->notify.fd < 0 || s->silent) return;
  int err = mp_buf_len(&s->unsent) ? -EAGAIN : mp_notify_send(&s->notify, text);
  if (err == -EAGAIN)
    keep(pool, text);
  else if (err < 0)
    complain(pool, err);
}

static void on_again(struct mp_timer *timer) {
  struct mp_pool *pool = MP_CONTAINER(timer, struct mp_pool, systemd.again);
  struct mp_systemd *s = &pool->systemd;
  int err = mp_notify_send(&s->notify, mp_buf_slice(&s->unsent));
  if (err == -EAGAIN) {
    mp_timer_start(&s->again, AGAIN_MS);
    return;
  }
  if (err < 0) complain(pool, err);
  mp_buf_reset(&s->unsent, MOST_UNSENT);
}

static void say(struct mp_pool *pool, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct mp_pool *pool, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (n > 0) send_text(pool, mp_slice(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1));
}

/* What there is to tell. */

static unsigned count_serving(const struct mp_roster *r) {
  unsigned n = 0;
  for (unsigned i = 0; i < MP_ROSTER_SLOTS; i++) n += r->slot[i].serving >= 0;
  return n;
}

static const char *mood(const struct mp_pool *pool) {
  if (pool->roster->stage >= MP_STAGE_STOPPING) return ", stopping";
  if (pool->successor) return ", upgrading";
  if (pool->systemd.reloading) return ", reloading";
  return pool->roster->mixed ? ", mixed with older ones" : "";
}

static bool status_changed(struct mp_pool *pool) {
  char status[sizeof pool->systemd.status];
  const struct mp_roster *r = pool->roster;
  snprintf(status, sizeof status, "%u of %u workers, generation %u%s", count_serving(r), r->resting ? 0 : r->wanted,
           r->generation, mood(pool));
  if (strcmp(status, pool->systemd.status) == 0) return false;
  memcpy(pool->systemd.status, status, sizeof status);
  return true;
}

/* Systemd waits for the end of a reload as it waits for the start; a mixed pool is as far as this one will get. */
static bool reload_is_over(const struct mp_pool *pool) {
  return pool->systemd.reloading && !pool->rereading && !pool->successor && !mp_roster_reloads(pool->roster);
}

void mp_systemd_look(struct mp_pool *pool) {
  struct mp_systemd *s = &pool->systemd;
  if (s->notify.fd < 0 || s->silent) return;
  bool over = reload_is_over(pool);
  if (over) s->reloading = false;
  bool stops = pool->roster->stage >= MP_STAGE_STOPPING && !s->told_stopping;
  bool ready = pool->proven && (over || !s->told_ready) && pool->roster->stage < MP_STAGE_STOPPING;
  if (stops) s->told_stopping = true;
  if (ready) s->told_ready = true;
  if (status_changed(pool) || stops || ready)
    say(pool, "%s%sSTATUS=%s", stops ? "STOPPING=1\n" : "", ready ? "READY=1\n" : "", s->status);
}

void mp_systemd_reloading(struct mp_pool *pool) {
  struct timespec t;
  if (pool->roster->stage >= MP_STAGE_STOPPING) return;
  clock_gettime(CLOCK_MONOTONIC, &t);
  pool->systemd.reloading = true;
  say(pool, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)t.tv_sec * 1000000 + (unsigned)(t.tv_nsec / 1000));
}

/* Signs of life. */

static uint64_t held_ms(const struct mp_pool *pool, unsigned seat, uint64_t now) {
  const struct mp_shm_slot *slot = &pool->shm->slot[seat];
  uint64_t since = atomic_load_explicit(&slot->busy_since_ms, memory_order_relaxed);
  uint64_t moved = atomic_load_explicit(&slot->moved_ms, memory_order_relaxed);
  if (since && moved > since) since = moved; /* a long turn, but it moves */
  return since && since < now ? now - since : 0;
}

/* One worker that is stuck is the master's to replace, and if it does not, the master itself is not well. When every
 * one of them has been busy for so long that systemd would have heard nothing, nobody answers. */
static bool is_fresh(const struct mp_pool *pool) {
  const struct mp_config *config = &pool->plan->config;
  uint64_t now = mp_loop_now(&pool->loop), longest = 0, shortest = UINT64_MAX;
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) {
    if (pool->roster->seat[i].state != MP_SEAT_SERVING) continue;
    uint64_t held = held_ms(pool, i, now);
    if (held > longest) longest = held;
    if (held < shortest) shortest = held;
  }
  if (shortest == UINT64_MAX) return true; /* none serves: a stop, a rest, or starts that are paused */
  bool overdue = config->timeout > 0 && longest > (uint64_t)(config->timeout * 1000) + RESCUE_MS;
  return !overdue && shortest < 2 * pool->systemd.beat_ms;
}

static void on_beat(struct mp_timer *timer) {
  struct mp_pool *pool = MP_CONTAINER(timer, struct mp_pool, systemd.beat);
  if (is_fresh(pool)) say(pool, "WATCHDOG=1");
  mp_timer_start(timer, pool->systemd.beat_ms);
}

static void start_beating(struct mp_pool *pool) {
  struct mp_systemd *s = &pool->systemd;
  if (s->notify.fd >= 0 && !s->silent && s->beat_ms) mp_timer_start(&s->beat, 0);
}

/* Whose word it is. */

void mp_systemd_hand_over(struct mp_pool *pool, pid_t successor) {
  struct mp_systemd *s = &pool->systemd;
  say(pool, "MAINPID=%d\nREADY=1", (int)successor);
  s->silent = true;
  mp_timer_stop(&s->beat);
}

void mp_systemd_take_over(struct mp_pool *pool) {
  pool->systemd.silent = false;
  say(pool, "MAINPID=%d", (int)getpid());
  start_beating(pool);
  mp_systemd_look(pool);
}

int mp_systemd_open(struct mp_pool *pool) {
  struct mp_systemd *s = &pool->systemd;
  const struct mp_inheritance *in = pool->setup->inherited;
  s->silent = in->old_fd >= 0;
  s->beat_ms = in->watchdog_us && in->watchdog_us < 2000 ? 1 : in->watchdog_us / 2000;
  int err = mp_timer_init(&s->again, &pool->loop.timers, on_again);
  if (err == 0) err = mp_timer_init(&s->beat, &pool->loop.timers, on_beat);
  if (err < 0 || !in->notify) return err;
  int unheard = mp_notify_open(&s->notify, in->notify);
  if (unheard < 0) complain(pool, unheard);
  start_beating(pool);
  return 0;
}

void mp_systemd_close(struct mp_pool *pool) {
  struct mp_systemd *s = &pool->systemd;
  if (mp_buf_len(&s->unsent) > 0 && s->notify.fd >= 0) on_again(&s->again);
  mp_timer_deinit(&s->again);
  mp_timer_deinit(&s->beat);
  mp_buf_free(&s->unsent);
  mp_notify_close(&s->notify);
}
