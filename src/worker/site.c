#include "api/hold.h"
#include "base/err.h"
#include "worker/inside.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum { INTERNAL = 1, APP_FAILED = 3 /* exit codes */, BUSY_POLL_MS = 10 };

static int fail(struct mp_site *s, const char *what, int err) {
  char text[128];
  mp_log(s->log, MP_LOG_ERROR, "worker", "%s: %s code=%s", what, mp_err_text(err, text, sizeof text), mp_err_name(err));
  return INTERNAL;
}

/* The way out: the server drains, then the app stops, then everything closes. */

static void leave_soon(struct mp_site *s) {
  if (s->stage == MP_WORK_LEFT) return;
  s->stage = MP_WORK_LEFT;
  mp_loop_post(s->loop, &s->leave);
}

static void leave(struct mp_soon *soon) {
  struct mp_site *s = MP_CONTAINER(soon, struct mp_site, leave);
  s->setup.ops->on_left(s);
}

static void leave_when_done(struct mp_site *s) {
  if (s->stage == MP_WORK_STOPPING && s->app_stopped && (!s->has_server || s->server_drained)) leave_soon(s);
}

static void stop_all(struct mp_site *s) {
  s->stage = MP_WORK_STOPPING;
  if (s->has_server && !s->server_drained) mp_server_close(&s->server);
  mp_api_stop(s->api);
  leave_when_done(s);
}

/* Before it has ever served. What the app has begun ends with the process, if that is ours; else it is ended here. */
static void give_up(struct mp_site *s, int code) {
  s->exit_code = code;
  if (s->setup.guest)
    stop_all(s);
  else
    leave_soon(s);
}

/* Whatever still runs is cancelled, its processes are told to end; connections close. */
void mp_site_stop(struct mp_site *s) {
  if (s->stage >= MP_WORK_STOPPING) return;
  if (s->stage == MP_WORK_LOADING)
    give_up(s, 0);
  else
    stop_all(s);
}

static void look(struct mp_site *s) {
  if (s->stage != MP_WORK_DRAINING || !s->server_drained) return;
  if (mp_api_busy(s->api) == 0)
    mp_site_stop(s);
  else
    mp_timer_start(&s->look, BUSY_POLL_MS);
}

static void on_look(struct mp_timer *timer) {
  look(MP_CONTAINER(timer, struct mp_site, look));
}

static void on_patience(struct mp_timer *timer) {
  struct mp_site *s = MP_CONTAINER(timer, struct mp_site, patience);
  mp_log(s->log, MP_LOG_WARN, "worker",
         "not drained in time, cancelling what still runs in_flight=%u connections=%u background=%u", s->server.n_held,
         s->server.n_conns, mp_api_in_background(s->api));
  mp_site_stop(s);
}

/* The master insists after --graceful-timeout: children want their TERM, and time to act on it, before that. */
static uint64_t patience_ms(const struct mp_config *config) {
  uint64_t graceful = mp_site_ms(config->graceful_timeout), most = 2500;
  return graceful - (graceful / 8 < most ? graceful / 8 : most);
}

void mp_site_drain(struct mp_site *s, uint64_t idle_ms) {
  if (s->stage == MP_WORK_LOADING) mp_site_stop(s);
  if (s->stage != MP_WORK_SERVING) return;
  s->stage = MP_WORK_DRAINING;
  MP_PUBLISH(s, accepting, 0);
  mp_api_retire(s->api);
  mp_timer_start(&s->patience, patience_ms(s->setup.config));
  mp_server_drain(&s->server, idle_ms);
  look(s);
}

static void on_drained(void *ctx) {
  struct mp_site *s = ctx;
  s->server_drained = true;
  look(s);
  leave_when_done(s);
}

static void on_stopped(void *ctx) {
  struct mp_site *s = ctx;
  s->app_stopped = true;
  leave_when_done(s);
}

/* The way in. */

static void log_load_error(struct mp_site *s, const char *message, size_t len) {
  const char *nl = memchr(message, '\n', len);
  size_t first = nl ? (size_t)(nl - message) : len;
  struct mp_slice rest = nl ? mp_slice(nl + 1, len - first - 1) : mp_slice("", 0);
  mp_log_detail(s->log, MP_LOG_ERROR, "app", mp_slice(message, first), rest);
  free(s->why);
  s->why = malloc(first + 1);
  if (!s->why) return;
  memcpy(s->why, message, first);
  s->why[first] = '\0';
}

static void on_started(void *ctx, const char *error) {
  struct mp_site *s = ctx;
  if (s->stage != MP_WORK_LOADING) return;
  if (error) {
    log_load_error(s, error, strlen(error));
    give_up(s, APP_FAILED);
    return;
  }
  int err = mp_site_open_server(s);
  if (err < 0) {
    give_up(s, fail(s, "cannot serve", err));
    return;
  }
  s->stage = MP_WORK_SERVING;
  MP_PUBLISH(s, accepting, 1);
  s->setup.ops->on_ready(s);
}

int mp_site_load(struct mp_site *s) {
  struct mp_buf why = {0};
  int err = mp_api_load(s->api, &why);
  if (err < 0) log_load_error(s, mp_buf_at(&why), mp_buf_len(&why));
  mp_buf_free(&why);
  if (err < 0) s->exit_code = APP_FAILED;
  return err;
}

void mp_site_start(struct mp_site *s) {
  mp_api_start(s->api);
}

