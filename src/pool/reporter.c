#include "pool/reporter.h"
#include "base/err.h"
#include "base/self.h"
#include "io/listener.h"
#include "pool/inside.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAUSE_MS = 100, LONGEST_PAUSE_MS = 10000, WELL_MS = 10000, GRACE_MS = 500, BACKLOG = 64, QUIET_TRIES = 4 };

static void start(struct mp_reporter *r);

static uint64_t pause_ms(const struct mp_reporter *r) {
  uint64_t pause = r->tries < 7 ? (uint64_t)PAUSE_MS << r->tries : LONGEST_PAUSE_MS;
  return pause < LONGEST_PAUSE_MS ? pause : LONGEST_PAUSE_MS;
}

static void try_again(struct mp_reporter *r) {
  mp_timer_start(&r->again, pause_ms(r));
  r->tries++;
}

/* ---- the process ---- */

static void describe(const struct mp_status *status, char *out, unsigned size) {
  char name[32];
  if (status->end == MP_END_EXIT)
    snprintf(out, size, "exited %d", status->code);
  else if (status->end == MP_END_SIGNAL)
    snprintf(out, size, "was killed by %s", mp_signal_name(status->signal, name, sizeof name));
  else
    snprintf(out, size, "ended, its status was lost");
}

static void on_settled(struct mp_child *child) {
  struct mp_reporter *r = child->ctx;
  char how[64];
  describe(&child->status, how, sizeof how);
  if (!r->leaving)
    mp_log(r->pool->log, MP_LOG_ERROR, "pool", "the report of metrics %s pid=%d", how, (int)child->proc.pid);
  mp_child_close(child);
}

static void on_closed(struct mp_child *child) {
  struct mp_reporter *r = child->ctx;
  r->lives = false;
  if (r->closing) {
    mp_pool_left(r->pool);
    return;
  }
  if (!r->address) return;
  if (r->leaving) {
    start(r);
    return;
  }
  if (mp_loop_now(&r->pool->loop) - r->born_ms > WELL_MS) r->tries = 0;
  try_again(r);
}

static const struct mp_child_ops ops = {.on_settled = on_settled, .on_closed = on_closed};

/* A descriptor of the page that cannot be written through, whatever goes wrong over there. */
static int open_page(const struct mp_pool *pool) {
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", pool->shm_fd);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static int start_child(struct mp_reporter *r, int page) {
  struct mp_pool *pool = r->pool;
  char listen[32], death[32], shm[32], level[32], format[32];
  char *argv[] = {"moonpool", "report", listen, death, shm, level, format, NULL};
  int keep[] = {r->fd, pool->death_pipe[0], page}, out = pool->setup->error_log;
  enum mp_exec_step step;
  snprintf(listen, sizeof listen, "--listen-fd=%d", r->fd);
  snprintf(death, sizeof death, "--death-fd=%d", pool->death_pipe[0]);
  snprintf(shm, sizeof shm, "--shm-fd=%d", page);
  snprintf(level, sizeof level, "--log-level=%d", (int)pool->log->least);
  snprintf(format, sizeof format, "--log-json=%d", pool->log->json);
  struct mp_child_spec spec = {.exec = {.argv = argv,
                                        .program = mp_self_path(),
                                        .envp = environ,
                                        .stdio = {-1, out, out},
                                        .keep = keep,
                                        .n_keep = sizeof keep / sizeof *keep,
                                        .own_group = true,
                                        .identity = &pool->plan->identity}};
  r->child.ctx = r;
  return mp_child_start(&r->child, &pool->loop, &spec, &ops, &step);
}

static void complain(const struct mp_reporter *r, const char *why, int err) {
  char text[128];
  mp_log(r->pool->log, MP_LOG_ERROR, "pool", "no metrics for now: %s",
         why && *why ? why : mp_err_text(err, text, sizeof text));
}

static int listen_on(struct mp_reporter *r, char *why, unsigned size) {
  if (r->fd < 0) r->fd = mp_listen(r->address, BACKLOG, why, size);
  return r->fd < 0 ? r->fd : 0;
}

