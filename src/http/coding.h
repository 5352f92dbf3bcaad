/* coding.h - content codings, and which of them a client takes (RFC 9110 8.4.1, 12.5.3). */
#ifndef MP_HTTP_CODING_H
#define MP_HTTP_CODING_H

#include "http/head.h"

/* In the order in which they are preferred where the client does not care. */
enum mp_coding { MP_CODING_NONE, MP_CODING_DEFLATE, MP_CODING_GZIP, MP_CODING_BROTLI, MP_CODINGS };

#define MP_CODING_BIT(coding) (1u << (coding))

/* The token: "identity", "gzip". Static. */
struct mp_slice mp_coding_name(enum mp_coding coding);

/* The one that the client likes best among those `offered` (bits of them). MP_CODING_NONE where it takes no other; also
 * where it does not even take that: an answer in a form that was not asked for is allowed, and better than none. */
enum mp_coding mp_coding_accepted(const struct mp_head *head, unsigned offered);

#endif
