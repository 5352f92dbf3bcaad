#include "base/err.h"
#include "pool/inside.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* USR2: the binary that now has our name is started as a master of its own, on our sockets.
 *
 *   old                                   new
 *    │ exec ─────────────────────────────► reads the configuration, adopts the sockets, starts workers
 *    │ ◄──────────────────────── "ready" ─ every slot has its worker
 *    │ MAINPID= to the service manager
 *    │ "take" ───────────────────────────► writes the pid file, speaks to the service manager
 *    │ workers drain, exit 0             ─ sees the end of file, and may be upgraded itself
 *
 * Whatever else ends the new one leaves everything as it was. Until it has begun, its stderr is a pipe to us: the last
 * line that it says is the reason in our log. Our signals to it wait until it serves, for before that they could come
 * ahead of its handlers. */

enum { SECOND_MS = 1000, PATIENCE_MS = 5000, GRACE_MS = 2000, INTERNAL_WORDS = 8 };

/* Its command line. */
struct command {
  char **argv; /* owned; the first `n_own` words behind the verb too */
  unsigned n_own;
  int keep[2 * MP_POOL_LISTENERS + 2]; /* descriptors it inherits */
  unsigned n_keep;
};

static unsigned count_words(char *const *words) {
  unsigned n = 0;
  while (words[n]) n++;
  return n;
}