static void say_where(const struct mp_reporter *r) {
  char name[160];
  if (mp_listen_name(r->fd, name, sizeof name) < 0) return;
  bool path = strncmp(name, "unix:", 5) == 0;
  mp_log(r->pool->log, MP_LOG_INFO, "pool", "metrics on %s%s%s", path ? "" : "http://", name, path ? "" : "/metrics");
}

static void start(struct mp_reporter *r) {
  char why[512] = "";
  int err = listen_on(r, why, sizeof why);
  int page = err < 0 ? err : open_page(r->pool);
  err = page < 0 ? page : start_child(r, page);
  if (page >= 0) close(page);
  if (err < 0) {
    bool held = err == -EADDRINUSE && r->tries < QUIET_TRIES; /* the one before us may be about to let it go */
    if (!held) complain(r, why, err);
    try_again(r);
    return;
  }
  if (r->tries > 0) say_where(r);
  r->lives = true;
  r->leaving = false;
  r->born_ms = mp_loop_now(&r->pool->loop);
}

static void on_again(struct mp_timer *timer) {
  struct mp_reporter *r = MP_CONTAINER(timer, struct mp_reporter, again);
  if (r->address && !r->lives && !r->closing) start(r);
}

/* ---- where it listens ---- */

static void forget_address(struct mp_reporter *r) {
  char path[512];
  if (r->fd >= 0) close(r->fd);
  if (r->fd >= 0 && r->address && mp_listen_path(r->address, path, sizeof path)) unlink(path);
  free(r->address);
  r->address = NULL;
  r->fd = -1;
}

static void end_child(struct mp_reporter *r) {
  mp_timer_stop(&r->again);
  if (!r->lives) return;
  r->leaving = true;
  mp_child_stop(&r->child, GRACE_MS);
}

static bool is_used(const struct mp_reporter *r, const char *address) {
  return address && r->address ? strcmp(address, r->address) == 0 : address == r->address;
}

/* `address` and `fd` are taken over. */
static void move_to(struct mp_reporter *r, char *address, int fd) {
  end_child(r);
  forget_address(r);
  r->address = address;
  r->fd = fd;
  r->tries = 0;
  if (fd >= 0) say_where(r);
  if (address && !r->lives) start(r); /* else once the old one has gone */
}

int mp_reporter_use(struct mp_reporter *r, const char *address, char *why, unsigned size) {
  if (is_used(r, address)) return 0;
  if (!address) {
    move_to(r, NULL, -1);
    return 0;
  }
  char *copy = strdup(address);
  int fd = copy ? mp_listen(address, BACKLOG, why, size) : -ENOMEM;
  if (fd < 0)
    free(copy);
  else
    move_to(r, copy, fd);
  return fd < 0 ? fd : 0;
}

void mp_reporter_take_over(struct mp_reporter *r, const char *address) {
  if (is_used(r, address)) return;
  char *copy = address ? strdup(address) : NULL;
  if (address && !copy)
    complain(r, NULL, -ENOMEM);
  else
    move_to(r, copy, -1);
}

int mp_reporter_init(struct mp_reporter *r, struct mp_pool *pool) {
  *r = (struct mp_reporter){.pool = pool, .fd = -1};
  return mp_timer_init(&r->again, &pool->loop.timers, on_again);
}

void mp_reporter_deinit(struct mp_reporter *r) {
  mp_timer_deinit(&r->again);
  forget_address(r);
}

void mp_reporter_renew(struct mp_reporter *r) {
  if (r->lives && !r->closing) end_child(r);
}

void mp_reporter_close(struct mp_reporter *r) {
  if (r->closing) return;
  r->closing = true;
  end_child(r);
  forget_address(r);
}

bool mp_reporter_is_closed(const struct mp_reporter *r) {
  return !r->lives;
}

bool mp_reporter_owns(const struct mp_reporter *r, pid_t pid) {
  return r->lives && !r->child.settled && r->child.proc.pid == pid;
}
