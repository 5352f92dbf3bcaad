#include "worker/worker.h"
#include "api/hold.h"
#include "api/open.h"
#include "base/err.h"
#include "io/guardian.h"
#include "worker/inside.h"
#include "worker/tell.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INTERNAL = 1, APP_FAILED = 3 /* exit codes */, LAST_SWEEP_MS = 1000, BUSY_POLL_MS = 10 };

static int fail(struct mp_worker *w, const char *what, int err) {
  char text[128];
  mp_log(w->log, MP_LOG_ERROR, "worker", "%s: %s code=%s", what, mp_err_text(err, text, sizeof text), mp_err_name(err));
  return INTERNAL;
}

/* The way out: the server drains, then the app stops, then everything closes. */

static void leave_soon(struct mp_worker *w, int code) {
  if (w->stage == MP_WORK_STOPPED) return;
  w->stage = MP_WORK_STOPPED;
  w->exit_code = code;
  mp_loop_post(&w->loop, &w->leave);
}

static void leave(struct mp_soon *soon) {
  mp_loop_stop(&MP_CONTAINER(soon, struct mp_worker, leave)->loop);
}

static void leave_when_done(struct mp_worker *w) {
  if (w->stage == MP_WORK_STOPPING && w->app_stopped && (!w->has_server || w->server_drained)) leave_soon(w, 0);
}

/* Whatever still runs is cancelled, its processes are told to end; connections close. */
static void stop(struct mp_worker *w) {
  if (w->stage >= MP_WORK_STOPPING) return;
  if (w->stage == MP_WORK_LOADING) {
    leave_soon(w, 0);
    return;
  }
  w->stage = MP_WORK_STOPPING;
  if (!w->server_drained) mp_server_close(&w->server);
  mp_api_stop(w->api);
  leave_when_done(w);
}

static void look(struct mp_worker *w) {
  if (w->stage != MP_WORK_DRAINING || !w->server_drained) return;
  if (mp_api_busy(w->api) == 0)
    stop(w);
  else
    mp_timer_start(&w->look, BUSY_POLL_MS);
}

static void on_look(struct mp_timer *timer) {
  look(MP_CONTAINER(timer, struct mp_worker, look));
}

static void on_patience(struct mp_timer *timer) {
  struct mp_worker *w = MP_CONTAINER(timer, struct mp_worker, patience);
  mp_log(w->log, MP_LOG_WARN, "worker",
         "not drained in time, cancelling what still runs in_flight=%u connections=%u background=%u", w->server.n_held,
         w->server.n_conns, mp_api_in_background(w->api));
  stop(w);
}

/* The master insists after --graceful-timeout: children want their TERM, and time to act on it, before that. */
static uint64_t patience_ms(const struct mp_config *config) {
  uint64_t graceful = mp_worker_ms(config->graceful_timeout), most = 2500;
  return graceful - (graceful / 8 < most ? graceful / 8 : most);
}

static void drain(struct mp_worker *w, uint64_t idle_ms) {
  if (w->stage == MP_WORK_LOADING) stop(w);
  if (w->stage != MP_WORK_SERVING) return;
  w->stage = MP_WORK_DRAINING;
  MP_PUBLISH(w, accepting, 0);
  mp_api_retire(w->api);
  mp_timer_start(&w->patience, patience_ms(w->setup->config));
  mp_server_drain(&w->server, idle_ms);
  look(w);
}

static uint64_t drain_idle_ms(const struct mp_worker *w) {
  return mp_worker_ms(w->setup->config->drain_idle);
}

static void on_drained(void *ctx) {
  struct mp_worker *w = ctx;
  w->server_drained = true;
  look(w);
  leave_when_done(w);
}

static void on_stopped(void *ctx) {
  struct mp_worker *w = ctx;
  w->app_stopped = true;
  leave_when_done(w);
}

/* The master's words. */

