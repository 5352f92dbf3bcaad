#include "http/gate.h"

/* Empty lines that old clients send behind a body (RFC 9112 2.2). */
enum { EMPTY_LINES = 4 };

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Marks at least the lowest byte below 32 or equal to 127, and none lower than that. */
static uint64_t control_marks(uint64_t word) {
  uint64_t low = (word - EACH(0x20)) & ~word;
  uint64_t del = word ^ EACH(0x7f);
  return (low | ((del - EACH(0x01)) & ~del)) & EACH(0x80);
}

/* Where the next control byte is, or `len`. */
static size_t next_control(const char *bytes, size_t at, size_t len) {
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

/* The line under way ends at `at`, or has come so far. Any limit that is passed within the request line is 414. */
static enum mp_verdict measure(const struct mp_head_scan *scan, size_t at, const struct mp_http_limits *limits,
                               struct mp_refusal *why) {
  size_t line = at - scan->line_start, all = at - 2 * (size_t)scan->skipped;
  if (scan->lines == 0) {
    if (line > limits->request_line || line > limits->head) return mp_refuse(why, 414, "request line too long");
    return MP_MORE;
  }
  if (line > limits->field_size) return mp_refuse(why, 431, "field line too long");
  if (all > limits->head) return mp_refuse(why, 431, "head too large");
  return MP_MORE;
}

static enum mp_verdict empty_line(struct mp_head_scan *scan, struct mp_refusal *why) {
  if (scan->lines > 0) return MP_DONE;
  if (++scan->skipped > EMPTY_LINES) return mp_refuse(why, 400, "empty lines in place of a request");
  return MP_MORE;
}

/* The line from line_start to `end` is whole; `scan->at` is behind its CRLF. */
static enum mp_verdict take_line(struct mp_head_scan *scan, const char *bytes, size_t end,
                                 const struct mp_http_limits *limits, struct mp_refusal *why) {
  char first = bytes[scan->line_start];
  bool empty = end == scan->line_start;
  if (empty && scan->lines == 0) {
    scan->line_start = scan->at;
    return empty_line(scan, why);
  }
  if (scan->lines > 0 && scan->at - 2 * scan->skipped > limits->head) return mp_refuse(why, 431, "head too large");
  if (empty) return MP_DONE;
  if (scan->lines == 0)
    scan->first_end = (uint32_t)end;
  else if (first == ' ' || first == '\t')
    return mp_refuse(why, 400, "folded or indented field line");
  else if (scan->lines > limits->fields || scan->lines > UINT16_MAX)
    return mp_refuse(why, 431, "too many fields");
  scan->lines++;
  scan->line_start = scan->at;
  return MP_MORE;
}

static enum mp_verdict refuse_control(char c, struct mp_refusal *why) {
  if (c == '\n') return mp_refuse(why, 400, "bare LF in the head");
  if (c == '\0') return mp_refuse(why, 400, "NUL in the head");
  return mp_refuse(why, 400, "control byte in the head");
}

enum mp_verdict mp_scan_lines(struct mp_head_scan *scan, const char *bytes, size_t len,
                              const struct mp_http_limits *limits, struct mp_refusal *why) {
  if (len > UINT32_MAX) len = UINT32_MAX; /* limits are smaller */
  for (;;) {
    size_t at = next_control(bytes, scan->at, len);
    scan->at = (uint32_t)at;
    enum mp_verdict verdict = measure(scan, at, limits, why);
    if (verdict == MP_REFUSE || at == len) return verdict;
    if (bytes[at] == '\t' && scan->lines > 0) {
      scan->at++;
      continue;
    }
    if (bytes[at] != '\r') return refuse_control(bytes[at], why);
    if (at + 1 == len) return MP_MORE;
    if (bytes[at + 1] != '\n') return mp_refuse(why, 400, "bare CR in the head");
    scan->at += 2;
    verdict = take_line(scan, bytes, at, limits, why);
    if (verdict != MP_MORE) return verdict;
  }
}
