#include "db/library.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#ifdef MOONPOOL_SQLITE_STATIC

static int find_functions(struct mp_sqlite *library, char *why, unsigned size) {
  (void)why, (void)size;
#define X(name) library->name = sqlite3_##name;
  MP_SQLITE_FUNCTIONS(X)
#undef X
  library->error_offset = NULL;
#if SQLITE_VERSION_NUMBER >= 3038000
  library->error_offset = sqlite3_error_offset;
#endif
  return 0;
}

#else
#include <dlfcn.h>

#define FILE_NAME "libsqlite3.so.0"

/* ISO C knows no way from an object's address to a function's; POSIX promises that their bytes are the same. */
static bool find(void *handle, const char *name, void *function, size_t size) {
  void *address = dlsym(handle, name);
  memcpy(function, &address, size);
  return address != NULL;
}

/* Never closed: threads may be in it to the last. A second load finds the same. */
static int find_functions(struct mp_sqlite *library, char *why, unsigned size) {
  const char *missing = NULL;
  void *handle = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    snprintf(why, size, "sqlite: %s is not there; Debian's package is libsqlite3-0 (%s)", FILE_NAME, dlerror());
    return -ENOENT;
  }
#define X(name)                                                                                                        \
  if (!find(handle, "sqlite3_" #name, &library->name, sizeof library->name)) missing = "sqlite3_" #name;
  MP_SQLITE_FUNCTIONS(X)
#undef X
  find(handle, "sqlite3_error_offset", &library->error_offset, sizeof library->error_offset);
  if (!missing) return 0;
  snprintf(why, size, "sqlite: %s is too old: it has no %s", FILE_NAME, missing);
  return -ENOSYS;
}

#endif

int mp_sqlite_load(struct mp_sqlite *library, char *why, unsigned size) {
  int err = find_functions(library, why, size);
  if (err < 0 || library->threadsafe()) return err;
  snprintf(why, size, "sqlite: the library was built for one thread alone (SQLITE_THREADSAFE=0)");
  return -ENOSYS;
}