static int add_word(struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int add_word(struct command *c, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vasprintf(&c->argv[2 + c->n_own], format, args);
  va_end(args);
  if (n < 0) {
    c->argv[2 + c->n_own] = NULL;
    return -ENOMEM;
  }
  c->n_own++;
  return 0;
}

static void keep_fd(struct command *c, int fd) {
  for (unsigned i = 0; i < c->n_keep; i++)
    if (c->keep[i] == fd) return;
  c->keep[c->n_keep++] = fd;
}

static int add_listeners(struct command *c, const struct mp_pool *pool) {
  int err = 0;
  for (unsigned i = 0; err == 0 && i < pool->sockets.n; i++) {
    const struct mp_socket *socket = pool->sockets.at[i];
    keep_fd(c, socket->fd);
    err = add_word(c, "--upgrade-listen=%d=%s", socket->fd, socket->address);
  }
  return err;
}

static int add_systemd(struct command *c, const struct mp_inheritance *in) {
  int err = 0;
  if (in->n_activated)
    err = add_word(c, "--upgrade-activated=%u%s%s", in->n_activated, in->names ? ":" : "", in->names ? in->names : "");
  for (unsigned i = 0; i < in->n_activated; i++)
    if (fcntl(MP_FIRST_ACTIVATED + (int)i, F_GETFD) >= 0) keep_fd(c, MP_FIRST_ACTIVATED + (int)i);
  if (err == 0 && in->notify) err = add_word(c, "--upgrade-notify=%s", in->notify);
  if (err == 0 && in->watchdog_us) err = add_word(c, "--upgrade-watchdog=%llu", (unsigned long long)in->watchdog_us);
  return err;
}

static void free_command(struct command *c) {
  for (unsigned i = 0; c->argv && i < c->n_own; i++) free(c->argv[2 + i]);
  free(c->argv);
}

static int write_command(struct command *c, const struct mp_pool *pool, int control, int err_fd) {
  const struct mp_inheritance *in = pool->setup->inherited;
  unsigned n_words = count_words(in->words);
  c->argv = calloc(2 + INTERNAL_WORDS + pool->sockets.n + n_words + 1, sizeof *c->argv);
  if (!c->argv) return -ENOMEM;
  c->argv[0] = (char *)(uintptr_t)in->program; /* exec takes them as they are */
  c->argv[1] = "serve";
  keep_fd(c, control);
  keep_fd(c, err_fd);
  int err = add_word(c, "--upgrade-fd=%d", control);
  if (err == 0) err = add_word(c, "--upgrade-stderr=%d", err_fd);
  if (err == 0) err = add_listeners(c, pool);
  if (err == 0) err = add_systemd(c, in);
  if (err == 0) memcpy(c->argv + 2 + c->n_own, in->words, n_words * sizeof *c->argv);
  return err;
}

/* What it says before it has begun. */

static void keep_tail(struct mp_successor *s, struct mp_slice text) {
  enum { ROOM = sizeof s->tail };
  if (text.len > ROOM) text = mp_slice(text.at + text.len - ROOM, ROOM);
  size_t old = s->tail_len + text.len > ROOM ? ROOM - text.len : s->tail_len;
  memmove(s->tail, s->tail + s->tail_len - old, old);
  memcpy(s->tail + old, text.at, text.len);
  s->tail_len = (unsigned)(old + text.len);
}

static struct mp_slice last_line(const struct mp_successor *s) {
  static const char name[] = "moonpool: ";
  struct mp_slice text = mp_slice(s->tail, s->tail_len);
  while (text.len > 0 && text.at[text.len - 1] == '\n') text.len--;
  const char *nl = text.len ? memrchr(text.at, '\n', text.len) : NULL;
  if (nl) text = mp_slice(nl + 1, text.len - (size_t)(nl + 1 - text.at));
  if (text.len > sizeof name - 1 && memcmp(text.at, name, sizeof name - 1) == 0)
    text = mp_slice(text.at + sizeof name - 1, text.len - (sizeof name - 1));
  return text;
}

/* It was meant for stderr, and goes there as far as somebody reads it; the log has what matters. */
static void pass_on(struct mp_slice text) {
  struct pollfd at = {.fd = STDERR_FILENO, .events = POLLOUT};
  while (text.len > 0 && poll(&at, 1, 0) == 1) {
    ssize_t n = write(STDERR_FILENO, text.at, text.len < PIPE_BUF ? text.len : PIPE_BUF);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text = mp_slice(text.at + n, text.len - (size_t)n);
  }
}

static void on_output(struct mp_child *child, enum mp_child_pipe which, const char *bytes, size_t n) {
  (void)which; /* stderr is the only one */
  if (n == 0) return;
  keep_tail(child->ctx, mp_slice(bytes, n));
  pass_on(mp_slice(bytes, n));
}

static const char *meaning_of(int code) {
  static const char *const meanings[] = {
      "it did not stay",        "an internal failure", "its configuration is refused",
      "the app failed to load", "it cannot listen",    "its workers die at boot"};
  return code >= 0 && code < 6 ? meanings[code] : "no exit code of ours";
}

static void explain(const struct mp_successor *s, char *out, unsigned size) {
  const struct mp_status *status = &s->child.status;
  char name[32];
  struct mp_slice said = last_line(s);
  if (s->child.timed_out)
    snprintf(out, size, "it was not ready in time");
  else if (status->end == MP_END_SIGNAL)
    snprintf(out, size, "it was killed by %s", mp_signal_name(status->signal, name, sizeof name));
  else if (status->end == MP_END_EXIT)
    snprintf(out, size, "it exited %d (%s)", status->code, meaning_of(status->code));
  else
    snprintf(out, size, "it ended, its status was lost");
  size_t len = strlen(out);
  if (said.len > 0) snprintf(out + len, size - len, ": %.*s", (int)said.len, said.at);
}

/* Its end. */

static void forget(struct mp_successor *s) {
  struct mp_pool *pool = s->pool;
  if (--s->open > 0) return;
  bool reload = s->reload && !s->serves && !pool->over && pool->roster->stage < MP_STAGE_STOPPING;
  bool served = s->serves;
  pool->successor = NULL;
  free(s);
  if (reload) mp_pool_reload(pool);
  if (!pool->over) mp_systemd_look(pool);
  if (!served) mp_pool_left(pool);
}

static void on_child_closed(struct mp_child *child) {
  forget(child->ctx);
}

static void on_control_closed(struct mp_stream *stream) {
  forget(MP_CONTAINER(stream, struct mp_successor, control));
}

static void on_settled(struct mp_child *child) {
  struct mp_successor *s = child->ctx;
  struct mp_pool *pool = s->pool;
  char why[640];
  explain(s, why, sizeof why);
  int pid = (int)child->proc.pid;
  pool->heir = 0;
  if (s->serves)
    mp_log(pool->log, MP_LOG_ERROR, "pool", "the new master has ended while the old one leaves: %s pid=%d", why, pid);
  else if (s->stopped)
    mp_log(pool->log, MP_LOG_INFO, "pool", "the new master has ended, as it was told to: %s pid=%d", why, pid);
  else
    mp_log(pool->log, MP_LOG_ERROR, "pool", "upgrade failed, the old workers go on: %s pid=%d", why, pid);
  mp_child_close(child);
  mp_stream_close(&s->control);
  mp_strangers_sweep(pool);
}

static const struct mp_child_ops child_ops = {
    .on_settled = on_settled, .on_output = on_output, .on_closed = on_child_closed};

/* Its words. */

static void say(struct mp_successor *s, const char *word) {
  if (mp_stream_write(&s->control, mp_slice(word, strlen(word))) == 0) mp_stream_flush(&s->control);
}

/* What came for us while it could not hear. */
static void pass_signals_on(struct mp_successor *s) {
  if (s->reload) mp_child_signal(&s->child, SIGHUP, false); /* ESRCH: its end is about to be noticed */
  if (s->reopen) mp_child_signal(&s->child, SIGUSR1, false);
}

static void hand_over(struct mp_successor *s) {
  struct mp_pool *pool = s->pool;
  if (s->serves || s->child.stopping || pool->roster->stage >= MP_STAGE_STOPPING) return;
  s->serves = true;
  mp_pool_own_names(pool, false);
  pool->heir = s->child.proc.pid;
  mp_timer_stop(&s->child.timeout);
  mp_log(pool->log, MP_LOG_INFO, "pool", "the new master serves, leaving to it pid=%d", (int)s->child.proc.pid);
  mp_systemd_hand_over(pool, s->child.proc.pid);
  mp_control_close(&pool->control); /* its path, and the address of metrics, may be the new one's */
  mp_reporter_close(&pool->reporter);
  say(s, "take\n");
  pass_signals_on(s);
  mp_pool_tell(pool, &(struct mp_event){.kind = MP_EVENT_HAND_OVER});
}

static void on_word(void *ctx, const char *word) {
  struct mp_successor *s = ctx;
  if (strcmp(word, "ready") == 0)
    hand_over(s);
  else
    mp_log(s->pool->log, MP_LOG_WARN, "pool", "the new master says what nobody understands");
}

static void on_control_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct mp_successor *s = MP_CONTAINER(stream, struct mp_successor, control);
  if (n <= 0 || mp_lines_feed(&s->lines, bytes, (size_t)n, on_word, s) < 0) mp_stream_close(stream);
}

