#include "cli/verbs.h"
#include "base/err.h"
#include "cli/bundle.h"
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

/* As whom workers run. 0, or -EINVAL and a sentence in `why`. */
static int read_identity(const struct mp_config *c, struct mp_identity *id, char *why) {
  int err = mp_identity_read(id, c->user, c->group, c->umask, why, MP_WHY);
  id->no_new_privs = c->no_new_privs;
  return err;
}

static void warn_of_root(const struct mp_config *c, struct mp_log *log) {
  if (geteuid() == 0 && !c->user)
    mp_log(log, MP_LOG_WARN, "cli", "workers run as root, and so does the app: --user NAME gives them less");
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

/* With the rights of the workers, for they open it anew, and a folder that is theirs could hold a link to anything. */
static int open_log_file(const struct mp_identity *id, const char *option, const char *path, int *fd) {
  *fd = mp_identity_open(id, path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_NONBLOCK, 0640);
  return *fd < 0 ? mp_usage("--%s %s: %s%s", option, path, strerror(-*fd), id->set_user ? " (as --user)" : "") : 0;
}

/* Workers open it themselves; who starts the server should hear at once that they could not. */
static int try_access_log(const struct mp_identity *id, const struct mp_config *config) {
  int fd;
  if (!config->access_log || strcmp(config->access_log, "-") == 0) return 0;
  int code = open_log_file(id, "access-log", config->access_log, &fd);
  if (code == 0) close(fd);
  return code;
}

static int open_log(struct mp_log *log, const struct mp_identity *id, const struct mp_config *config) {
  *log = (struct mp_log){.fd = STDERR_FILENO, .least = config->log_level, .json = config->log_json};
  if (!config->error_log || strcmp(config->error_log, "-") == 0) return 0;
  int fd, code = open_log_file(id, "error-log", config->error_log, &fd);
  if (code == 0) log->fd = fd;
  return code;
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
static int read_settings(struct mp_settings *s, const struct mp_inheritance *inherited, const struct mp_bundle *bundle,
                         int argc, char **argv, int *code) {
  bool dev = s->dev, app_here = s->app_here;
  struct mp_log log = {.fd = STDERR_FILENO, .least = MP_LOG_WARN};
  if (!bundle && answer_questions(argc, argv, code)) return -1;
  int err = mp_settings_init(s, argc, argv, environ);
  if (err < 0) {
    *code = internal("the current folder", err);
    return -1;
  }
  s->inherited = inherited;
  s->bundle = bundle;
  s->dev = dev;
  s->app_here = app_here;
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
  struct mp_bundle bundle; /* open only when this is one */
  struct mp_inheritance inherited;
  char *started_with[N_AT_START]; /* owned: their values then, as one would write them */
  struct mp_log log;
  mode_t umask;                                                    /* as we were started */
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
  struct mp_identity identity = {0};
  struct mp_plan *plan = NULL;
  char refusal[MP_WHY];
  if (options) warn_of_restart(serving, &options->config);
  if (options && read_identity(&options->config, &identity, refusal) < 0)
    why = refusal;
  else if (options && !(plan = mp_plan_of(options, &identity)))
    why = "out of memory";
  else if (options)
    warn_of_idle(options, &serving->log);
  mp_identity_free(&identity);
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

static int run_pool(struct serving *serving, struct mp_identity *identity) {
  struct mp_options *o = &serving->settings.options;
  warn_of_idle(o, &serving->log);
  warn_of_root(&o->config, &serving->log);
  keep_values(serving, &o->config);
  struct mp_plan *plan = mp_plan_of(o, identity);
  if (!plan) return internal("the configuration", -ENOMEM);
  struct mp_pool_setup setup = {.log = &serving->log,
                                .error_log = serving->log.fd,
                                .plan = plan,
                                .inherited = &serving->inherited,
                                .umask = serving->umask,
                                .ctx = serving,
                                .reread = reread,
                                .stop_rereading = stop_rereading,
                                .owns = owns};
  int code = mp_pool_run(&setup);
  if (serving->log.fd != STDERR_FILENO) close(serving->log.fd);
  return code;
}

/* Who starts it says whose it must be. */
static int check_signature(const struct mp_bundle *b, const struct mp_config *config) {
  int err = config->public_key ? mp_seal_check(&b->seal, config->public_key) : 0;
  if (err == 0) return MP_EXIT_WELL;
  if (err == -EINVAL) return mp_usage("--public-key: 64 hexadecimal digits are wanted");
  return mp_bundle_complain(mp_bundle_judgement(err), -EBADMSG);
}

static int serve(struct serving *serving) {
  const struct mp_config *config = &serving->settings.options.config;
  struct mp_identity identity = {0};
  char why[MP_WHY];
  int code = serving->settings.bundle ? check_signature(&serving->bundle, config) : find_app(config, "serve");
  if (code == 0 && read_identity(config, &identity, why) < 0) code = mp_usage("%s", why);
  serving->umask = umask(0);
  umask(identity.set_umask ? identity.umask : serving->umask);
  if (code == 0) code = open_log(&serving->log, &identity, config);
  if (code == 0) code = try_access_log(&identity, config);
  if (code == 0) code = run_pool(serving, &identity);
  mp_identity_free(&identity);
  return code;
}

/* Descriptors 0 to 2 must be something, or a socket of ours would become somebody's stderr. Without /dev it is the root
 * folder, of which nothing can be read, and to which nothing can be written. */
static void fill_stdio(void) {
  int fd;
  do {
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0) fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

/* Its own --help and --version, by the name it is called. True: that was asked. */
static bool answer_for(const struct mp_bundle *b, int argc, char **argv) {
  const char *slash = strrchr(program_invocation_name, '/'), *name = slash ? slash + 1 : program_invocation_name;
  if (b->seal.name[0]) name = b->seal.name;
  for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
    bool help = strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    if (!help && strcmp(argv[i], "--version") != 0 && strcmp(argv[i], "-v") != 0) continue;
    if (help) mp_show_bundle_help(name);
    if (!help)
      printf("%s%s%s, moonpool %s (%s)\n", name, b->seal.version[0] ? " " : "", b->seal.version, MOONPOOL_VERSION,
             mp_conf_language());
    return true;
  }
  return false;
}

static int serve_as(int argc, char **argv, bool dev) {
  struct serving serving = {.settings = {.dev = dev, .app_here = dev}};
  char why[MP_WHY];
  int code, is = 0;
  fill_stdio();
  mp_signal_begin();
  if (mp_inherited_read(&serving.inherited, &argc, &argv, why) < 0) {
    code = mp_usage("%s", why);
  } else if ((is = mp_own_bundle(&serving.bundle, NULL, true, why)) < 0) {
    code = mp_bundle_complain(why, is);
  } else if (is > 0 && answer_for(&serving.bundle, argc, argv)) {
    code = MP_EXIT_WELL;
  } else if (read_settings(&serving.settings, &serving.inherited, is ? &serving.bundle : NULL, argc, argv, &code) ==
             0) {
    code = serve(&serving);
    forget_values(&serving);
    mp_settings_free(&serving.settings);
  }
  if (is > 0) mp_bundle_close(&serving.bundle);
  mp_inherited_free(&serving.inherited);
  return code;
}

int mp_verb_serve(int argc, char **argv) {
  return serve_as(argc, argv, false);
}

int mp_verb_dev(int argc, char **argv) {
  return serve_as(argc, argv, true);
}

static int check_app(const struct mp_config *config, const struct mp_bundle *bundle) {
  struct mp_log log = {.fd = STDERR_FILENO, .least = config->log_level};
  struct mp_buf why = {0};
  char *folder = config->chdir ? strdup(config->chdir) : mp_app_folder(config->app);
  int code = MP_EXIT_INTERNAL;
  if (!folder)
    internal("the app", -ENOMEM);
  else if (chdir(folder) < 0)
    internal(folder, -errno);
  else
    code = mp_worker_check(&log, config, bundle, &why);
  if (code == MP_EXIT_APP) fprintf(stderr, "moonpool: %.*s\n", (int)mp_buf_len(&why), mp_buf_at(&why));
  if (code == MP_EXIT_WELL) printf("ok: %s\n", config->app);
  mp_buf_free(&why);
  free(folder);
  return code;
}

int mp_verb_check(int argc, char **argv) {
  struct mp_settings s = {.app_here = true};
  int code;
  fill_stdio();
  mp_signal_begin();
  char why[MP_BUNDLE_WHY];
  struct mp_bundle own;
  int is = mp_own_bundle(&own, NULL, true, why);
  if (is < 0) return mp_bundle_complain(why, is);
  const struct mp_bundle *bundle = is > 0 ? &own : NULL;
  if (read_settings(&s, NULL, bundle, argc, argv, &code) == 0) {
    code = bundle ? 0 : find_app(&s.options.config, "check");
    const char *override = s.options.config.override;
    if (bundle && override && !(own.override = strdup(override))) code = internal("the bundle", -ENOMEM);
    if (code == 0 && bundle) code = check_signature(bundle, &s.options.config);
    if (code == 0) code = check_app(&s.options.config, bundle);
    mp_settings_free(&s);
  }
  if (bundle) mp_bundle_close(&own);
  return code;
}
