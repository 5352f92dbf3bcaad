/* shm.h - the page that a pool's processes share: one slot a worker, read by the master and by the siblings. */
#ifndef MP_BASE_SHM_H
#define MP_BASE_SHM_H

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
