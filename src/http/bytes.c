#include "http/bytes.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define DIGIT(c) ((c) >= '0' && (c) <= '9')
#define LETTER(c) (((c) >= 'a' && (c) <= 'z') || ((c) >= 'A' && (c) <= 'Z'))
#define HEX(c) (DIGIT(c) || ((c) >= 'a' && (c) <= 'f') || ((c) >= 'A' && (c) <= 'F'))
#define UNRESERVED(c) (DIGIT(c) || LETTER(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define SUB_DELIM(c) ((c) == '!' || (c) == '$' || ((c) >= '&' && (c) <= ',') || (c) == ';' || (c) == '=')
#define TOKEN(c)                                                                                                       \
  (DIGIT(c) || LETTER(c) || (c) == '!' || ((c) >= '#' && (c) <= '\'') || (c) == '*' || (c) == '+' || (c) == '-' ||     \
   (c) == '.' || (c) == '^' || (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define TARGET(c) ((c) > ' ' && (c) < 127 && (c) != '#')
#define VALUE(c) ((c) == '\t' || ((c) >= ' ' && (c) != 127))

#define CLASS(c)                                                                                                       \
  ((TOKEN(c) ? MP_BYTE_TOKEN : 0) | (TARGET(c) ? MP_BYTE_TARGET : 0) |                                                 \
   (UNRESERVED(c) || SUB_DELIM(c) ? MP_BYTE_HOST : 0) | (VALUE(c) ? MP_BYTE_VALUE : 0) |                               \
   (DIGIT(c) ? MP_BYTE_DIGIT : 0) | (HEX(c) ? MP_BYTE_HEX : 0) | (UNRESERVED(c) ? MP_BYTE_UNRESERVED : 0))
#define ROW4(c) CLASS(c), CLASS((c) + 1), CLASS((c) + 2), CLASS((c) + 3)
#define ROW16(c) ROW4(c), ROW4((c) + 4), ROW4((c) + 8), ROW4((c) + 12)
#define ROW64(c) ROW16(c), ROW16((c) + 16), ROW16((c) + 32), ROW16((c) + 48)

const unsigned char mp_bytes[256] = {ROW64(0), ROW64(64), ROW64(128), ROW64(192)};

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Marks at least the lowest byte below 32 or equal to 127, and none lower than that. */
static uint64_t control_marks(uint64_t word) {
  uint64_t low = (word - EACH(0x20)) & ~word;
  uint64_t del = word ^ EACH(0x7f);
  return (low | ((del - EACH(0x01)) & ~del)) & EACH(0x80);
}

#ifdef __SSE2__
/* One bit for each byte below 32 or equal to 127. */
static unsigned control_bits(const char *bytes) {
  __m128i block = _mm_loadu_si128((const __m128i *)(const void *)bytes);
  __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
  __m128i del = _mm_cmpeq_epi8(block, _mm_set1_epi8(0x7f));
  return (unsigned)_mm_movemask_epi8(_mm_or_si128(low, del));
}
#endif

size_t mp_next_control(const char *bytes, size_t at, size_t len) {
#ifdef __SSE2__
  for (; at + 16 <= len; at += 16) {
    unsigned bits = control_bits(bytes + at);
    if (bits) return at + (size_t)__builtin_ctz(bits);
  }
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  for (; at + 8 <= len; at += 8) {
    uint64_t word;
    memcpy(&word, bytes + at, 8);
    uint64_t marks = control_marks(word);
    if (marks) return at + (size_t)__builtin_ctzll(marks) / 8;
  }
#endif
  for (; at < len; at++)
    if ((unsigned char)bytes[at] < 0x20 || bytes[at] == 0x7f) return at;
  return len;
}

bool mp_is_value(struct mp_slice s) {
  size_t at = 0;
  while ((at = mp_next_control(s.at, at, s.len)) < s.len)
    if (s.at[at++] != '\t') return false;
  return true;
}

bool mp_decimal(struct mp_slice s, uint64_t *value) {
  uint64_t n = 0;
  for (size_t i = 0; i < s.len; i++) {
    unsigned digit = (unsigned char)s.at[i] - '0';
    if (digit > 9 || n > UINT64_MAX / 10 || n * 10 > UINT64_MAX - digit) return false;
    n = n * 10 + digit;
  }
  *value = n;
  return s.len > 0;
}

bool mp_list_next(struct mp_slice *rest, struct mp_slice *element) {
  while (rest->len > 0) {
    const char *comma = memchr(rest->at, ',', rest->len);
    size_t len = comma ? (size_t)(comma - rest->at) : rest->len, step = comma ? len + 1 : len;
    *element = mp_slice_trim(mp_slice(rest->at, len));
    *rest = mp_slice(rest->at + step, rest->len - step);
    if (element->len > 0) return true;
  }
  return false;
}
