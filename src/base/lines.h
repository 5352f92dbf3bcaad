/* lines.h - whole lines out of bytes that come in pieces; for the short words that our own processes exchange.
 * All zero is a valid empty one. */
#ifndef MP_BASE_LINES_H
#define MP_BASE_LINES_H

#include <stddef.h>

enum { MP_LINES_LONGEST = 126 };

struct mp_lines {
  unsigned len;
  char text[MP_LINES_LONGEST + 2];
};

/* Calls on_line for each line that is complete now, without its newline and ended by NUL; the line is lent for the
 * call. 0, or -EMSGSIZE at a line that is too long: what came before it was told, the rest is dropped. */
int mp_lines_feed(struct mp_lines *lines, const char *bytes, size_t n, void (*on_line)(void *ctx, const char *line),
                  void *ctx);

#endif
