/* memory.h - the allocator of a Lua state: counts, and keeps small blocks for the next use of their size.
 * A request makes and drops a few objects of the same sizes; a pop from a list costs a tenth of malloc and free. What
 * is kept is bounded. Under AddressSanitizer nothing is kept, so that it sees every use after a free. */
#ifndef MP_API_MEMORY_H
#define MP_API_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

enum { MP_MEMORY_STEP = 16, MP_MEMORY_CLASSES = 16, MP_MEMORY_KEPT = 1024 * 1024 /* bytes a class */ };

struct mp_memory_block {
  struct mp_memory_block *next;
};

struct mp_memory {
  size_t used;  /* bytes that the state holds now */
  size_t limit; /* SIZE_MAX: none */
  /* The state is about to hold `used` bytes, more than the limit. True: let it, this once. */
  bool (*beyond)(void *ctx, size_t used);
  void *ctx; /* borrowed */
  /* Where the blocks come from, as a lua_Alloc that is never asked to shrink to nothing but by new_size 0; NULL:
   * malloc. */
  void *(*source)(void *ctx, void *block, size_t old_size, size_t new_size);
  void *source_ctx;                                /* borrowed */
  struct mp_memory_block *kept[MP_MEMORY_CLASSES]; /* owned; class i: blocks of (i + 1) * MP_MEMORY_STEP bytes */
  unsigned n_kept[MP_MEMORY_CLASSES];
};

/* Before the first use. What would pass `limit` bytes (0: there is none) fails unless `beyond` lets it; Lua then
 * collects and asks once more. */
void mp_memory_limit(struct mp_memory *memory, size_t limit, bool (*beyond)(void *ctx, size_t used), void *ctx);

/* A lua_Alloc; `memory` is a struct mp_memory. */
void *mp_memory_alloc(void *memory, void *block, size_t old_size, size_t new_size);
void mp_memory_deinit(struct mp_memory *memory); /* after lua_close */

#endif
