#include "cli/verbs.h"
#include "base/err.h"
#include "cli/conf.h"
#include "cli/settings.h"
#include "cli/show.h"
#include "http/version.h"
#include "io/signal.h"
#include "worker/access.h"
#include "worker/worker.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int mp_usage(const char *format, ...) {
  va_list args;
  fputs("moonpool: ", stderr);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  return MP_EXIT_USAGE;
}

static int internal(const char *what, int err) {
  char text[128];
  fprintf(stderr, "moonpool: %s: %s\n", what, mp_err_text(err, text, sizeof text));
  return MP_EXIT_INTERNAL;
}

int mp_verb_version(int argc, char **argv) {
  char http[32];
  (void)argc, (void)argv;
  printf("moonpool %s (%s, libuv %s, http-parser %s)\n", MOONPOOL_VERSION, mp_conf_language(), mp_loop_library(),
         mp_http_library(http, sizeof http));
  return MP_EXIT_WELL;
}

int mp_verb_help(int argc, char **argv) {
  if (argc > 0 && strcmp(argv[0], "options") == 0)
    mp_show_options();
  else
    mp_show_help();
  return MP_EXIT_WELL;
}

/* Settings that this version takes and does not act on are said once: silence would be a false promise. */
static void warn_of_idle(const struct mp_options *o, struct mp_log *log) {
  for (const struct mp_option *option = mp_option_table; option->name; option++)
    if (option->idle && o->origin[option - mp_option_table] != MP_FROM_DEFAULT)
      mp_log(log, MP_LOG_WARN, "cli", "this version does not act on an option yet option=%s", option->name);
}

/* Who asks for less privilege than we can give up must not be served with more. */
static int refuse_privileges(const struct mp_config *c) {
  const char *name = c->user           ? "user"
                     : c->group        ? "group"
                     : c->umask        ? "umask"
                     : c->no_new_privs ? "no-new-privs"
                                       : NULL;
  return name ? mp_usage("--%s is not possible in this version; let whoever starts moonpool do it", name) : 0;
}

/* There must be something to serve: a file, or app.lua in a folder. */
static int find_app(const struct mp_config *config, const char *verb) {
  struct stat st;
  char *inside = NULL;
  const char *file = config->app;
  if (!file) return mp_usage("which app? moonpool %s APP.lua (or a folder with app.lua)", verb);
  if (stat(file, &st) == 0 && S_ISDIR(st.st_mode)) {
    if (asprintf(&inside, "%s/app.lua", file) < 0) return internal(file, -ENOMEM);
    file = inside;
  }
  int err = access(file, R_OK) < 0 ? -errno : 0;
  char text[128];
  if (err < 0) fprintf(stderr, "moonpool: cannot load the app: %s: %s\n", file, mp_err_text(err, text, sizeof text));
  free(inside);
  return err < 0 ? MP_EXIT_APP : MP_EXIT_WELL;
}

/* Workers open it themselves; who starts the server should hear at once that they could not. */
static int try_access_log(const struct mp_config *config) {
  if (!config->access_log || strcmp(config->access_log, "-") == 0) return 0;
  int fd = mp_access_file(config->access_log);
  if (fd < 0) return mp_usage("--access-log %s: %s", config->access_log, strerror(-fd));
  close(fd);
  return 0;
}

static int open_log(struct mp_log *log, const struct mp_config *config) {
  *log = (struct mp_log){.fd = STDERR_FILENO, .least = config->log_level, .json = config->log_json};
  if (!config->error_log || strcmp(config->error_log, "-") == 0) return 0;
  int fd = open(config->error_log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
  if (fd < 0) return mp_usage("--error-log %s: %s", config->error_log, strerror(errno));
  log->fd = fd;
  return 0;
}

/* --help and --version answer whatever else is wrong: their words are looked for first. */
static bool answer_questions(int argc, char **argv, int *code) {
  for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
    bool help = strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    if (!help && strcmp(argv[i], "--version") != 0) continue;
    *code = help ? mp_verb_help(0, NULL) : mp_verb_version(0, NULL);
    return true;
  }
  return false;
}

/* Settings for a verb with an app. 0 to go on; else what to exit with is in `*code`. */
static int read_settings(struct mp_settings *s, int argc, char **argv, int *code) {
  struct mp_log log = {.fd = STDERR_FILENO, .least = MP_LOG_WARN};
  if (answer_questions(argc, argv, code)) return -1;
  int err = mp_settings_init(s, argc, argv, environ);
  if (err < 0) {
    *code = internal("the current folder", err);
    return -1;
  }
  if (mp_settings_read_now(s, &log) < 0) {
    *code = mp_usage("%s", s->why);
    mp_settings_free(s);
    return -1;
  }
  if (!s->options.print_config) return 0;
  *code = mp_show_config(&s->options) < 0 ? MP_EXIT_INTERNAL : MP_EXIT_WELL;
  mp_settings_free(s);
  return -1;
}

/* A reload: the same words as at the start, the file anew. */

/* What the master looks at once. */
static const char *const at_start[] = {"pid", "error-log", "shared-memory", "control-socket"};
enum { N_AT_START = sizeof at_start / sizeof *at_start };

