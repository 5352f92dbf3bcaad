/* traceparent.h - the field that carries a trace on (W3C Trace Context, 3.2). */
#ifndef MP_HTTP_TRACEPARENT_H
#define MP_HTTP_TRACEPARENT_H

#include "base/slice.h"
#include <stdbool.h>

/* version-traceid-parentid-flags, in lower-case hex; neither id all zero; versions after 00 may say more behind it, in
 * the same alphabet. At most 256 bytes. */
bool mp_traceparent_is(struct mp_slice value);

#endif
