#include "base/buf.h"
#include "base/err.h"
#include "pool/inside.h"
#include <stdio.h>
#include <string.h>

/* "exit 3", "killed by SIGSEGV (core dumped)", "ended, nobody knows how". */
static const char *status_text(const struct mp_status *s, char *out, unsigned size) {
  char name[32];
  if (s->end == MP_END_EXIT)
    snprintf(out, size, "exited %d", s->code);
  else if (s->end == MP_END_SIGNAL)
    snprintf(out, size, "killed by %s%s", mp_signal_name(s->signal, name, sizeof name),
             s->core ? " (core dumped)" : "");
  else
    snprintf(out, size, "ended, its status was lost");
  return out;
}

static int pid_of(const struct mp_pool *pool, unsigned seat) {
  return (int)atomic_load(&pool->shm->slot[seat].pid);
}

/* One line each for the oldest. A worker that died in the middle of its writing may show fewer than it had. */
static unsigned list_in_flight(const struct mp_view *view, uint64_t now_ns, struct mp_buf *out) {
  struct mp_view_request list[MP_SHM_REQUESTS];
  char line[4 * MP_VIEW_LINE], id[4 * MP_VIEW_ID];
  int running, err = 0;
  unsigned n = mp_view_in_flight(view, list, MP_SHM_REQUESTS, &running);
  for (unsigned i = 0; i < n && err == 0; i++) {
    const struct mp_view_request *r = &list[i];
    uint64_t age_ns = now_ns > r->began_ns ? now_ns - r->began_ns : 0;
    mp_log_quote(mp_slice(r->line, r->len), line, sizeof line);
    mp_log_quote(mp_slice(r->id, strlen(r->id)), id, sizeof id);
    err = mp_buf_addf(out, "%sin flight for %llu ms: %s%s%s%s", i ? "\n" : "", (unsigned long long)(age_ns / 1000000),
                      line, *r->id ? " id=" : "", *r->id ? id : "", running == (int)i ? " (running)" : "");
  }
  return n;
}

static void say_crashed(struct mp_pool *pool, const struct mp_action *f, const struct mp_event *e, const char *how) {
  const struct mp_shm_slot *slot = &pool->shm->slot[f->seat];
  struct mp_buf detail = {0};
  char text[320];
  unsigned listed = list_in_flight(&slot->view, mp_loop_now_ns(&pool->loop), &detail);
  unsigned in_flight = atomic_load(&slot->in_flight);
  if (in_flight < listed) in_flight = listed;
  if (in_flight > listed) mp_buf_addf(&detail, "%sand %u more", listed ? "\n" : "", in_flight - listed);
  int n = snprintf(text, sizeof text,
                   "worker %u (pid %d) %s after %llu s, %u request%s in flight slot=%u gen=%u pid=%d requests=%llu "
                   "rss_kb=%llu",
                   f->slot + 1, pid_of(pool, f->seat), how, (unsigned long long)(f->ms / 1000), in_flight,
                   in_flight == 1 ? "" : "s", f->slot, f->generation, pid_of(pool, f->seat),
                   (unsigned long long)e->answered, (unsigned long long)(mp_counter_get(&slot->view.rss_bytes) / 1024));
  mp_log_detail(pool->log, MP_LOG_ERROR, "pool", mp_slice(text, (size_t)n), mp_buf_slice(&detail));
  mp_buf_free(&detail);
}

static void say_ended(struct mp_pool *pool, const struct mp_action *f, const struct mp_event *e) {
  char how[80];
  bool well = e->status.end == MP_END_EXIT && e->status.code == 0;
  status_text(&e->status, how, sizeof how);
  if (f->asked) {
    mp_log(pool->log, well ? MP_LOG_INFO : MP_LOG_WARN, "pool",
           "worker left, %s slot=%u gen=%u pid=%d after_ms=%llu requests=%llu", how, f->slot, f->generation,
           pid_of(pool, f->seat), (unsigned long long)f->ms, (unsigned long long)e->answered);
    return;
  }
  say_crashed(pool, f, e, how);
}

