/* A server in worker processes: the supervisor is a child of the host, started from the host's own executable.
 *
 *   host ── control pair ─► supervisor ─► workers      its end of file there says that the host is gone
 *        ◄─ stderr ────────                            lines of the log
 *        ── a file without a name                      settings; each reload adds them anew at its end
 */
#include "base/err.h"
#include "base/lines.h"
#include "embed/inside.h"
#include "embed/lines.h"
#include "io/child.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HALT_MS = 5000 /* what it has to end at once by itself */, GRACE_MS = 2000, LINGER_MS = 500 };

struct mp_outside {
  struct mp_server *server; /* borrowed */
  struct mp_child child;
  struct mp_stream control;
  struct mp_lines lines;
  struct mp_log_lines log; /* what it writes */
  struct mp_buf where;     /* owned: addresses of the generation that is being told of */
  int settings_fd;
  off_t settings_end;
  unsigned open;            /* of child and control: how many still are */
  struct mp_timer patience; /* with one that was told to end at once */
  bool ready, stopping;
};

/* ---- settings ---- */

static int add_escaped(struct mp_buf *out, const char *text) {
  int err = 0;
  for (; err == 0 && *text; text++) {
    if (*text == '\n' || *text == '\\')
      err = mp_buf_addf(out, *text == '\n' ? "\\n" : "\\\\");
    else
      err = mp_buf_add(out, text, 1);
  }
  return err < 0 ? err : mp_buf_add(out, "\n", 1);
}

static int add_line(struct mp_buf *out, const char *name, const char *value) {
  int err = mp_buf_addf(out, "%s=", name);
  return err < 0 ? err : add_escaped(out, value);
}

static int add_option(struct mp_buf *out, const struct mp_options *o, const struct mp_option *option) {
  struct mp_buf value = {0};
  int err = mp_option_show(&o->config, option, &value);
  if (err == 0) err = mp_buf_add(&value, "", 1);
  if (err == 0) err = add_line(out, option->name, mp_buf_at(&value));
  mp_buf_free(&value);
  return err;
}

/* Appends them to the file. How many bytes, or -errno. */
static long write_settings(struct mp_outside *out, const struct mp_options *o) {
  struct mp_buf text = {0};
  int err = o->config.settings ? add_line(&text, "app", o->config.settings) : 0;
  for (const struct mp_option *option = mp_option_table; err == 0 && option->name; option++)
    if (o->origin[option - mp_option_table] != MP_FROM_DEFAULT) err = add_option(&text, o, option);
  size_t len = mp_buf_len(&text);
  ssize_t n = err < 0 || len == 0 ? err : pwrite(out->settings_fd, mp_buf_at(&text), len, out->settings_end);
  if (n < 0 && err == 0) n = -errno;
  if (n >= 0 && (size_t)n < len) n = -EIO;
  mp_buf_free(&text);
  return n;
}

/* ---- what it says ---- */

static void say(struct mp_outside *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct mp_outside *out, const char *format, ...) {
  char word[MP_LINES_LONGEST];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(word, sizeof word, format, args);
  va_end(args);
  if (out->open < 2 || mp_stream_write(&out->control, mp_slice(word, (size_t)n)) < 0) return; /* it is about to end */
  mp_stream_flush(&out->control);
}

static void add_address(struct mp_outside *out, const char *address) {
  const char *colon = strncmp(address, "unix:", 5) == 0 ? NULL : strrchr(address, ':');
  if (mp_buf_len(&out->where) == 0) atomic_store(&out->server->port, 0);
  if (mp_buf_addf(&out->where, "%s%s", mp_buf_len(&out->where) ? " " : "", address) < 0) return; /* told without it */
  if (colon && !atomic_load(&out->server->port)) atomic_store(&out->server->port, (int)strtol(colon + 1, NULL, 10));
}

