/* store.h - a map from keys to values in a fixed block of memory that processes share.
 *
 *   | header, journal | buckets | heap | blocks of 64 bytes … |
 *
 * Everything is made of blocks of one size, chained, so whatever is free is of use to whatever comes: no mix of sizes
 * and no order of deletes leaves space that cannot be had. The block is named by offsets alone.
 *
 * Every call is one step to everybody else. A process may die in it at any instruction: what it had changed is undone
 * by the next caller from the journal, so that a value is the old one or the new one, and never half of it. (One
 * exception: a text that is replaced when there is no room for both goes before the new one comes.)
 *
 * Entries with a time to live are the only ones that go by themselves: when space is wanted, first those whose time is
 * over, then the one that was used least recently. Times are milliseconds of whatever clock all callers share. */
#ifndef MP_BASE_STORE_H
#define MP_BASE_STORE_H

#include "base/slice.h"
#include <stdint.h>

enum {
  MP_STORE_LONGEST_NAME = 255,
  MP_STORE_LONGEST_KEY = 65535,
  MP_STORE_PATIENCE_MS = 5000 /* a holder of its lock that is stopped is waited for so long: then -ETIMEDOUT */
};

#define MP_STORE_NEVER UINT64_MAX /* a time to live without an end: it never expires, but may make room */

struct mp_store;

enum mp_store_type {
  MP_STORE_FALSE = 1,
  MP_STORE_TRUE,
  MP_STORE_INTEGER,
  MP_STORE_FLOAT,
  MP_STORE_TEXT,
};

struct mp_store_value {
  enum mp_store_type type;
  union {
    int64_t integer;
    double real;
    struct mp_slice text; /* borrowed */
  };
};

/* A name is a map of its own: the same key under another name is another key. */
struct mp_store_key {
  struct mp_slice name, key; /* borrowed; no longer than the longest above */
};

/* The memory is all zero, and begins at a multiple of 64; less than a few KiB make a store that is always full.
 * `seed`: random. 0 or -errno. */
int mp_store_format(struct mp_store *store, uint64_t size, const uint64_t seed[2]);

/* All below: -ETIMEDOUT, and nothing was done. `ttl_ms` 0: none. */

/* 0, -ENOENT, or -ENOBUFS: value->text.len says how much room is wanted, and nothing else of it counts. A text is
 * copied to `room`. */
int mp_store_get(struct mp_store *store, const struct mp_store_key *key, char *room, size_t size, uint64_t now_ms,
                 struct mp_store_value *value);

/* 0, or -ENOSPC. What a key had before is gone with its time to live. Add: -EEXIST if there is any. */
int mp_store_set(struct mp_store *store, const struct mp_store_key *key, const struct mp_store_value *value,
                 uint64_t ttl_ms, uint64_t now_ms);
int mp_store_add(struct mp_store *store, const struct mp_store_key *key, const struct mp_store_value *value,
                 uint64_t ttl_ms, uint64_t now_ms);

/* Adds the number in `value` to the one that is there, 0 if none is; `value` is then the sum. Integers wrap around;
 * with a float it is one. The time to live is set if the key is made by this, and left as it is if not. 0, -ENOSPC, or
 * -EINVAL: something else is there. */
int mp_store_incr(struct mp_store *store, const struct mp_store_key *key, struct mp_store_value *value, uint64_t ttl_ms,
                  uint64_t now_ms);

int mp_store_delete(struct mp_store *store, const struct mp_store_key *key, uint64_t now_ms); /* 0 or -ENOENT */

/* `left_ms`: 0: it has no time to live. 0 or -ENOENT. Does not count as a use. */
int mp_store_ttl(struct mp_store *store, const struct mp_store_key *key, uint64_t now_ms, uint64_t *left_ms);

/* The keys of key->name that begin with key->key, some at a time: `*bucket` is 0 before the first call. Each lies in
 * `room` as two bytes of its length (the machine's order) and itself. How many bytes that are; 0 at the end; -ENOBUFS:
 * a bucket alone holds more than that, `room` has to be larger. What is there all the while is found once. */
long mp_store_keys(struct mp_store *store, const struct mp_store_key *key, uint32_t *bucket, char *room, size_t size,
                   uint64_t now_ms);

struct mp_store_facts {
  uint64_t size, used;     /* bytes: of the blocks */
  uint32_t entries, aging; /* aging: with a time to live */
};
int mp_store_look(struct mp_store *store, struct mp_store_facts *facts);

/* CLOCK_BOOTTIME, in milliseconds: also the time asleep counts. */
uint64_t mp_store_now(void);

#endif
