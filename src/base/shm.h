/* shm.h - the page that a pool's processes share: one slot a worker, read by the master and by the siblings. */
#ifndef MP_BASE_SHM_H
#define MP_BASE_SHM_H

#include <stdatomic.h>
#include <stdint.h>

/* Written by its worker alone, but for `pid` and `generation`, which the master sets before it starts one. */
struct mp_shm_slot {
  _Atomic int32_t pid; /* 0: empty */
  _Atomic uint32_t generation;
  _Atomic uint64_t busy_since_ms; /* monotonic; 0 while the loop sleeps */
  _Atomic uint64_t requests;      /* answered since start */
  _Atomic uint32_t in_flight;
  _Atomic uint32_t connections;
  _Atomic uint32_t accepting; /* 1 while it takes connections */
  _Atomic uint32_t accepted;  /* connections since start */
};

struct mp_shm {
  uint32_t slots;
  uint32_t size; /* bytes of the mapping */
  struct mp_shm_slot slot[];
};

/* A mapping on a sealed memfd, close-on-exec; `*fd` is the caller's. NULL: errno says why. */
struct mp_shm *mp_shm_create(unsigned slots, int *fd);
struct mp_shm *mp_shm_map(int fd);
void mp_shm_unmap(struct mp_shm *shm);

#endif
