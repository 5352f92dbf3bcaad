/* Looks at a store from the inside: every block is in one place, every order holds. NULL, or what does not. */
#include "base/store_inside.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define HOLDS(truth)                                                                                                   \
  if (!(truth)) return #truth

static const char *count_block(struct mp_store *s, unsigned char *seen, uint32_t block) {
  HOLDS(block > 0 && block <= s->n_blocks && block < s->fresh);
  HOLDS(!seen[block]);
  seen[block] = 1;
  return NULL;
}

static const char *check_free(struct mp_store *s, unsigned char *seen) {
  uint32_t n = 0;
  for (uint32_t at = s->free; at; at = mp_store_rest(s, at)->next, n++) {
    const char *wrong = count_block(s, seen, at);
    if (wrong) return wrong;
  }
  HOLDS(s->fresh >= 1 && s->fresh <= s->n_blocks + 1);
  HOLDS(s->n_free == n + s->n_blocks + 1 - s->fresh);
  return NULL;
}

static const char *check_entry(struct mp_store *s, unsigned char *seen, uint32_t at, uint32_t bucket) {
  struct mp_store_entry *e = mp_store_entry(s, at);
  uint32_t n = mp_store_blocks_of(e), block = at;
  HOLDS((e->hash & (s->n_buckets - 1)) == bucket);
  HOLDS(mp_store_type_of(e) >= MP_STORE_FALSE && mp_store_type_of(e) <= MP_STORE_TEXT);
  HOLDS((e->heap == 0) == (e->expires_ms == 0));
  HOLDS(e->heap == 0 || (e->heap <= s->n_aging && mp_store_heap(s)[e->heap - 1] == at));
  for (uint32_t i = 0; i < n; i++, block = mp_store_rest(s, block)->next) {
    const char *wrong = count_block(s, seen, block);
    if (wrong) return wrong;
  }
  HOLDS(block == 0);
  return NULL;
}

static const char *check_entries(struct mp_store *s, unsigned char *seen) {
  uint32_t n = 0, aging = 0, aging_blocks = 0;
  for (uint32_t b = 0; b < s->n_buckets; b++)
    for (uint32_t at = *mp_store_bucket(s, b); at; at = mp_store_entry(s, at)->beside, n++) {
      const char *wrong = check_entry(s, seen, at, b);
      if (wrong) return wrong;
      if (!mp_store_entry(s, at)->heap) continue;
      aging++;
      aging_blocks += mp_store_blocks_of(mp_store_entry(s, at));
    }
  HOLDS(n == s->n_entries);
  HOLDS(aging == s->n_aging);
  HOLDS(aging_blocks == s->aging_blocks);
  return NULL;
}

static const char *check_orders(struct mp_store *s) {
  uint32_t n = 0, newer = 0;
  for (uint32_t at = s->newest; at; newer = at, at = mp_store_entry(s, at)->older, n++) {
    HOLDS(n <= s->n_aging);
    HOLDS(mp_store_entry(s, at)->newer == newer);
    HOLDS(mp_store_entry(s, at)->heap != 0);
  }
  HOLDS(s->oldest == newer);
  HOLDS(n == s->n_aging);
  for (uint32_t i = 2; i <= s->n_aging; i++)
    HOLDS(mp_store_entry(s, mp_store_heap(s)[i / 2 - 1])->expires_ms <=
          mp_store_entry(s, mp_store_heap(s)[i - 1])->expires_ms);
  return NULL;
}

static const char *check_store(struct mp_store *s) {
  unsigned char *seen = calloc(s->n_blocks + 1, 1);
  const char *wrong = s->n_undo ? "a step is under way" : check_free(s, seen);
  if (!wrong) wrong = check_entries(s, seen);
  if (!wrong) wrong = check_orders(s);
  for (uint32_t i = 1; !wrong && i < s->fresh; i++)
    if (!seen[i]) wrong = "a block is lost";
  free(seen);
  return wrong;
}
