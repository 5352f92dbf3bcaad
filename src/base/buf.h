/* buf.h - bytes that grow at the end and are taken from the front.
 * All zero is a valid empty buffer that holds no memory. */
#ifndef MP_BASE_BUF_H
#define MP_BASE_BUF_H

#include "base/slice.h"
#include <stdint.h>

struct mp_buf {
  char *mem;      /* owned */
  uint32_t start; /* first byte not taken yet */
  uint32_t end;   /* behind the last byte */
  uint32_t cap;
};

static inline size_t mp_buf_len(const struct mp_buf *b) {
  return b->end - b->start;
}

static inline char *mp_buf_at(const struct mp_buf *b) {
  return b->mem + b->start;
}

static inline struct mp_slice mp_buf_slice(const struct mp_buf *b) {
  return mp_slice(b->mem + b->start, mp_buf_len(b));
}

/* The same as mp_buf_room, where the memory at hand does not do as it is. */
char *mp_buf_make_room(struct mp_buf *b, size_t n);

/* Room for n more bytes at the returned place; NULL: out of memory (or past 4 GiB), nothing has changed.
 * What is written there counts only after mp_buf_grew. */
static inline char *mp_buf_room(struct mp_buf *b, size_t n) {
  return b->mem && n <= b->cap - b->end ? b->mem + b->end : mp_buf_make_room(b, n);
}

static inline void mp_buf_grew(struct mp_buf *b, size_t n) {
  b->end += (uint32_t)n;
}

/* 0 or -ENOMEM; on failure the buffer is as it was. */
int mp_buf_add(struct mp_buf *b, const void *bytes, size_t n);
int mp_buf_addf(struct mp_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline int mp_buf_add_slice(struct mp_buf *b, struct mp_slice s) {
  return mp_buf_add(b, s.at, s.len);
}

/* Takes n bytes from the front; n is at most mp_buf_len. */
void mp_buf_take(struct mp_buf *b, size_t n);

/* Empties; memory above `keep` bytes is given back. */
void mp_buf_reset(struct mp_buf *b, size_t keep);

/* Gives all memory back; the buffer is a valid empty one again. */
void mp_buf_free(struct mp_buf *b);

#endif
