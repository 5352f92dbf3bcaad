/* range.h - the Range field, in bytes (RFC 9110 14.1.2 and 14.2). */
#ifndef MP_HTTP_RANGE_H
#define MP_HTTP_RANGE_H

#include "base/slice.h"
#include <stdint.h>

enum { MP_RANGES = 32 };

struct mp_range {
  uint64_t first, len; /* len is at least 1, first + len at most the size */
};

struct mp_ranges {
  struct mp_range at[MP_RANGES]; /* as asked for: they may overlap, in any order */
  unsigned n;
};

/* The number of ranges to send. 0: send all (another unit, more than MP_RANGES, or more bytes than there are).
 * -ERANGE: none can be satisfied, or it is malformed: 416. */
int mp_ranges_read(struct mp_ranges *ranges, struct mp_slice value, uint64_t size);

#endif
