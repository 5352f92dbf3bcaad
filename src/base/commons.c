#include "base/commons.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, LEAST_STORE = 16384 };

/* At the beginning of the memory. */
struct contents {
  uint64_t ring_at, leases_at, store_at;
  uint32_t seats;
};

static uint64_t pages(uint64_t n) {
  return (n + PAGE - 1) / PAGE * PAGE;
}

static struct contents lay_out(unsigned seats) {
  struct contents c = {.ring_at = PAGE, .seats = seats};
  c.leases_at = c.ring_at + pages(mp_ring_size(seats, MP_COMMONS_RING));
  c.store_at = c.leases_at + pages(mp_leases_size(MP_COMMONS_LEASES));
  return c;
}

static void find_parts(struct mp_commons *commons) {
  char *map = commons->map;
  const struct contents *c = commons->map;
  commons->ring = (void *)(map + c->ring_at);
  commons->leases = (void *)(map + c->leases_at);
  commons->store = (void *)(map + c->store_at);
}

static int format(struct mp_commons *commons, unsigned seats) {
  uint64_t seed[2];
  struct contents c = lay_out(seats);
  if (getrandom(seed, sizeof seed, 0) != sizeof seed) return -errno;
  memcpy(commons->map, &c, sizeof c);
  find_parts(commons);
  int err = mp_ring_format(commons->ring, seats, MP_COMMONS_RING);
  if (err == 0) err = mp_leases_format(commons->leases, MP_COMMONS_LEASES);
  return err < 0 ? err : mp_store_format(commons->store, commons->size - c.store_at, seed);
}

static int map(struct mp_commons *commons, int memory, unsigned seats, uint64_t store_size) {
  uint64_t most = (uint64_t)1 << 46;
  if (store_size > most) return -ENOMEM;
  commons->size = lay_out(seats).store_at + pages(store_size < LEAST_STORE ? LEAST_STORE : store_size);
  if (memory >= 0 && ftruncate(memory, (off_t)commons->size) < 0) return -errno;
  int flags = memory >= 0 ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
  commons->map = mmap(NULL, commons->size, PROT_READ | PROT_WRITE, flags, memory, 0);
  if (commons->map != MAP_FAILED) return 0;
  commons->map = NULL;
  return -errno;
}

static int fill(struct mp_commons *commons, int memory, uint64_t store_size, unsigned seats) {
  *commons = (struct mp_commons){.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  int err = commons->bell < 0 ? -errno : map(commons, memory, seats, store_size);
  if (err == 0 && commons->map) err = format(commons, seats);
  if (err < 0) mp_commons_close(commons);
  return err;
}

int mp_commons_private(struct mp_commons *commons, uint64_t store_size) {
  return fill(commons, -1, store_size, 1);
}

int mp_commons_create(uint64_t store_size, unsigned seats, int *memory, int *bell) {
  struct mp_commons commons;
  *bell = -1;
  *memory = memfd_create("moonpool-commons", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (*memory < 0) return -errno;
  int err = fill(&commons, *memory, store_size, seats);
  if (err == 0 && fcntl(*memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) err = -errno;
  if (err == 0) {
    *bell = commons.bell;
    commons.bell = -1;
    mp_commons_close(&commons);
    return 0;
  }
  close(*memory);
  *memory = -1;
  return err;
}

int mp_commons_open(struct mp_commons *commons, int memory, int bell, unsigned seat) {
  struct stat st;
  *commons = (struct mp_commons){.bell = bell, .seat = seat};
  int err = fstat(memory, &st) < 0 ? -errno : 0;
  if (err == 0 && (size_t)st.st_size < sizeof(struct contents)) err = -EINVAL;
  if (err == 0) {
    commons->size = (uint64_t)st.st_size;
    commons->map = mmap(NULL, commons->size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (commons->map == MAP_FAILED) err = -errno;
  }
  close(memory);
  if (err < 0) {
    commons->map = NULL;
    mp_commons_close(commons);
    return err;
  }
  find_parts(commons);
  if (seat < ((const struct contents *)commons->map)->seats) return 0;
  mp_commons_close(commons);
  return -ERANGE;
}

void mp_commons_close(struct mp_commons *commons) {
  if (commons->map) munmap(commons->map, commons->size);
  if (commons->bell >= 0) close(commons->bell);
  *commons = (struct mp_commons){.bell = -1};
}
