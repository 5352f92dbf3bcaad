#include "base/buf.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { SMALLEST = 256 };

/* What was taken from the front is worth moving the rest for once it is half of the memory. */
static void slide(struct mp_buf *b) {
  size_t len = mp_buf_len(b);
  if (b->start == 0) return;
  memmove(b->mem, b->mem + b->start, len);
  b->start = 0;
  b->end = (uint32_t)len;
}

char *mp_buf_make_room(struct mp_buf *b, size_t n) {
  size_t len = mp_buf_len(b), cap = b->cap ? b->cap : SMALLEST;
  if (n > UINT32_MAX - len) return NULL;
  if (b->mem && len + n <= b->cap && b->start >= b->cap / 2) {
    slide(b);
    return b->mem + b->end;
  }
  while (cap < len + n) cap *= 2;
  if (cap > UINT32_MAX) cap = UINT32_MAX;
  char *mem = malloc(cap);
  if (!mem) return NULL;
  if (b->mem && len > 0) memcpy(mem, b->mem + b->start, len);
  free(b->mem);
  *b = (struct mp_buf){.mem = mem, .start = 0, .end = (uint32_t)len, .cap = (uint32_t)cap};
  return mem + len;
}

int mp_buf_add(struct mp_buf *b, const void *bytes, size_t n) {
  if (n == 0) return 0;
  char *to = mp_buf_room(b, n);
  if (!to) return -ENOMEM;
  memcpy(to, bytes, n);
  mp_buf_grew(b, n);
  return 0;
}

int mp_buf_addf(struct mp_buf *b, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n < 0) return -EINVAL;
  char *to = mp_buf_room(b, (size_t)n + 1);
  if (!to) return -ENOMEM;
  va_start(args, format);
  vsnprintf(to, (size_t)n + 1, format, args);
  va_end(args);
  mp_buf_grew(b, (size_t)n);
  return 0;
}

void mp_buf_take(struct mp_buf *b, size_t n) {
  b->start += (uint32_t)n;
  if (b->start == b->end) b->start = b->end = 0;
}

void mp_buf_reset(struct mp_buf *b, size_t keep) {
  if (b->cap > keep) {
    mp_buf_free(b);
    return;
  }
  b->start = b->end = 0;
}

void mp_buf_free(struct mp_buf *b) {
  free(b->mem);
  *b = (struct mp_buf){0};
}
