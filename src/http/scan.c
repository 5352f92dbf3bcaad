#include "http/bytes.h"
#include "http/gate.h"

/* Empty lines that old clients send behind a body (RFC 9112 2.2). */
enum { EMPTY_LINES = 4 };

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
    size_t at = mp_next_control(bytes, scan->at, len);
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
