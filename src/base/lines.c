#include "base/lines.h"
#include <errno.h>

int mp_lines_feed(struct mp_lines *lines, const char *bytes, size_t n, void (*on_line)(void *ctx, const char *line),
                  void *ctx) {
  for (size_t i = 0; i < n; i++) {
    if (bytes[i] == '\n') {
      lines->text[lines->len] = '\0';
      lines->len = 0;
      on_line(ctx, lines->text);
    } else if (lines->len < MP_LINES_LONGEST) {
      lines->text[lines->len++] = bytes[i];
    } else {
      lines->len = 0;
      return -EMSGSIZE;
    }
  }
  return 0;
}
