#include "cli/options.h"
#include "worker/atoms.h"
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define AT(field) offsetof(struct mp_config, field)

/* A row a line, long as it may be: a table reads by its columns. */
/* clang-format off */
const struct mp_option mp_option_table[] = {
  {"listen", MP_OPTION_LIST, AT(listen), "127.0.0.1:8080", "ADDRESS", "HOST:PORT, :PORT, [::1]:PORT, unix:PATH[?mode=660&group=NAME], unix:@NAME, fd:N or fd:NAME; may be repeated", .common = true},
  {"backlog", MP_OPTION_COUNT, AT(backlog), "1024", "N", "connections that may wait to be accepted", .least = 1, .most = 65535},
  {"max-connections", MP_OPTION_COUNT, AT(max_connections), "10000", "N", "connections of one worker", .least = 1},
  {"workers", MP_OPTION_CORES, AT(workers), "auto", "N|auto", "worker processes; auto: one a core", .least = 1, .most = 256, .common = true},
  {"threads", MP_OPTION_CORES, AT(threads), "auto", "N", "threads of a worker for offloaded work", .least = 1, .most = 1024},
  {"max-procs", MP_OPTION_COUNT, AT(max_procs), "64", "N", "live child processes of a worker", .least = 1},
  {"timeout", MP_OPTION_SECONDS, AT(timeout), "30", "S", "how long Lua may hold a worker without yielding", .common = true},
  {"request-timeout", MP_OPTION_SECONDS, AT(request_timeout), "0", "S", "a request may take so long, then 503; 0: any time", .idle = false},
  {"boot-timeout", MP_OPTION_SECONDS, AT(boot_timeout), "60", "S", "a worker must be ready after so long", .idle = false},
  {"graceful-timeout", MP_OPTION_SECONDS, AT(graceful_timeout), "30", "S", "how long a stop waits for requests begun", .common = true},
  {"drain-idle", MP_OPTION_SECONDS, AT(drain_idle), "2", "S", "a retired worker keeps idle connections so long", .idle = false},
  {"keep-alive", MP_OPTION_SECONDS, AT(keep_alive), "75", "S", "an idle connection is kept so long", .idle = false},
  {"header-timeout", MP_OPTION_SECONDS, AT(header_timeout), "10", "S", "a request's head must be there after so long", .idle = false},
  {"body-timeout", MP_OPTION_SECONDS, AT(body_timeout), "30", "S", "between two pieces of a body", .idle = false},
  {"write-timeout", MP_OPTION_SECONDS, AT(write_timeout), "60", "S", "a client that takes nothing is cut after so long", .idle = false},
  {"max-body", MP_OPTION_SIZE, AT(max_body), "8M", "SIZE", "the largest body of a request", .common = true},
  {"limit-request-line", MP_OPTION_SIZE32, AT(limit_request_line), "8190", "SIZE", "the longest request line", .least = 16},
  {"limit-request-fields", MP_OPTION_COUNT, AT(limit_request_fields), "100", "N", "the most fields in a head", .least = 1, .most = 32768},
  {"limit-request-field-size", MP_OPTION_SIZE32, AT(limit_request_field_size), "8190", "SIZE", "the longest field", .least = 16},
  {"limit-request-head", MP_OPTION_SIZE, AT(limit_request_head), "64K", "SIZE", "the largest head, and trailers", .idle = false},
  {"limit-pipeline", MP_OPTION_COUNT, AT(limit_pipeline), "16", "N", "requests read ahead of the one being answered", .least = 1},
  {"max-memory", MP_OPTION_SIZE, AT(max_memory), "512M", "SIZE", "Lua memory of a worker; 0: no limit", .idle = false},
  {"max-rss", MP_OPTION_SIZE, AT(max_rss), "0", "SIZE", "a worker that grows larger is replaced; 0: never", .idle = false},
  {"max-lifetime", MP_OPTION_SECONDS, AT(max_lifetime), "0", "S", "a worker this old is replaced; 0: never", .idle = false},
  {"max-requests", MP_OPTION_COUNT, AT(max_requests), "0", "N", "a worker is replaced after so many; 0: never", .idle = false},
  {"max-requests-jitter", MP_OPTION_COUNT, AT(max_requests_jitter), "0", "N", "up to so many more, by chance", .idle = false},
  {"shared-memory", MP_OPTION_SIZE, AT(shared_memory), "16M", "SIZE", "memory of moonpool.shared", .idle = false},
  {"user", MP_OPTION_TEXT, AT(user), NULL, "NAME", "workers run as this user", .idle = false},
  {"group", MP_OPTION_TEXT, AT(group), NULL, "NAME", "workers run as this group", .idle = false},
  {"umask", MP_OPTION_TEXT, AT(umask), NULL, "OCTAL", "mode bits that new files do not get", .idle = false},
  {"chdir", MP_OPTION_TEXT, AT(chdir), NULL, "DIR", "workers run here instead of in the app's folder", .idle = false},
  {"pid", MP_OPTION_TEXT, AT(pid_file), NULL, "FILE", "the master writes its process number here", .common = true},
  {"no-new-privs", MP_OPTION_SWITCH, AT(no_new_privs), "off", NULL, "set-uid programs gain nothing (on with --user)", .idle = false},
  {"access-log", MP_OPTION_TEXT, AT(access_log), NULL, "FILE|-", "a line for each request", .idle = false},
  {"access-log-format", MP_OPTION_ATOMS, AT(access_log_format), NULL, "FORMAT", "lines of it, with Gunicorn's atoms", .idle = false},
  {"error-log", MP_OPTION_TEXT, AT(error_log), "-", "FILE|-", "where the log goes; -: stderr", .idle = false},
  {"log-level", MP_OPTION_LEVEL, AT(log_level), "info", "LEVEL", "debug, info, warn or error", .common = true},
  {"log-format", MP_OPTION_FORMAT, AT(log_json), "text", "FORMAT", "text or json", .idle = false},
  {"slow-callback", MP_OPTION_SECONDS, AT(slow_callback), "0", "S", "name Lua that holds the loop longer (0.1 with --dev)", .idle = false},
  {"slow-request", MP_OPTION_SECONDS, AT(slow_request), "0", "S", "name requests that take longer", .idle = false},
  {"trusted-proxies", MP_OPTION_COMMAS, AT(trusted_proxies), NULL, "LIST", "addresses whose Forwarded fields are believed", .idle = false},
  {"proxy-protocol", MP_OPTION_SWITCH, AT(proxy_protocol), "off", NULL, "connections begin with a PROXY line", .idle = false},
  {"server-header", MP_OPTION_SWITCH, AT(server_header), "on", NULL, "answers carry a Server field", .idle = false},
  {"compress", MP_OPTION_SWITCH, AT(compress), "on", NULL, "compress text for clients that take it", .idle = false},
  {"control-socket", MP_OPTION_TEXT, AT(control_socket), "auto", "PATH|auto", "where `moonpool ctl` reaches the master; off: nowhere", .idle = false},
  {"metrics-listen", MP_OPTION_TEXT, AT(metrics_listen), NULL, "ADDRESS", "serve /metrics there", .idle = false},
  {"health", MP_OPTION_PATH, AT(health), NULL, "PATH", "answer health checks at this path", .idle = false},
  {"dev", MP_OPTION_SWITCH, AT(dev), "off", NULL, "error pages that show the error", .common = true},
  {"watch", MP_OPTION_SWITCH, AT(watch), "off", NULL, "reload when a file of the app is saved (on with moonpool dev)", .idle = false},
  {"lua", MP_OPTION_TEXT, AT(lua_dir), NULL, "DIR", "Moonpool's own Lua from a folder", .idle = false},
  {"override", MP_OPTION_TEXT, AT(override), NULL, "DIR", "of a bundle: the app's files in this folder win", .idle = false},
  {"public-key", MP_OPTION_TEXT, AT(public_key), NULL, "HEX", "of a bundle: start only when this key has signed it", .idle = false},
  {0},
};
/* clang-format on */

