#ifdef MOONPOOL_BROTLI
#include "web/brotli.h"
#include <stdbool.h>
#include <string.h>

#ifdef MOONPOOL_BROTLI_STATIC

const struct mp_brotli *mp_brotli(void) {
#define X(name) .name = BrotliEncoder##name,
  static const struct mp_brotli library = {MP_BROTLI_FUNCTIONS(X)};
#undef X
  return &library;
}

#else
#include <dlfcn.h>
#include <pthread.h>

#define FILE_NAME "libbrotlienc.so.1"

/* The one copy that a process has of what the loader found: as constant as the loader's own tables. */
static struct mp_brotli brotli;
static bool brotli_found;

/* ISO C knows no way from an object's address to a function's; POSIX promises that their bytes are the same. */
static bool find(void *handle, const char *name, void *function, size_t size) {
  void *address = dlsym(handle, name);
  memcpy(function, &address, size);
  return address != NULL;
}

/* Never closed: answers may be in it to the last. */
static void look(void) {
  void *handle = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL);
  brotli_found = handle != NULL;
#define X(name) brotli_found = brotli_found && find(handle, "BrotliEncoder" #name, &brotli.name, sizeof brotli.name);
  MP_BROTLI_FUNCTIONS(X)
#undef X
}

const struct mp_brotli *mp_brotli(void) {
  static pthread_once_t brotli_once = PTHREAD_ONCE_INIT;
  pthread_once(&brotli_once, look);
  return brotli_found ? &brotli : NULL;
}

#endif
#endif
