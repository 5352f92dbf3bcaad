/* head.h - the head of one request: its bytes in, its facts or a refusal out (RFC 9112 2 to 7, RFC 9110).
 *
 * http-parser reads the grammar; the gate above it refuses what it lets through: bare LF, obs-fold, space before a
 * colon, control bytes, a second or non-final Transfer-Encoding, Transfer-Encoding beside Content-Length or on 1.0,
 * unequal Content-Lengths, a missing, repeated or malformed Host, target forms that do not fit the method. */
#ifndef MP_HTTP_HEAD_H
#define MP_HTTP_HEAD_H

#include "base/slice.h"
#include <stdint.h>
#include <sys/types.h>

enum mp_verdict {
  MP_MORE,  /* not yet: more bytes are needed */
  MP_DONE,  /* complete */
  MP_REFUSE /* the peer is wrong: answer with the refusal's status and close */
};

struct mp_refusal {
  int status;         /* 400, 408, 413, 414, 417, 431, 501, 505 */
  const char *reason; /* static, for the log: "bare LF in the head" */
};

struct mp_http_limits {
  uint32_t request_line; /* bytes, without its line end: 414 */
  uint32_t fields;       /* how many: 431 */
  uint32_t field_size;   /* bytes of one field line: 431 */
  uint32_t head;         /* bytes of all of it, and of trailers: 431 */
  uint64_t body;         /* bytes: 413 */
};

struct mp_field {
  struct mp_slice name;  /* as sent */
  struct mp_slice value; /* trimmed */
};

enum mp_body_kind { MP_BODY_NONE, MP_BODY_LENGTH, MP_BODY_CHUNKED };

/* Every slice is borrowed from the bytes that were parsed; mp_head_rebase moves them to a copy. */
struct mp_head {
  struct mp_slice method;
  struct mp_slice target;  /* as sent */
  struct mp_slice path;    /* of the target, still encoded, begins with "/" (or is "*"); empty for CONNECT */
  struct mp_slice query;   /* behind the "?", still encoded; at is NULL when there is none */
  struct mp_slice host;    /* the Host field's value, or the authority of an absolute target (RFC 9112 3.2.2) */
  struct mp_field *fields; /* owned; kept from request to request */
  uint16_t n_fields, cap_fields;
  uint8_t minor; /* 0 or 1 of HTTP/1.x */
  uint8_t body;  /* enum mp_body_kind */
  bool keep_alive;
  bool expect_continue;    /* and there is a body to wait for */
  bool known_method;       /* one that http-parser knows; others are tokens, and whoever routes may answer 501 */
  uint64_t content_length; /* with MP_BODY_LENGTH */
};

/* How far a head that has not come whole was looked through. All zero before each request. */
struct mp_head_scan {
  uint32_t at;         /* bytes seen */
  uint32_t line_start; /* of the line under way */
  uint32_t lines;      /* complete ones */
  uint32_t skipped;    /* empty lines ahead of the request line (RFC 9112 2.2) */
  uint32_t first_end;  /* of the request line, once it is whole */
};

/* `bytes` are all bytes since the end of the request before; call again with the same and more after MP_MORE. Limits
 * are judged as soon as they are passed, also while incomplete. MP_DONE: `*used` bytes were the head, and `head` is
 * filled. -ENOMEM does not exist here: a field array that cannot grow is a refusal with 503. */
enum mp_verdict mp_head_parse(struct mp_head *head, struct mp_head_scan *scan, const char *bytes, size_t len,
                              const struct mp_http_limits *limits, size_t *used, struct mp_refusal *why);

/* Every slice now borrows from `to`, which holds the same bytes as `from` did. */
void mp_head_rebase(struct mp_head *head, const char *from, const char *to);

/* The first field of that name (any case); NULL when there is none. */
const struct mp_field *mp_head_field(const struct mp_head *head, struct mp_slice name);

void mp_head_free(struct mp_head *head);

#endif
