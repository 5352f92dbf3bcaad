/* url.h - percent-coding, paths and queries (RFC 3986 2.1 and 3.4; the form coding of the URL Standard 5). */
#ifndef MP_HTTP_URL_H
#define MP_HTTP_URL_H

#include "base/buf.h"
#include <sys/types.h>

/* Decodes `from` into `out`, which has room for from.len bytes; `plus`: "+" is a space. The length, or -EINVAL for a
 * broken escape, or for %00. */
ssize_t mp_url_decode(char *out, struct mp_slice from, bool plus);

/* Appends `from` with all but unreserved bytes (RFC 3986 2.3) escaped. 0 or -ENOMEM. */
int mp_url_encode(struct mp_buf *out, struct mp_slice from);

/* Takes the next pair off the front of `rest`, both sides still encoded; false at the end. "a" alone has the empty
 * value; empty pairs ("&&") are passed over. */
bool mp_query_next(struct mp_slice *rest, struct mp_slice *name, struct mp_slice *value);

#endif