/* Where it is stuck, and what suffers from it: a line each behind the message. */
static void list_stuck(const struct mp_shm_stuck *stuck, uint64_t now, struct mp_buf *out) {
  char line[2 * MP_SHM_LINE];
  size_t n = stuck->n < MP_SHM_REQUESTS ? stuck->n : MP_SHM_REQUESTS;
  size_t trace = strnlen(stuck->trace, sizeof stuck->trace);
  int err = trace ? mp_buf_addf(out, "stack traceback:\n%.*s", (int)trace, stuck->trace) : 0;
  for (size_t i = 0; i < n && err == 0; i++) {
    const struct mp_shm_request *r = &stuck->request[i];
    uint64_t age = r->started_ms && now > r->started_ms ? now - r->started_ms : 0;
    err = mp_buf_addf(out, "%sin flight for %llu ms: %s", mp_buf_len(out) ? "\n" : "", (unsigned long long)age,
                      mp_log_quote(mp_slice(r->line, strnlen(r->line, sizeof r->line)), line, sizeof line));
  }
}

static void say_stuck(struct mp_pool *pool, const struct mp_action *f) {
  const struct mp_shm_slot *slot = &pool->shm->slot[f->seat];
  const struct mp_shm_stuck *stuck = &slot->stuck;
  bool filled = atomic_load_explicit(&stuck->filled, memory_order_acquire) == 1;
  char line[2 * MP_SHM_LINE], text[3 * MP_SHM_LINE];
  const char *request = "";
  struct mp_buf detail = {0};
  if (filled && stuck->named && stuck->n > 0)
    request =
        mp_log_quote(mp_slice(stuck->request[0].line, strnlen(stuck->request[0].line, MP_SHM_LINE)), line, sizeof line);
  int n = snprintf(text, sizeof text, "worker %u (pid %d) is stuck in C%s%s held_ms=%llu in_flight=%u slot=%u gen=%u",
                   f->slot + 1, pid_of(pool, f->seat), *request ? " request=" : "", request,
                   (unsigned long long)(filled ? stuck->held_ms : 0), atomic_load(&slot->in_flight), f->slot,
                   f->generation);
  if (filled) list_stuck(stuck, mp_loop_now(&pool->loop), &detail);
  mp_log_detail(pool->log, MP_LOG_ERROR, "pool", mp_slice(text, (size_t)n), mp_buf_slice(&detail));
  mp_buf_free(&detail);
}

static void say_start_failed(struct mp_pool *pool, const struct mp_action *f, const struct mp_event *e) {
  char text[128];
  mp_log(pool->log, MP_LOG_ERROR, "pool", "cannot start a worker: %s slot=%u gen=%u code=%s",
         mp_err_text(e->err, text, sizeof text), f->slot, f->generation, mp_err_name(e->err));
}

/* What it was doing, if it could say so before, is told when it has ended. */
static void say_silent(struct mp_pool *pool, const struct mp_action *f, const struct mp_event *e) {
  mp_log(pool->log, MP_LOG_ERROR, "pool", "worker %u (pid %d) %s, ending it silent_ms=%llu in_flight=%u slot=%u gen=%u",
         f->slot + 1, pid_of(pool, f->seat), e->stopped ? "is stopped by a signal" : "gives no sign of life",
         (unsigned long long)f->ms, atomic_load(&pool->shm->slot[f->seat].in_flight), f->slot, f->generation);
}