static void tell_serving(struct mp_outside *out, enum mp_server_event event) {
  const char *where = mp_buf_add(&out->where, "", 1) == 0 ? mp_buf_at(&out->where) : "";
  mp_server_tell(out->server, event, where);
  mp_buf_reset(&out->where, 1024);
}

static void on_word(void *ctx, const char *word) {
  struct mp_outside *out = ctx;
  if (strncmp(word, "at ", 3) == 0) add_address(out, word + 3);
  if (strcmp(word, "reloaded") == 0) tell_serving(out, MP_SERVER_RELOADED);
  if (strncmp(word, "refused ", 8) == 0) mp_server_tell(out->server, MP_SERVER_RELOAD_FAILED, word + 8);
  if (strcmp(word, "ready") != 0 || out->ready) return;
  out->ready = true;
  tell_serving(out, MP_SERVER_READY);
  mp_server_say_ready(out->server);
}

static void on_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct mp_outside *out = MP_CONTAINER(stream, struct mp_outside, control);
  if (n <= 0 || mp_lines_feed(&out->lines, bytes, (size_t)n, on_word, out) < 0) mp_stream_close(stream);
}

static void on_broken(struct mp_stream *stream, int err) {
  (void)err; /* it is about to end, and its pidfd will say how */
  mp_stream_close(stream);
}

/* ---- its end ---- */

static const char *meaning_of(int code) {
  static const char *const words[] = {"it stopped",     "an internal failure",
                                      "wrong settings", "the app failed to load",
                                      "cannot listen",  "workers keep dying at boot"};
  return code >= 0 && code < (int)(sizeof words / sizeof *words) ? words[code] : "it failed";
}

static void tell_end(struct mp_outside *out) {
  const struct mp_status *status = &out->child.status;
  struct mp_server *server = out->server;
  char why[700], text[600];
  int code = status->end == MP_END_EXIT ? status->code : 1;
  const char *said = mp_log_lines_last_error(&out->log);
  if (status->end == MP_END_EXIT)
    snprintf(why, sizeof why, "%s%s%s", meaning_of(code), *said ? ": " : "", said);
  else
    snprintf(why, sizeof why, "the supervisor was killed by signal %d", status->signal);
  snprintf(text, sizeof text, "%.590s", why);
  if (!out->ready) mp_server_complain(server, 0, "%s", text);
  mp_server_over(server, code, out->stopping && code == 0 ? NULL : text);
}

static void on_patience(struct mp_timer *timer) {
  struct mp_outside *out = MP_CONTAINER(timer, struct mp_outside, patience);
  mp_log(&out->server->log, MP_LOG_ERROR, "embed", "the supervisor does not end, it is ended");
  mp_child_stop(&out->child, GRACE_MS);
}

static void closed_one(struct mp_outside *out) {
  if (--out->open == 0) tell_end(out);
}

static void on_control_closed(struct mp_stream *stream) {
  closed_one(MP_CONTAINER(stream, struct mp_outside, control));
}

static const struct mp_stream_ops control_ops = {
    .on_read = on_read, .on_broken = on_broken, .on_closed = on_control_closed};

static void on_output(struct mp_child *child, enum mp_child_pipe which, const char *bytes, size_t n) {
  struct mp_outside *out = child->ctx;
  (void)which;
  if (n > 0) mp_log_lines_feed(&out->log, mp_slice(bytes, n));
}

static void on_settled(struct mp_child *child) {
  struct mp_outside *out = child->ctx;
  mp_child_take_rest(child, MP_CHILD_STDERR);
  mp_log_lines_end(&out->log);
  mp_timer_stop(&out->patience);
  mp_child_close(child);
  mp_stream_close(&out->control);
}

static void on_child_closed(struct mp_child *child) {
  closed_one(child->ctx);
}

static const struct mp_child_ops child_ops = {
    .on_settled = on_settled, .on_output = on_output, .on_closed = on_child_closed};

/* ---- the engine ---- */

