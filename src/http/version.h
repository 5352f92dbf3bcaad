/* version.h - which http-parser reads the grammar below the gate. */
#ifndef MP_HTTP_VERSION_H
#define MP_HTTP_VERSION_H

/* "2.9.4". Written to `out`, which is returned. */
const char *mp_http_library(char *out, unsigned size);

#endif
