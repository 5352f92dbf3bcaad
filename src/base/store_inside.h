/* store_inside.h - what the files of the store share: its layout, the journal, blocks, and who has to go first. */
#ifndef MP_BASE_STORE_INSIDE_H
#define MP_BASE_STORE_INSIDE_H

#include "base/store.h"
#include <pthread.h>

enum { MP_STORE_BLOCK = 64, MP_STORE_UNDO = 512 };

/* One word as it was before the step under way has changed it. */
struct mp_store_undo {
  uint64_t at; /* bytes from the beginning of the store; the lowest bit: it is 4 bytes, not 8 */
  uint64_t old;
};

struct mp_store {
  uint64_t size;
  pthread_mutex_t lock; /* robust; guards all below */
  uint64_t seed[2];
  uint64_t buckets_at, heap_at, blocks_at; /* bytes from the beginning */
  uint32_t n_blocks, n_buckets;            /* n_buckets: a power of two */
  /* Changed by steps. Blocks are numbered from 1; 0 is none. */
  uint32_t fresh;  /* from this one on, blocks have never been used */
  uint32_t free;   /* the first of those that were given back */
  uint32_t n_free; /* of both kinds */
  uint32_t n_entries;
  uint32_t n_aging;        /* entries with a time to live: all of them stand in the heap */
  uint32_t aging_blocks;   /* what they hold */
  uint32_t newest, oldest; /* of the aging ones, by use */
  uint32_t n_undo;         /* 0: no step is under way */
  struct mp_store_undo undo[MP_STORE_UNDO];
};

/* The first block of an entry: name, key and text begin in its bytes and go on in the blocks behind it. */
struct mp_store_entry {
  uint32_t next;   /* the block behind; in a free block the next free one */
  uint32_t beside; /* the next of its bucket */
  uint32_t hash;
  uint32_t newer, older; /* of the aging ones, by use */
  uint32_t heap;         /* its place in the heap, from 1; 0: it has no time to live */
  uint64_t expires_ms;
  uint64_t number; /* the bits of a number; of a text its length */
  uint32_t shape;  /* type, length of the name, length of the key */
  char bytes[20];
};

struct mp_store_rest {
  uint32_t next;
  char bytes[MP_STORE_BLOCK - 4];
};

_Static_assert(sizeof(struct mp_store_entry) == MP_STORE_BLOCK, "an entry begins with one block");
_Static_assert(sizeof(struct mp_store_rest) == MP_STORE_BLOCK, "and goes on in blocks");

static inline char *mp_store_at(struct mp_store *s, uint64_t at) {
  return (char *)s + at;
}
static inline struct mp_store_entry *mp_store_entry(struct mp_store *s, uint32_t block) {
  return (void *)mp_store_at(s, s->blocks_at + (uint64_t)(block - 1) * MP_STORE_BLOCK);
}
static inline struct mp_store_rest *mp_store_rest(struct mp_store *s, uint32_t block) {
  return (void *)mp_store_entry(s, block);
}
static inline uint32_t *mp_store_bucket(struct mp_store *s, uint32_t hash) {
  return (uint32_t *)(void *)mp_store_at(s, s->buckets_at) + (hash & (s->n_buckets - 1));
}
static inline uint32_t *mp_store_heap(struct mp_store *s) {
  return (uint32_t *)(void *)mp_store_at(s, s->heap_at);
}

static inline uint32_t mp_store_shape(enum mp_store_type type, size_t name, size_t key) {
  return (uint32_t)type << 24 | (uint32_t)name << 16 | (uint32_t)key;
}
static inline enum mp_store_type mp_store_type_of(const struct mp_store_entry *e) {
  return (enum mp_store_type)(e->shape >> 24);
}
static inline size_t mp_store_name_len(const struct mp_store_entry *e) {
  return e->shape >> 16 & 0xff;
}
static inline size_t mp_store_key_len(const struct mp_store_entry *e) {
  return e->shape & 0xffff;
}
static inline size_t mp_store_text_len(const struct mp_store_entry *e) {
  return mp_store_type_of(e) == MP_STORE_TEXT ? e->number : 0;
}

/* store_memory.c: steps. Every change of what others may see is put, and stands once it was committed. What was free
 * when a step began may be written to without. */
void mp_store_put32(struct mp_store *s, uint32_t *at, uint32_t to);
void mp_store_put64(struct mp_store *s, uint64_t *at, uint64_t to);
void mp_store_commit(struct mp_store *s);
void mp_store_take_back(struct mp_store *s); /* of a step that has not been committed */

/* Blocks. Taking needs n_free of them at least. */
uint64_t mp_store_blocks_for(uint64_t bytes);
uint32_t mp_store_blocks_of(const struct mp_store_entry *e);
uint32_t mp_store_take(struct mp_store *s, uint32_t n);
void mp_store_give(struct mp_store *s, uint32_t first, uint32_t n);

/* The bytes of an entry, from its first block on. */
struct mp_store_cursor {
  struct mp_store *s;
  uint32_t next; /* block */
  char *at;
  size_t left; /* of this block */
};
void mp_store_begin(struct mp_store *s, uint32_t entry, struct mp_store_cursor *c);
void mp_store_write(struct mp_store_cursor *c, struct mp_slice bytes);
void mp_store_read(struct mp_store_cursor *c, char *to, size_t n); /* `to` NULL: passes over them */
bool mp_store_same(struct mp_store_cursor *c, struct mp_slice bytes);

/* store_age.c: entries with a time to live, by use and by their end. */
void mp_store_age(struct mp_store *s, uint32_t entry, uint64_t expires_ms); /* 0: it has none any more */
void mp_store_use(struct mp_store *s, uint32_t entry);
bool mp_store_expired(const struct mp_store_entry *e, uint64_t now_ms);
/* Who goes next for the sake of space; 0: nobody may. `keep` never goes (0: all may). */
uint32_t mp_store_first_to_go(struct mp_store *s, uint64_t now_ms, uint32_t keep);

#endif
