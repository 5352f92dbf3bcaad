/* gate.h - the parts of reading a head that head.c puts together; for the room http alone. */
#ifndef MP_HTTP_GATE_H
#define MP_HTTP_GATE_H

#include "http/head.h"

static inline enum mp_verdict mp_refuse(struct mp_refusal *why, int status, const char *reason) {
  *why = (struct mp_refusal){status, reason};
  return MP_REFUSE;
}

/* scan.c - lines, their ends, their sizes; no control byte but HTAB stands in one. MP_DONE: `scan->at` is behind the
 * head. What is refused does not depend on where the bytes were cut. */
enum mp_verdict mp_scan_lines(struct mp_head_scan *scan, const char *bytes, size_t len,
                              const struct mp_http_limits *limits, struct mp_refusal *why);

/* target.c - the request line, without its line end: method, target, path, query, minor; the host of an absolute
 * target. */
enum mp_verdict mp_request_line(struct mp_head *head, struct mp_slice line, struct mp_refusal *why);

/* target.c - uri-host [ ":" port ] (RFC 9110 7.2); an empty host is not one. */
bool mp_authority_is_valid(struct mp_slice authority);

/* head.c - is it in http-parser's list of methods? */
bool mp_method_is_known(struct mp_slice method);

/* head.c - of the request before nothing is left but the memory for fields. */
void mp_head_forget(struct mp_head *head);

/* What was met while the fields were read. */
struct mp_framing {
  struct mp_slice host, coding, length; /* the last field of each kind */
  uint16_t hosts, codings, lengths;     /* how many there were */
  bool close, keep_alive;               /* Connection said so */
  bool expects, expects_else;           /* 100-continue; anything else */
};

/* framing.c - takes note of a field that matters here, and passes over the others. */
void mp_framing_note(struct mp_framing *framing, struct mp_slice name, struct mp_slice value);

/* framing.c - judges all of it and fills in host, body, content_length, keep_alive, expect_continue. */
enum mp_verdict mp_framing_judge(const struct mp_framing *framing, struct mp_head *head, struct mp_refusal *why);

#endif
