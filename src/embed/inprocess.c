/* A server in this process: one generation of the app that serves, one that may come, and those that drain.
 *
 *   reload ─► coming ─ ready ─► current ─ the next is ready ─► draining ─ gone
 *               └ fails: dropped, the current one goes on
 */
#include "base/err.h"
#include "embed/doors.h"
#include "embed/inside.h"
#include "worker/site.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SEATS = 8 /* generations at a time */, APP_FAILED = 3 /* exit code */ };

struct generation {
  struct mp_inprocess *in; /* borrowed */
  struct mp_options options;
  struct mp_commons commons;
  struct mp_site *site; /* owned */
  unsigned number, seat;
  int fds[MP_DOORS_MOST];
};

struct mp_inprocess {
  struct mp_server *server; /* borrowed */
  struct mp_doors doors;
  struct mp_shm *shm; /* owned */
  int commons_fd, bell_fd;
  struct generation *seats[SEATS];     /* owned; NULL: free */
  struct generation *current, *coming; /* borrowed from seats */
  unsigned last;                       /* number of a generation */
  bool stopping, stopping_now, again;  /* again: reload once more when this one is through */
  bool left_behind;                    /* a thread may look at what generations have in common */
  struct mp_soon renew;
};

static void start_reload(struct mp_inprocess *in, struct mp_options *options);

/* ---- a generation ---- */

static bool free_generation(struct generation *g) {
  struct mp_inprocess *in = g->in;
  bool whole = g->site ? mp_site_close(g->site) : true;
  in->seats[g->seat] = NULL;
  if (in->current == g) in->current = NULL;
  if (in->coming == g) in->coming = NULL;
  in->left_behind |= !whole;
  if (!whole) return false; /* it keeps its settings, and its map */
  mp_commons_close(&g->commons);
  mp_options_free(&g->options);
  free(g);
  return true;
}

static int map_commons(struct generation *g) {
  int memory = fcntl(g->in->commons_fd, F_DUPFD_CLOEXEC, 0), bell = fcntl(g->in->bell_fd, F_DUPFD_CLOEXEC, 0);
  if (memory >= 0 && bell >= 0) return mp_commons_open(&g->commons, memory, bell, g->seat);
  int err = -errno;
  if (memory >= 0) close(memory);
  if (bell >= 0) close(bell);
  return err;
}

/* NULL: `*err`. The options are its own then. */
static struct generation *new_generation(struct mp_inprocess *in, struct mp_options *options, int *err) {
  unsigned seat = 0;
  while (seat < SEATS && in->seats[seat]) seat++;
  struct generation *g = seat < SEATS ? calloc(1, sizeof *g) : NULL;
  *err = seat < SEATS ? -ENOMEM : -EBUSY;
  if (!g) return NULL;
  g->in = in;
  g->seat = seat;
  g->number = ++in->last;
  g->commons.bell = -1;
  in->seats[seat] = g;
  *err = map_commons(g);
  if (*err == 0) {
    g->options = *options;
    *options = (struct mp_options){0};
    return g;
  }
  free_generation(g);
  return NULL;
}

static const struct mp_site_ops site_ops;

static int open_site(struct generation *g) {
  struct mp_server *server = g->in->server;
  int n = mp_doors_copy(&g->in->doors, g->fds), err;
  if (n < 0) return n;
  mp_shm_fold(g->in->shm, g->seat);
  struct mp_site_setup setup = {.log = &server->log,
                                .config = &g->options.config,
                                .loop = &server->loop,
                                .commons = &g->commons,
                                .shm = g->in->shm,
                                .seat = g->seat,
                                .worker = 1,
                                .generation = g->number,
                                .listen_fds = g->fds,
                                .n_listen = (unsigned)n,
                                .ops = &site_ops,
                                .ctx = g,
                                .guest = &server->guest,
                                .extension = server->modules ? &server->extension : NULL};
  g->site = mp_site_open(&setup, &err);
  return g->site ? mp_site_load(g->site) : err;
}

/* ---- what sites say ---- */

static void tell_where(struct mp_inprocess *in, enum mp_server_event event) {
  struct mp_buf text = {0};
  int err = mp_doors_name(&in->doors, &text);
  atomic_store(&in->server->port, mp_doors_port(&in->doors));
  if (err == 0) mp_log(&in->server->log, MP_LOG_INFO, "embed", "listening on %s", mp_buf_at(&text));
  mp_server_tell(in->server, event, err == 0 ? mp_buf_at(&text) : "");
  mp_buf_free(&text);
}

