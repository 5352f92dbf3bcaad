#include "base/check.h"
#include <stdio.h>
#include <stdlib.h>

_Noreturn void mp_check_failed(const char *what, const char *file, int line) {
  fprintf(stderr, "moonpool: broken invariant: %s (%s:%d)\n", what, file, line);
  abort();
}

bool mp_bug_found(const char *what, const char *file, int line) {
  fprintf(stderr, "moonpool: bug: %s (%s:%d)\n", what, file, line);
  return true;
}
