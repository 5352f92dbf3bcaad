#include "cli/inherited.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int complain(char *why, const char *what, const char *value) {
  snprintf(why, MP_WHY, "%.60s: not what was expected: \"%.100s\"", what, value);
  return -EINVAL;
}

static int read_number(const char *text, const char **end, uint64_t most, uint64_t *n) {
  char *stop;
  if (*text < '0' || *text > '9') return -EINVAL;
  errno = 0;
  *n = strtoull(text, &stop, 10);
  *end = stop;
  return errno || *n > most ? -EINVAL : 0;
}

static bool is_number(const char *text, uint64_t most, uint64_t *n) {
  const char *end;
  return read_number(text, &end, most, n) == 0 && !*end;
}

/* The words of an old master. */

static int take_fd(const char *text, const char **end) {
  uint64_t n;
  if (read_number(text, end, 1 << 30, &n) < 0 || fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0) return -EINVAL;
  return (int)n;
}

static int take_listener(struct mp_inheritance *in, const char *text) {
  const char *end;
  int fd = take_fd(text, &end);
  if (fd < 0 || *end != '=' || in->n_listeners == MP_INHERITED_LISTENERS) return -EINVAL;
  in->listener[in->n_listeners++] = (struct mp_inherited_listener){fd, end + 1};
  return 0;
}

/* "2:http:admin" */
static int take_activated(struct mp_inheritance *in, const char *text) {
  const char *end;
  uint64_t n;
  if (read_number(text, &end, MP_INHERITED_LISTENERS, &n) < 0 || (*end && *end != ':')) return -EINVAL;
  in->n_activated = (unsigned)n;
  return *end && !(in->names = strdup(end + 1)) ? -ENOMEM : 0;
}

static int take_one_fd(int *to, const char *text) {
  const char *end;
  *to = take_fd(text, &end);
  return *to < 0 || *end ? -EINVAL : 0;
}

static int take_word(struct mp_inheritance *in, const char *name, const char *value) {
  if (strcmp(name, "fd") == 0) return take_one_fd(&in->old_fd, value);
  if (strcmp(name, "stderr") == 0) return take_one_fd(&in->stderr_fd, value);
  if (strcmp(name, "listen") == 0) return take_listener(in, value);
  if (strcmp(name, "activated") == 0) return take_activated(in, value);
  if (strcmp(name, "watchdog") == 0) return is_number(value, UINT64_MAX, &in->watchdog_us) ? 0 : -EINVAL;
  if (strcmp(name, "notify") == 0) return (in->notify = strdup(value)) ? 0 : -ENOMEM;
  return 0; /* of a newer or older master: what it says there we can do without */
}

static int take_words(struct mp_inheritance *in, int *argc, char ***argv, char *why) {
  static const char prefix[] = "--upgrade-";
  int err = 0;
  for (; err == 0 && *argc > 0 && strncmp(**argv, prefix, sizeof prefix - 1) == 0; --*argc, ++*argv) {
    char name[16];
    const char *word = **argv + sizeof prefix - 1, *equals = strchr(word, '=');
    if (!equals || equals - word >= (int)sizeof name) return complain(why, "upgrade", **argv);
    snprintf(name, sizeof name, "%.*s", (int)(equals - word), word);
    err = take_word(in, name, equals + 1);
    if (err == -EINVAL) complain(why, "upgrade", **argv);
  }
  return err;
}

/* The variables of systemd. */

static int keep(char **to, const char *name) {
  const char *value = getenv(name);
  if (!value || !*value || *to) return 0;
  return (*to = strdup(value)) ? 0 : -ENOMEM;
}

/* Are they meant for us, and not for a process that we were started by? */
static bool is_for_us(const char *name) {
  uint64_t pid;
  const char *value = getenv(name);
  return value && is_number(value, INT32_MAX, &pid) && (pid_t)pid == getpid();
}

static int read_activated(struct mp_inheritance *in, char *why) {
  uint64_t n;
  const char *count = getenv("LISTEN_FDS");
  if (!count || !is_for_us("LISTEN_PID")) return 0;
  if (!is_number(count, MP_INHERITED_LISTENERS, &n)) return complain(why, "LISTEN_FDS", count);
  for (int i = 0; i < (int)n; i++)
    if (fcntl(MP_FIRST_ACTIVATED + i, F_SETFD, FD_CLOEXEC) < 0) return complain(why, "LISTEN_FDS", count);
  in->n_activated = (unsigned)n;
  return keep(&in->names, "LISTEN_FDNAMES");
}

