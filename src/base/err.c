#include "base/err.h"
#include "base/libc.h"
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *mp_err_name(int err) {
  const char *name = strerrorname_np(err < 0 ? -err : err);
  return name ? name : "EUNKNOWN";
}

int mp_err_number(const char *name) {
  for (int err = 1; err < 200; err++) {
    const char *known = strerrorname_np(err);
    if (known && strcmp(known, name) == 0) return err;
  }
  return 0;
}

const char *mp_err_text(int err, char *out, unsigned size) {
  const char *text = strerrordesc_np(err < 0 ? -err : err);
  if (!text) {
    snprintf(out, size, "error %d", err < 0 ? -err : err);
    return out;
  }
  snprintf(out, size, "%s", text);
  if (size > 1 && out[0] && !isupper((unsigned char)out[1])) out[0] = (char)tolower((unsigned char)out[0]);
  return out;
}

const char *mp_signal_name(int signo, char *out, unsigned size) {
  const char *abbrev = sigabbrev_np(signo);
  if (abbrev)
    snprintf(out, size, "SIG%s", abbrev);
  else if (signo >= SIGRTMIN && signo <= SIGRTMAX)
    snprintf(out, size, "SIGRTMIN+%d", signo - SIGRTMIN);
  else
    snprintf(out, size, "signal %d", signo);
  return out;
}

int mp_signal_number(const char *name) {
  if (strncasecmp(name, "SIG", 3) == 0) name += 3;
  for (int n = 1; n < 32; n++) {
    const char *abbrev = sigabbrev_np(n);
    if (abbrev && strcasecmp(abbrev, name) == 0) return n;
  }
  if (strncasecmp(name, "RTMIN+", 6) == 0) {
    char *end;
    long n = strtol(name + 6, &end, 10);
    return end > name + 6 && *end == '\0' && n >= 0 && n <= SIGRTMAX - SIGRTMIN ? SIGRTMIN + (int)n : 0;
  }
  return 0;
}
