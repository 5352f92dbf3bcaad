/* The roles that our own processes play. Their words come from the master: a wrong one is a bug, not a user's slip. */
#include "cli/roles.h"
#include "base/err.h"
#include "cli/bundle.h"
#include "cli/conf.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "report/report.h"
#include "worker/worker.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct worker_words {
  struct mp_log log;
  struct mp_worker_setup setup;
  int settings_fd;
  const char *trouble; /* borrowed from argv, or NULL */
};

static int read_number(const char *text, const char **end) {
  char *stop;
  errno = 0;
  long n = strtol(text, &stop, 10);
  *end = stop;
  return errno || stop == text || n < -1 || n > 1 << 30 ? -EINVAL : (int)n;
}

static int read_listen_fds(struct mp_worker_setup *setup, const char *text) {
  const char *end = text;
  for (; *text; text = *end ? end + 1 : end) {
    int fd = read_number(text, &end);
    if (fd < 0 || (*end && *end != ',') || setup->n_listen == MP_WORKER_LISTENERS) return -EINVAL;
    setup->listen_fds[setup->n_listen++] = fd;
  }
  return 0;
}

struct number {
  const char *name; /* "--slot=" */
  int *number;      /* borrowed: where it goes */
};

/* The table ends with a NULL name. */
static int read_named(const struct number *numbers, const char *word) {
  const char *end;
  for (; numbers->name; numbers++) {
    size_t len = strlen(numbers->name);
    if (strncmp(word, numbers->name, len) != 0) continue;
    *numbers->number = read_number(word + len, &end);
    return *end ? -EINVAL : 0;
  }
  return -EINVAL;
}

static int read_word(struct worker_words *w, const char *word) {
  const struct number numbers[] = {
      {"--slot=", (int *)&w->setup.slot},      {"--seat=", (int *)&w->setup.seat},
      {"--control-fd=", &w->setup.control_fd}, {"--generation=", (int *)&w->setup.generation},
      {"--death-fd=", &w->setup.death_fd},     {"--shm-fd=", &w->setup.shm_fd},
      {"--settings-fd=", &w->settings_fd},     {"--commons-fd=", &w->setup.commons_fd},
      {"--bell-fd=", &w->setup.bell_fd},       {NULL, NULL}};
  if (strncmp(word, "--listen-fds=", 13) == 0) return read_listen_fds(&w->setup, word + 13);
  if (strncmp(word, "--trouble=", 10) == 0) {
    w->trouble = word + 10;
    return 0;
  }
  return read_named(numbers, word);
}

/* The words up to "--"; how many there are with it, or -EINVAL. */
static int read_words(struct worker_words *w, int argc, char **argv) {
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--") == 0) return i + 1;
    if (read_word(w, argv[i]) < 0) return -EINVAL;
  }
  return -EINVAL;
}

static int read_app_settings(int fd, struct mp_config *config) {
  struct stat st;
  if (fd < 0) return 0;
  if (fstat(fd, &st) < 0) return -errno;
  config->settings = calloc(1, (size_t)st.st_size + 1);
  if (!config->settings) return -ENOMEM;
  ssize_t n = pread(fd, config->settings, (size_t)st.st_size, 0);
  int err = n == st.st_size ? 0 : n < 0 ? -errno : -EIO;
  close(fd);
  return err;
}

/* What the master let through exec is ours alone: no process that the app starts may have it. */
static void keep_to_ourselves(const struct worker_words *w) {
  const int fds[] = {w->setup.control_fd, w->setup.death_fd, w->setup.shm_fd,
                     w->setup.commons_fd, w->setup.bell_fd,  w->settings_fd};
  for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
    if (fds[i] >= 0) fcntl(fds[i], F_SETFD, FD_CLOEXEC);
  for (unsigned i = 0; i < w->setup.n_listen; i++) fcntl(w->setup.listen_fds[i], F_SETFD, FD_CLOEXEC);
}

