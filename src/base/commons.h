/* commons.h - what the workers of a pool have in common: the store, the ring of messages, the leases, and the bell.
 *
 * One sealed memfd and one eventfd, made by the master, who never looks inside again; each worker maps them. A process
 * without a pool makes them for itself. */
#ifndef MP_BASE_COMMONS_H
#define MP_BASE_COMMONS_H

#include "base/lease.h"
#include "base/ring.h"
#include "base/store.h"

enum { MP_COMMONS_RING = 4 * 1024 * 1024, MP_COMMONS_LEASES = 256 };

struct mp_commons {
  void *map; /* owned */
  uint64_t size;
  struct mp_store *store; /* borrowed from the map, as the others */
  struct mp_ring *ring;
  struct mp_leases *leases;
  int bell;      /* owned: an eventfd */
  unsigned seat; /* ours in the ring */
};

/* Two descriptors, close-on-exec, the caller's. `store_size`: bytes, 16 KiB at least. 0 or -errno. */
int mp_commons_create(uint64_t store_size, unsigned seats, int *memory, int *bell);

/* Both: 0 or -errno. Open takes the descriptors over, whatever it returns. */
int mp_commons_open(struct mp_commons *commons, int memory, int bell, unsigned seat);
int mp_commons_private(struct mp_commons *commons, uint64_t store_size);
void mp_commons_close(struct mp_commons *commons); /* harmless on all zero but for a bell of -1 */

#endif
