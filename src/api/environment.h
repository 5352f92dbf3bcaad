/* environment.h - what a process finds in its environment: the worker's own, less what is meant for the worker alone.
 * Most processes get just that, so it is kept until the worker's environment is another. */
#ifndef MP_API_ENVIRONMENT_H
#define MP_API_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

struct mp_environment {
  char **seen;      /* owned: the worker's when it was last looked at */
  char **inherited; /* owned array, ended by NULL; its strings are borrowed from the worker's environment */
  size_t n_seen;
  const char *path; /* borrowed: the value of PATH; NULL: there is none */
};

/* MOONPOOL_*, LISTEN_*, NOTIFY_SOCKET and WATCHDOG_*: a child must not take them for its own. */
bool mp_environment_is_ours(const char *entry);

/* Of an array ended by NULL; NULL: there is none. */
const char *mp_environment_path(char *const *envp);

/* Looks whether the worker's environment has changed. 0 or -ENOMEM; what stands in it is good until the next call. */
int mp_environment_look(struct mp_environment *environment);
void mp_environment_free(struct mp_environment *environment);

#endif
