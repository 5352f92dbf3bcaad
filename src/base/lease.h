/* lease.h - what one process of a pool does for all of them: whose turn it is.
 *
 * A lease is held until it is given back, or until its holder has died, and by one at a time whatever happens: it is a
 * lock. Its name stands for it in all processes, whatever app they run. */
#ifndef MP_BASE_LEASE_H
#define MP_BASE_LEASE_H

#include "base/slice.h"
#include <stdint.h>

struct mp_leases;

size_t mp_leases_size(unsigned n);
int mp_leases_format(struct mp_leases *leases, unsigned n); /* the memory is all zero; 0 or -errno */

/* By the thread that will hold it: */
struct mp_lease {
  struct mp_leases *leases; /* borrowed */
  uint64_t id;
  uint32_t place; /* where it was last time */
};

void mp_lease_init(struct mp_lease *lease, struct mp_leases *leases, struct mp_slice name);

/* 0: it is held from now on; -EBUSY: another holds it; -ENOSPC: so many are held that there is no place for this one;
 * -ETIMEDOUT. `*last_ms`: what its last holder has noted last; 0: nothing. */
int mp_lease_take(struct mp_lease *lease, uint64_t *last_ms);
void mp_lease_note(struct mp_lease *lease, uint64_t last_ms); /* by its holder */
void mp_lease_give(struct mp_lease *lease);                   /* by its holder */

#endif