_Static_assert(sizeof mp_option_table / sizeof *mp_option_table <= MP_OPTIONS_MOST, "origin[] is too short");

static const struct {
  const char *alias, *name;
} aliases[] = {{"bind", "listen"}, {"b", "listen"}, {"w", "workers"}, {"t", "timeout"}};

/* Words of the command line that are no settings, but near misses of which should be named too. */
static const char *const other_words[] = {"config", "print-config", "help", "version"};

unsigned mp_cores(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) < 0) return 1; /* more than 1024 of them: the operator will say how many */
  int n = CPU_COUNT(&set);
  return n > 0 ? (unsigned)n : 1;
}

static int complain(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int complain(char *why, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(why, MP_WHY, format, args);
  va_end(args);
  return -EINVAL;
}

/* "a_b" and "a-b" are one name. */
static char dashed(char c) {
  return c == '_' ? '-' : c;
}

static bool is_name(const char *name, size_t len, const char *known) {
  size_t i = 0;
  while (i < len && known[i] && dashed(name[i]) == known[i]) i++;
  return i == len && !known[i];
}

const struct mp_option *mp_option_named(const char *name, size_t len) {
  for (unsigned i = 0; i < sizeof aliases / sizeof *aliases; i++)
    if (is_name(name, len, aliases[i].alias)) return mp_option_named(aliases[i].name, strlen(aliases[i].name));
  for (const struct mp_option *o = mp_option_table; o->name; o++)
    if (is_name(name, len, o->name)) return o;
  return NULL;
}

enum { LONGEST_NAME = 40 };

static unsigned least_of(unsigned a, unsigned b, unsigned c) {
  unsigned ab = a < b ? a : b;
  return ab < c ? ab : c;
}

/* Letters to insert, drop or replace (Levenshtein), one row of the table at a time. */
static unsigned distance(const char *a, size_t len, const char *b) {
  unsigned row[LONGEST_NAME + 1], n = (unsigned)strlen(b);
  for (unsigned j = 0; j <= n; j++) row[j] = j;
  for (unsigned i = 1; i <= len; i++) {
    unsigned diagonal = row[0];
    row[0] = i;
    for (unsigned j = 1; j <= n; j++) {
      unsigned above = row[j];
      row[j] = least_of(above + 1, row[j - 1] + 1, diagonal + (dashed(a[i - 1]) != b[j - 1]));
      diagonal = above;
    }
  }
  return row[n];
}

static void keep_nearer(const char *name, size_t len, const char *known, const char **best, unsigned *least) {
  unsigned d = distance(name, len, known);
  if (d >= *least) return;
  *least = d;
  *best = known;
}

const char *mp_option_nearest(const char *name, size_t len) {
  const char *best = NULL;
  if (len == 0 || len > LONGEST_NAME) return NULL;
  unsigned least = (unsigned)len / 3 + 2; /* further away is another word */
  for (const struct mp_option *o = mp_option_table; o->name; o++) keep_nearer(name, len, o->name, &best, &least);
  for (unsigned i = 0; i < sizeof other_words / sizeof *other_words; i++)
    keep_nearer(name, len, other_words[i], &best, &least);
  return best;
}

/* Values: each reads one kind, or says in `why` what it wants (the caller puts the option's name in front). */

static void *field_of(const struct mp_config *config, const struct mp_option *option) {
  return (char *)(uintptr_t)config + option->offset;
}

static int read_switch(bool *to, const char *value, char *why) {
  static const char *const yes[] = {"on", "true", "yes", "1"}, *const no[] = {"off", "false", "no", "0"};
  for (unsigned i = 0; i < 4; i++) {
    if (strcasecmp(value, yes[i]) == 0) return *to = true, 0;
    if (strcasecmp(value, no[i]) == 0) return *to = false, 0;
  }
  return complain(why, "on or off is wanted, not \"%s\"", value);
}

static int read_digits(const char *value, uint64_t *n, const char **end) {
  char *stop;
  if (*value < '0' || *value > '9') return -EINVAL;
  errno = 0;
  *n = strtoull(value, &stop, 10);
  *end = stop;
  return errno ? -EINVAL : 0;
}

static int check_range(const struct mp_option *option, uint64_t n, char *why) {
  unsigned most = option->most ? option->most : UINT32_MAX;
  if (n < option->least) return complain(why, "at least %u is wanted", option->least);
  if (n > most) return complain(why, "at most %u is possible", most);
  return 0;
}

static int read_count(const struct mp_option *option, unsigned *to, const char *value, char *why) {
  uint64_t n;
  const char *end;
  if (read_digits(value, &n, &end) < 0 || *end) return complain(why, "a number is wanted, not \"%s\"", value);
  int err = check_range(option, n, why);
  if (err == 0) *to = (unsigned)n;
  return err;
}

static int read_cores(const struct mp_option *option, unsigned *to, const char *value, char *why) {
  if (strcmp(value, "auto") != 0) return read_count(option, to, value, why);
  unsigned cores = mp_cores();
  *to = cores < option->most ? cores : option->most;
  return 0;
}

static int read_seconds(double *to, const char *value, char *why) {
  char *end;
  double s = strtod(value, &end);
  if (*value < '.' || *value > '9' || *end || !isfinite(s) || s < 0 || s > 1e9)
    return complain(why, "seconds are wanted, not \"%s\"", value);
  *to = s;
  return 0;
}

static int read_size(uint64_t *to, const char *value, char *why) {
  uint64_t n;
  const char *end;
  unsigned shift = 0;
  if (read_digits(value, &n, &end) < 0)
    return complain(why, "a size is wanted (such as 512K or 8M), not \"%s\"", value);
  if (*end == 'k' || *end == 'K') shift = 10;
  if (*end == 'm' || *end == 'M') shift = 20;
  if (*end == 'g' || *end == 'G') shift = 30;
  if (end[shift != 0] != '\0') return complain(why, "a size is wanted (such as 512K or 8M), not \"%s\"", value);
  if (n > UINT64_MAX >> shift) return complain(why, "%s is too large", value);
  *to = n << shift;
  return 0;
}

static int read_size32(const struct mp_option *option, unsigned *to, const char *value, char *why) {
  uint64_t n;
  int err = read_size(&n, value, why);
  if (err == 0) err = check_range(option, n, why);
  if (err == 0) *to = (unsigned)n;
  return err;
}

static int read_text(char **to, const char *value) {
  char *copy = NULL;
  if (*value && strcmp(value, "off") != 0 && strcmp(value, "none") != 0 && !(copy = strdup(value))) return -ENOMEM;
  free(*to);
  *to = copy;
  return 0;
}

static int read_path(char **to, const char *value, char *why) {
  bool none = !*value || strcmp(value, "off") == 0 || strcmp(value, "none") == 0;
  if (!none && (*value != '/' || value[strcspn(value, "?# ")]))
    return complain(why, "a path that begins with / is wanted, not \"%s\"", value);
  return read_text(to, value);
}

static int read_atoms(char **to, const char *value, char *why) {
  struct mp_slice bad;
  if (strcmp(value, "combined") == 0) return read_text(to, "");
  if (mp_atoms_check(value, &bad) < 0) return complain(why, "\"%.*s\" is no atom", (int)bad.len, bad.at);
  return read_text(to, value);
}

static int join_text(char **to, const char *value) {
  char *both = NULL;
  if (!*to || !*value || strcmp(value, "none") == 0) return read_text(to, value);
  if (asprintf(&both, "%s,%s", *to, value) < 0) return -ENOMEM;
  free(*to);
  *to = both;
  return 0;
}

static int add_listen(struct mp_config *config, const char *at, size_t len) {
  char **grown = realloc(config->listen, (config->n_listen + 1) * sizeof *grown);
  if (!grown) return -ENOMEM;
  config->listen = grown;
  if (!(grown[config->n_listen] = strndup(at, len))) return -ENOMEM;
  config->n_listen++;
  return 0;
}

static int read_list(struct mp_config *config, const char *value, char *why) {
  for (;;) {
    size_t len = strcspn(value, ",");
    if (len == 0) return complain(why, "an address is wanted between the commas");
    int err = add_listen(config, value, len);
    if (err < 0 || !value[len]) return err;
    value += len + 1;
  }
}

static int read_level(enum mp_log_level *to, const char *value, char *why) {
  if (mp_log_level_named(value, to)) return 0;
  return complain(why, "debug, info, warn or error is wanted, not \"%s\"", value);
}

static int read_format(bool *json, const char *value, char *why) {
  *json = strcmp(value, "json") == 0;
  return *json || strcmp(value, "text") == 0 ? 0 : complain(why, "text or json is wanted, not \"%s\"", value);
}

static int read_value(struct mp_config *config, const struct mp_option *option, const char *value, char *why) {
  void *field = field_of(config, option);
  switch (option->kind) {
  case MP_OPTION_SWITCH:
    return read_switch(field, value, why);
  case MP_OPTION_COUNT:
    return read_count(option, field, value, why);
  case MP_OPTION_CORES:
    return read_cores(option, field, value, why);
  case MP_OPTION_SECONDS:
    return read_seconds(field, value, why);
  case MP_OPTION_SIZE:
    return read_size(field, value, why);
  case MP_OPTION_SIZE32:
    return read_size32(option, field, value, why);
  case MP_OPTION_TEXT:
    return read_text(field, value);
  case MP_OPTION_PATH:
    return read_path(field, value, why);
  case MP_OPTION_ATOMS:
    return read_atoms(field, value, why);
  case MP_OPTION_COMMAS:
    return join_text(field, value);
  case MP_OPTION_LIST:
    return read_list(config, value, why);
  case MP_OPTION_LEVEL:
    return read_level(field, value, why);
  case MP_OPTION_FORMAT:
    return read_format(field, value, why);
  }
  return -EINVAL;
}

/* What a source of lower rank said of a list or a text gives way as a whole. */
static void forget(struct mp_config *config, const struct mp_option *option) {
  if (option->kind == MP_OPTION_LIST) {
    for (unsigned i = 0; i < config->n_listen; i++) free(config->listen[i]);
    config->n_listen = 0;
  } else if (option->kind == MP_OPTION_TEXT || option->kind == MP_OPTION_PATH || option->kind == MP_OPTION_ATOMS ||
             option->kind == MP_OPTION_COMMAS) {
    char **text = field_of(config, option);
    free(*text);
    *text = NULL;
  }
}

const char *mp_option_spell(const char *name, enum mp_origin from, char *out, unsigned size) {
  static const char *const before[] = {"", "", "MOONPOOL_", "--"};
  int at = snprintf(out, size, "%s%s", before[from], name);
  if (at < 0 || from == MP_FROM_FLAG) return out;
  for (char *c = out; *c; c++) {
    if (*c == '-') *c = '_';
    if (from == MP_FROM_VARIABLE && *c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
  }
  return out;
}

static void name_in_front(const struct mp_option *option, enum mp_origin from, char *why) {
  char text[MP_WHY], name[LONGEST_NAME + 16];
  snprintf(text, sizeof text, "%s", why);
  snprintf(why, MP_WHY, "%s: %.400s", mp_option_spell(option->name, from, name, sizeof name), text);
}

static int set_checked(struct mp_options *o, const struct mp_option *option, const char *value, enum mp_origin from,
                       char *why) {
  unsigned char *origin = &o->origin[option - mp_option_table];
  if (from < *origin) {
    struct mp_config unused = {0};
    int err = read_value(&unused, option, value, why);
    mp_config_free(&unused);
    return err;
  }
  if (from > *origin) forget(&o->config, option);
  *origin = (unsigned char)from;
  return read_value(&o->config, option, value, why);
}

int mp_options_set(struct mp_options *o, const struct mp_option *option, const char *value, enum mp_origin from,
                   char *why) {
  int err = set_checked(o, option, value, from, why);
  if (err == -EINVAL) name_in_front(option, from, why);
  if (err == -ENOMEM) complain(why, "out of memory");
  return err;
}

int mp_options_unset(struct mp_options *o, const struct mp_option *option) {
  char why[MP_WHY];
  forget(&o->config, option);
  o->origin[option - mp_option_table] = MP_FROM_DEFAULT;
  return option->fallback ? mp_options_set(o, option, option->fallback, MP_FROM_DEFAULT, why) : 0;
}

int mp_options_init(struct mp_options *o) {
  char why[MP_WHY];
  *o = (struct mp_options){0};
  for (const struct mp_option *option = mp_option_table; option->name; option++) {
    int err = option->fallback ? mp_options_set(o, option, option->fallback, MP_FROM_DEFAULT, why) : 0;
    if (err < 0) return err;
  }
  return 0;
}

void mp_options_free(struct mp_options *o) {
  mp_config_free(&o->config);
  free(o->config_file);
  *o = (struct mp_options){0};
}

static bool still_default(const struct mp_options *o, const char *name) {
  return o->origin[mp_option_named(name, strlen(name)) - mp_option_table] == MP_FROM_DEFAULT;
}

void mp_options_finish(struct mp_options *o) {
  if (o->config.dev && still_default(o, "slow-callback")) o->config.slow_callback = 0.1;
  if (o->config.user && still_default(o, "no-new-privs")) o->config.no_new_privs = true;
}
