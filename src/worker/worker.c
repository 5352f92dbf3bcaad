#include "worker/worker.h"
#include "api/open.h"
#include "base/err.h"
#include "base/lines.h"
#include "io/guardian.h"
#include "io/signal.h"
#include "worker/site.h"
#include "worker/tell.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INTERNAL = 1, APP_FAILED = 3 /* exit codes */, LAST_SWEEP_MS = 1000 };

struct worker {
  const struct mp_worker_setup *setup; /* borrowed */
  struct mp_log *log;                  /* borrowed */
  struct mp_loop loop;
  struct mp_site *site; /* owned */
  struct mp_stream control;
  struct mp_lines lines;
  struct mp_signal term;
  struct mp_shm *shm; /* owned */
  struct mp_commons commons;
};

static int fail(struct worker *w, const char *what, int err) {
  char text[128];
  mp_log(w->log, MP_LOG_ERROR, "worker", "%s: %s code=%s", what, mp_err_text(err, text, sizeof text), mp_err_name(err));
  return INTERNAL;
}

static void on_sleep(struct mp_loop *loop) {
  mp_site_sleep(MP_CONTAINER(loop, struct worker, loop)->site);
}

/* What the site says. */

static void on_ready(struct mp_site *site) {
  struct worker *w = mp_site_ctx(site);
  int err = mp_stream_write(&w->control, MP_SLICE("ready\n"));
  if (err < 0) {
    mp_site_fail(site, fail(w, "the master cannot be told", err));
    return;
  }
  mp_stream_flush(&w->control);
}

/* The master hears it once, and has a successor ready before it says "drain". With no room in the pipe: the next time.
 */
static bool on_spent(struct mp_site *site, uint64_t requests) {
  char word[40];
  int n = snprintf(word, sizeof word, "\nspent %llu\n", (unsigned long long)requests);
  const struct worker *w = mp_site_ctx(site);
  return send(w->setup->control_fd, word, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) == n;
}

/* What Lua cannot be got out of ends with the process, and the master does that. The pipe is not asked to wait: it is
 * empty, or nobody listens. */
