#include "api/environment.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

bool mp_environment_is_ours(const char *entry) {
  static const char *const prefixes[] = {"MOONPOOL_", "LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_"};
  for (unsigned i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
    if (strncmp(entry, prefixes[i], strlen(prefixes[i])) == 0) return true;
  return false;
}

const char *mp_environment_path(char *const *envp) {
  for (; *envp; envp++)
    if (strncmp(*envp, "PATH=", 5) == 0) return *envp + 5;
  return NULL;
}

/* setenv and its like make a string for each value that is new, so the same pointers are the same environment; what
 * somebody writes into a string of his own (putenv) is seen through them. */
static bool is_same(const struct mp_environment *environment, char *const *now) {
  size_t n = 0;
  if (!environment->inherited) return false;
  for (; n < environment->n_seen; n++)
    if (now[n] != environment->seen[n]) return false;
  return now[n] == NULL && (!environment->path || strncmp(environment->path - 5, "PATH=", 5) == 0);
}

int mp_environment_look(struct mp_environment *environment) {
  static char *none[] = {NULL};
  char **now = environ ? environ : none;
  size_t n = 0, kept = 0;
  if (is_same(environment, now)) return 0;
  mp_environment_free(environment);
  while (now[n]) n++;
  environment->seen = calloc(n + 1, sizeof *environment->seen);
  environment->inherited = calloc(n + 1, sizeof *environment->inherited);
  if (!environment->seen || !environment->inherited) {
    mp_environment_free(environment);
    return -ENOMEM;
  }
  for (size_t i = 0; i < n; i++) {
    environment->seen[i] = now[i];
    if (!mp_environment_is_ours(now[i])) environment->inherited[kept++] = now[i];
  }
  environment->n_seen = n;
  environment->path = mp_environment_path(environment->inherited);
  return 0;
}

void mp_environment_free(struct mp_environment *environment) {
  free(environment->seen);
  free(environment->inherited);
  *environment = (struct mp_environment){0};
}
