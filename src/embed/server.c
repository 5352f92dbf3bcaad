/* A server before it runs: what the host sets. */
#include "embed/inside.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *mp_version(void) {
  return MOONPOOL_VERSION;
}

/* ---- what went wrong, and the log ---- */

int mp_server_complain(struct mp_server *server, int err, const char *format, ...) {
  va_list args;
  va_start(args, format);
  pthread_mutex_lock(&server->lock);
  vsnprintf(server->why, sizeof server->why, format, args);
  pthread_mutex_unlock(&server->lock);
  va_end(args);
  return err;
}

const char *mp_server_error(const struct mp_server *server) {
  return server->why;
}

/* As text that ends: in `small` if it fits there. */
static char *text_of(struct mp_slice s, char *small, size_t size) {
  char *to = s.len < size ? small : malloc(s.len + 1);
  size_t len = to ? s.len : size - 1;
  if (!to) to = small;
  memcpy(to, s.at, len);
  to[len] = '\0';
  return to;
}

/* Of any thread that writes a line. */
static void hand_over(void *ctx, enum mp_log_level level, const char *room, struct mp_slice message,
                      struct mp_slice detail) {
  const struct mp_server *server = ctx;
  char small[512], small_detail[512];
  char *text = text_of(message, small, sizeof small), *more = text_of(detail, small_detail, sizeof small_detail);
  server->on_log(server->log_ctx, (enum mp_level)level, room, text, more);
  if (text != small) free(text);
  if (more != small_detail) free(more);
}

void mp_server_on_log(struct mp_server *server,
                      void (*on_log)(void *ctx, enum mp_level level, const char *room, const char *message,
                                     const char *detail),
                      void *ctx) {
  server->on_log = on_log;
  server->log_ctx = ctx;
  server->log.sink = on_log ? hand_over : NULL;
  server->log.sink_ctx = server;
}

void mp_server_on_event(struct mp_server *server,
                        void (*on_event)(void *ctx, enum mp_server_event event, const char *text), void *ctx) {
  server->on_event = on_event;
  server->event_ctx = ctx;
}

void mp_server_tell(struct mp_server *server, enum mp_server_event event, const char *text) {
  if (server->on_event) server->on_event(server->event_ctx, event, text ? text : "");
}

/* ---- settings ---- */

/* What asks for something instead of setting something. */
static bool is_question(const struct mp_options *o) {
  return o->help || o->version || o->print_config || o->config_file;
}

static int set_word(struct mp_server *server, char *word, const char *name, char *why) {
  struct mp_options *o = &server->options;
  char *argv[] = {word, NULL};
  int err = mp_options_flags(o, 1, argv, why);
  if (err == 0 && is_question(o)) {
    snprintf(why, MP_WHY, "--%.80s: not an option of a server inside a program", name);
    err = -EINVAL;
  }
  free(o->config_file);
  o->config_file = NULL;
  o->help = o->version = o->print_config = false;
  return err;
}

int mp_server_set(struct mp_server *server, const char *name, const char *value) {
  char *word = NULL, why[MP_WHY] = "out of memory";
  if (!name || !*name) return mp_server_complain(server, -EINVAL, "an option without a name");
  if ((value ? asprintf(&word, "--%s=%s", name, value) : asprintf(&word, "--%s", name)) < 0) word = NULL;
  pthread_mutex_lock(&server->lock);
  int err = word ? set_word(server, word, name, why) : -ENOMEM;
  pthread_mutex_unlock(&server->lock);
  free(word);
  return err < 0 ? mp_server_complain(server, err, "%s", why) : 0;
}

int mp_server_unset(struct mp_server *server, const char *name) {
  const struct mp_option *option = name ? mp_option_named(name, strlen(name)) : NULL;
  if (!option) return mp_server_complain(server, -EINVAL, "unknown option --%.80s", name ? name : "");
  pthread_mutex_lock(&server->lock);
  int err = mp_options_unset(&server->options, option);
  pthread_mutex_unlock(&server->lock);
  return err < 0 ? mp_server_complain(server, err, "out of memory") : 0;
}

int mp_server_settings(struct mp_server *server, const char *json) {
  char *copy = json ? strdup(json) : NULL;
  if (json && !copy) return mp_server_complain(server, -ENOMEM, "out of memory");
  pthread_mutex_lock(&server->lock);
  free(server->settings);
  server->settings = copy;
  pthread_mutex_unlock(&server->lock);
  return 0;
}

void mp_server_allocator(struct mp_server *server,
                         void *(*allocate)(void *ctx, void *block, size_t old_size, size_t new_size), void *ctx) {
  server->guest.allocate = allocate;
  server->guest.ctx = ctx;
}

