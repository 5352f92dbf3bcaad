#include "api/heritage.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

/* The worker's, less what is ours or the service manager's: a child must not take it for its own. */
static bool is_ours(const char *entry) {
  static const char *const prefixes[] = {"MOONPOOL_", "LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_"};
  for (unsigned i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
    if (strncmp(entry, prefixes[i], strlen(prefixes[i])) == 0) return true;
  return false;
}

const char *mp_path_in(char *const *envp) {
  for (; *envp; envp++)
    if (strncmp(*envp, "PATH=", 5) == 0) return *envp + 5;
  return NULL;
}

/* setenv and its like make a string for each value that is new, so the same pointers are the same environment; what
 * somebody writes into a string of his own (putenv) is seen through them. */
static bool is_same(const struct mp_heritage *heritage, char *const *now) {
  size_t n = 0;
  if (!heritage->kept) return false;
  for (; n < heritage->n_seen; n++)
    if (!now[n] || now[n] != heritage->seen[n]) return false;
  return now[n] == NULL && (!heritage->path || strncmp(heritage->path - 5, "PATH=", 5) == 0);
}

int mp_heritage_look(struct mp_heritage *heritage) {
  char *none[] = {NULL};
  char **now = environ ? environ : none;
  size_t n = 0, kept = 0;
  if (is_same(heritage, now)) return 0;
  mp_heritage_free(heritage);
  while (now[n]) n++;
  heritage->seen = calloc(n + 1, sizeof *heritage->seen);
  heritage->kept = calloc(n + 1, sizeof *heritage->kept);
  if (!heritage->seen || !heritage->kept) {
    mp_heritage_free(heritage);
    return -ENOMEM;
  }
  for (size_t i = 0; i < n; i++) {
    heritage->seen[i] = now[i];
    if (!is_ours(now[i])) heritage->kept[kept++] = now[i];
  }
  heritage->n_seen = n;
  heritage->path = mp_path_in(heritage->kept);
  return 0;
}

void mp_heritage_free(struct mp_heritage *heritage) {
  free(heritage->seen);
  free(heritage->kept);
  *heritage = (struct mp_heritage){0};
}
