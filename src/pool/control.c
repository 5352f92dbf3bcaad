#include "pool/control.h"
#include "base/emit.h"
#include "base/err.h"
#include "pool/inside.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ASK_MS = 10000, TAKE_MS = 30000, RELOAD_MS = 600000, REST_MS = 100, BACKLOG = 64 };

/* ---- a client ---- */

static struct mp_control_client *of_stream(struct mp_stream *stream) {
  return MP_CONTAINER(stream, struct mp_control_client, stream);
}

static void end_client(struct mp_control_client *c) {
  mp_inquiry_drop(c->inquiry);
  c->inquiry = NULL;
  c->reloads = false;
  mp_timer_stop(&c->timer);
  mp_stream_close(&c->stream);
}

static void on_time_over(struct mp_timer *timer) {
  end_client(MP_CONTAINER(timer, struct mp_control_client, timer));
}

/* What was written is with the kernel, which keeps it for the client after the close too. */
static void end_when_taken(struct mp_control_client *c) {
  if (mp_stream_queued(&c->stream) == 0)
    end_client(c);
  else
    mp_timer_start(&c->timer, TAKE_MS);
}

void mp_control_answer(struct mp_control_client *c, struct mp_buf *json) {
  int err = mp_buf_add(json, "\n", 1);
  if (err == 0) err = mp_stream_write(&c->stream, mp_buf_slice(json));
  mp_buf_free(json);
  if (err < 0) {
    end_client(c);
    return;
  }
  mp_stream_flush(&c->stream);
  end_when_taken(c);
}

void mp_control_fail(struct mp_control_client *c, const char *why) {
  struct mp_buf json = {0};
  struct mp_emit e = {.out = &json};
  mp_emit_begin(&e, NULL, '{');
  mp_emit_word(&e, "error", why);
  mp_emit_end(&e, '}');
  mp_control_answer(c, &json);
}

static void done(struct mp_control_client *c) {
  struct mp_buf json = {0};
  struct mp_emit e = {.out = &json};
  mp_emit_begin(&e, NULL, '{');
  mp_emit_flag(&e, "ok", true);
  mp_emit_count(&e, "workers", c->control->pool->roster->wanted);
  mp_emit_count(&e, "generation", c->control->pool->roster->generation);
  mp_emit_end(&e, '}');
  mp_control_answer(c, &json);
}

/* ---- what it may ask for ---- */

static void look(struct mp_control_client *c, int (*answer)(struct mp_pool *pool, struct mp_buf *out)) {
  struct mp_buf json = {0};
  if (answer(c->control->pool, &json) == 0) {
    mp_control_answer(c, &json);
    return;
  }
  mp_buf_free(&json);
  end_client(c);
}

static void status(struct mp_control_client *c, const char *rest) {
  (void)rest;
  look(c, mp_answer_status);
}

static void workers(struct mp_control_client *c, const char *rest) {
  (void)rest;
  look(c, mp_answer_workers);
}

static void requests(struct mp_control_client *c, const char *rest) {
  (void)rest;
  look(c, mp_answer_requests);
}

static void inquire(struct mp_control_client *c, const char *what) {
  if (mp_inquiry_start(c, what) < 0) end_client(c);
}

static void tasks(struct mp_control_client *c, const char *rest) {
  (void)rest;
  inquire(c, "tasks");
}

static void processes(struct mp_control_client *c, const char *rest) {
  (void)rest;
  inquire(c, "processes");
}

static void dump(struct mp_control_client *c, const char *rest) {
  (void)rest;
  inquire(c, "dump");
}

static bool is_stopping(const struct mp_control_client *c) {
  return c->control->pool->roster->stage >= MP_STAGE_STOPPING;
}

static void reload(struct mp_control_client *c, const char *rest) {
  const struct mp_pool *pool = c->control->pool;
  (void)rest;
  if (is_stopping(c) || pool->successor) {
    mp_control_fail(c, is_stopping(c) ? "the server is stopping" : "an upgrade is under way");
    return;
  }
  c->reloads = true;
  mp_timer_start(&c->timer, RELOAD_MS);
  mp_log(c->control->pool->log, MP_LOG_INFO, "pool", "reload asked for by the control socket");
  mp_pool_reload(c->control->pool);
}

void mp_control_reloaded(struct mp_control *control, const char *why) {
  for (struct mp_list *node = control->clients.next, *next; node != &control->clients; node = next) {
    struct mp_control_client *c = MP_CONTAINER(node, struct mp_control_client, node);
    next = node->next;
    if (!c->reloads) continue;
    c->reloads = false;
    if (why)
      mp_control_fail(c, why);
    else
      done(c);
  }
}

