/* Entries with a time to live stand in two orders: a list by their last use, and a heap by their end. */
#include "base/store_inside.h"

/* ---- by use ---- */

static void unlink_use(struct mp_store *s, struct mp_store_entry *e) {
  mp_store_put32(s, e->newer ? &mp_store_entry(s, e->newer)->older : &s->newest, e->older);
  mp_store_put32(s, e->older ? &mp_store_entry(s, e->older)->newer : &s->oldest, e->newer);
}

static void link_use(struct mp_store *s, uint32_t entry) {
  struct mp_store_entry *e = mp_store_entry(s, entry);
  mp_store_put32(s, &e->newer, 0);
  mp_store_put32(s, &e->older, s->newest);
  mp_store_put32(s, s->newest ? &mp_store_entry(s, s->newest)->newer : &s->oldest, entry);
  mp_store_put32(s, &s->newest, entry);
}

void mp_store_use(struct mp_store *s, uint32_t entry) {
  struct mp_store_entry *e = mp_store_entry(s, entry);
  if (!e->heap || s->newest == entry) return;
  unlink_use(s, e);
  link_use(s, entry);
}

/* ---- by their end: a heap of entries, the soonest at place 1 ---- */

static uint64_t end_of(struct mp_store *s, uint32_t place) {
  return mp_store_entry(s, mp_store_heap(s)[place - 1])->expires_ms;
}

static void put_at(struct mp_store *s, uint32_t place, uint32_t entry) {
  mp_store_put32(s, &mp_store_heap(s)[place - 1], entry);
  mp_store_put32(s, &mp_store_entry(s, entry)->heap, place);
}

/* Where an entry with that end goes, if it may stand at `place` or above; what is on the way comes down. */
static uint32_t rise(struct mp_store *s, uint32_t place, uint64_t end_ms) {
  for (; place > 1 && end_of(s, place / 2) > end_ms; place /= 2) put_at(s, place, mp_store_heap(s)[place / 2 - 1]);
  return place;
}

static uint32_t sink(struct mp_store *s, uint32_t place, uint64_t end_ms) {
  for (uint32_t child; (child = 2 * place) <= s->n_aging; place = child) {
    if (child < s->n_aging && end_of(s, child + 1) < end_of(s, child)) child++;
    if (end_of(s, child) >= end_ms) break;
    put_at(s, place, mp_store_heap(s)[child - 1]);
  }
  return place;
}

/* Places the entry anew, `place` being nobody's. */
static void settle(struct mp_store *s, uint32_t place, uint32_t entry) {
  uint64_t end_ms = mp_store_entry(s, entry)->expires_ms;
  uint32_t at = rise(s, place, end_ms);
  put_at(s, at == place ? sink(s, place, end_ms) : at, entry);
}

static void leave_heap(struct mp_store *s, struct mp_store_entry *e) {
  uint32_t place = e->heap, last = mp_store_heap(s)[s->n_aging - 1];
  mp_store_put32(s, &s->n_aging, s->n_aging - 1);
  mp_store_put32(s, &e->heap, 0);
  if (place <= s->n_aging) settle(s, place, last);
}

/* ---- both ---- */

void mp_store_age(struct mp_store *s, uint32_t entry, uint64_t expires_ms) {
  struct mp_store_entry *e = mp_store_entry(s, entry);
  uint32_t n = mp_store_blocks_of(e);
  if (e->heap) {
    unlink_use(s, e);
    leave_heap(s, e);
    mp_store_put32(s, &s->aging_blocks, s->aging_blocks - n);
  }
  mp_store_put64(s, &e->expires_ms, expires_ms);
  if (expires_ms == 0) return;
  link_use(s, entry);
  mp_store_put32(s, &s->n_aging, s->n_aging + 1);
  settle(s, s->n_aging, entry);
  mp_store_put32(s, &s->aging_blocks, s->aging_blocks + n);
}

bool mp_store_expired(const struct mp_store_entry *e, uint64_t now_ms) {
  return e->heap && e->expires_ms <= now_ms;
}

uint32_t mp_store_first_to_go(struct mp_store *s, uint64_t now_ms, uint32_t keep) {
  if (s->n_aging == 0) return 0;
  uint32_t soonest = mp_store_heap(s)[0];
  if (soonest != keep && mp_store_expired(mp_store_entry(s, soonest), now_ms)) return soonest;
  return s->oldest != keep ? s->oldest : mp_store_entry(s, s->oldest)->newer;
}
