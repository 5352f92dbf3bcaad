#include "base/self.h"
#include <stdint.h>
#include <sys/auxv.h>
#include <unistd.h>

const char *mp_self_path(void) {
  static const char usual[] = "/proc/self/exe";
  if (access(usual, F_OK) == 0) return usual;
  const char *name = (const char *)(uintptr_t)getauxval(AT_EXECFN);
  return name && name[0] == '/' ? name : usual;
}