static void reload_again(struct mp_inprocess *in) {
  if (!in->again || in->stopping) return;
  in->again = false;
  mp_loop_post(&in->server->loop, &in->renew);
}

static void on_ready(struct mp_site *site) {
  struct generation *g = mp_site_ctx(site), *old;
  struct mp_inprocess *in = g->in;
  if (in->stopping) return;
  old = in->current;
  in->current = g;
  in->coming = NULL;
  if (old) mp_site_drain(old->site, mp_site_idle_ms(old->site));
  mp_doors_settle(&in->doors);
  mp_log(&in->server->log, MP_LOG_INFO, "embed", "the app serves gen=%u", g->number);
  tell_where(in, old ? MP_SERVER_RELOADED : MP_SERVER_READY);
  if (!old) mp_server_say_ready(in->server);
  reload_again(in);
}

/* The site is on the stack: a successor is opened at the end of this turn. */
static bool on_spent(struct mp_site *site, uint64_t requests) {
  struct generation *g = mp_site_ctx(site);
  mp_log(&g->in->server->log, MP_LOG_INFO, "embed",
         "the app is opened anew at a limit reason=max-requests requests=%llu", (unsigned long long)requests);
  if (g == g->in->current) mp_loop_post(&g->in->server->loop, &g->in->renew);
  return true;
}

/* On the watchdog's thread. */
static void on_late(struct mp_site *site, enum mp_watch_step step) {
  struct mp_log log = ((struct generation *)mp_site_ctx(site))->in->server->log;
  if (step == MP_WATCH_BACK)
    mp_log(&log, MP_LOG_WARN, "embed", "the server's thread goes on after all");
  else
    mp_log(&log, MP_LOG_ERROR, "embed", "the server's thread is held up, %s",
           step == MP_WATCH_OVER ? "and nothing may interrupt it (mp_server_allow_signals)" : "in C");
}

static bool is_empty(const struct mp_inprocess *in) {
  for (unsigned i = 0; i < SEATS; i++)
    if (in->seats[i]) return false;
  return true;
}

static void tell_failed(struct mp_inprocess *in, const char *why) {
  char text[512];
  if (in->current) { /* its addresses are the ones that count again */
    mp_doors_open(&in->doors, &in->current->options.config, text, sizeof text);
    mp_doors_settle(&in->doors);
  }
  mp_log(&in->server->log, MP_LOG_ERROR, "embed", "reload failed, the old app goes on");
  mp_server_tell(in->server, MP_SERVER_RELOAD_FAILED, why);
  reload_again(in);
}

static void on_left(struct mp_site *site) {
  struct generation *g = mp_site_ctx(site);
  struct mp_inprocess *in = g->in;
  bool failed = g == in->coming, first = !in->current && !in->stopping;
  int code = mp_site_exit_code(site);
  char *why = failed ? strdup(mp_site_why(site)) : NULL;
  const char *text = why ? why : "the app ended";
  if (first) mp_server_complain(in->server, 0, "%s", text);
  free_generation(g);
  if (failed && !in->stopping && !first) tell_failed(in, text);
  if (is_empty(in)) mp_server_over(in->server, in->stopping ? 0 : code ? code : APP_FAILED, in->stopping ? NULL : text);
  free(why);
}

static const struct mp_site_ops site_ops = {
    .on_ready = on_ready, .on_spent = on_spent, .on_late = on_late, .on_left = on_left};

/* ---- the engine ---- */

static void on_renew(struct mp_soon *soon) {
  struct mp_inprocess *in = MP_CONTAINER(soon, struct mp_inprocess, renew);
  struct mp_options options = {0};
  if (in->stopping) return;
  if (mp_server_read(in->server, &options) < 0)
    tell_failed(in, in->server->why);
  else
    start_reload(in, &options);
}

static void close_fd(int fd) {
  if (fd >= 0) close(fd);
}

static void end(struct mp_server *server) {
  struct mp_inprocess *in = server->inprocess;
  for (unsigned i = 0; in && i < SEATS; i++)
    if (in->seats[i]) free_generation(in->seats[i]);
  if (!in) return;
  mp_soon_cancel(&in->renew);
  mp_doors_close(&in->doors);
  close_fd(in->commons_fd);
  close_fd(in->bell_fd);
}