static void on_control_broken(struct mp_stream *stream, int err) {
  (void)err; /* it is about to end, and its pidfd will say how */
  mp_stream_close(stream);
}

static const struct mp_stream_ops control_ops = {
    .on_read = on_control_read, .on_broken = on_control_broken, .on_closed = on_control_closed};

/* Its start. */

/* A whole configuration, one worker as a probe, then all the others: each may take as long as a boot may. */
static uint64_t patience_ms(const struct mp_pool *pool) {
  double boot = pool->plan->config.boot_timeout;
  return boot > 0 ? (uint64_t)(2 * boot * SECOND_MS) + PATIENCE_MS : 0;
}

static int start_child(struct mp_successor *s, const struct command *c) {
  struct mp_pool *pool = s->pool;
  enum mp_exec_step step;
  struct mp_identity as_we_began = {.set_umask = true, .umask = pool->setup->umask};
  struct mp_child_spec spec = {.exec = {.argv = c->argv,
                                        .envp = environ,
                                        .path = getenv("PATH"),
                                        .stdio = {STDIN_FILENO, STDOUT_FILENO, -1},
                                        .keep = c->keep,
                                        .n_keep = c->n_keep,
                                        .identity = &as_we_began},
                               .pipe = {false, false, true},
                               .timeout_ms = patience_ms(pool),
                               .grace_ms = GRACE_MS,
                               .linger_ms = SECOND_MS / 10};
  s->child.ctx = s;
  int err = mp_child_start(&s->child, &pool->loop, &spec, &child_ops, &step);
  if (err < 0) return err;
  s->open++;
  err = mp_child_read(&s->child, MP_CHILD_STDERR);
  if (err < 0) mp_child_close(&s->child);
  return err;
}