static int run_worker(struct worker_words *w, int argc, char **argv, struct mp_options *o) {
  char why[MP_WHY] = "out of memory", text[128];
  if (mp_options_init(o) < 0 || mp_options_flags(o, argc, argv, why) < 0) return mp_usage("worker: %s", why);
  int err = read_app_settings(w->settings_fd, &o->config);
  if (err < 0) return mp_usage("worker: the app's settings: %s", mp_err_text(err, text, sizeof text));
  if (w->trouble && !(o->config.trouble = strdup(w->trouble))) return mp_usage("worker: out of memory");
  w->log = (struct mp_log){.fd = STDERR_FILENO, .least = o->config.log_level, .json = o->config.log_json};
  w->setup.log = &w->log;
  w->setup.config = &o->config;
  struct mp_bundle own;
  int is = mp_own_bundle(&own, o->config.override, false, why);
  if (is < 0) return mp_bundle_complain(why, is);
  if (is > 0) w->setup.bundle = &own;
  int code = mp_worker_run(&w->setup);
  w->setup.bundle = NULL;
  if (is > 0) mp_bundle_close(&own);
  return code;
}

int mp_role_worker(int argc, char **argv) {
  return mp_role_worker_with(argc, argv, NULL);
}

int mp_role_worker_with(int argc, char **argv, const struct mp_extension *extension) {
  struct worker_words w = {.setup = {.control_fd = -1, .death_fd = -1, .shm_fd = -1, .commons_fd = -1, .bell_fd = -1},
                           .settings_fd = -1};
  struct mp_options o;
  w.setup.extension = extension;
  int used = read_words(&w, argc, argv);
  if (used < 0 || w.setup.control_fd < 0 || w.setup.death_fd < 0 || w.setup.shm_fd < 0 || w.setup.commons_fd < 0 ||
      w.setup.bell_fd < 0)
    return mp_usage("worker: a role of moonpool's own processes, started by `moonpool serve`");
  keep_to_ourselves(&w);
  int code = run_worker(&w, argc - used, argv + used, &o);
  mp_options_free(&o);
  return code;
}

int mp_role_report(int argc, char **argv) {
  struct mp_log log = {.fd = STDERR_FILENO};
  struct mp_report_setup setup = {.log = &log, .listen_fd = -1, .death_fd = -1, .shm_fd = -1};
  int level = MP_LOG_INFO, json = 0;
  const struct number numbers[] = {
      {"--listen-fd=", &setup.listen_fd}, {"--death-fd=", &setup.death_fd}, {"--shm-fd=", &setup.shm_fd},
      {"--log-level=", &level},           {"--log-json=", &json},           {NULL, NULL}};
  for (int i = 0; i < argc; i++)
    if (read_named(numbers, argv[i]) < 0) return mp_usage("report: what is %.80s?", argv[i]);
  if (setup.listen_fd < 0 || setup.death_fd < 0 || setup.shm_fd < 0)
    return mp_usage("report: a role of moonpool's own processes, started by `moonpool serve`");
  log.least = (enum mp_log_level)level;
  log.json = json != 0;
  return mp_report_run(&setup);
}

int mp_role_config(int argc, char **argv) {
  struct mp_bundle own;
  char why[MP_BUNDLE_WHY];
  if (argc != 1) return mp_usage("config: one file is wanted");
  if (strcmp(argv[0], "--bundled") != 0) return mp_conf_run(argv[0], mp_slice(NULL, 0));
  int is = mp_own_bundle(&own, NULL, false, why);
  if (is <= 0) return is < 0 ? mp_bundle_complain(why, is) : mp_usage("config: this is no bundle");
  const struct mp_bundled *file = mp_bundle_find(&own, NULL, MP_CONF_NAME);
  int code = file ? mp_conf_run(MP_CONF_NAME, file->bytes) : mp_usage("config: there is no " MP_CONF_NAME);
  mp_bundle_close(&own);
  return code;
}
