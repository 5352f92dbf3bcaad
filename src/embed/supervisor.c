/* The roles that a host's own executable plays for its server: supervisor, worker, report. */
#include "base/err.h"
#include "cli/roles.h"
#include "cli/show.h"
#include "cli/verbs.h"
#include "embed/inside.h"
#include "io/signal.h"
#include "pool/pool.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The master of a pool whose settings come from the host: a file without a name, to which each reload adds. */
struct supervisor {
  const char *app;
  int settings_fd;
  long at, len; /* of the settings that count */
  struct mp_log log;
  mode_t umask;
  struct mp_soon soon; /* of the reread under way */
  void (*done)(void *pool, struct mp_plan *plan, const char *why);
  void *pool;
  bool rereading;
};

static int read_text(const struct supervisor *s, char **text) {
  char *at = calloc(1, (size_t)s->len + 1);
  if (!at) return -ENOMEM;
  ssize_t n = pread(s->settings_fd, at, (size_t)s->len, s->at);
  *text = at;
  return n == s->len ? 0 : n < 0 ? -errno : -EIO;
}

static int read_options(const struct supervisor *s, struct mp_options *o, char *why) {
  char *text = NULL;
  const struct mp_option *control = mp_option_named("control-socket", 14);
  snprintf(why, MP_WHY, "the settings cannot be read");
  int err = mp_options_init(o);
  if (err == 0) err = mp_options_set(o, control, "off", MP_FROM_DEFAULT, why); /* the host is who is asked */
  if (err == 0) err = read_text(s, &text);
  if (err == 0) err = mp_options_file(o, mp_slice(text, (size_t)s->len), why);
  if (err == 0 && !(o->config.app = strdup(s->app))) err = -ENOMEM;
  if (err == 0) mp_options_finish(o);
  free(text);
  return err;
}

/* NULL: `why`. */
static struct mp_plan *make_plan(const struct supervisor *s, struct mp_log *log, char *why) {
  struct mp_options o = {0};
  struct mp_identity id = {0};
  struct mp_plan *plan = NULL;
  int err = read_options(s, &o, why);
  const struct mp_config *c = &o.config;
  if (err == 0) err = mp_identity_read(&id, c->user, c->group, c->umask, why, MP_WHY);
  id.no_new_privs = c->no_new_privs;
  if (err == 0) log->least = c->log_level;
  if (err == 0 && !(plan = mp_plan_of(&o, &id))) snprintf(why, MP_WHY, "out of memory");
  mp_identity_free(&id);
  mp_options_free(&o);
  return plan;
}

static void on_soon(struct mp_soon *soon) {
  struct supervisor *s = MP_CONTAINER(soon, struct supervisor, soon);
  char why[MP_WHY];
  s->rereading = false;
  struct mp_plan *plan = make_plan(s, &s->log, why);
  s->done(s->pool, plan, plan ? NULL : why);
}

static int reread(void *ctx, struct mp_loop *loop, void (*done)(void *pool, struct mp_plan *plan, const char *why),
                  void *pool) {
  struct supervisor *s = ctx;
  s->done = done;
  s->pool = pool;
  s->rereading = true;
  mp_soon_init(&s->soon, on_soon);
  mp_loop_post(loop, &s->soon);
  return 0;
}

static void stop_rereading(void *ctx) {
  (void)ctx; /* it is done within this turn */
}

static bool owns(void *ctx, pid_t pid) {
  (void)ctx, (void)pid;
  return false;
}

/* "reload 0 123": where the settings stand now. */
static void on_reload(void *ctx, const char *word) {
  struct supervisor *s = ctx;
  char *end;
  long at = strtol(word + strcspn(word, " "), &end, 10), len = strtol(end, NULL, 10);
  if (at < 0 || len < 0) return;
  s->at = at;
  s->len = len;
}

static int run(struct supervisor *s, int control_fd) {
  char why[MP_WHY];
  struct mp_inheritance nothing = {.old_fd = -1, .stderr_fd = -1};
  struct mp_plan *plan = make_plan(s, &s->log, why);
  if (!plan) return mp_usage("%s", why);
  s->umask = umask(0);
  umask(plan->identity.set_umask ? plan->identity.umask : s->umask);
  struct mp_keeper_setup keeper = {.fd = control_fd, .on_reload = on_reload, .ctx = s};
  struct mp_pool_setup setup = {.log = &s->log,
                                .error_log = s->log.fd,
                                .plan = plan,
                                .inherited = &nothing,
                                .keeper = &keeper,
                                .umask = s->umask,
                                .ctx = s,
                                .reread = reread,
                                .stop_rereading = stop_rereading,
                                .owns = owns};
  return mp_pool_run(&setup);
}

/* Words of mp_engine_outside: CONTROL SETTINGS LENGTH APP. */
static int supervise(int argc, char **argv) {
  struct supervisor s = {.log = {.fd = STDERR_FILENO, .least = MP_LOG_INFO}};
  if (argc != 4) return mp_usage("supervise: a role of a program that embeds moonpool");
  int control_fd = (int)strtol(argv[0], NULL, 10);
  s.settings_fd = (int)strtol(argv[1], NULL, 10);
  s.len = strtol(argv[2], NULL, 10);
  s.app = argv[3];
  if (fcntl(control_fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(s.settings_fd, F_SETFD, FD_CLOEXEC) < 0)
    return mp_usage("supervise: a descriptor is missing");
  mp_signal_begin();
  return run(&s, control_fd);
}

int mp_worker_main(int argc, char **argv, const struct mp_modules *modules) {
  struct mp_extension extension = {mp_modules_open, (void *)(uintptr_t)modules};
  if (argc < 2 || strcmp(argv[0], "moonpool") != 0) return -1;
  if (strcmp(argv[1], "worker") == 0) return mp_role_worker_with(argc - 2, argv + 2, modules ? &extension : NULL);
  if (strcmp(argv[1], "report") == 0) return mp_role_report(argc - 2, argv + 2);
  return strcmp(argv[1], "supervise") == 0 ? supervise(argc - 2, argv + 2) : -1;
}