static int start_child(struct mp_outside *out, int control, long settings_len, enum mp_exec_step *step) {
  char fd[16], settings[16], len[24];
  snprintf(fd, sizeof fd, "%d", control);
  snprintf(settings, sizeof settings, "%d", out->settings_fd);
  snprintf(len, sizeof len, "%ld", settings_len);
  char *argv[] = {"moonpool", "supervise", fd, settings, len, out->server->app, NULL};
  int keep[] = {control, out->settings_fd};
  struct mp_child_spec spec = {.exec = {.argv = argv,
                                        .program = "/proc/self/exe",
                                        .envp = environ,
                                        .stdio = {-1, -1, -1},
                                        .keep = keep,
                                        .n_keep = 2,
                                        .own_group = true},
                               .pipe = {false, false, true},
                               .grace_ms = GRACE_MS,
                               .linger_ms = LINGER_MS};
  out->child.ctx = out; /* not dies_with_us: that hangs on a thread, and it sees our end by itself */
  return mp_child_start(&out->child, &out->server->loop, &spec, &child_ops, step);
}

static int open_all(struct mp_outside *out, const struct mp_options *options, enum mp_exec_step *step) {
  int pair[2];
  out->settings_fd = memfd_create("moonpool.settings", MFD_CLOEXEC);
  long len = out->settings_fd < 0 ? -errno : write_settings(out, options);
  if (len < 0) return (int)len;
  out->settings_end = len;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  int err = mp_stream_open(&out->control, &out->server->loop, pair[0], &control_ops);
  if (err == 0) err = mp_stream_read_start(&out->control);
  if (err == 0) err = start_child(out, pair[1], len, step);
  close(pair[1]);
  if (err < 0) mp_stream_close(&out->control);
  if (err == 0) mp_child_read(&out->child, MP_CHILD_STDERR);
  return err;
}

static void end(struct mp_server *server) {
  if (server->outside) mp_timer_deinit(&server->outside->patience); /* all else had closed before it was over */
}

static void release(struct mp_server *server) {
  struct mp_outside *out = server->outside;
  server->outside = NULL;
  if (!out) return;
  if (out->settings_fd >= 0) close(out->settings_fd);
  mp_log_lines_free(&out->log);
  mp_buf_free(&out->where);
  free(out);
}

static int begin(struct mp_server *server, struct mp_options *options) {
  struct mp_outside *out = calloc(1, sizeof *out);
  enum mp_exec_step step = MP_EXEC_START;
  char text[128];
  if (!out) return mp_server_complain(server, -ENOMEM, "out of memory");
  *out = (struct mp_outside){.server = server, .settings_fd = -1, .open = 2};
  mp_log_lines_init(&out->log, &server->log);
  server->outside = out;
  int err = mp_timer_init(&out->patience, &server->loop.timers, on_patience);
  if (err == 0) err = open_all(out, options, &step);
  if (err == 0) {
    mp_options_free(options);
    return 0;
  }
  out->open = UINT16_MAX; /* nobody is told of its end */
  return mp_server_complain(server, err, "the supervisor cannot start: %s", mp_err_text(err, text, sizeof text));
}

static void reload(struct mp_server *server, struct mp_options *options) {
  struct mp_outside *out = server->outside;
  long len = write_settings(out, options);
  mp_options_free(options);
  if (len < 0) {
    mp_server_tell(server, MP_SERVER_RELOAD_FAILED, "the settings cannot be written");
    return;
  }
  say(out, "reload %lld %ld\n", (long long)out->settings_end, len);
  out->settings_end += len;
}

static void stop(struct mp_server *server, enum mp_stop how) {
  struct mp_outside *out = server->outside;
  out->stopping = true;
  say(out, how == MP_STOP_NOW ? "halt\n" : "stop\n");
  if (how == MP_STOP_NOW) mp_timer_start(&out->patience, HALT_MS);
}

static void on_sleep(struct mp_server *server) {
  (void)server;
}

const struct mp_engine mp_engine_outside = {
    .begin = begin, .stop = stop, .reload = reload, .sleep = on_sleep, .end = end, .release = release};