void mp_server_allow_signals(struct mp_server *server) {
  server->guest.interrupts = true;
}

/* ---- as one whole ---- */

static int copy_setting(struct mp_options *to, const struct mp_options *from, const struct mp_option *option,
                        char *why) {
  struct mp_buf value = {0};
  int err = mp_option_show(&from->config, option, &value);
  if (err == 0) err = mp_buf_add(&value, "", 1);
  if (err == 0) err = mp_options_set(to, option, mp_buf_at(&value), MP_FROM_FLAG, why);
  mp_buf_free(&value);
  return err;
}

static bool make_absolute(char **path) {
  char *here, *whole = NULL;
  if (!*path || **path == '/' || strcmp(*path, "-") == 0) return true;
  if (!(here = get_current_dir_name())) return false;
  if (asprintf(&whole, "%s/%s", here, *path) < 0) whole = NULL;
  free(here);
  if (!whole) return false;
  free(*path);
  *path = whole;
  return true;
}

static int copy_all(struct mp_server *server, struct mp_options *to, char *why) {
  const struct mp_options *from = &server->options;
  int err = mp_options_init(to);
  for (const struct mp_option *o = mp_option_table; err == 0 && o->name; o++)
    if (from->origin[o - mp_option_table] != MP_FROM_DEFAULT) err = copy_setting(to, from, o, why);
  if (err < 0) return err;
  to->config.app = strdup(server->app);
  if (server->settings) to->config.settings = strdup(server->settings);
  if (!to->config.app || (server->settings && !to->config.settings)) return -ENOMEM;
  struct mp_config *c = &to->config;
  if (!make_absolute(&c->lua_dir) || !make_absolute(&c->chdir) || !make_absolute(&c->access_log)) return -ENOMEM;
  mp_options_finish(to);
  return 0;
}

/* What would change the host, or is a master's to do. */
static const char *const of_processes[] = {"user",         "group",          "umask",         "chdir",
                                           "pid",          "no-new-privs",   "workers",       "max-rss",
                                           "max-lifetime", "control-socket", "metrics-listen"};

static int refuse_foreign(struct mp_server *server, const struct mp_options *o) {
  const struct mp_option *log = mp_option_named("error-log", 9);
  if (o->origin[log - mp_option_table] != MP_FROM_DEFAULT)
    return mp_server_complain(server, -EINVAL, "--error-log: lines of the log go to mp_server_on_log");
  for (unsigned i = 0; server->engine == &mp_engine_inprocess && i < sizeof of_processes / sizeof *of_processes; i++) {
    const struct mp_option *option = mp_option_named(of_processes[i], strlen(of_processes[i]));
    if (option && o->origin[option - mp_option_table] != MP_FROM_DEFAULT)
      return mp_server_complain(server, -EINVAL, "--%s: only with worker processes (MP_SERVER_WORKERS)", option->name);
  }
  return 0;
}

int mp_server_read(struct mp_server *server, struct mp_options *options) {
  char why[MP_WHY] = "out of memory";
  pthread_mutex_lock(&server->lock);
  int err = copy_all(server, options, why);
  pthread_mutex_unlock(&server->lock);
  if (err < 0) mp_server_complain(server, err, "%s", why);
  if (err == 0) err = refuse_foreign(server, options);
  if (err < 0) mp_options_free(options);
  return err;
}

/* ---- life ---- */

static int init_parts(struct mp_server *server, const char *app) {
  server->app = strdup(app);
  if (!server->app || !make_absolute(&server->app)) return -ENOMEM;
  if (pthread_mutex_init(&server->lock, NULL) != 0) return -ENOMEM;
  if (pthread_cond_init(&server->changed, NULL) == 0) return mp_options_init(&server->options);
  pthread_mutex_destroy(&server->lock);
  return -ENOMEM;
}

struct mp_server *mp_server_new(const char *app, const struct mp_modules *modules, unsigned flags) {
  struct mp_server *server = calloc(1, sizeof *server);
  if (!server) return NULL;
  server->engine = flags & MP_SERVER_WORKERS ? &mp_engine_outside : &mp_engine_inprocess;
  server->modules = modules;
  server->extension = (struct mp_extension){mp_modules_open, (void *)(uintptr_t)modules};
  server->log = (struct mp_log){.fd = STDERR_FILENO, .least = MP_LOG_INFO};
  if (init_parts(server, app) == 0) return server;
  mp_options_free(&server->options);
  free(server->app);
  free(server);
  return NULL;
}

void mp_server_discard(struct mp_server *server) {
  pthread_cond_destroy(&server->changed);
  pthread_mutex_destroy(&server->lock);
  mp_options_free(&server->options);
  free(server->settings);
  free(server->app);
  free(server);
}
