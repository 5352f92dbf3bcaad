#include "worker/tester.h"
#include "api/hold.h"
#include "api/open.h"
#include "api/trial.h"
#include "base/commons.h"
#include "base/err.h"
#include "io/guardian.h"
#include "io/signal.h"
#include "worker/http.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { INTERNAL = 1, INTERRUPTED = 128, LAST_SWEEP_MS = 1000 };

struct tester {
  const struct mp_tester_setup *setup; /* borrowed */
  struct mp_loop loop;
  struct mp_commons commons;
  struct mp_server_config server;
  struct mp_trust trust;
  struct mp_trial trial;
  struct mp_api *api; /* owned */
  struct mp_watchdog watchdog;
  struct mp_shm_stuck stuck;
  struct mp_signal interrupt, term;
  _Atomic uint64_t busy_since_ms;
  int code;
};

static int fail(struct tester *t, int err) {
  char text[128];
  mp_log(t->setup->log, MP_LOG_ERROR, "test", "the tests cannot begin: %s", mp_err_text(err, text, sizeof text));
  return INTERNAL;
}

/* ---- the end ---- */

static void on_end(void *ctx, int code) {
  struct tester *t = ctx;
  t->code = code;
  mp_api_stop(t->api); /* on_stopped follows */
}

static void on_stopped(void *ctx) {
  mp_loop_stop(&((struct tester *)ctx)->loop);
}

static void ignore_started(void *ctx, const char *error) {
  (void)ctx, (void)error; /* nothing is loaded */
}

static void ignore_drained(void *ctx) {
  (void)ctx;
}

/* Half of everything is open: the process ends, and before it its children. */
static void on_signal(struct mp_signal *signal, int signo) {
  (void)signal;
  fprintf(stderr, "moonpool: test: interrupted\n");
  fflush(stdout);
  mp_sweep(NULL, NULL, LAST_SWEEP_MS);
  _exit(INTERRUPTED + signo);
}

/* ---- time: what Lua cannot be got out of ends with the process ---- */

static void on_late(void *ctx, enum mp_watch_step step) {
  struct tester *t = ctx;
  mp_api_interrupt(t->api, step, &t->stuck);
}

/* On the watchdog's thread. */
static void tell_stuck(void *ctx, enum mp_watch_step step) {
  struct tester *t = ctx;
  if (step != MP_WATCH_STUCK) return;
  bool filled = atomic_load_explicit(&t->stuck.filled, memory_order_acquire);
  fprintf(stderr, "moonpool: test: stuck where nothing can end it, after %g s:\n%s\n", t->setup->config->timeout,
          filled ? t->stuck.trace : "(outside Lua)");
  mp_sweep(NULL, NULL, LAST_SWEEP_MS);
  _exit(INTERNAL);
}

static int open_watchdog(struct tester *t) {
  double over_s = t->setup->config->timeout;
  t->watchdog.hold = mp_api_hold(t->api);
  t->watchdog.watch.over_ms = over_s >= 1e6 ? 1000000000 : (uint32_t)(over_s * 1000);
  t->watchdog.ctx = t;
  t->watchdog.interrupt = on_late;
  t->watchdog.told = tell_stuck;
  return mp_watchdog_start(&t->watchdog);
}

/* ---- the way in ---- */

static void on_sleep(struct mp_loop *loop) {
  atomic_store_explicit(loop->busy_since_ms, 0, memory_order_relaxed);
}

static int open_loop(struct tester *t) {
  int err = mp_loop_init(&t->loop, t->setup->log);
  t->loop.busy_since_ms = &t->busy_since_ms;
  t->loop.on_sleep = on_sleep;
  if (err == 0) err = mp_signal_open(&t->interrupt, &t->loop, SIGINT, on_signal);
  if (err == 0) err = mp_signal_open(&t->term, &t->loop, SIGTERM, on_signal);
  return err;
}

static int open_api(struct tester *t) {
  const struct mp_config *config = t->setup->config;
  t->server = mp_worker_http_config(config, &t->trust);
  t->trial = (struct mp_trial){.server = &t->server, .program = t->setup->program};
  struct mp_api_setup setup = {.loop = &t->loop,
                               .log = t->setup->log,
                               .config = config,
                               .commons = &t->commons,
                               .trial = &t->trial,
                               .worker = 1,
                               .generation = 1,
                               .ctx = t,
                               .on_started = ignore_started,
                               .on_drained = ignore_drained,
                               .on_stopped = on_stopped};
  t->api = mp_api_open(&setup);
  return t->api ? 0 : -ENOMEM;
}

static int begin(struct tester *t) {
  mp_signal_begin();
  int err = mp_subreaper();
  if (err == 0) err = mp_commons_private(&t->commons, t->setup->config->shared_memory);
  if (err == 0) err = open_loop(t);
  if (err == 0) err = mp_worker_http_trust(t->setup->config, &t->trust);
  if (err == 0) err = open_api(t);
  return err == 0 ? open_watchdog(t) : err;
}

static void close_all(struct tester *t) {
  mp_watchdog_stop(&t->watchdog);
  mp_api_close(t->api);
  mp_signal_close(&t->interrupt);
  mp_signal_close(&t->term);
  mp_trust_free(&t->trust);
  t->loop.on_sleep = NULL;
  t->loop.busy_since_ms = NULL;
  mp_loop_deinit(&t->loop);
  mp_commons_close(&t->commons);
}

int mp_tester_run(const struct mp_tester_setup *setup) {
  struct tester *t = calloc(1, sizeof *t);
  if (!t) return INTERNAL;
  t->setup = setup;
  int err = begin(t);
  if (err == 0) err = mp_trial_run(t->api, "moonpool.test.run", setup->argc, setup->argv, on_end, t);
  if (err < 0) _exit(fail(t, err)); /* half of it may be open */
  mp_loop_run(&t->loop);
  mp_sweep(NULL, NULL, LAST_SWEEP_MS);
  int code = t->code;
  close_all(t);
  free(t);
  return code;
}
