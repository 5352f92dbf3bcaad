/* `moonpool test [DIR|FILE…] [options]`: most words are busted's; the ones below are ours. */
#include "base/err.h"
#include "cli/settings.h"
#include "cli/verbs.h"
#include "io/signal.h"
#include "worker/tester.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct words {
  char **ours; /* owned list of borrowed words: for the settings, a folder first */
  int n_ours;
  char **theirs; /* owned list of borrowed words */
  int n_theirs;
};

static const char *const settings[] = {"--config", "--lua"};

/* How many words from `argv` on are a setting of ours: 0, 1 (--name=value) or 2. */
static int count_ours(char **argv) {
  for (unsigned i = 0; i < sizeof settings / sizeof *settings; i++) {
    size_t len = strlen(settings[i]);
    if (strncmp(argv[0], settings[i], len) != 0) continue;
    if (argv[0][len] == '=') return 1;
    if (!argv[0][len]) return argv[1] ? 2 : 1;
  }
  return 0;
}

/* The project is the current folder: its moonpool.conf.lua counts. */
static int sort_words(struct words *w, int argc, char **argv) {
  w->ours = calloc((size_t)argc + 2, sizeof *w->ours);
  w->theirs = calloc((size_t)argc + 1, sizeof *w->theirs);
  if (!w->ours || !w->theirs) return -ENOMEM;
  w->ours[w->n_ours++] = (char *)(uintptr_t) ".";
  for (int i = 0; i < argc;) {
    int n = count_ours(argv + i);
    if (n == 0) w->theirs[w->n_theirs++] = argv[i++];
    while (n-- > 0) w->ours[w->n_ours++] = argv[i++];
  }
  return 0;
}

/* What an app logs by the way is no part of a report; errors are. */
static enum mp_log_level least_level(const struct mp_options *o) {
  const struct mp_option *option = mp_option_named("log-level", 9);
  bool given = o->origin[option - mp_option_table] != MP_FROM_DEFAULT;
  return given ? o->config.log_level : MP_LOG_WARN;
}

static int run(const struct mp_options *o, const struct words *w) {
  struct mp_log log = {.fd = STDERR_FILENO, .least = least_level(o), .json = o->config.log_json};
  char *program = realpath("/proc/self/exe", NULL);
  struct mp_tester_setup setup = {.log = &log,
                                  .config = &o->config,
                                  .program = program ? program : "/proc/self/exe",
                                  .argc = w->n_theirs,
                                  .argv = w->theirs};
  int code = mp_tester_run(&setup);
  free(program);
  return code;
}

int mp_verb_test(int argc, char **argv) {
  struct mp_log log = {.fd = STDERR_FILENO, .least = MP_LOG_WARN};
  struct mp_settings s = {0};
  struct words w = {0};
  char text[128];
  int code = MP_EXIT_INTERNAL;
  mp_signal_begin();
  int err = sort_words(&w, argc, argv);
  if (err == 0) err = mp_settings_init(&s, w.n_ours, w.ours, environ);
  if (err < 0)
    fprintf(stderr, "moonpool: test: %s\n", mp_err_text(err, text, sizeof text));
  else if (mp_settings_read_now(&s, &log) < 0)
    code = mp_usage("%s", s.why);
  else
    code = run(&s.options, &w);
  mp_settings_free(&s);
  free(w.ours);
  free(w.theirs);
  return code;
}