static void release(struct mp_server *server) {
  struct mp_inprocess *in = server->inprocess;
  server->inprocess = NULL;
  if (!in || in->left_behind) return; /* a thread that did not come back may look there */
  if (in->shm) mp_shm_unmap(in->shm);
  free(in);
}

/* What all generations share. */
static int acquire(struct mp_inprocess *in, const struct mp_config *config) {
  int fd;
  in->shm = mp_shm_create(SEATS, &fd);
  if (!in->shm) return -errno;
  close(fd);
  return mp_commons_create(config->shared_memory, SEATS, &in->commons_fd, &in->bell_fd);
}

static int open_first(struct mp_inprocess *in, struct mp_options *options) {
  struct mp_server *server = in->server;
  char why[512], text[128];
  int err = mp_doors_open(&in->doors, &options->config, why, sizeof why);
  if (err < 0) return mp_server_complain(server, err, "%s", why);
  err = acquire(in, &options->config);
  struct generation *g = err == 0 ? new_generation(in, options, &err) : NULL;
  if (!g) return mp_server_complain(server, err, "the server: %s", mp_err_text(err, text, sizeof text));
  in->coming = g;
  err = open_site(g);
  if (err == 0) return 0;
  if (g->site) return mp_server_complain(server, -ENOEXEC, "%s", mp_site_why(g->site));
  return mp_server_complain(server, err, "the app: %s", mp_err_text(err, text, sizeof text));
}

static int begin(struct mp_server *server, struct mp_options *options) {
  struct mp_inprocess *in = calloc(1, sizeof *in);
  if (!in) return mp_server_complain(server, -ENOMEM, "out of memory");
  *in = (struct mp_inprocess){.server = server, .commons_fd = -1, .bell_fd = -1};
  mp_soon_init(&in->renew, on_renew);
  server->inprocess = in;
  int err = open_first(in, options);
  if (err == 0) mp_site_start(in->coming->site);
  return err;
}

/* NULL: `why`, and nothing has changed. */
static struct generation *open_next(struct mp_inprocess *in, struct mp_options *options, char *why, unsigned size) {
  char text[128];
  int err = mp_doors_open(&in->doors, &options->config, why, size);
  if (err < 0) return NULL;
  struct generation *g = new_generation(in, options, &err);
  if (!g) {
    snprintf(why, size, "%s",
             err == -EBUSY ? "earlier generations of the app still drain" : mp_err_text(err, text, sizeof text));
    return NULL;
  }
  in->coming = g;
  if ((err = open_site(g)) == 0) return g;
  snprintf(why, size, "%s", g->site ? mp_site_why(g->site) : mp_err_text(err, text, sizeof text));
  free_generation(g);
  return NULL;
}

static void start_reload(struct mp_inprocess *in, struct mp_options *options) {
  char why[1024];
  struct generation *g = open_next(in, options, why, sizeof why);
  mp_options_free(options);
  if (g)
    mp_site_start(g->site);
  else
    tell_failed(in, why);
}

static void reload(struct mp_server *server, struct mp_options *options) {
  struct mp_inprocess *in = server->inprocess;
  if (in->coming || in->stopping) {
    in->again = true; /* it may have read too early */
    mp_options_free(options);
    return;
  }
  start_reload(in, options);
}

static void stop(struct mp_server *server, enum mp_stop how) {
  struct mp_inprocess *in = server->inprocess;
  bool now = how == MP_STOP_NOW || in->stopping;
  if (in->stopping_now) return;
  in->stopping = true;
  in->stopping_now = now;
  mp_doors_close(&in->doors);
  mp_log(&server->log, MP_LOG_INFO, "embed", "stopping%s", now ? " at once" : "");
  for (unsigned i = 0; i < SEATS; i++) {
    struct generation *g = in->seats[i];
    if (!g) continue;
    if (now)
      mp_site_stop(g->site);
    else
      mp_site_drain(g->site, 0);
  }
}

static void on_sleep(struct mp_server *server) {
  struct mp_inprocess *in = server->inprocess;
  for (unsigned i = 0; in && i < SEATS; i++)
    if (in->seats[i] && in->seats[i]->site) mp_site_sleep(in->seats[i]->site);
}

const struct mp_engine mp_engine_inprocess = {
    .begin = begin, .stop = stop, .reload = reload, .sleep = on_sleep, .end = end, .release = release};
