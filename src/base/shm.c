#include "base/shm.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct mp_shm *map(int fd, size_t size) {
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? NULL : at;
}

struct mp_shm *mp_shm_create(unsigned slots, int *fd) {
  size_t size = sizeof(struct mp_shm) + slots * sizeof(struct mp_shm_slot);
  struct mp_shm *shm = NULL;
  *fd = memfd_create("moonpool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (*fd < 0) return NULL;
  if (ftruncate(*fd, (off_t)size) == 0) shm = map(*fd, size);
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

struct mp_shm *mp_shm_map(int fd) {
  struct stat st;
  if (fstat(fd, &st) < 0) return NULL;
  if ((size_t)st.st_size < sizeof(struct mp_shm)) {
    errno = EINVAL;
    return NULL;
  }
  return map(fd, (size_t)st.st_size);
}

void mp_shm_unmap(struct mp_shm *shm) {
  munmap(shm, shm->size);
}
