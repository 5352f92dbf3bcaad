/* heritage.h - what a process finds in its environment: the worker's own, less what is meant for the worker alone.
 * Most processes get just that, so it is kept until the worker's environment is another. */
#ifndef MP_API_HERITAGE_H
#define MP_API_HERITAGE_H

#include <stdbool.h>
#include <stddef.h>

struct mp_heritage {
  char **seen; /* owned: the worker's when it was last looked at */
  char **kept; /* owned array, ended by NULL; its strings are borrowed from the worker's environment */
  size_t n_seen;
  const char *path; /* borrowed: the value of PATH; NULL: there is none */
};

/* The value of PATH. Of an array ended by NULL; NULL: there is none. */
const char *mp_path_in(char *const *envp);

/* Looks whether the worker's environment has changed. 0 or -ENOMEM; what stands in it is good until the next call. */
int mp_heritage_look(struct mp_heritage *heritage);
void mp_heritage_free(struct mp_heritage *heritage);

#endif
