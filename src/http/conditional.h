/* conditional.h - requests that depend on what the client has already (RFC 9110 13). */
#ifndef MP_HTTP_CONDITIONAL_H
#define MP_HTTP_CONDITIONAL_H

#include "http/head.h"
#include <time.h>

/* What is known of the thing asked for, which exists. */
struct mp_validators {
  struct mp_slice etag; /* with its quotes, and W/ when weak; empty: none */
  time_t modified;      /* -1: not known */
};

/* 0: go on; 304: the client has it; 412: a precondition failed. In the order of RFC 9110 13.2.2. To be asked only where
 * the answer without it were 2xx. */
int mp_conditional_status(const struct mp_head *head, const struct mp_validators *now);

/* Whether a Range counts: there is no If-Range, or it names exactly what is there (13.1.5). */
bool mp_conditional_range(const struct mp_head *head, const struct mp_validators *now);

enum { MP_ETAG_SIZE = 56 };

/* A strong tag from a file's size and time of change, to the nanosecond; borrowed from `out`. */
struct mp_slice mp_etag_of_file(char out[MP_ETAG_SIZE], uint64_t size, int64_t s, uint32_t ns);

#endif
