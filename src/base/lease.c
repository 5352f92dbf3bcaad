#include "base/lease.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/robust.h"
#include <errno.h>

enum { LOCK_MS = 1000 };

struct place {
  pthread_mutex_t held; /* by the holder */
  uint64_t id;          /* 0: nobody's yet. Changed only under both locks */
  _Atomic uint64_t last_ms;
};

struct mp_leases {
  pthread_mutex_t lock; /* guards which place is whose; it is never left half done */
  uint32_t n;
  struct place place[];
};

size_t mp_leases_size(unsigned n) {
  return sizeof(struct mp_leases) + n * sizeof(struct place);
}

int mp_leases_format(struct mp_leases *leases, unsigned n) {
  leases->n = n;
  int err = mp_robust_init(&leases->lock);
  for (unsigned i = 0; i < n && err == 0; i++) err = mp_robust_init(&leases->place[i].held);
  return err;
}

void mp_lease_init(struct mp_lease *lease, struct mp_leases *leases, struct mp_slice name) {
  static const uint64_t seed[2] = {0x6d6f6f6e, 0x706f6f6c}; /* the same in all processes */
  *lease = (struct mp_lease){.leases = leases, .id = mp_hash(seed, name) | 1};
}

static int try_to_hold(struct place *p) {
  int err = mp_robust_try(&p->held);
  if (err != -EOWNERDEAD) return err;
  mp_robust_repaired(&p->held);
  return 0;
}

/* Nobody holds a place: it may stand for another lease from now on. */
static int take_over(struct place *p, uint64_t id) {
  int err = try_to_hold(p);
  if (err < 0) return err;
  p->id = id;
  p->last_ms = 0;
  return 0;
}

/* Never used ones first, so that what others have noted is kept as long as there is room. */
static int take_any(struct mp_lease *lease, bool used_too) {
  struct mp_leases *all = lease->leases;
  for (uint32_t i = 0; i < all->n; i++) {
    if ((all->place[i].id && !used_too) || take_over(&all->place[i], lease->id) < 0) continue;
    lease->place = i;
    return 0;
  }
  return -ENOSPC;
}

static int take(struct mp_lease *lease) {
  struct mp_leases *all = lease->leases;
  for (uint32_t i = 0; i < all->n; i++) {
    uint32_t at = (lease->place + i) % all->n;
    if (all->place[at].id != lease->id) continue;
    lease->place = at;
    return try_to_hold(&all->place[at]);
  }
  return take_any(lease, false) == 0 ? 0 : take_any(lease, true);
}

int mp_lease_take(struct mp_lease *lease, uint64_t *last_ms) {
  struct mp_leases *all = lease->leases;
  int err = mp_robust_lock(&all->lock, LOCK_MS);
  if (err == -EOWNERDEAD) mp_robust_repaired(&all->lock);
  if (err < 0 && err != -EOWNERDEAD) return err;
  err = take(lease);
  if (err == 0 || err == -EBUSY) *last_ms = all->place[lease->place].last_ms;
  mp_robust_unlock(&all->lock);
  return err;
}

void mp_lease_note(struct mp_lease *lease, uint64_t last_ms) {
  lease->leases->place[lease->place].last_ms = last_ms;
}

void mp_lease_give(struct mp_lease *lease) {
  mp_robust_unlock(&lease->leases->place[lease->place].held);
}