static int read_watchdog(struct mp_inheritance *in, char *why) {
  const char *wait = getenv("WATCHDOG_USEC");
  if (!wait || !*wait || (getenv("WATCHDOG_PID") && !is_for_us("WATCHDOG_PID"))) return 0;
  return is_number(wait, UINT64_MAX, &in->watchdog_us) ? 0 : complain(why, "WATCHDOG_USEC", wait);
}

static void forget_variables(void) {
  static const char *const names[] = {"LISTEN_PID",    "LISTEN_FDS",    "LISTEN_FDNAMES", "LISTEN_PIDFDID",
                                      "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
}

int mp_inherited_read(struct mp_inheritance *in, int *argc, char ***argv, char *why) {
  *in = (struct mp_inheritance){.program = program_invocation_name, .old_fd = -1, .stderr_fd = -1};
  snprintf(why, MP_WHY, "out of memory");
  int err = take_words(in, argc, argv, why);
  in->words = *argv;
  if (err == 0) err = read_activated(in, why);
  if (err == 0) err = read_watchdog(in, why);
  if (err == 0) err = keep(&in->notify, "NOTIFY_SOCKET");
  forget_variables();
  return err;
}

static void close_fd(int fd) {
  if (fd >= 0) close(fd);
}

void mp_inherited_free(struct mp_inheritance *in) {
  close_fd(in->old_fd);
  close_fd(in->stderr_fd);
  for (unsigned i = 0; i < in->n_listeners; i++) close_fd(in->listener[i].fd);
  free(in->names);
  free(in->notify);
  *in = (struct mp_inheritance){.old_fd = -1, .stderr_fd = -1};
}

/* Where to listen. */

static int add(struct mp_config *to, const char *address) {
  char **grown = realloc(to->listen, (to->n_listen + 1) * sizeof *grown);
  if (!grown) return -ENOMEM;
  to->listen = grown;
  if (!(grown[to->n_listen] = strdup(address))) return -ENOMEM;
  to->n_listen++;
  return 0;
}

static int add_fd(struct mp_config *to, unsigned nth) {
  char address[24];
  snprintf(address, sizeof address, "fd:%u", MP_FIRST_ACTIVATED + nth);
  return add(to, address);
}

/* How many of systemd's sockets have that name (NULL: any); each is added. */
static int add_named(const struct mp_inheritance *in, const char *name, struct mp_config *to) {
  const char *at = in->names ? in->names : "";
  int found = 0;
  for (unsigned i = 0; i < in->n_activated; i++) {
    size_t len = strcspn(at, ":");
    bool same = !name || (strlen(name) == len && memcmp(at, name, len) == 0);
    if (same && add_fd(to, i) < 0) return -ENOMEM;
    found += same;
    at += len + (at[len] == ':');
  }
  return found;
}

static int add_address(const struct mp_inheritance *in, const char *address, struct mp_config *to, char *why) {
  bool named = strncmp(address, "fd:", 3) == 0 && (address[3] < '0' || address[3] > '9');
  if (!named) return add(to, address);
  int found = add_named(in, address + 3, to);
  if (found == 0) {
    snprintf(why, MP_WHY, "listen: systemd has given no socket of the name %.100s", address + 3);
    return -EINVAL;
  }
  return found < 0 ? found : 0;
}

int mp_inherited_listen(const struct mp_inheritance *in, struct mp_options *o, char *why) {
  struct mp_config list = {0}, *c = &o->config;
  const struct mp_option *option = mp_option_named("listen", 6);
  bool said = o->origin[option - mp_option_table] != MP_FROM_DEFAULT;
  int err = 0;
  if (!said && in->n_activated > 0) {
    err = add_named(in, NULL, &list) < 0 ? -ENOMEM : 0;
  } else {
    for (unsigned i = 0; err == 0 && i < c->n_listen; i++) err = add_address(in, c->listen[i], &list, why);
  }
  if (err == 0) { /* the old list goes with the struct that held the new one */
    struct mp_config old = {.listen = c->listen, .n_listen = c->n_listen};
    c->listen = list.listen;
    c->n_listen = list.n_listen;
    list = old;
  }
  mp_config_free(&list);
  if (err == -ENOMEM) snprintf(why, MP_WHY, "out of memory");
  return err;
}
