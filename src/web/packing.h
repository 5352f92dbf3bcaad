/* packing.h - a large answer that is packed on its way (see sending.h): a slice a turn of the loop, so that others are
 * served meanwhile. Its length is not known before the end: it is chunked, or ended by close. */
#ifndef MP_WEB_PACKING_H
#define MP_WEB_PACKING_H

#include "web/sending.h"

/* `body` is copied. NULL: out of memory. */
struct mp_sending *mp_packing_new(enum mp_coding coding, struct mp_slice body);

#endif
