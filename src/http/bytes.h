/* bytes.h - which bytes may stand where (RFC 9110 5.5 and 5.6.2, RFC 3986 2). */
#ifndef MP_HTTP_BYTES_H
#define MP_HTTP_BYTES_H

#include "base/slice.h"
#include <stdint.h>

enum {
  MP_BYTE_TOKEN = 1,  /* tchar */
  MP_BYTE_TARGET = 2, /* of a request target: visible ASCII but "#"; browsers send more than RFC 3986 lists */
  MP_BYTE_HOST = 4,   /* of a registered name: unreserved and sub-delims, escapes apart */
  MP_BYTE_VALUE = 8,  /* of a field value: HTAB, SP, visible ASCII, obs-text */
  MP_BYTE_DIGIT = 16,
  MP_BYTE_HEX = 32,
  MP_BYTE_UNRESERVED = 64 /* RFC 3986 2.3 */
};

extern const unsigned char mp_bytes[256];

static inline bool mp_byte_is(char c, unsigned classes) {
  return mp_bytes[(unsigned char)c] & classes;
}

/* Every byte is of the class; true for an empty slice. */
static inline bool mp_bytes_are(struct mp_slice s, unsigned classes) {
  for (size_t i = 0; i < s.len; i++)
    if (!mp_byte_is(s.at[i], classes)) return false;
  return true;
}

static inline bool mp_is_token(struct mp_slice s) {
  return s.len > 0 && mp_bytes_are(s, MP_BYTE_TOKEN);
}

/* Where the next control byte (below 32, or 127) is at or behind `at`, or `len`. */
size_t mp_next_control(const char *bytes, size_t at, size_t len);

/* As if all bytes were MP_BYTE_VALUE, many at a time. */
bool mp_is_value(struct mp_slice s);

/* 0 to 15 of a byte that is MP_BYTE_HEX. */
static inline unsigned mp_hex_value(char c) {
  return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a') + 10;
}

/* `name` is a token, `lower` a literal of the same length in small letters and "-": in tokens bit 5 tells nothing but
 * the case of a letter from those. */
static inline bool mp_token_is(const char *name, const char *lower, size_t len) {
  for (size_t i = 0; i < len; i++)
    if ((name[i] | 0x20) != lower[i]) return false;
  return true;
}

/* 1*DIGIT that fits; false for anything else. */
bool mp_decimal(struct mp_slice s, uint64_t *value);

/* Takes the next element off the front of a comma list, trimmed; empty ones are passed over. False at the end. */
bool mp_list_next(struct mp_slice *rest, struct mp_slice *element);

#endif
