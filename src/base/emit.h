/* emit.h - JSON written piece by piece into a buffer. It looks after commas and escapes; that keys stand in objects and
 * ends match begins is the caller's to see. Bytes that are no ASCII are written as the code points of those numbers, so
 * that what comes out is valid whatever goes in. Running out of memory is remembered: look at `err` at the end. */
#ifndef MP_BASE_EMIT_H
#define MP_BASE_EMIT_H

#include "base/buf.h"

struct mp_emit {
  struct mp_buf *out; /* borrowed */
  int err;            /* 0 or -ENOMEM */
  bool follows;       /* something stands before the next value */
};

/* `key` NULL: a value in a list, or the outermost one. */
void mp_emit_begin(struct mp_emit *e, const char *key, char bracket); /* '{' or '[' */
void mp_emit_end(struct mp_emit *e, char bracket);                    /* '}' or ']' */
void mp_emit_text(struct mp_emit *e, const char *key, struct mp_slice text);
void mp_emit_count(struct mp_emit *e, const char *key, uint64_t n);
void mp_emit_number(struct mp_emit *e, const char *key, double n); /* finite; three digits behind the point */
void mp_emit_flag(struct mp_emit *e, const char *key, bool flag);
void mp_emit_null(struct mp_emit *e, const char *key);
/* JSON that somebody else has written. */
void mp_emit_raw(struct mp_emit *e, const char *key, struct mp_slice json);

static inline void mp_emit_word(struct mp_emit *e, const char *key, const char *word) {
  mp_emit_text(e, key, mp_slice(word, strlen(word)));
}

#endif
