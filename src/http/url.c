#include "http/url.h"
#include "http/bytes.h"
#include <errno.h>

/* The byte of an escape, or -EINVAL; `s` begins behind the "%". */
static int escaped_byte(const char *s, size_t len) {
  if (len < 2 || !mp_byte_is(s[0], MP_BYTE_HEX) || !mp_byte_is(s[1], MP_BYTE_HEX)) return -EINVAL;
  int byte = (int)(mp_hex_value(s[0]) << 4 | mp_hex_value(s[1]));
  return byte ? byte : -EINVAL;
}

ssize_t mp_url_decode(char *out, struct mp_slice from, bool plus) {
  char *to = out;
  for (size_t i = 0; i < from.len; i++) {
    char c = from.at[i];
    if (c == '%') {
      int byte = escaped_byte(from.at + i + 1, from.len - i - 1);
      if (byte < 0) return byte;
      c = (char)byte;
      i += 2;
    } else if (c == '+' && plus) {
      c = ' ';
    }
    *to++ = c;
  }
  return to - out;
}

int mp_url_encode(struct mp_buf *out, struct mp_slice from) {
  static const char hex[] = "0123456789ABCDEF";
  char *room = from.len > SIZE_MAX / 3 ? NULL : mp_buf_room(out, 3 * from.len), *to = room;
  if (!room) return -ENOMEM;
  for (size_t i = 0; i < from.len; i++) {
    unsigned char c = (unsigned char)from.at[i];
    if (mp_byte_is((char)c, MP_BYTE_UNRESERVED)) {
      *to++ = (char)c;
      continue;
    }
    *to++ = '%';
    *to++ = hex[c >> 4];
    *to++ = hex[c & 15];
  }
  mp_buf_grew(out, (size_t)(to - room));
  return 0;
}

/* Takes what stands before the next `mark` off the front; all of it when there is none. */
static struct mp_slice take_until(struct mp_slice *rest, char mark) {
  const char *at = rest->len ? memchr(rest->at, mark, rest->len) : NULL;
  struct mp_slice taken = mp_slice(rest->at, at ? (size_t)(at - rest->at) : rest->len);
  size_t step = at ? taken.len + 1 : taken.len;
  *rest = mp_slice(rest->at + step, rest->len - step);
  return taken;
}

bool mp_query_next(struct mp_slice *rest, struct mp_slice *name, struct mp_slice *value) {
  while (rest->len > 0) {
    *value = take_until(rest, '&');
    if (value->len == 0) continue;
    *name = take_until(value, '=');
    return true;
  }
  return false;
}