static void on_word(void *ctx, const char *word) {
  struct mp_worker *w = ctx;
  if (strcmp(word, "drain") == 0)
    drain(w, drain_idle_ms(w));
  else if (strcmp(word, "finish") == 0)
    drain(w, 0);
  else if (strcmp(word, "stop") == 0)
    stop(w);
  else if (strcmp(word, "reopen") == 0)
    mp_record_reopen(&w->record);
  else if (strncmp(word, "ask ", 4) == 0)
    mp_tell(&w->control, w->api, word + 4);
  else
    mp_log(w->log, MP_LOG_WARN, "worker", "the master says what nobody understands");
}

static void on_control_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct mp_worker *w = MP_CONTAINER(stream, struct mp_worker, control);
  if (n > 0 && mp_lines_feed(&w->lines, bytes, (size_t)n, on_word, w) == 0) return;
  mp_stream_close(stream);
  stop(w); /* no master, no worker; the guardian sees it too, should the loop be held up */
}

static void on_control_broken(struct mp_stream *stream, int err) {
  struct mp_worker *w = MP_CONTAINER(stream, struct mp_worker, control);
  fail(w, "the control pipe is broken", err);
  mp_stream_close(stream);
  stop(w);
}

static void on_control_closed(struct mp_stream *stream) {
  MP_CONTAINER(stream, struct mp_worker, control)->control_closed = true;
}

static const struct mp_stream_ops control_ops = {
    .on_read = on_control_read, .on_broken = on_control_broken, .on_closed = on_control_closed};

static void on_term(struct mp_signal *signal, int signo) {
  (void)signo;
  struct mp_worker *w = signal->ctx;
  drain(w, drain_idle_ms(w));
}

/* The way in. */

static void log_load_error(struct mp_worker *w, const char *message, size_t len) {
  const char *nl = memchr(message, '\n', len);
  size_t first = nl ? (size_t)(nl - message) : len;
  struct mp_slice rest = nl ? mp_slice(nl + 1, len - first - 1) : mp_slice("", 0);
  mp_log_detail(w->log, MP_LOG_ERROR, "app", mp_slice(message, first), rest);
}

static void say_ready(struct mp_worker *w) {
  int err = mp_stream_write(&w->control, MP_SLICE("ready\n"));
  if (err < 0) {
    leave_soon(w, fail(w, "the master cannot be told", err));
    return;
  }
  mp_stream_flush(&w->control);
}

static void on_started(void *ctx, const char *error) {
  struct mp_worker *w = ctx;
  if (w->stage != MP_WORK_LOADING) return;
  if (error) {
    log_load_error(w, error, strlen(error));
    leave_soon(w, APP_FAILED);
    return;
  }
  int err = mp_worker_open_server(w);
  if (err < 0) {
    leave_soon(w, fail(w, "cannot serve", err));
    return;
  }
  w->stage = MP_WORK_SERVING;
  MP_PUBLISH(w, accepting, 1);
  say_ready(w);
}

static int load(struct mp_worker *w) {
  struct mp_buf why = {0};
  int err = mp_api_load(w->api, &why);
  if (err < 0) log_load_error(w, mp_buf_at(&why), mp_buf_len(&why));
  mp_buf_free(&why);
  return err < 0 ? APP_FAILED : 0;
}

static int open_api(struct mp_worker *w) {
  struct mp_api_setup setup = {.loop = &w->loop,
                               .log = w->log,
                               .config = w->setup->config,
                               .commons = &w->commons,
                               .bundle = w->setup->bundle,
                               .worker = w->setup->slot + 1,
                               .generation = w->setup->generation,
                               .view = &w->slot->view,
                               .ctx = w,
                               .on_started = on_started,
                               .on_drained = on_drained,
                               .on_stopped = on_stopped};
  w->api = mp_api_open(&setup);
  if (!w->api) return -ENOMEM;
  mp_viewer_init(&w->viewer, &w->slot->view, &w->loop, w->api, w->setup->config->trusted_proxies != NULL);
  return 0;
}

