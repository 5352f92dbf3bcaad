/* The reader of bundles: whatever a file holds, opening it ends, and what is found lies in it. The first byte chooses:
 * even, the input is the file; odd, it is what lies behind a program, under a seal whose sums are right, so that the
 * reader of the zip is reached. */
#include "bundle/bundle.h"
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOLDS(truth)                                                                                                   \
  do                                                                                                                   \
    if (!(truth)) abort();                                                                                             \
  while (0)

static void put(int fd, const void *bytes, size_t len) {
  HOLDS(len == 0 || write(fd, bytes, len) == (ssize_t)len);
}

/* A zip's end says how long the comment is, which is the seal: its sum covers that, too. */
static void put_sealed(int fd, const uint8_t *data, size_t len) {
  Elf64_Ehdr program = {.e_ident = ELFMAG, .e_shoff = sizeof program};
  char text[MP_SEAL_SIZE];
  struct mp_seal seal = {.program = sizeof program, .files = len};
  program.e_ident[EI_CLASS] = ELFCLASS64;
  mp_sum(mp_slice((const char *)&program, sizeof program), seal.program_sum);
  mp_sum(mp_slice((const char *)data, len), seal.files_sum);
  mp_seal_write(&seal, text);
  put(fd, &program, sizeof program);
  put(fd, data, len);
  put(fd, text, sizeof text);
}

static uint32_t touch(struct mp_slice bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.len; i++) sum = sum * 31 + (unsigned char)bytes.at[i];
  return sum;
}

static void check(const struct mp_bundle *b) {
  volatile uint32_t sum = 0; /* so that each byte is read */
  for (unsigned i = 0; i < b->n_files; i++) {
    const struct mp_bundled *file = &b->files[i];
    HOLDS(i == 0 || strcmp(file[-1].name, file->name) < 0);
    HOLDS(file->bytes.at >= b->map + b->skipped && file->bytes.len <= b->seal.files);
    HOLDS(file->bytes.at + file->bytes.len <= b->map + b->mapped);
    sum += touch(file->bytes);
    const struct mp_bundled *found = mp_bundle_find(b, NULL, file->name);
    HOLDS(!found || found == file || strcmp(found->name, file->name) != 0);
    (void)mp_bundle_has_folder(b, "public", file->name);
  }
  (void)sum;
  HOLDS(mp_bundle_find(b, NULL, "app.lua"));
  HOLDS(!mp_bundle_find(b, "public", "../app.lua"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char path[64], why[MP_BUNDLE_WHY] = "";
  struct mp_bundle b;
  if (len < 1) return 0;
  int fd = memfd_create("bundle", MFD_CLOEXEC);
  HOLDS(fd >= 0);
  if (data[0] & 1)
    put_sealed(fd, data + 1, len - 1);
  else
    put(fd, data + 1, len - 1);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  (void)mp_bundle_is_one(path);
  int err = mp_bundle_open(&b, path, true, why);
  HOLDS(err == 0 || why[0]);
  if (err == 0) {
    check(&b);
    HOLDS(mp_bundle_verify(&b, why) == 0 || !(data[0] & 1));
  }
  mp_bundle_close(&b);
  close(fd);
  return 0;
}
