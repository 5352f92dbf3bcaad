/* Where settings come from: flags, variables, the lines of the file; and how a setting is written back. */
#include "cli/options.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int complain(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int complain(char *why, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(why, MP_WHY, format, args);
  va_end(args);
  return -EINVAL;
}

/* `before` and `name` are what was written; the hint is spelled in the same way. */
static int unknown(char *why, enum mp_origin from, const char *before, const char *name, size_t len) {
  static const char *const kind[] = {"", "key", "variable", "option"};
  const char *near = mp_option_nearest(name, len);
  char hint[80];
  int shown = len > 80 ? 80 : (int)len;
  if (!near) return complain(why, "unknown %s %s%.*s", kind[from], before, shown, name);
  mp_option_spell(near, from, hint, sizeof hint);
  return complain(why, "unknown %s %s%.*s (did you mean %s?)", kind[from], before, shown, name, hint);
}

static int keep_text(char **to, const char *value, char *why) {
  char *copy = strdup(value);
  if (!copy) {
    complain(why, "out of memory");
    return -ENOMEM;
  }
  free(*to);
  *to = copy;
  return 0;
}

/* One walk over the command line. */
struct walk {
  struct mp_options *o; /* borrowed for the walk, like the rest */
  char *const *argv;
  int argc, at;
  bool only_names; /* behind "--" */
  char *why;
};

static const char *next_word(struct walk *w) {
  return w->at < w->argc ? w->argv[w->at++] : NULL;
}

static bool next_is_switch(const struct walk *w) {
  return w->at < w->argc && (strcmp(w->argv[w->at], "on") == 0 || strcmp(w->argv[w->at], "off") == 0);
}

/* The words that ask for something instead of setting something. 1: taken, 0: not one of them. */
static int take_question(struct walk *w, const char *name, size_t len, const char *value) {
  bool *asked = NULL;
  if (len == 4 && memcmp(name, "help", 4) == 0) asked = &w->o->help;
  if (len == 7 && memcmp(name, "version", 7) == 0) asked = &w->o->version;
  if (len == 12 && memcmp(name, "print-config", 12) == 0) asked = &w->o->print_config;
  if (len == 6 && memcmp(name, "config", 6) == 0) {
    if (!value && !(value = next_word(w))) return complain(w->why, "--config: a file is wanted");
    int err = keep_text(&w->o->config_file, value, w->why);
    return err < 0 ? err : 1;
  }
  if (!asked) return 0;
  if (value) return complain(w->why, "--%.*s takes no value", (int)len, name);
  *asked = true;
  return 1;
}

static int take_option(struct walk *w, const struct mp_option *option, const char *value) {
  if (!value && option->kind == MP_OPTION_SWITCH) value = next_is_switch(w) ? next_word(w) : "on";
  if (!value && !(value = next_word(w))) return complain(w->why, "--%s: a value is wanted", option->name);
  return mp_options_set(w->o, option, value, MP_FROM_FLAG, w->why);
}

/* --no-a-b. 1: taken, 0: no such switch. */
static int take_negation(struct walk *w, const char *name, size_t len, const char *value) {
  if (len <= 3 || memcmp(name, "no-", 3) != 0) return 0;
  const struct mp_option *option = mp_option_named(name + 3, len - 3);
  if (!option || option->kind != MP_OPTION_SWITCH) return 0;
  if (value) return complain(w->why, "--%.*s takes no value", (int)len, name);
  int err = mp_options_set(w->o, option, "off", MP_FROM_FLAG, w->why);
  return err < 0 ? err : 1;
}

static int take_long(struct walk *w, const char *name) {
  size_t len = strcspn(name, "=");
  const char *value = name[len] ? name + len + 1 : NULL;
  int taken = take_question(w, name, len, value);
  if (taken) return taken < 0 ? taken : 0;
  const struct mp_option *option = len > 1 ? mp_option_named(name, len) : NULL;
  if (option) return take_option(w, option, value);
  taken = take_negation(w, name, len, value);
  return taken < 0 ? taken : taken ? 0 : unknown(w->why, MP_FROM_FLAG, "--", name, len);
}

static int take_short(struct walk *w, const char *word) {
  const char *value = word[1] && word[2] ? word + 2 : NULL;
  if (word[1] == 'h' && !value) return w->o->help = true, 0;
  if (word[1] == 'v' && !value) return w->o->version = true, 0;
  const struct mp_option *option = mp_option_named(word + 1, 1);
  if (!option) return unknown(w->why, MP_FROM_FLAG, "", word, strlen(word));
  return take_option(w, option, value);
}

static int take_app(struct walk *w, const char *word) {
  char **app = &w->o->config.app;
  if (*app) return complain(w->why, "one app is served: %.200s, or %.200s?", *app, word);
  if (!*word) return complain(w->why, "the app has an empty name");
  return keep_text(app, word, w->why);
}

int mp_options_flags(struct mp_options *o, int argc, char *const *argv, char *why) {
  struct walk w = {.o = o, .argv = argv, .argc = argc, .why = why};
  int err = 0;
  const char *word;
  while (err == 0 && (word = next_word(&w))) {
    if (w.only_names || word[0] != '-' || !word[1])
      err = take_app(&w, word);
    else if (strcmp(word, "--") == 0)
      w.only_names = true;
    else
      err = word[1] == '-' ? take_long(&w, word + 2) : take_short(&w, word);
  }
  return err;
}

enum { PREFIX = 9 }; /* of "MOONPOOL_" */

