/* slice.h - a borrowed run of bytes: who lends it says until when. */
#ifndef MP_BASE_SLICE_H
#define MP_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct mp_slice {
  const char *at; /* borrowed; not ended by NUL */
  size_t len;
};

#define MP_SLICE(literal) ((struct mp_slice){(literal), sizeof(literal) - 1})

static inline struct mp_slice mp_slice(const char *at, size_t len) {
  return (struct mp_slice){at, len};
}

static inline bool mp_slice_is(struct mp_slice a, struct mp_slice b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* For maps whose keys no stranger chooses: it has no secret. */
uint32_t mp_slice_hash(struct mp_slice s);

/* ASCII only, as field names and most tokens of HTTP compare (RFC 9110 5.1). */
bool mp_slice_is_nocase(struct mp_slice a, struct mp_slice b);

/* Without leading and trailing SP and HTAB (OWS of RFC 9110 5.6.3). */
struct mp_slice mp_slice_trim(struct mp_slice s);

#endif
