/* mime.h - media types of files, by the extension of their names. */
#ifndef MP_HTTP_MIME_H
#define MP_HTTP_MIME_H

#include "base/slice.h"

/* "text/html; charset=utf-8" for "x/index.HTML"; "application/octet-stream" for what is not known. Static. */
struct mp_slice mp_mime_type(struct mp_slice path);

#endif
