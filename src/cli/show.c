#include "cli/show.h"
#include "cli/settings.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void show_option(const struct mp_option *option) {
  char flag[64], fallback[64] = "";
  snprintf(flag, sizeof flag, "--%s%s%s", option->name, option->value ? " " : "", option->value ? option->value : "");
  if (option->fallback) snprintf(fallback, sizeof fallback, " (%s)", option->fallback);
  printf("  %-32s %s%s\n", flag, option->help, fallback);
}

void mp_show_help(void) {
  printf("usage: moonpool serve APP [options]      serve the app: a file, or a folder with app.lua\n"
         "       moonpool dev [APP] [options]      serve it to one who writes it: error pages, reload on save\n"
         "       moonpool new NAME [--kind KIND]   a new project: site, api or device\n"
         "       moonpool check [APP] [options]    does it load? exit 0, 2 (configuration) or 3 (app)\n"
         "       moonpool test [FILE|DIR] [options]  run the project's specs: exit 0, 1, or 2 without busted\n"
         "       moonpool ctl status|workers|…     ask a server that runs; moonpool ctl --help\n"
         "       moonpool bundle APP -o FILE       one file with the app in it; moonpool bundle --help\n"
         "       moonpool version                  which one this is, and what it is made of\n"
         "       moonpool help [options]           this; every option\n\n");
  for (const struct mp_option *o = mp_option_table; o->name; o++)
    if (o->common) show_option(o);
  printf("  %-32s %s\n  %-32s %s\n\n", "--config FILE", "instead of moonpool.conf.lua in the app's folder",
         "--print-config", "say every setting and where it comes from");
  printf("An option --a-b is also the key a_b of moonpool.conf.lua and the variable MOONPOOL_A_B.\n"
         "`moonpool help options` lists all of them.\n");
}

void mp_show_bundle_help(const char *name) {
  printf("usage: %s [options]                serve the app that is in this file\n"
         "       %s moonpool ctl|check|bundle|…   what `moonpool` does, with this program\n\n",
         name, name);
  for (const struct mp_option *o = mp_option_table; o->name; o++)
    if (o->common || strcmp(o->name, "override") == 0 || strcmp(o->name, "public-key") == 0) show_option(o);
  printf("\nAn option --a-b is also the variable MOONPOOL_A_B. `%s moonpool help options` lists all of them.\n", name);
}

void mp_show_options(void) {
  for (const struct mp_option *o = mp_option_table; o->name; o++) show_option(o);
}

/* The value as text, ended by NUL, in the buffer. */
static int show_text(const struct mp_config *config, const struct mp_option *option, struct mp_buf *out) {
  mp_buf_reset(out, 4096);
  int err = mp_option_show(config, option, out);
  return err < 0 ? err : mp_buf_add(out, "", 1);
}

static int print_setting(const struct mp_options *o, const struct mp_option *option, struct mp_buf *text) {
  static const char *const from[] = {"default", "file", "variable", "flag"};
  char key[64];
  int err = show_text(&o->config, option, text);
  if (err < 0) return err;
  const char *value = mp_buf_at(text);
  printf("%-26s = %-24s # %s\n", mp_option_spell(option->name, MP_FROM_FILE, key, sizeof key), *value ? value : "off",
         from[o->origin[option - mp_option_table]]);
  return 0;
}

int mp_show_config(const struct mp_options *o) {
  struct mp_buf text = {0};
  int err = 0;
  for (const struct mp_option *option = mp_option_table; err == 0 && option->name; option++)
    err = print_setting(o, option, &text);
  mp_buf_free(&text);
  return err;
}

/* A worker's words: what differs from the defaults, then the app. */

static int add_word(char **words, unsigned *n, const char *name, const char *value) {
  if (asprintf(&words[*n], "--%s=%s", name, value) < 0) {
    words[*n] = NULL;
    return -ENOMEM;
  }
  (*n)++;
  return 0;
}

static int add_setting(char **words, unsigned *n, const struct mp_config *config, const struct mp_config *defaults,
                       const struct mp_option *option) {
  struct mp_buf value = {0}, fallback = {0};
  int err = show_text(config, option, &value);
  if (err == 0) err = show_text(defaults, option, &fallback);
  if (err == 0 && strcmp(mp_buf_at(&value), mp_buf_at(&fallback)) != 0)
    err = add_word(words, n, option->name, mp_buf_len(&value) > 1 ? mp_buf_at(&value) : "off");
  mp_buf_free(&value);
  mp_buf_free(&fallback);
  return err;
}

static char **words_of(const struct mp_config *config) {
  struct mp_options defaults;
  unsigned n = 0;
  char **words = calloc(MP_OPTIONS_MOST + 2, sizeof *words);
  int err = mp_options_init(&defaults);
  if (!words && err == 0) err = -ENOMEM;
  for (const struct mp_option *o = mp_option_table; err == 0 && o->name; o++)
    err = add_setting(words, &n, config, &defaults.config, o);
  if (err == 0 && !(words[n] = strdup(config->app))) err = -ENOMEM;
  mp_options_free(&defaults);
  if (err == 0) return words;
  for (unsigned i = 0; words && words[i]; i++) free(words[i]);
  free(words);
  return NULL;
}

/* A file without a name. -1: none is needed; or -errno. */
static int hold_settings(const char *settings) {
  size_t len = settings ? strlen(settings) : 0;
  if (!settings) return -1;
  int fd = memfd_create("moonpool.settings", MFD_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t n = pwrite(fd, settings, len, 0);
  if (n == (ssize_t)len) return fd;
  int err = n < 0 ? -errno : -EIO;
  close(fd);
  return err;
}

struct mp_plan *mp_plan_of(struct mp_options *o, struct mp_identity *identity) {
  struct mp_plan *plan = calloc(1, sizeof *plan);
  if (!plan) return NULL;
  plan->words = words_of(&o->config);
  plan->folder = o->config.chdir ? strdup(o->config.chdir) : mp_app_folder(o->config.app);
  plan->settings_fd = hold_settings(o->config.settings);
  plan->config = o->config;
  memset(&o->config, 0, sizeof o->config);
  plan->identity = *identity;
  *identity = (struct mp_identity){0};
  if (plan->words && plan->folder && (plan->settings_fd >= 0 || !plan->config.settings)) return plan;
  mp_plan_free(plan);
  return NULL;
}
