#include "worker/site.h"
#include "api/hold.h"
#include "base/err.h"
#include "worker/record.h"
#include "worker/share.h"
#include "worker/viewer.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum { INTERNAL = 1, APP_FAILED = 3 /* exit codes */, BUSY_POLL_MS = 10 };

enum stage { LOADING, SERVING, DRAINING, STOPPING, LEFT };

struct mp_site {
  struct mp_site_setup setup;
  struct mp_log *log; /* borrowed, as the next */
  struct mp_loop *loop;
  struct mp_api *api; /* owned */
  struct mp_server server;
  struct mp_server_ops ops; /* the api's, but for a look at each request */
  struct mp_record record;
  struct mp_trust trust;
  struct mp_shm_slot *slot; /* borrowed from the page */
  struct mp_share share;
  struct mp_viewer viewer;
  struct mp_slice health;   /* borrowed from the configuration: the path of health checks; empty: none */
  struct mp_timer look;     /* is the drain over? */
  struct mp_timer slow;     /* is a request that waits slow by now? Only while any waits, and with --slow-request */
  struct mp_timer patience; /* end what does not end by itself, before anybody does it harder */
  struct mp_watchdog watchdog;
  struct mp_soon leave;
  uint64_t enough; /* requests: then a successor is asked for */
  uint32_t n_accepted;
  enum stage stage;
  bool has_server, has_doors, server_drained, app_stopped;
  char *why;     /* owned: the first line of why the app could not be loaded or started; NULL: none */
  int exit_code; /* 0, 1 an internal failure, 3 the app failed to load */
};

static uint64_t ms_of(double seconds) {
  return (uint64_t)(seconds * 1000);
}

static int fail(struct mp_site *s, const char *what, int err) {
  char text[128];
  mp_log(s->log, MP_LOG_ERROR, "worker", "%s: %s code=%s", what, mp_err_text(err, text, sizeof text), mp_err_name(err));
  return INTERNAL;
}

/* The shared page: what the master and the siblings may know. Relaxed, for each number stands alone. */

#define PUBLISH(field, value) atomic_store_explicit(&s->slot->field, (value), memory_order_relaxed)

static void publish_counts(struct mp_site *s) {
  PUBLISH(requests, s->server.n_requests);
  PUBLISH(in_flight, s->server.n_held);
  PUBLISH(connections, s->server.n_conns);
}

void mp_site_sleep(struct mp_site *s) {
  if (s->has_server) publish_counts(s);
  if (s->api) mp_api_show(s->api);
  mp_viewer_sleep(&s->viewer);
  if (s->server.n_requests >= s->enough && s->setup.ops->on_spent(s, s->server.n_requests)) s->enough = UINT64_MAX;
  PUBLISH(busy_since_ms, 0);
}

/* Before the app, and neither counted as a request nor written down: it comes every few seconds, from a machine. */
static void answer_health(struct mp_site *s, struct mp_exchange *ex) {
  bool serving = s->stage == SERVING;
  ex->place = MP_VIEWER_UNSEEN;
  ex->reply.status = serving ? 200 : 503;
  int err = mp_reply_set(&ex->reply, MP_SLICE("Content-Type"), MP_SLICE("text/plain; charset=utf-8"));
  if (err == 0) err = mp_reply_set(&ex->reply, MP_SLICE("Cache-Control"), MP_SLICE("no-store"));
  if (err == 0) err = mp_exchange_send(ex, serving ? MP_SLICE("ok\n") : MP_SLICE("draining\n"));
  mp_viewer_count(&s->viewer, MP_COUNT_HEALTH);
  mp_exchange_finish(ex, err < 0);
}

static bool is_health_check(const struct mp_site *s, const struct mp_head *head) {
  return s->health.len > 0 && mp_slice_is(head->path, s->health) &&
         (mp_slice_is(head->method, MP_SLICE("GET")) || mp_slice_is(head->method, MP_SLICE("HEAD")));
}

/* Told before Lua runs, so that a crash in the handler finds its request counted. */
static void on_request(struct mp_server *server, struct mp_exchange *ex) {
  struct mp_site *s = MP_CONTAINER(server, struct mp_site, server);
  PUBLISH(in_flight, server->n_held);
  if (is_health_check(s, &ex->head)) {
    answer_health(s, ex);
    return;
  }
  mp_viewer_begin(&s->viewer, ex);
  mp_api_server_ops.on_request(server, ex);
  bool held = server->current == ex;
  mp_viewer_leave(&s->viewer, ex, held);
  if (held && s->record.slow_ms && !mp_timer_started(&s->slow)) mp_timer_start(&s->slow, s->record.slow_ms);
}

static void on_slow(struct mp_timer *timer) {
  struct mp_site *s = MP_CONTAINER(timer, struct mp_site, slow);
  uint64_t again_ms = mp_api_tell_slow(s->api, s->record.slow_ms);
  if (again_ms) mp_timer_start(timer, again_ms);
}

static struct mp_site *of_server(struct mp_server *server) {
  return MP_CONTAINER(server, struct mp_site, server);
}

/* Siblings decide by these numbers, so they are told at once. */
static void on_connections(struct mp_server *server) {
  struct mp_site *s = of_server(server);
  PUBLISH(connections, server->n_conns);
  PUBLISH(accepted, ++s->n_accepted);
  mp_viewer_count(&s->viewer, MP_COUNT_ACCEPTED);
}

