#include "worker/share.h"
#include <errno.h>
#include <stdlib.h>

enum { ONE_WAIT_MS = 20 /* looks this close to each other belong to one wait */ };

struct mp_sibling {
  int32_t pid;        /* of whom the rest was seen */
  uint32_t accepted;  /* when the wait for it began */
  uint64_t since_ms;  /* when that was */
  uint64_t looked_ms; /* last */
  bool deaf;          /* it did not take what it was left */
};

#define SEEN(slot, field) atomic_load_explicit(&(slot)->field, memory_order_relaxed)

int mp_share_init(struct mp_share *share, struct mp_shm *shm, unsigned seat) {
  *share = (struct mp_share){.shm = shm, .seat = seat};
  share->sibling = calloc(shm->slots ? shm->slots : 1, sizeof *share->sibling);
  return share->sibling ? 0 : -ENOMEM;
}

void mp_share_deinit(struct mp_share *share) {
  free(share->sibling);
  *share = (struct mp_share){0};
}

static bool is_stale(const struct mp_shm_slot *slot, uint64_t now) {
  uint64_t busy_since = SEEN(slot, busy_since_ms);
  return busy_since && now > busy_since + MP_SHARE_STALE_MS;
}

/* Has it taken nothing since we began to wait for it? */
static bool is_deaf(struct mp_sibling *s, const struct mp_shm_slot *slot, uint64_t now) {
  uint32_t accepted = SEEN(slot, accepted);
  int32_t pid = SEEN(slot, pid);
  bool moved = s->pid != pid || s->accepted != accepted;
  bool new_wait = !s->deaf && now > s->looked_ms + ONE_WAIT_MS;
  if (moved || new_wait) *s = (struct mp_sibling){.pid = pid, .accepted = accepted, .since_ms = now};
  s->looked_ms = now;
  if (now >= s->since_ms + MP_SHARE_PATIENCE_MS) s->deaf = true;
  return s->deaf;
}

bool mp_share_holds_back(struct mp_share *share, uint32_t connections, uint64_t now_ms) {
  bool hold = false;
  if (connections <= MP_SHARE_SLACK) return false;
  for (unsigned i = 0, used = mp_shm_used(share->shm); i < used; i++) {
    const struct mp_shm_slot *slot = &share->shm->slot[i];
    if (i == share->seat || !SEEN(slot, pid) || !SEEN(slot, accepting)) continue;
    if (SEEN(slot, connections) >= connections - MP_SHARE_SLACK || is_stale(slot, now_ms)) continue;
    if (!is_deaf(&share->sibling[i], slot, now_ms)) hold = true;
  }
  return hold;
}