/* INT and QUIT from a terminal are the master's to judge: it tells its workers what becomes of them. */
static int open_signals(struct mp_worker *w) {
  signal(SIGINT, SIG_IGN);
  signal(SIGQUIT, SIG_IGN);
  w->term.ctx = w;
  return mp_signal_open(&w->term, &w->loop, SIGTERM, on_term);
}

/* Workers that were started together do not leave together. */
static uint64_t enough_requests(const struct mp_config *config) {
  uint64_t bits = 0;
  if (!config->max_requests) return UINT64_MAX;
  if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != sizeof bits) bits = (uint64_t)getpid() * 0x9e3779b97f4a7c15u;
  return config->max_requests + (bits >> 16) % (config->max_requests_jitter + UINT64_C(1));
}

static int open_page(struct mp_worker *w) {
  w->shm = mp_shm_map(w->setup->shm_fd);
  if (!w->shm) return -errno;
  if (w->setup->seat >= w->shm->slots) return -ERANGE;
  w->slot = &w->shm->slot[w->setup->seat];
  int err = mp_share_init(&w->share, w->shm, w->setup->seat);
  return err < 0 ? err : mp_commons_open(&w->commons, w->setup->commons_fd, w->setup->bell_fd, w->setup->seat);
}

static int open_loop(struct mp_worker *w) {
  int err = mp_loop_init(&w->loop, w->log);
  if (err < 0) return err;
  mp_soon_init(&w->leave, leave);
  w->enough = enough_requests(w->setup->config);
  w->loop.busy_since_ms = &w->slot->busy_since_ms;
  w->loop.on_sleep = mp_worker_on_sleep;
  w->control_closed = true; /* nothing to close yet */
  return 0;
}

static int open_trust(struct mp_worker *w) {
  const char *list = w->setup->config->trusted_proxies;
  struct mp_slice bad;
  return list ? mp_trust_parse(&w->trust, mp_slice(list, strlen(list)), &bad) : 0;
}

static int open_rest(struct mp_worker *w) {
  const char *health = w->setup->config->health;
  if (health) w->health = mp_slice(health, strlen(health));
  int err = open_trust(w);
  if (err == 0) err = mp_record_open(&w->record, &w->loop, w->log, w->setup->config, w->setup->slot + 1);
  if (err == 0) err = mp_timer_init(&w->look, &w->loop.timers, on_look);
  if (err == 0) err = mp_timer_init(&w->slow, &w->loop.timers, mp_worker_on_slow);
  if (err == 0) err = mp_timer_init(&w->patience, &w->loop.timers, on_patience);
  if (err == 0) err = open_signals(w);
  if (err < 0) return err;
  w->control_closed = false;
  err = mp_stream_open(&w->control, &w->loop, w->setup->control_fd, &control_ops);
  if (err == 0) err = mp_stream_read_start(&w->control);
  return err < 0 ? err : open_api(w);
}

/* Time. What Lua cannot be got out of ends with the process, and the master does that. */

static void on_late(void *ctx, enum mp_watch_step step) {
  struct mp_worker *w = ctx;
  mp_api_interrupt(w->api, step, &w->slot->stuck);
}