static bool holds_back(struct mp_server *server) {
  struct mp_site *s = of_server(server);
  return mp_share_holds_back(&s->share, server->n_conns, mp_loop_now(s->loop));
}

static void on_over(struct mp_exchange *ex, bool whole) {
  struct mp_site *s = of_server(ex->server);
  if (ex->place == MP_VIEWER_UNSEEN) return;
  mp_viewer_over(&s->viewer, ex);
  if (s->record.wanted && mp_record_over(&s->record, ex, whole, s->viewer.now_ns))
    mp_viewer_count(&s->viewer, MP_COUNT_SLOW);
}

static void on_forget(struct mp_exchange *ex) {
  mp_viewer_forget(&of_server(ex->server)->viewer, ex);
}

static void on_refused(struct mp_server *server, const struct mp_address *peer, int status) {
  mp_viewer_count(&of_server(server)->viewer, MP_COUNT_REFUSED + mp_view_refusal(status));
  mp_record_refused(&of_server(server)->record, peer, status);
}

/* The way out: the server drains, then the app stops, then everything closes. */

static void leave_soon(struct mp_site *s) {
  if (s->stage == LEFT) return;
  s->stage = LEFT;
  mp_loop_post(s->loop, &s->leave);
}

static void leave(struct mp_soon *soon) {
  struct mp_site *s = MP_CONTAINER(soon, struct mp_site, leave);
  s->setup.ops->on_left(s);
}

static void leave_when_done(struct mp_site *s) {
  if (s->stage == STOPPING && s->app_stopped && (!s->has_server || s->server_drained)) leave_soon(s);
}

static void stop_all(struct mp_site *s) {
  s->stage = STOPPING;
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
  if (s->stage >= STOPPING) return;
  if (s->stage == LOADING)
    give_up(s, 0);
  else
    stop_all(s);
}

static void look(struct mp_site *s) {
  if (s->stage != DRAINING || !s->server_drained) return;
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
  mp_log(s->log, MP_LOG_WARN, "worker", "not drained in time, cancelling what still runs in_flight=%u connections=%u",
         s->server.n_held, s->server.n_conns);
  mp_site_stop(s);
}

/* The master insists after --graceful-timeout: children want their TERM, and time to act on it, before that. */
static uint64_t patience_ms(const struct mp_config *config) {
  uint64_t graceful = ms_of(config->graceful_timeout), most = 2500;
  return graceful - (graceful / 8 < most ? graceful / 8 : most);
}

void mp_site_drain(struct mp_site *s, uint64_t idle_ms) {
  if (s->stage == LOADING) mp_site_stop(s);
  if (s->stage != SERVING) return;
  s->stage = DRAINING;
  PUBLISH(accepting, 0);
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

static struct mp_server_config server_config(const struct mp_site *s) {
  const struct mp_config *c = s->setup.config;
  return (struct mp_server_config){
      .limits = {.request_line = c->limit_request_line,
                 .fields = c->limit_request_fields,
                 .field_size = c->limit_request_field_size,
                 .head = c->limit_request_head < UINT32_MAX ? (uint32_t)c->limit_request_head : UINT32_MAX,
                 .body = c->max_body},
      .max_connections = c->max_connections,
      .pipeline = c->limit_pipeline,
      .keep_alive_ms = ms_of(c->keep_alive),
      .header_ms = ms_of(c->header_timeout),
      .body_ms = ms_of(c->body_timeout),
      .write_ms = ms_of(c->write_timeout),
      .request_ms = ms_of(c->request_timeout),
      .drain_idle_ms = ms_of(c->drain_idle),
      .no_server = !c->server_header,
      .compress = c->compress,
      .proxy_protocol = c->proxy_protocol,
      .trust = c->trusted_proxies ? &s->trust : NULL,
  };
}

static void log_load_error(struct mp_site *s, const char *message, size_t len) {
  const char *nl = memchr(message, '\n', len);
  size_t first = nl ? (size_t)(nl - message) : len;
  struct mp_slice rest = nl ? mp_slice(nl + 1, len - first - 1) : mp_slice("", 0);
  mp_log_detail(s->log, MP_LOG_ERROR, "app", mp_slice(message, first), rest);
  free(s->why);
  s->why = strndup(message, first);
}

static int open_server(struct mp_site *s) {
  struct mp_server_config config = server_config(s);
  s->ops = mp_api_server_ops;
  s->ops.on_request = on_request;
  s->ops.on_over = on_over;
  s->ops.on_forget = on_forget;
  s->ops.on_refused = on_refused;
  s->ops.holds_back = holds_back;
  s->ops.on_connections = on_connections;
  int err = mp_server_init(&s->server, s->loop, s->log, &config, &s->ops, s->api);
  if (err < 0) return err;
  s->has_server = s->has_doors = true;
  return mp_server_adopt(&s->server, s->setup.listen_fds, s->setup.n_listen);
}

static void on_started(void *ctx, const char *error) {
  struct mp_site *s = ctx;
  if (s->stage != LOADING) return;
  if (error) {
    log_load_error(s, error, strlen(error));
    give_up(s, APP_FAILED);
    return;
  }
  int err = open_server(s);
  if (err < 0) {
    give_up(s, fail(s, "cannot serve", err));
    return;
  }
  s->stage = SERVING;
  PUBLISH(accepting, 1);
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
  if (err == 0) err = mp_timer_init(&s->slow, &s->loop->timers, on_slow);
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
  return ms_of(s->setup.config->drain_idle);
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