struct serving {
  struct mp_settings settings;
  char *started_with[N_AT_START]; /* owned: their values then, as one would write them */
  struct mp_log log;
  void (*done)(void *pool, struct mp_plan *plan, const char *why); /* of the reread under way */
  void *pool;
};

static char *value_of(const struct mp_config *config, const char *name) {
  struct mp_buf text = {0};
  const struct mp_option *option = mp_option_named(name, strlen(name));
  int err = mp_option_show(config, option, &text);
  char *value = err < 0 ? NULL : strndup(mp_buf_len(&text) ? mp_buf_at(&text) : "", mp_buf_len(&text));
  mp_buf_free(&text);
  return value;
}

static void keep_values(struct serving *serving, const struct mp_config *config) {
  for (unsigned i = 0; i < N_AT_START; i++) serving->started_with[i] = value_of(config, at_start[i]);
}

static void forget_values(struct serving *serving) {
  for (unsigned i = 0; i < N_AT_START; i++) free(serving->started_with[i]);
}

static void warn_of_restart(struct serving *serving, const struct mp_config *config) {
  char names[256] = "";
  size_t at = 0;
  for (unsigned i = 0; i < N_AT_START; i++) {
    char *value = value_of(config, at_start[i]);
    bool same = !value || !serving->started_with[i] || strcmp(value, serving->started_with[i]) == 0;
    if (!same && at < sizeof names)
      at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at ? "," : "", at_start[i]);
    free(value);
  }
  if (at > 0) mp_log(&serving->log, MP_LOG_WARN, "cli", "changed options take a restart options=%s", names);
}

static void on_reread(struct mp_settings *s, struct mp_options *options, const char *why) {
  struct serving *serving = s->ctx;
  struct mp_plan *plan = NULL;
  const struct mp_config *c = options ? &options->config : NULL;
  if (c) warn_of_restart(serving, c);
  if (c && (c->user || c->group || c->umask || c->no_new_privs))
    why = "user, group, umask and no_new_privs are not possible in this version";
  else if (options && !(plan = mp_plan_of(options)))
    why = "out of memory";
  else if (options)
    warn_of_idle(options, &serving->log);
  serving->done(serving->pool, plan, why);
}

static int reread(void *ctx, struct mp_loop *loop, void (*done)(void *pool, struct mp_plan *plan, const char *why),
                  void *pool) {
  struct serving *serving = ctx;
  serving->done = done;
  serving->pool = pool;
  serving->settings.done = on_reread;
  serving->settings.ctx = serving;
  return mp_settings_read(&serving->settings, loop);
}

static void stop_rereading(void *ctx) {
  mp_settings_stop(&((struct serving *)ctx)->settings);
}

static bool owns(void *ctx, pid_t pid) {
  return mp_settings_owns(&((struct serving *)ctx)->settings, pid);
}

static int serve(struct serving *serving) {
  struct mp_options *o = &serving->settings.options;
  int code = find_app(&o->config, "serve");
  if (code == 0) code = refuse_privileges(&o->config);
  if (code == 0) code = open_log(&serving->log, &o->config);
  if (code == 0) code = try_access_log(&o->config);
  if (code != 0) return code;
  warn_of_idle(o, &serving->log);
  keep_values(serving, &o->config);
  struct mp_plan *plan = mp_plan_of(o);
  if (!plan) return internal("the configuration", -ENOMEM);
  struct mp_pool_setup setup = {.log = &serving->log,
                                .error_log = serving->log.fd,
                                .plan = plan,
                                .ctx = serving,
                                .reread = reread,
                                .stop_rereading = stop_rereading,
                                .owns = owns};
  code = mp_pool_run(&setup);
  if (serving->log.fd != STDERR_FILENO) close(serving->log.fd);
  return code;
}

/* Descriptors 0 to 2 must be something, or a socket of ours would become somebody's stderr. */
static void fill_stdio(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

int mp_verb_serve(int argc, char **argv) {
  struct serving serving = {0};
  int code;
  fill_stdio();
  mp_signal_begin();
  if (read_settings(&serving.settings, argc, argv, &code) < 0) return code;
  code = serve(&serving);
  forget_values(&serving);
  mp_settings_free(&serving.settings);
  return code;
}

static int check_app(const struct mp_config *config) {
  struct mp_log log = {.fd = STDERR_FILENO, .least = config->log_level};
  struct mp_buf why = {0};
  char *folder = config->chdir ? strdup(config->chdir) : mp_app_folder(config->app);
  int code = MP_EXIT_INTERNAL;
  if (!folder)
    internal("the app", -ENOMEM);
  else if (chdir(folder) < 0)
    internal(folder, -errno);
  else
    code = mp_worker_check(&log, config, &why);
  if (code == MP_EXIT_APP) fprintf(stderr, "moonpool: %.*s\n", (int)mp_buf_len(&why), mp_buf_at(&why));
  if (code == MP_EXIT_WELL) printf("ok: %s\n", config->app);
  mp_buf_free(&why);
  free(folder);
  return code;
}

int mp_verb_check(int argc, char **argv) {
  struct mp_settings s;
  int code;
  fill_stdio();
  mp_signal_begin();
  if (read_settings(&s, argc, argv, &code) < 0) return code;
  code = find_app(&s.options.config, "check");
  if (code == 0) code = check_app(&s.options.config);
  mp_settings_free(&s);
  return code;
}