static void scale(struct mp_control_client *c, const char *rest) {
  struct mp_pool *pool = c->control->pool;
  char *end;
  unsigned long n = *rest >= '0' && *rest <= '9' ? strtoul(rest, &end, 10) : 0;
  if (n < 1 || n > MP_ROSTER_SLOTS || *end) {
    mp_control_fail(c, "scale: a number of workers from 1 to 256 is wanted");
    return;
  }
  mp_log(pool->log, MP_LOG_INFO, "pool", "scale asked for by the control socket workers=%lu", n);
  while (!is_stopping(c) && pool->roster->wanted < n) mp_pool_tell(pool, &(struct mp_event){.kind = MP_EVENT_MORE});
  while (!is_stopping(c) && pool->roster->wanted > n) mp_pool_tell(pool, &(struct mp_event){.kind = MP_EVENT_FEWER});
  if (is_stopping(c))
    mp_control_fail(c, "the server is stopping");
  else
    done(c);
}

/* Answered before the end begins, which may come at once. */
static void stop(struct mp_control_client *c, const char *rest) {
  struct mp_pool *pool = c->control->pool;
  (void)rest;
  mp_log(pool->log, MP_LOG_INFO, "pool", "stop asked for by the control socket");
  done(c);
  mp_pool_tell(pool, &(struct mp_event){.kind = MP_EVENT_STOP});
}

static const struct {
  const char *word;
  void (*run)(struct mp_control_client *c, const char *rest);
  bool takes_more;
} commands[] = {{"status", status, false},       {"workers", workers, false}, {"requests", requests, false},
                {"tasks", tasks, false},         {"dump", dump, false},       {"reload", reload, false},
                {"processes", processes, false}, {"scale", scale, true},      {"stop", stop, false}};

/* One line is all that is heard of a client; what comes behind it is not read. */
static void on_line(void *ctx, const char *line) {
  struct mp_control_client *c = ctx;
  size_t len = strcspn(line, " ");
  if (c->asked) return;
  c->asked = true;
  mp_stream_read_stop(&c->stream);
  mp_timer_start(&c->timer, TAKE_MS);
  for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strlen(commands[i].word) != len || memcmp(commands[i].word, line, len) != 0) continue;
    if (!line[len] == commands[i].takes_more) break;
    commands[i].run(c, line[len] ? line + len + 1 : "");
    return;
  }
  mp_control_fail(c, "what is that? status, workers, requests, tasks, processes, dump, reload, scale N or stop");
}

static void on_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct mp_control_client *c = of_stream(stream);
  bool too_long = n > 0 && mp_lines_feed(&c->lines, bytes, (size_t)n, on_line, c) < 0;
  if (!c->asked && (n <= 0 || too_long)) end_client(c);
}

static void on_drained(struct mp_stream *stream) {
  struct mp_control_client *c = of_stream(stream);
  if (c->asked) end_client(c);
}

static void on_broken(struct mp_stream *stream, int err) {
  (void)err; /* it does not want its answer any more */
  end_client(of_stream(stream));
}

static void on_client_closed(struct mp_stream *stream) {
  struct mp_control_client *c = of_stream(stream);
  struct mp_control *control = c->control;
  mp_timer_deinit(&c->timer);
  mp_list_unlink(&c->node);
  control->n_clients--;
  free(c);
  if (control->closing) mp_pool_left(control->pool);
}

static const struct mp_stream_ops client_ops = {
    .on_read = on_read, .on_drained = on_drained, .on_broken = on_broken, .on_closed = on_client_closed};

static void on_connection(struct mp_listener *listener, int fd, const struct mp_address *peer) {
  struct mp_control *control = MP_CONTAINER(listener, struct mp_control, listener);
  struct mp_control_client *c = calloc(1, sizeof *c);
  (void)peer;
  if (!c || mp_timer_init(&c->timer, &control->pool->loop.timers, on_time_over) < 0) {
    free(c);
    close(fd);
    return;
  }
  c->control = control;
  mp_list_append(&control->clients, &c->node);
  control->n_clients++;
  int err = mp_stream_accepted(&c->stream, &control->pool->loop, fd, false, &client_ops);
  if (err == 0) err = mp_stream_read_start(&c->stream);
  if (err < 0)
    mp_stream_close(&c->stream);
  else
    mp_timer_start(&c->timer, ASK_MS);
}

