/* body.h - the body of one request, decoded piece by piece (RFC 9112 6 and 7.1).
 * Chunk sizes, extensions and trailers are bounded and checked; their line ends are CRLF and nothing else. */
#ifndef MP_HTTP_BODY_H
#define MP_HTTP_BODY_H

#include "http/head.h"

struct mp_body {
  uint64_t left;     /* bytes of the length, or of the chunk under way */
  uint64_t total;    /* bytes decoded so far */
  uint64_t most;     /* the limit on total: 413 */
  uint32_t extras;   /* bytes of size lines beyond what their chunks carry; then of all trailers: limits->head */
  uint32_t line;     /* bytes of the size or trailer line under way */
  uint16_t trailers; /* complete trailer lines, against limits->fields */
  uint8_t digits;    /* of the chunk size under way */
  uint8_t state;
};

/* MP_DONE: there is none. Refuses at once a Content-Length above limits->body. */
enum mp_verdict mp_body_start(struct mp_body *body, const struct mp_head *head, const struct mp_http_limits *limits,
                              struct mp_refusal *why);

/* Decodes from the front of `bytes`: `*used` bytes were eaten, `*piece` (maybe empty) is body, borrowed from `bytes`.
 * MP_MORE with an empty piece: all of `bytes` is eaten and the body goes on. MP_MORE with a piece: call again with
 * what is left. MP_DONE: the body ended behind `*used`; `*piece` may hold its last bytes; from then on every call says
 * so and eats nothing. After MP_REFUSE it is not called again. */
enum mp_verdict mp_body_feed(struct mp_body *body, const struct mp_http_limits *limits, const char *bytes, size_t len,
                             size_t *used, struct mp_slice *piece, struct mp_refusal *why);

/* The next n bytes of a body with a length, at most `left`, were taken by who knows where they begin. MP_DONE: it has
 * ended with them. */
enum mp_verdict mp_body_pass(struct mp_body *body, size_t n);

#endif
