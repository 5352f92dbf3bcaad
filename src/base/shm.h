/* shm.h - the page that a pool's processes share: one slot a worker, read by the master and by the siblings. */
#ifndef MP_BASE_SHM_H
#define MP_BASE_SHM_H

#include "base/view.h"
#include <stdatomic.h>
#include <stdint.h>

enum { MP_SHM_REQUESTS = 16, MP_SHM_LINE = 160, MP_SHM_TRACE = 2048 };

struct mp_shm_request {
  uint64_t started_ms;    /* monotonic */
  char line[MP_SHM_LINE]; /* "GET /path", cut; as the client sent it */
};

/* What a worker was doing when its loop got stuck, noted by itself: the reader trusts no NUL. */
struct mp_shm_stuck {
  _Atomic uint32_t filled; /* 1: the rest may be read */
  uint32_t n;              /* requests: the oldest ones, when there are more */
  uint32_t named;          /* 1: the first of them is the one that is stuck */
  uint64_t held_ms;
  struct mp_shm_request request[MP_SHM_REQUESTS];
  char trace[MP_SHM_TRACE]; /* Lua's stack, a line a function */
};

/* Written by its worker alone, but for `pid` and `generation`, which the master sets before it starts one. */
struct mp_shm_slot {
  _Atomic int32_t pid; /* 0: empty */
  _Atomic uint32_t generation;
  _Atomic uint64_t busy_since_ms; /* monotonic: the turn of the loop under way; 0 while it sleeps */
  _Atomic uint64_t moved_ms;      /* monotonic: when the loop last entered Lua; many times a turn, perhaps */
  _Atomic uint64_t requests;      /* answered since start */
  _Atomic uint32_t in_flight;
  _Atomic uint32_t connections;
  _Atomic uint32_t accepting; /* 1 while it takes connections */
  _Atomic uint32_t accepted;  /* connections since start */
  struct mp_shm_stuck stuck;
  _Atomic uint32_t number;  /* of its slot, from 1: moonpool.worker.id; the master's, as the next two */
  _Atomic uint64_t born_ms; /* monotonic */
  _Atomic uint32_t state;   /* enum mp_shm_state */
  struct mp_view view;
};

enum mp_shm_state { MP_SHM_FREE, MP_SHM_STARTING, MP_SHM_SERVING, MP_SHM_LEAVING };

/* What the master tells of the pool. */
struct mp_shm_pool {
  _Atomic int32_t pid;
  _Atomic uint64_t born_ms; /* monotonic */
  _Atomic uint32_t generation, wanted;
  _Atomic uint64_t count[MP_POOL_COUNTS];
  _Atomic uint32_t seq;             /* odd while a worker's counters are being moved to those below */
  _Atomic uint64_t past[MP_COUNTS]; /* counters of workers that have ended */
};

struct mp_shm {
  uint32_t slots;
  uint32_t size;        /* bytes of the mapping */
  _Atomic uint32_t top; /* no slot from here on was ever used */
  struct mp_shm_pool pool;
  struct mp_shm_slot slot[];
};

/* A mapping on a sealed memfd, close-on-exec; `*fd` is the caller's. NULL: errno says why. */
struct mp_shm *mp_shm_create(unsigned slots, int *fd);
struct mp_shm *mp_shm_map(int fd);
struct mp_shm *mp_shm_map_to_read(int fd);
void mp_shm_unmap(struct mp_shm *shm);

/* Slots that may have been used, at most those that the mapping holds. */
unsigned mp_shm_used(const struct mp_shm *shm);

/* The master's: the worker of that slot has ended. What it has counted stays with the pool, and its slot is empty but
 * for what it was doing. */
void mp_shm_fold(struct mp_shm *shm, unsigned slot);

/* The pool's counters, those of workers that have ended and of those that live, which never go back. */
void mp_shm_totals(const struct mp_shm *shm, uint64_t out[MP_COUNTS]);

#endif