static void on_late(struct mp_site *site, enum mp_watch_step step) {
  /* The loop's own words may stand there half written. */
  struct mp_slice word = step == MP_WATCH_STUCK ? MP_SLICE("\nstuck\n") : MP_SLICE("\nback\n");
  const struct worker *w = mp_site_ctx(site);
  if (send(w->setup->control_fd, word.at, word.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return; /* no master, no worker */
}

static void on_left(struct mp_site *site) {
  struct worker *w = mp_site_ctx(site);
  mp_loop_stop(&w->loop);
}

static const struct mp_site_ops site_ops = {
    .on_ready = on_ready, .on_spent = on_spent, .on_late = on_late, .on_left = on_left};

/* The master's words. */

static void on_word(void *ctx, const char *word) {
  struct worker *w = ctx;
  if (strcmp(word, "drain") == 0)
    mp_site_drain(w->site, mp_site_idle_ms(w->site));
  else if (strcmp(word, "finish") == 0)
    mp_site_drain(w->site, 0);
  else if (strcmp(word, "stop") == 0)
    mp_site_stop(w->site);
  else if (strcmp(word, "reopen") == 0)
    mp_site_reopen(w->site);
  else if (strncmp(word, "ask ", 4) == 0)
    mp_tell(&w->control, mp_site_api(w->site), word + 4);
  else
    mp_log(w->log, MP_LOG_WARN, "worker", "the master says what nobody understands");
}

static void on_control_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct worker *w = MP_CONTAINER(stream, struct worker, control);
  if (n > 0 && mp_lines_feed(&w->lines, bytes, (size_t)n, on_word, w) == 0) return;
  mp_stream_close(stream);
  mp_site_stop(w->site); /* no master, no worker; the guardian sees it too, should the loop be held up */
}

static void on_control_broken(struct mp_stream *stream, int err) {
  struct worker *w = MP_CONTAINER(stream, struct worker, control);
  fail(w, "the control pipe is broken", err);
  mp_stream_close(stream);
  mp_site_stop(w->site);
}

static void on_control_closed(struct mp_stream *stream) {
  (void)stream; /* its memory is the worker's, which stays until the loop has run out its closings */
}

static const struct mp_stream_ops control_ops = {
    .on_read = on_control_read, .on_broken = on_control_broken, .on_closed = on_control_closed};

static void on_term(struct mp_signal *signal, int signo) {
  (void)signo;
  struct worker *w = signal->ctx;
  mp_site_drain(w->site, mp_site_idle_ms(w->site));
}

/* INT and QUIT from a terminal are the master's to judge: it tells its workers what becomes of them. */
static int open_signals(struct worker *w) {
  signal(SIGINT, SIG_IGN);
  signal(SIGQUIT, SIG_IGN);
  w->term.ctx = w;
  return mp_signal_open(&w->term, &w->loop, SIGTERM, on_term);
}

/* The way in. */

static int open_page(struct worker *w) {
  w->shm = mp_shm_map(w->setup->shm_fd);
  if (!w->shm) return -errno;
  if (w->setup->seat >= w->shm->slots) return -ERANGE;
  return mp_commons_open(&w->commons, w->setup->commons_fd, w->setup->bell_fd, w->setup->seat);
}

static int open_loop(struct worker *w) {
  int err = mp_loop_init(&w->loop, w->log);
  if (err < 0) return err;
  w->loop.busy_since_ms = &w->shm->slot[w->setup->seat].busy_since_ms;
  mp_loop_spare_memory(&w->loop);
  return 0;
}

static int open_control(struct worker *w) {
  int err = open_signals(w);
  if (err == 0) err = mp_stream_open(&w->control, &w->loop, w->setup->control_fd, &control_ops);
  return err < 0 ? err : mp_stream_read_start(&w->control);
}

static int open_site(struct worker *w) {
  const struct mp_worker_setup *s = w->setup;
  struct mp_site_setup setup = {.log = w->log,
                                .config = s->config,
                                .loop = &w->loop,
                                .commons = &w->commons,
                                .bundle = s->bundle,
                                .shm = w->shm,
                                .seat = s->seat,
                                .worker = s->slot + 1,
                                .generation = s->generation,
                                .listen_fds = s->listen_fds,
                                .n_listen = s->n_listen,
                                .ops = &site_ops,
                                .ctx = w,
                                .extension = s->extension};
  int err;
  w->site = mp_site_open(&setup, &err);
  if (w->site) w->loop.on_sleep = on_sleep;
  return err;
}

static int serve(struct worker *w) {
  if (mp_site_load(w->site) < 0) return mp_site_exit_code(w->site);
  mp_site_start(w->site);
  mp_loop_run(&w->loop);
  w->loop.busy_since_ms = NULL; /* what is left to do has the time that leaving has */
  atomic_store_explicit(&w->shm->slot[w->setup->seat].busy_since_ms, 0, memory_order_relaxed);
  return mp_site_exit_code(w->site);
}

/* An orderly end closes everything and looks for what was left open (the sanitizers watch); one that comes before the
 * server has drained does not: the process ends anyway, and its children are swept. */
static void close_all(struct worker *w) {
  w->loop.on_sleep = NULL;
  mp_site_close(w->site);
  mp_signal_end();
  mp_signal_close(&w->term);
  mp_stream_close(&w->control);
  mp_loop_deinit(&w->loop);
  mp_shm_unmap(w->shm); /* the commons stay until the process has ended: a thread left behind may look there */
}

/* The guardian ends this process when the master dies; one that was stopped must first run again to see it. */
static int begin(struct worker *w) {
  mp_signal_begin();
  prctl(PR_SET_PDEATHSIG, SIGCONT);
  int err = mp_subreaper();
  if (err == 0) err = mp_guardian_start(w->setup->death_fd);
  if (err == 0) err = open_page(w);
  if (err == 0) err = open_loop(w);
  if (err == 0) err = open_control(w);
  return err < 0 ? err : open_site(w);
}

int mp_worker_run(const struct mp_worker_setup *setup) {
  struct worker *w = calloc(1, sizeof *w);
  if (!w) return INTERNAL;
  w->setup = setup;
  w->log = setup->log;
  int err = begin(w);
  int code = err < 0 ? fail(w, "the worker cannot begin", err) : serve(w);
  mp_sweep(NULL, NULL, LAST_SWEEP_MS);
  if (code != 0 || !mp_site_left(w->site)) {
    if (w->site) mp_site_abandon(w->site);
    _exit(code); /* half of it may be open: nothing to be orderly about */
  }
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