/* Read by the app's half in Lua: not an option, so that no listing of the settings shows it. */
static bool is_secret(const char *name) {
  return strcmp(name, "secret") == 0 || strcmp(name, "secret_file") == 0;
}

/* MOONPOOL_A_B is the option a-b; small letters in it are no name of ours. */
static int take_variable(struct mp_options *o, const char *entry, char *why) {
  const char *upper = entry + PREFIX;
  char name[64];
  size_t len = strcspn(upper, "=");
  const char *value = upper[len] ? upper + len + 1 : "";
  if (len >= sizeof name) return unknown(why, MP_FROM_VARIABLE, "MOONPOOL_", upper, len);
  for (size_t i = 0; i <= len; i++)
    name[i] = (char)(upper[i] >= 'A' && upper[i] <= 'Z' ? upper[i] - 'A' + 'a' : upper[i]);
  name[len] = '\0';
  if (strcmp(name, "config") == 0) return o->config_file ? 0 : keep_text(&o->config_file, value, why);
  if (is_secret(name)) return 0;
  const struct mp_option *option = len > 1 ? mp_option_named(name, len) : NULL;
  if (option) return mp_options_set(o, option, value, MP_FROM_VARIABLE, why);
  int err = unknown(why, MP_FROM_VARIABLE, "MOONPOOL_", name, len);
  for (size_t i = 0; i < len; i++) why[sizeof "unknown variable MOONPOOL_" - 1 + i] = upper[i]; /* as it was written */
  return err;
}

int mp_options_variables(struct mp_options *o, char *const *envp, char *why) {
  int err = 0;
  for (; err == 0 && *envp; envp++)
    if (strncmp(*envp, "MOONPOOL_", PREFIX) == 0) err = take_variable(o, *envp, why);
  return err;
}

/* In place: the helper writes \\ and \n for what would break a line. */
static void unescape(char *s) {
  char *to = s;
  for (; *s; s++) {
    if (*s == '\\' && s[1])
      *to++ = *++s == 'n' ? '\n' : *s;
    else
      *to++ = *s;
  }
  *to = '\0';
}

static int take_line(struct mp_options *o, char *line, char *why) {
  char *value = strchr(line, '=');
  if (!value) return complain(why, "not a line of key=value: %.100s", line);
  *value++ = '\0';
  unescape(value);
  if (strcmp(line, "app") == 0) return keep_text(&o->config.settings, value, why);
  const struct mp_option *option = mp_option_named(line, strlen(line));
  if (!option) return unknown(why, MP_FROM_FILE, "", line, strlen(line));
  return mp_options_set(o, option, value, MP_FROM_FILE, why);
}

int mp_options_file(struct mp_options *o, struct mp_slice lines, char *why) {
  char *copy = malloc(lines.len + 1), *rest = copy, *line;
  int err = 0;
  if (!copy) {
    complain(why, "out of memory");
    return -ENOMEM;
  }
  if (lines.len > 0) memcpy(copy, lines.at, lines.len);
  copy[lines.len] = '\0';
  while (err == 0 && (line = strsep(&rest, "\n")))
    if (*line) err = take_line(o, line, why);
  free(copy);
  return err;
}

/* 8388608 as 8M, as long as nothing is lost. */
static int show_size(uint64_t n, struct mp_buf *out) {
  static const char unit[] = {'\0', 'K', 'M', 'G'};
  unsigned i = 0;
  while (n && n % 1024 == 0 && i < 3) n /= 1024, i++;
  return i ? mp_buf_addf(out, "%llu%c", (unsigned long long)n, unit[i])
           : mp_buf_addf(out, "%llu", (unsigned long long)n);
}

static int show_seconds(double s, struct mp_buf *out) {
  char text[40];
  snprintf(text, sizeof text, "%.15g", s);
  if (strtod(text, NULL) != s) snprintf(text, sizeof text, "%.17g", s);
  return mp_buf_addf(out, "%s", text);
}

static int show_list(const struct mp_config *config, struct mp_buf *out) {
  int err = 0;
  for (unsigned i = 0; err == 0 && i < config->n_listen; i++)
    err = mp_buf_addf(out, "%s%s", i ? "," : "", config->listen[i]);
  return err;
}

int mp_option_show(const struct mp_config *config, const struct mp_option *option, struct mp_buf *out) {
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  const void *field = (const char *)config + option->offset;
  switch (option->kind) {
  case MP_OPTION_SWITCH:
    return mp_buf_addf(out, "%s", *(const bool *)field ? "on" : "off");
  case MP_OPTION_COUNT:
  case MP_OPTION_CORES:
    return mp_buf_addf(out, "%u", *(const unsigned *)field);
  case MP_OPTION_SECONDS:
    return show_seconds(*(const double *)field, out);
  case MP_OPTION_SIZE:
    return show_size(*(const uint64_t *)field, out);
  case MP_OPTION_SIZE32:
    return show_size(*(const unsigned *)field, out);
  case MP_OPTION_TEXT:
  case MP_OPTION_PATH:
  case MP_OPTION_ATOMS:
  case MP_OPTION_COMMAS:
    return *(char *const *)field ? mp_buf_addf(out, "%s", *(char *const *)field) : 0;
  case MP_OPTION_LIST:
    return show_list(config, out);
  case MP_OPTION_LEVEL:
    return mp_buf_addf(out, "%s", levels[*(const enum mp_log_level *)field]);
  case MP_OPTION_FORMAT:
    return mp_buf_addf(out, "%s", *(const bool *)field ? "json" : "text");
  }
  return -EINVAL;
}
