/* share.h - workers take turns at one listening socket: who has clearly more connections than a sibling leaves the next
 * one to it. Knows the siblings by the shared page alone.
 *
 * A sibling that does not take what it was left, because it is stuck, stopped or full, is waited for once; then it
 * counts no more until it takes one by itself. */
#ifndef MP_WORKER_SHARE_H
#define MP_WORKER_SHARE_H

#include "base/shm.h"
#include <stdbool.h>

enum {
  MP_SHARE_SLACK = 2,        /* connections that one may have more than another */
  MP_SHARE_PATIENCE_MS = 50, /* so long a sibling has time to take what it was left */
  MP_SHARE_STALE_MS = 50     /* a turn this long: it is not there for new ones */
};

struct mp_share {
  struct mp_shm *shm;         /* borrowed */
  struct mp_sibling *sibling; /* owned: what was seen of each seat */
  unsigned seat;              /* our own */
};

int mp_share_init(struct mp_share *share, struct mp_shm *shm, unsigned seat); /* 0 or -ENOMEM */
void mp_share_deinit(struct mp_share *share);

/* A connection waits, and we have `connections`: is there a sibling that should have it? */
bool mp_share_holds_back(struct mp_share *share, uint32_t connections, uint64_t now_ms);

#endif