static void say_renewed(struct mp_pool *pool, const struct mp_action *f) {
  static const struct {
    const char *option, *figure;
  } limits[] = {[MP_LIMIT_NONE] = {"", ""},
                [MP_LIMIT_REQUESTS] = {"max-requests", "requests"},
                [MP_LIMIT_MEMORY] = {"max-rss", "rss_bytes"},
                [MP_LIMIT_AGE] = {"max-lifetime", "age_ms"}};
  mp_log(pool->log, MP_LOG_INFO, "pool", "worker replaced at a limit slot=%u gen=%u pid=%d reason=%s %s=%llu", f->slot,
         f->generation, pid_of(pool, f->seat), limits[f->limit].option, limits[f->limit].figure,
         (unsigned long long)f->figure);
}

void mp_pool_say(struct mp_pool *pool, const struct mp_action *f, const struct mp_event *e) {
  struct mp_log *log = pool->log;
  unsigned long long ms = f->ms;
  switch (f->fact) {
  case MP_FACT_READY:
    mp_log(log, MP_LOG_INFO, "pool", "worker ready slot=%u gen=%u pid=%d took_ms=%llu", f->slot, f->generation,
           pid_of(pool, f->seat), ms);
    break;
  case MP_FACT_ENDED:
    say_ended(pool, f, e);
    break;
  case MP_FACT_START_FAILED:
    say_start_failed(pool, f, e);
    break;
  case MP_FACT_AGAIN:
    mp_log(log, MP_LOG_WARN, "pool", "starting it again after a pause slot=%u deaths=%u pause_ms=%llu", f->slot, f->n,
           ms);
    break;
  case MP_FACT_STUCK:
    say_stuck(pool, f);
    break;
  case MP_FACT_BACK:
    mp_log(log, MP_LOG_WARN, "pool", "worker goes on after all slot=%u gen=%u pid=%d", f->slot, f->generation,
           pid_of(pool, f->seat));
    break;
  case MP_FACT_HUNG:
    mp_log(log, MP_LOG_ERROR, "pool", "worker hangs, ending it slot=%u gen=%u pid=%d waited_ms=%llu", f->slot,
           f->generation, pid_of(pool, f->seat), ms);
    break;
  case MP_FACT_SILENT:
    say_silent(pool, f, e);
    break;
  case MP_FACT_RENEWED:
    say_renewed(pool, f);
    break;
  case MP_FACT_KEPT:
    mp_log(log, MP_LOG_ERROR, "pool", "a worker at a limit cannot be replaced, it goes on slot=%u gen=%u", f->slot,
           f->generation);
    break;
  case MP_FACT_BOOT_TIMEOUT:
    mp_log(log, MP_LOG_ERROR, "pool", "worker not ready in time, ending it slot=%u gen=%u pid=%d waited_ms=%llu",
           f->slot, f->generation, pid_of(pool, f->seat), ms);
    break;
  case MP_FACT_OVERDUE:
    mp_log(log, MP_LOG_WARN, "pool", "worker did not leave in time, ending it slot=%u gen=%u pid=%d waited_ms=%llu",
           f->slot, f->generation, pid_of(pool, f->seat), ms);
    break;
  case MP_FACT_ADOPTED:
    mp_log(log, MP_LOG_INFO, "pool", "new generation proven gen=%u", f->generation);
    break;
  case MP_FACT_DROPPED:
    mp_log(log, MP_LOG_ERROR, "pool", "reload failed, the old workers go on failed_gen=%u gen=%u", f->generation,
           pool->roster->generation);
    break;
  case MP_FACT_RELOADED:
    mp_log(log, MP_LOG_INFO, "pool", "reloaded gen=%u", f->generation);
    break;
  case MP_FACT_MIXED:
    mp_log(log, MP_LOG_ERROR, "pool",
           "the pool is mixed: generation %u runs, but not in every slot; an old worker stays slot=%u", f->generation,
           f->slot);
    break;
  case MP_FACT_GAVE_UP:
    mp_log(log, MP_LOG_ERROR, "pool", "workers keep dying at boot deaths=%u", f->n);
    break;
  case MP_FACT_STOPPING:
    mp_log(log, MP_LOG_INFO, "pool", "stopping workers=%u", f->n);
    break;
  }
}
