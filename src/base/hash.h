/* hash.h - a keyed hash of bytes (SipHash, one and three rounds): who does not know the seed cannot aim at a bucket. */
#ifndef MP_BASE_HASH_H
#define MP_BASE_HASH_H

#include "base/slice.h"
#include <stdint.h>

uint64_t mp_hash(const uint64_t seed[2], struct mp_slice bytes);

#endif
