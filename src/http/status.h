/* status.h - status codes and what they forbid (RFC 9110 15). */
#ifndef MP_HTTP_STATUS_H
#define MP_HTTP_STATUS_H

#include <stdbool.h>

/* "Not Found"; "Unknown" for a code without a phrase of its own. Static. */
const char *mp_status_phrase(int status);

/* 1xx, 204 and 304 have no body whatever the handler writes (RFC 9110 6.4.1). */
static inline bool mp_status_bodiless(int status) {
  return status < 200 || status == 204 || status == 304;
}

#endif