static int open_api(struct mp_site *s) {
  struct mp_api_setup setup = {.loop = s->loop,
                               .log = s->log,
                               .config = s->setup.config,
                               .commons = s->setup.commons,
                               .bundle = s->setup.bundle,
                               .worker = s->setup.worker,
                               .generation = s->setup.generation,
                               .guest = s->setup.guest,
                               .extension = s->setup.extension,
                               .view = &s->slot->view,
                               .ctx = s,
                               .on_started = on_started,
                               .on_drained = on_drained,
                               .on_stopped = on_stopped};
  s->api = mp_api_open(&setup);
  if (!s->api) return -ENOMEM;
  mp_viewer_init(&s->viewer, &s->slot->view, s->loop, s->api, s->setup.config->trusted_proxies != NULL);
  return 0;
}

/* Workers that were started together do not leave together. */
static uint64_t enough_requests(const struct mp_config *config) {
  uint64_t bits = 0;
  if (!config->max_requests) return UINT64_MAX;
  if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != sizeof bits) bits = (uint64_t)getpid() * 0x9e3779b97f4a7c15u;
  return config->max_requests + (bits >> 16) % (config->max_requests_jitter + UINT64_C(1));
}

static int open_trust(struct mp_site *s) {
  const char *list = s->setup.config->trusted_proxies;
  struct mp_slice bad;
  return list ? mp_trust_parse(&s->trust, mp_slice(list, strlen(list)), &bad) : 0;
}

/* Time. What Lua cannot be got out of ends with the process, and the master does that. */

static void on_late(void *ctx, enum mp_watch_step step) {
  struct mp_site *s = ctx;
  mp_api_interrupt(s->api, step, &s->slot->stuck);
}

static void tell_late(void *ctx, enum mp_watch_step step) {
  struct mp_site *s = ctx;
  s->setup.ops->on_late(s, step);
}

static uint32_t watch_ms(double seconds) {
  return seconds <= 0 ? 0 : seconds >= 1e6 ? 1000000000 : seconds < 0.001 ? 1 : (uint32_t)(seconds * 1000);
}

static int open_watchdog(struct mp_site *s) {
  const struct mp_config *config = s->setup.config;
  s->watchdog.hold = mp_api_hold(s->api);
  s->watchdog.hold->moved_ms = &s->slot->moved_ms;
  s->watchdog.watch.slow_ms = watch_ms(config->slow_callback);
  s->watchdog.watch.over_ms = watch_ms(config->timeout);
  s->watchdog.ctx = s;
  s->watchdog.interrupt = on_late;
  s->watchdog.told = tell_late;
  s->watchdog.only_tells = s->setup.guest && !s->setup.guest->interrupts;
  return mp_watchdog_start(&s->watchdog);
}

/* ---- life ---- */

static int open_timers(struct mp_site *s) {
  int err = mp_timer_init(&s->look, &s->loop->timers, on_look);
  if (err == 0) err = mp_timer_init(&s->slow, &s->loop->timers, mp_site_on_slow);
  return err < 0 ? err : mp_timer_init(&s->patience, &s->loop->timers, on_patience);
}

static int open_all(struct mp_site *s) {
  const struct mp_config *config = s->setup.config;
  int err = mp_share_init(&s->share, s->setup.shm, s->setup.seat);
  if (err == 0) err = open_trust(s);
  if (err == 0) err = mp_record_open(&s->record, s->loop, s->log, config, s->setup.worker);
  if (err == 0) err = open_timers(s);
  if (err == 0) err = open_api(s);
  return err < 0 ? err : open_watchdog(s);
}

struct mp_site *mp_site_open(const struct mp_site_setup *setup, int *err) {
  const char *health = setup->config->health;
  struct mp_site *s = calloc(1, sizeof *s);
  *err = -ENOMEM;
  if (!s) return NULL;
  s->setup = *setup;
  s->log = setup->log;
  s->loop = setup->loop;
  s->slot = &setup->shm->slot[setup->seat];
  s->enough = enough_requests(setup->config);
  mp_soon_init(&s->leave, leave);
  if (health) s->health = mp_slice(health, strlen(health));
  *err = open_all(s);
  if (*err == 0) return s;
  mp_site_close(s);
  return NULL;
}

void mp_site_fail(struct mp_site *s, int code) {
  s->exit_code = code;
  mp_site_stop(s);
}

void mp_site_reopen(struct mp_site *s) {
  mp_record_reopen(&s->record);
}

uint64_t mp_site_idle_ms(const struct mp_site *s) {
  return mp_site_ms(s->setup.config->drain_idle);
}

void *mp_site_ctx(const struct mp_site *s) {
  return s->setup.ctx;
}

struct mp_api *mp_site_api(const struct mp_site *s) {
  return s->api;
}

bool mp_site_left(const struct mp_site *s) {
  return s->app_stopped;
}

const char *mp_site_why(const struct mp_site *s) {
  return s->why ? s->why : "";
}

int mp_site_exit_code(const struct mp_site *s) {
  return s->exit_code;
}

void mp_site_abandon(struct mp_site *s) {
  mp_record_close(&s->record);
}

bool mp_site_close(struct mp_site *s) {
  if (s->has_server && s->server_drained) mp_server_deinit(&s->server);
  mp_watchdog_stop(&s->watchdog);
  bool whole = s->api ? mp_api_close(s->api) : true;
  mp_soon_cancel(&s->leave);
  mp_timer_deinit(&s->look);
  mp_timer_deinit(&s->slow);
  mp_timer_deinit(&s->patience);
  mp_record_close(&s->record);
  mp_trust_free(&s->trust);
  mp_share_deinit(&s->share);
  for (unsigned i = 0; !s->has_doors && i < s->setup.n_listen; i++) close(s->setup.listen_fds[i]);
  free(s->why);
  free(s);
  return whole;
}
