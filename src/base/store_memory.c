#include "base/check.h"
#include "base/store_inside.h"
#include <stdatomic.h>

/* ---- steps ----
 *
 * The processor may die between any two instructions, but it dies in order: once the next process holds the lock, it
 * sees every store that came before the last one, and none behind. So it is enough that the compiler keeps the order:
 * first what a word was, then that this is known, then the change. */

static void keep_order(void) {
  atomic_signal_fence(memory_order_seq_cst);
}

static void note(struct mp_store *s, const void *at, uint64_t old, bool narrow) {
  MP_CHECK(s->n_undo < MP_STORE_UNDO);
  struct mp_store_undo *u = &s->undo[s->n_undo];
  u->at = (uint64_t)((const char *)at - (const char *)s) | narrow;
  u->old = old;
  keep_order();
  s->n_undo++;
  keep_order();
}

void mp_store_put32(struct mp_store *s, uint32_t *at, uint32_t to) {
  if (*at == to) return;
  note(s, at, *at, true);
  *(volatile uint32_t *)at = to;
}

void mp_store_put64(struct mp_store *s, uint64_t *at, uint64_t to) {
  if (*at == to) return;
  note(s, at, *at, false);
  *(volatile uint64_t *)at = to;
}

void mp_store_commit(struct mp_store *s) {
  keep_order();
  *(volatile uint32_t *)&s->n_undo = 0;
  keep_order();
}

/* Whoever does this may die of it too: the next one begins again, and comes to the same. */
void mp_store_take_back(struct mp_store *s) {
  MP_CHECK(s->n_undo <= MP_STORE_UNDO);
  for (uint32_t i = s->n_undo; i-- > 0;) {
    const struct mp_store_undo *u = &s->undo[i];
    char *at = mp_store_at(s, u->at & ~(uint64_t)1);
    if (u->at & 1)
      *(volatile uint32_t *)(void *)at = (uint32_t)u->old;
    else
      *(volatile uint64_t *)(void *)at = u->old;
  }
  mp_store_commit(s);
}

/* ---- blocks ---- */

enum { IN_FIRST = sizeof(((struct mp_store_entry *)0)->bytes), IN_REST = sizeof(((struct mp_store_rest *)0)->bytes) };

uint64_t mp_store_blocks_for(uint64_t bytes) {
  return bytes <= IN_FIRST ? 1 : 1 + (bytes - IN_FIRST + IN_REST - 1) / IN_REST;
}

uint32_t mp_store_blocks_of(const struct mp_store_entry *e) {
  return (uint32_t)mp_store_blocks_for(mp_store_name_len(e) + mp_store_key_len(e) + mp_store_text_len(e));
}

/* Nobody sees what lies beyond `fresh`: these links need no note. */
static uint32_t take_fresh(struct mp_store *s, uint32_t n) {
  uint32_t first = s->fresh;
  for (uint32_t i = first; i < first + n; i++) mp_store_rest(s, i)->next = i + 1 < first + n ? i + 1 : 0;
  mp_store_put32(s, &s->fresh, first + n);
  return first;
}

uint32_t mp_store_take(struct mp_store *s, uint32_t n) {
  uint32_t first = s->free, last = 0, at = first, left = n;
  for (; at && left > 0; left--) {
    last = at;
    at = mp_store_rest(s, at)->next;
  }
  mp_store_put32(s, &s->free, at);
  uint32_t behind = left > 0 ? take_fresh(s, left) : 0;
  if (last)
    mp_store_put32(s, &mp_store_rest(s, last)->next, behind);
  else
    first = behind;
  mp_store_put32(s, &s->n_free, s->n_free - n);
  return first;
}

void mp_store_give(struct mp_store *s, uint32_t first, uint32_t n) {
  uint32_t last = first;
  for (uint32_t i = 1; i < n; i++) last = mp_store_rest(s, last)->next;
  mp_store_put32(s, &mp_store_rest(s, last)->next, s->free);
  mp_store_put32(s, &s->free, first);
  mp_store_put32(s, &s->n_free, s->n_free + n);
}

/* ---- bytes ---- */

void mp_store_begin(struct mp_store *s, uint32_t entry, struct mp_store_cursor *c) {
  struct mp_store_entry *e = mp_store_entry(s, entry);
  *c = (struct mp_store_cursor){.s = s, .next = e->next, .at = e->bytes, .left = IN_FIRST};
}

/* How many of `n` bytes lie here; goes on to the next block when this one is done with. */
static size_t have(struct mp_store_cursor *c, size_t n) {
  if (c->left == 0) {
    MP_CHECK(c->next > 0 && c->next <= c->s->n_blocks);
    struct mp_store_rest *rest = mp_store_rest(c->s, c->next);
    c->next = rest->next;
    c->at = rest->bytes;
    c->left = IN_REST;
  }
  return n < c->left ? n : c->left;
}

static void go(struct mp_store_cursor *c, size_t n) {
  c->at += n;
  c->left -= n;
}

void mp_store_write(struct mp_store_cursor *c, struct mp_slice bytes) {
  for (size_t n, done = 0; done < bytes.len; done += n) {
    n = have(c, bytes.len - done);
    memcpy(c->at, bytes.at + done, n);
    go(c, n);
  }
}

void mp_store_read(struct mp_store_cursor *c, char *to, size_t n) {
  for (size_t here, done = 0; done < n; done += here) {
    here = have(c, n - done);
    if (to) memcpy(to + done, c->at, here);
    go(c, here);
  }
}

bool mp_store_same(struct mp_store_cursor *c, struct mp_slice bytes) {
  for (size_t n, done = 0; done < bytes.len; done += n) {
    n = have(c, bytes.len - done);
    if (memcmp(c->at, bytes.at + done, n) != 0) return false;
    go(c, n);
  }
  return true;
}
