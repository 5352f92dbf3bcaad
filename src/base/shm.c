#include "base/shm.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct mp_shm *map(int fd, size_t size, int access) {
  void *at = mmap(NULL, size, access, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? NULL : at;
}

struct mp_shm *mp_shm_create(unsigned slots, int *fd) {
  size_t size = sizeof(struct mp_shm) + slots * sizeof(struct mp_shm_slot);
  struct mp_shm *shm = NULL;
  *fd = memfd_create("moonpool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (*fd < 0) return NULL;
  if (ftruncate(*fd, (off_t)size) == 0) shm = map(*fd, size, PROT_READ | PROT_WRITE);
  if (!shm) {
    int err = errno;
    close(*fd);
    *fd = -1;
    errno = err;
    return NULL;
  }
  fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  shm->slots = slots;
  shm->size = (uint32_t)size;
  return shm;
}

static struct mp_shm *map_whole(int fd, int access) {
  struct stat st;
  if (fstat(fd, &st) < 0) return NULL;
  if ((size_t)st.st_size < sizeof(struct mp_shm)) {
    errno = EINVAL;
    return NULL;
  }
  return map(fd, (size_t)st.st_size, access);
}

struct mp_shm *mp_shm_map(int fd) {
  return map_whole(fd, PROT_READ | PROT_WRITE);
}

struct mp_shm *mp_shm_map_to_read(int fd) {
  return map_whole(fd, PROT_READ);
}

void mp_shm_unmap(struct mp_shm *shm) {
  munmap(shm, shm->size);
}

unsigned mp_shm_used(const struct mp_shm *shm) {
  unsigned top = atomic_load_explicit(&shm->top, memory_order_acquire);
  return top < shm->slots ? top : shm->slots;
}

/* ---- counters ---- */

void mp_shm_fold(struct mp_shm *shm, unsigned slot) {
  struct mp_shm_pool *pool = &shm->pool;
  struct mp_view *view = &shm->slot[slot].view;
  atomic_fetch_add(&pool->seq, 1);
  for (unsigned i = 0; i < MP_COUNTS; i++) {
    mp_counter_add(&pool->past[i], mp_counter_get(&view->count[i]));
    mp_counter_set(&view->count[i], 0);
  }
  atomic_fetch_add(&pool->seq, 1);
}

static void sum(const struct mp_shm *shm, uint64_t out[MP_COUNTS]) {
  unsigned used = mp_shm_used(shm);
  for (unsigned i = 0; i < MP_COUNTS; i++) out[i] = mp_counter_get(&shm->pool.past[i]);
  for (unsigned s = 0; s < used; s++)
    for (unsigned i = 0; i < MP_COUNTS; i++) out[i] += mp_counter_get(&shm->slot[s].view.count[i]);
}

/* A master that was stopped in the middle of it is not waited for. */
void mp_shm_totals(const struct mp_shm *shm, uint64_t out[MP_COUNTS]) {
  enum { TRIES = 1000 };
  for (int i = 0; i < TRIES; i++) {
    uint32_t seq = atomic_load(&shm->pool.seq);
    sum(shm, out);
    atomic_thread_fence(memory_order_acquire);
    if (!(seq & 1) && atomic_load(&shm->pool.seq) == seq) return;
  }
}
