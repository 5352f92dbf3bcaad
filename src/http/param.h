/* param.h - the parameters behind a media type or a disposition: ; name=value; name="value" (RFC 9110 5.6.6). */
#ifndef MP_HTTP_PARAM_H
#define MP_HTTP_PARAM_H

#include "base/slice.h"

struct mp_param {
  struct mp_slice name;  /* a token, as sent */
  struct mp_slice value; /* without its quotes; escapes are still in it when `quoted` */
  bool quoted;
};

/* Takes what stands before the first ";", trimmed. */
struct mp_slice mp_param_head(struct mp_slice *rest);

/* Takes the next parameter off the front of `rest`, which begins with ";" or is empty. 1; 0 at the end; -EINVAL. A
 * value without quotes may be more than a token: boundaries often hold "=" or "/". */
int mp_param_next(struct mp_slice *rest, struct mp_param *param);

/* Undoes \" and \\ into `out`, which has room for as many bytes and may be where they are; the length. Other
 * backslashes stay: some browsers send paths of Windows as they are. */
size_t mp_param_unescape(char *out, struct mp_slice quoted);

#endif
