#include "api/memory.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
enum { KEEPS = 0 };
#else
enum { KEEPS = 1 };
#endif

enum { SMALL_MOST = MP_MEMORY_STEP * MP_MEMORY_CLASSES };

static unsigned class_of(size_t size) {
  return (unsigned)((size - 1) / MP_MEMORY_STEP);
}

static size_t whole(unsigned class) {
  return (class + 1) * (size_t)MP_MEMORY_STEP;
}

static void *get(struct mp_memory *memory, size_t size) {
  return memory->source ? memory->source(memory->source_ctx, NULL, 0, size) : malloc(size);
}

static void put_back(struct mp_memory *memory, void *at, size_t size) {
  if (memory->source)
    memory->source(memory->source_ctx, at, size, 0);
  else
    free(at);
}

static void *take(struct mp_memory *memory, size_t size) {
  if (size > SMALL_MOST) return get(memory, size);
  unsigned class = class_of(size);
  struct mp_memory_block *block = memory->kept[class];
  if (!block) return get(memory, whole(class));
  memory->kept[class] = block->next;
  memory->n_kept[class]--;
  return block;
}

static void give(struct mp_memory *memory, void *at, size_t size) {
  struct mp_memory_block *block = at;
  unsigned class = size > SMALL_MOST ? 0 : class_of(size);
  if (!KEEPS || size > SMALL_MOST || memory->n_kept[class] * (class + 1) * MP_MEMORY_STEP >= MP_MEMORY_KEPT) {
    put_back(memory, at, size > SMALL_MOST ? size : whole(class));
    return;
  }
  block->next = memory->kept[class];
  memory->kept[class] = block;
  memory->n_kept[class]++;
}

static void *resize(struct mp_memory *memory, void *block, size_t old_size, size_t new_size) {
  return memory->source ? memory->source(memory->source_ctx, block, old_size, new_size) : realloc(block, new_size);
}

static void *change(struct mp_memory *memory, void *block, size_t old_size, size_t new_size) {
  if (old_size > SMALL_MOST && new_size > SMALL_MOST) return resize(memory, block, old_size, new_size);
  if (old_size <= SMALL_MOST && new_size <= SMALL_MOST && class_of(old_size) == class_of(new_size)) return block;
  void *to = take(memory, new_size);
  if (!to) return NULL;
  memcpy(to, block, old_size < new_size ? old_size : new_size);
  give(memory, block, old_size);
  return to;
}

void mp_memory_limit(struct mp_memory *memory, size_t limit, bool (*beyond)(void *ctx, size_t used), void *ctx) {
  memory->beyond = beyond;
  memory->ctx = ctx;
  memory->limit = limit ? limit : SIZE_MAX;
}

void *mp_memory_alloc(void *ctx, void *block, size_t old_size, size_t new_size) {
  struct mp_memory *memory = ctx;
  if (new_size == 0) {
    if (block) give(memory, block, old_size), memory->used -= old_size;
    return NULL;
  }
  if (!block) old_size = 0; /* then Lua hands the kind of object here */
  size_t used = memory->used + new_size - old_size;
  if (used > memory->limit && new_size > old_size && !memory->beyond(memory->ctx, used)) return NULL;
  void *to = old_size == 0 ? take(memory, new_size) : change(memory, block, old_size, new_size);
  if (to) memory->used = used;
  return to;
}

void mp_memory_deinit(struct mp_memory *memory) {
  for (unsigned i = 0; i < MP_MEMORY_CLASSES; i++)
    while (memory->kept[i]) {
      struct mp_memory_block *block = memory->kept[i];
      memory->kept[i] = block->next;
      put_back(memory, block, whole(i));
    }
}
