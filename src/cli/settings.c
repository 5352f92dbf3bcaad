#include "cli/settings.h"
#include "base/err.h"
#include "base/self.h"
#include "cli/conf.h"
#include "http/forwarded.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LIMIT_MS = 5000, GRACE_MS = 200, LINGER_MS = 100, MOST_OUTPUT = 1 << 20 };

int mp_settings_init(struct mp_settings *s, int argc, char *const *argv, char *const *envp) {
  *s = (struct mp_settings){.argc = argc, .argv = argv, .envp = envp};
  s->here = get_current_dir_name();
  return s->here ? 0 : -errno;
}

void mp_settings_free(struct mp_settings *s) {
  mp_options_free(&s->options);
  free(s->file);
  free(s->here);
  *s = (struct mp_settings){0};
}

static void complain(struct mp_settings *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(struct mp_settings *s, const char *format, ...) {
  va_list args;
  s->failed = true;
  va_start(args, format);
  vsnprintf(s->why, sizeof s->why, format, args);
  va_end(args);
}

/* As the user meant it when the program was started; links are not followed, so that a reload sees new ones. */
static char *absolute(const struct mp_settings *s, const char *path) {
  char *out = NULL;
  if (path[0] == '/') return strdup(path);
  while (strncmp(path, "./", 2) == 0) path += 2;
  if (strcmp(path, ".") == 0 || !*path) return strdup(s->here);
  return asprintf(&out, "%s/%s", strcmp(s->here, "/") == 0 ? "" : s->here, path) < 0 ? NULL : out;
}

static bool make_absolute(const struct mp_settings *s, char **path) {
  char *whole = *path ? absolute(s, *path) : NULL;
  if (!*path) return true;
  if (!whole) return false;
  free(*path);
  *path = whole;
  return true;
}

char *mp_app_folder(const char *app) {
  struct stat st;
  const char *slash = strrchr(app, '/');
  if (stat(app, &st) == 0 && S_ISDIR(st.st_mode)) return strdup(app);
  if (!slash) return strdup(".");
  return strndup(app, slash == app ? 1 : (size_t)(slash - app));
}

/* In the folder whose files win, or in the bundle. */
static char *choose_bundled_file(struct mp_settings *s) {
  const char *override = s->options.config.override;
  char *file = NULL;
  if (override && asprintf(&file, "%s/" MP_CONF_NAME, override) >= 0 && access(file, F_OK) == 0) return file;
  free(file);
  s->file_is_bundled = mp_bundle_find(s->bundle, NULL, MP_CONF_NAME) != NULL;
  return s->file_is_bundled ? strdup(MP_CONF_NAME) : NULL;
}

/* The file to read: the one named, or the app's own if there is one. NULL: none, or no memory for its name. */
static char *choose_file(struct mp_settings *s) {
  const struct mp_options *o = &s->options;
  char *file = NULL, *folder;
  if (o->config_file) return absolute(s, o->config_file);
  if (s->bundle) return choose_bundled_file(s);
  if (!o->config.app || !(folder = mp_app_folder(o->config.app))) return NULL;
  if (asprintf(&file, "%s/" MP_CONF_NAME, folder) < 0) file = NULL;
  free(folder);
  if (file && access(file, F_OK) < 0 && errno == ENOENT) {
    free(file);
    return NULL;
  }
  return file;
}

static bool make_log_absolute(const struct mp_settings *s, char **path) {
  return *path && strcmp(*path, "-") == 0 ? true : make_absolute(s, path);
}

/* What only shows when all sources have spoken. */
static void check_whole(struct mp_settings *s) {
  struct mp_config *c = &s->options.config;
  struct mp_slice bad = MP_SLICE("");
  struct mp_trust trust = {0};
  if (!make_log_absolute(s, &c->access_log) || !make_log_absolute(s, &c->error_log)) complain(s, "out of memory");
  if (s->inherited && mp_inherited_listen(s->inherited, &s->options, s->why) < 0) s->failed = true;
  int err =
      c->trusted_proxies ? mp_trust_parse(&trust, mp_slice(c->trusted_proxies, strlen(c->trusted_proxies)), &bad) : 0;
  mp_trust_free(&trust);
  if (err == -EINVAL)
    complain(s, "trusted-proxies: an address, a net such as 10.0.0.0/8, or unix is wanted, not \"%.*s\"",
             (int)(bad.len < 100 ? bad.len : 100), bad.at);
  else if (err < 0)
    complain(s, "out of memory");
}

static void finish(struct mp_settings *s) {
  s->reading = false;
  if (!s->failed) check_whole(s);
  if (!s->failed) mp_options_finish(&s->options);
  if (s->failed) mp_options_free(&s->options);
  s->done(s, s->failed ? NULL : &s->options, s->failed ? s->why : NULL);
}

static void on_soon(struct mp_soon *soon) {
  finish(MP_CONTAINER(soon, struct mp_settings, soon));
}

static struct mp_slice collected(const struct mp_settings *s, enum mp_child_pipe which) {
  const struct mp_child_stream *stream = s->helper.pipes[which];
  return stream && mp_buf_len(&stream->collected) ? mp_buf_slice(&stream->collected) : mp_slice("", 0);
}

/* The helper's own sentence: its last line, without the program's name. */
static void complain_as_helper(struct mp_settings *s) {
  struct mp_slice text = collected(s, MP_CHILD_STDERR);
  while (text.len > 0 && text.at[text.len - 1] == '\n') text.len--;
  const char *nl = text.len ? memrchr(text.at, '\n', text.len) : NULL;
  if (nl) {
    text.len -= (size_t)(nl + 1 - text.at);
    text.at = nl + 1;
  }
  if (text.len > 10 && memcmp(text.at, "moonpool: ", 10) == 0) {
    text.at += 10;
    text.len -= 10;
  }
  if (text.len > 0)
    complain(s, "%.*s", (int)(text.len < MP_WHY ? text.len : MP_WHY), text.at);
  else
    complain(s, "%s: cannot be read", s->file);
}

static void judge(struct mp_settings *s) {
  const struct mp_status *status = &s->helper.status;
  char why[MP_WHY];
  if (s->failed) return; /* stopped */
  if (s->helper.timed_out)
    complain(s, "%s: did not end within %d s", s->file, LIMIT_MS / 1000);
  else if (status->end == MP_END_EXIT && status->code != 0)
    complain_as_helper(s);
  else if (status->end != MP_END_EXIT)
    complain(s, "%s: the process that reads it ended before it was done", s->file);
  else if (s->helper.pipes[MP_CHILD_STDOUT]->truncated)
    complain(s, "%s: more than %d bytes of settings", s->file, (int)MOST_OUTPUT);
  else if (mp_options_file(&s->options, collected(s, MP_CHILD_STDOUT), why) < 0)
    complain(s, "%s: %.400s", s->file, why);
}

static void on_settled(struct mp_child *child) {
  judge(child->ctx);
  mp_child_close(child);
}

static void on_closed(struct mp_child *child) {
  struct mp_settings *s = child->ctx;
  s->has_helper = false;
  finish(s);
}

static const struct mp_child_ops helper_ops = {.on_settled = on_settled, .on_closed = on_closed};

static int start_helper(struct mp_settings *s, struct mp_loop *loop) {
  char *argv[] = {"moonpool", "config", s->file_is_bundled ? "--bundled" : s->file, NULL};
  struct mp_child_spec spec = {.exec = {.argv = argv,
                                        .program = mp_self_path(),
                                        .envp = s->envp,
                                        .stdio = {-1, -1, -1},
                                        .own_group = true,
                                        .dies_with_us = true},
                               .pipe = {false, true, true},
                               .collect = {false, true, true},
                               .timeout_ms = LIMIT_MS,
                               .grace_ms = GRACE_MS,
                               .linger_ms = LINGER_MS,
                               .max_output = MOST_OUTPUT};
  enum mp_exec_step step;
  s->helper = (struct mp_child){.ctx = s};
  int err = mp_child_start(&s->helper, loop, &spec, &helper_ops, &step);
  s->has_helper = err == 0;
  return err;
}

/* Its app is the one that it has. Workers run where the program was started, unless told otherwise: the app's folder
 * is nowhere on the disk. */
static int take_bundle(struct mp_settings *s) {
  struct mp_config *c = &s->options.config;
  if (c->app) {
    snprintf(s->why, sizeof s->why, "a bundle serves its own app, not %.200s", c->app);
    return -EINVAL;
  }
  c->app = strdup("app.lua");
  if (!c->chdir) c->chdir = strdup(s->here);
  return c->app && c->chdir ? 0 : -ENOMEM;
}

/* For one who writes an app and looks at it; whatever else is said counts more. */
static int set_dev_defaults(struct mp_settings *s) {
  static const char *const defaults[][2] = {{"dev", "on"},       {"watch", "on"},     {"workers", "1"},
                                            {"access-log", "-"}, {"drain-idle", "0"}, {"graceful-timeout", "5"}};
  int err = 0;
  for (unsigned i = 0; err == 0 && i < sizeof defaults / sizeof *defaults; i++) {
    const struct mp_option *option = mp_option_named(defaults[i][0], strlen(defaults[i][0]));
    err = mp_options_set(&s->options, option, defaults[i][1], MP_FROM_DEFAULT, s->why);
  }
  return err;
}

static int gather(struct mp_settings *s) {
  int err = mp_options_init(&s->options);
  if (err == 0 && s->dev) err = set_dev_defaults(s);
  if (err == 0) err = mp_options_flags(&s->options, s->argc, s->argv, s->why);
  if (err == 0) err = mp_options_variables(&s->options, s->envp, s->why);
  if (err == 0 && s->bundle) err = take_bundle(s);
  if (err < 0) return err;
  if (s->app_here && !s->options.config.app && !(s->options.config.app = strdup("."))) return -ENOMEM;
  struct mp_config *c = &s->options.config; /* what workers use, who run in another folder */
  return make_absolute(s, &c->app) && make_absolute(s, &c->lua_dir) && make_absolute(s, &c->chdir) &&
                 make_absolute(s, &c->override)
             ? 0
             : -ENOMEM;
}

int mp_settings_read(struct mp_settings *s, struct mp_loop *loop) {
  char text[128];
  if (s->reading) return -EBUSY;
  mp_options_free(&s->options);
  free(s->file);
  s->file = NULL;
  s->failed = s->file_is_bundled = false;
  int err = gather(s);
  if (err == -ENOMEM) return err;
  s->failed = err < 0;
  s->file = err < 0 ? NULL : choose_file(s);
  if (s->file && (err = start_helper(s, loop)) < 0)
    complain(s, "%s: the process that reads it cannot start: %s", s->file, mp_err_text(err, text, sizeof text));
  s->reading = true;
  if (s->has_helper) return 0;
  mp_soon_init(&s->soon, on_soon);
  mp_loop_post(loop, &s->soon);
  return 0;
}

void mp_settings_stop(struct mp_settings *s) {
  if (!s->reading || s->failed) return;
  complain(s, "stopped");
  if (s->has_helper) mp_child_close(&s->helper);
}

static void on_read_now(struct mp_settings *s, struct mp_options *options, const char *why) {
  struct mp_loop *loop = s->ctx;
  (void)options, (void)why; /* both stay in s */
  mp_loop_stop(loop);
}

int mp_settings_read_now(struct mp_settings *s, struct mp_log *log) {
  struct mp_loop loop;
  char text[128];
  int err = mp_loop_init(&loop, log);
  s->ctx = &loop;
  s->done = on_read_now;
  if (err == 0 && (err = mp_settings_read(s, &loop)) == 0) mp_loop_run(&loop);
  if (err == 0 || s->reading) mp_loop_deinit(&loop);
  if (err < 0) complain(s, "%s", mp_err_text(err, text, sizeof text));
  return s->failed ? -EINVAL : 0;
}