static int start_with(struct mp_successor *s, int control) {
  struct command c = {0};
  int err_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  if (err_fd < 0) return -errno;
  int err = write_command(&c, s->pool, control, err_fd);
  if (err == 0) err = start_child(s, &c);
  free_command(&c);
  close(err_fd);
  return err;
}

/* The control stream is open whatever comes next; its close frees one that got no child. */
static int start(struct mp_pool *pool) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  struct mp_successor *s = calloc(1, sizeof *s);
  if (!s) {
    close(pair[0]);
    close(pair[1]);
    return -ENOMEM;
  }
  s->pool = pool;
  s->open = 1;
  pool->successor = s;
  int err = mp_stream_open(&s->control, &pool->loop, pair[0], &control_ops);
  if (err == 0) err = mp_stream_read_start(&s->control);
  if (err == 0) err = start_with(s, pair[1]);
  close(pair[1]);
  if (err < 0) mp_stream_close(&s->control);
  return err;
}

/* The number 1 of its pid namespace is what the namespace lives by: no other process can take its place. */
static const char *why_not(const struct mp_pool *pool) {
  if (getpid() == 1) return "process 1 cannot be followed by another; start the container anew";
  if (pool->successor) return "one is under way";
  if (pool->predecessor.lives) return "the master before us has not left yet";
  if (pool->roster->stage == MP_STAGE_BOOTING) return "no worker is ready yet";
  return pool->roster->stage >= MP_STAGE_STOPPING ? "the pool is stopping" : NULL;
}

void mp_successor_start(struct mp_pool *pool) {
  const char *program = pool->setup->inherited->program, *why = why_not(pool);
  char text[128];
  if (why) {
    mp_log(pool->log, MP_LOG_ERROR, "pool", "no upgrade: %s", why);
    return;
  }
  int err = start(pool);
  if (err < 0) {
    mp_log(pool->log, MP_LOG_ERROR, "pool", "upgrade failed, the old workers go on: %s cannot be started: %s", program,
           mp_err_text(err, text, sizeof text));
    return;
  }
  mp_log(pool->log, MP_LOG_INFO, "pool", "upgrade begun program=%s pid=%d", program,
         (int)pool->successor->child.proc.pid);
  mp_systemd_reloading(pool);
}

/* Ours to end as long as it is not the master: with its requests, if it has any, in the time that ours have. */
void mp_successor_stop(struct mp_pool *pool, bool now) {
  struct mp_successor *s = pool->successor;
  if (!s || s->serves) return;
  s->stopped = true;
  if (now) mp_child_signal(&s->child, SIGINT, false);
  mp_child_stop(&s->child, now ? GRACE_MS : pool->roster->graceful_ms + SECOND_MS);
}

void mp_successor_let_go(struct mp_pool *pool) {
  struct mp_successor *s = pool->successor;
  if (!s || !s->serves) return;
  mp_child_let_go(&s->child);
  mp_stream_close(&s->control);
}