/* On the watchdog's thread. The pipe is not asked to wait: it is empty, or nobody listens. */
static void tell_stuck(void *ctx, enum mp_watch_step step) {
  const struct mp_worker *w = ctx;
  /* The loop's own words may stand there half written. */
  struct mp_slice word = step == MP_WATCH_STUCK ? MP_SLICE("\nstuck\n") : MP_SLICE("\nback\n");
  if (send(w->setup->control_fd, word.at, word.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return; /* no master, no worker */
}

static uint32_t watch_ms(double seconds) {
  return seconds <= 0 ? 0 : seconds >= 1e6 ? 1000000000 : seconds < 0.001 ? 1 : (uint32_t)(seconds * 1000);
}

static int open_watchdog(struct mp_worker *w) {
  const struct mp_config *config = w->setup->config;
  w->watchdog.hold = mp_api_hold(w->api);
  w->watchdog.hold->moved_ms = &w->slot->moved_ms;
  w->watchdog.watch.slow_ms = watch_ms(config->slow_callback);
  w->watchdog.watch.over_ms = watch_ms(config->timeout);
  w->watchdog.ctx = w;
  w->watchdog.interrupt = on_late;
  w->watchdog.told = tell_stuck;
  return mp_watchdog_start(&w->watchdog);
}

static int serve(struct mp_worker *w) {
  int code = load(w);
  if (code != 0) return code;
  mp_api_start(w->api);
  mp_loop_run(&w->loop);
  w->loop.busy_since_ms = NULL; /* what is left to do has the time that leaving has */
  MP_PUBLISH(w, busy_since_ms, 0);
  return w->exit_code;
}

/* An orderly end closes everything and looks for what was left open (the sanitizers watch); one that comes before the
 * server has drained does not: the process ends anyway, and its children are swept. */
static void close_all(struct mp_worker *w) {
  if (w->has_server && w->server_drained) mp_server_deinit(&w->server);
  mp_watchdog_stop(&w->watchdog);
  mp_api_close(w->api);
  mp_signal_end();
  mp_signal_close(&w->term);
  mp_stream_close(&w->control);
  mp_timer_deinit(&w->look);
  mp_timer_deinit(&w->slow);
  mp_timer_deinit(&w->patience);
  mp_record_close(&w->record);
  mp_trust_free(&w->trust);
  mp_share_deinit(&w->share);
  w->loop.on_sleep = NULL;
  mp_loop_deinit(&w->loop);
  mp_shm_unmap(w->shm); /* the commons stay until the process has ended: a thread left behind may look there */
}

/* The guardian ends this process when the master dies; one that was stopped must first run again to see it. */
static int begin(struct mp_worker *w) {
  mp_signal_begin();
  prctl(PR_SET_PDEATHSIG, SIGCONT);
  int err = mp_subreaper();
  if (err == 0) err = mp_guardian_start(w->setup->death_fd);
  if (err == 0) err = open_page(w);
  if (err == 0) err = open_loop(w);
  if (err == 0) err = open_rest(w);
  if (err == 0) err = open_watchdog(w);
  return err;
}

int mp_worker_run(const struct mp_worker_setup *setup) {
  struct mp_worker *w = calloc(1, sizeof *w);
  if (!w) return INTERNAL;
  w->setup = setup;
  w->log = setup->log;
  int err = begin(w);
  int code = err < 0 ? fail(w, "the worker cannot begin", err) : serve(w);
  mp_sweep(NULL, NULL, LAST_SWEEP_MS);
  if (code != 0 || !w->app_stopped) mp_record_close(&w->record);
  if (code != 0 || !w->app_stopped) _exit(code); /* half of it may be open: nothing to be orderly about */
  close_all(w);
  free(w);
  return 0;
}

static void ignore_started(void *ctx, const char *error) {
  (void)ctx, (void)error; /* a check starts nothing */
}

static void ignore_event(void *ctx) {
  (void)ctx;
}

int mp_worker_check(struct mp_log *log, const struct mp_config *config, const struct mp_bundle *bundle,
                    struct mp_buf *why) {
  struct mp_loop loop;
  struct mp_commons commons;
  mp_signal_begin();
  if (mp_commons_private(&commons, config->shared_memory) < 0) return INTERNAL;
  if (mp_loop_init(&loop, log) < 0) {
    mp_commons_close(&commons);
    return INTERNAL;
  }
  struct mp_api_setup setup = {.loop = &loop,
                               .log = log,
                               .config = config,
                               .commons = &commons,
                               .bundle = bundle,
                               .worker = 1,
                               .generation = 1,
                               .on_started = ignore_started,
                               .on_drained = ignore_event,
                               .on_stopped = ignore_event};
  struct mp_api *api = mp_api_open(&setup);
  int code = api ? 0 : INTERNAL;
  if (api && mp_api_load(api, why) < 0) code = APP_FAILED;
  if (api) mp_api_close(api);
  mp_loop_deinit(&loop);
  mp_commons_close(&commons);
  return code;
}
