/* traceparent.h - the field that carries a trace on (W3C Trace Context, 3.2). */
#ifndef MP_HTTP_TRACEPARENT_H
#define MP_HTTP_TRACEPARENT_H

#include "http/head.h"
#include <stdbool.h>

/* version-traceid-parentid-flags, in lower-case hex; neither id all zero; versions after 00 may say more behind it, in
 * the same alphabet. At most 256 bytes. */
bool mp_traceparent_is(struct mp_slice value);

/* What a request says of the trace that it belongs to; empty: nothing, or not well, or twice. Borrowed from the head.
 */
struct mp_slice mp_traceparent_of(const struct mp_head *head);

/* The trace's id in it: 32 digits; empty for an empty one. */
struct mp_slice mp_traceparent_id(struct mp_slice traceparent);

#endif