static bool on_offer(struct mp_listener *listener) {
  struct mp_control *control = MP_CONTAINER(listener, struct mp_control, listener);
  if (control->n_clients < MP_CONTROL_CLIENTS) return true;
  mp_listener_rest(listener, REST_MS);
  return false;
}

/* ---- the socket ---- */

static void on_listener_closed(struct mp_listener *listener) {
  struct mp_control *control = MP_CONTAINER(listener, struct mp_control, listener);
  control->listening = false;
  if (control->closing) mp_pool_left(control->pool);
}

static int listen_on(struct mp_control *control, int fd) {
  control->listener.on_offer = on_offer;
  control->listener.on_connection = on_connection;
  control->listener.on_closed = on_listener_closed;
  control->listening = true;
  int err = mp_listener_open(&control->listener, &control->pool->loop, fd);
  if (err == 0) err = mp_listener_start(&control->listener);
  if (err < 0) mp_listener_close(&control->listener);
  return err;
}

/* Nobody else may open it, also not between its making and a chmod. */
static int open_socket(const char *path, char *why, unsigned size) {
  char address[512];
  if (*path == '@' || strchr(path, '?')) { /* what listeners know, and this must not: others could open it */
    snprintf(why, size, "a file is wanted, without \"?\": %.200s", path);
    return -EINVAL;
  }
  if (snprintf(address, sizeof address, "unix:%s", path) >= (int)sizeof address) return -ENAMETOOLONG;
  mode_t before = umask(0177);
  int fd = mp_listen(address, BACKLOG, why, size);
  umask(before);
  return fd;
}

/* What masters that were killed have left behind. */
static void remove_stale(const char *folder) {
  char path[1024];
  const struct dirent *entry;
  DIR *dir = opendir(folder);
  while (dir && (entry = readdir(dir))) {
    size_t len = strlen(entry->d_name);
    if (len < 6 || strcmp(entry->d_name + len - 5, ".sock") != 0) continue;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    if (mp_listen_is_stale(path)) unlink(path);
  }
  if (dir) closedir(dir);
}

/* The folder is ours alone, or the system's. NULL: there is none. */
static char *automatic_path(void) {
  const char *runtime = getenv("XDG_RUNTIME_DIR");
  bool own = runtime && *runtime == '/';
  char folder[400], *path = NULL;
  int n = snprintf(folder, sizeof folder, "%s/moonpool", own ? runtime : "/run");
  if (n >= (int)sizeof folder) return NULL;
  if (mkdir(folder, own ? 0700 : 0755) < 0 && errno != EEXIST) return NULL;
  remove_stale(folder);
  if (access(folder, W_OK) < 0 || asprintf(&path, "%s/%d.sock", folder, (int)getpid()) < 0) return NULL;
  return path;
}

void mp_control_init(struct mp_control *control) {
  *control = (struct mp_control){.path = NULL};
  mp_list_init(&control->clients);
}

int mp_control_open(struct mp_control *control, struct mp_pool *pool, const char *where, char *why, unsigned size) {
  control->pool = pool;
  if (!where) return 0;
  snprintf(why, size, "no folder for it can be written");
  bool automatic = strcmp(where, "auto") == 0;
  char *path = automatic ? automatic_path() : strdup(where);
  int fd = path ? open_socket(path, why, size) : -ENOENT;
  int err = fd < 0 ? fd : listen_on(control, fd);
  if (err == 0) {
    control->path = path;
    mp_log(pool->log, MP_LOG_DEBUG, "pool", "control socket path=%s", path);
    return 0;
  }
  if (automatic) mp_log(pool->log, MP_LOG_INFO, "pool", "there is no control socket: %s", why);
  free(path);
  return automatic ? 0 : err;
}

/* Sooner than the last client: who finds no socket knows that the server is gone. */
void mp_control_close(struct mp_control *control) {
  if (control->closing) return;
  control->closing = true;
  if (control->path) unlink(control->path);
  free(control->path);
  control->path = NULL;
  if (control->listening) mp_listener_close(&control->listener);
  for (struct mp_list *node = control->clients.next, *next; node != &control->clients; node = next) {
    struct mp_control_client *c = MP_CONTAINER(node, struct mp_control_client, node);
    next = node->next;
    end_client(c);
  }
}

bool mp_control_is_closed(const struct mp_control *control) {
  return !control->listening && control->n_clients == 0;
}
