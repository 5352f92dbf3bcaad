/* range.h - the Range field, in bytes (RFC 9110 14.1.2 and 14.2).
 *
 * The ranges are not collected: who sends them reads the field again, one by one. So their number needs no bound but
 * that of the field, and a request for thousands of them holds no more memory than its own head. */
#ifndef MP_HTTP_RANGE_H
#define MP_HTTP_RANGE_H

#include "base/slice.h"
#include <stdint.h>

struct mp_range {
  uint64_t first, len; /* len is at least 1, first + len at most the size */
};

/* What is left to be read of a field that has been judged. */
struct mp_ranges {
  struct mp_slice rest; /* borrowed */
  uint64_t size;        /* of what the ranges are of */
  unsigned n;           /* satisfiable ones in all of the field, as asked for: they may overlap, in any order */
};

/* The number of ranges to send. 0: send all (another unit, nothing behind "bytes=", or more bytes than there are).
 * -ERANGE: none can be satisfied, or it is malformed: 416. */
int mp_ranges_read(struct mp_ranges *ranges, struct mp_slice value, uint64_t size);

/* Takes the next of them. False: there is none. */
bool mp_ranges_next(struct mp_ranges *ranges, struct mp_range *range);

#endif
