#include "bundle/bundle.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <minizip/unzip.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(char *why, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int refuse(char *why, int err, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(why, MP_BUNDLE_WHY, format, args);
  va_end(args);
  return err;
}

/* ---- is it one? ---- */

/* Where the section headers end, which linkers and strip put last. */
static int64_t end_of_program(int fd) {
  Elf64_Ehdr wide;
  ssize_t n = pread(fd, &wide, sizeof wide, 0);
  if (n < 0) return -errno;
  if (n < (ssize_t)sizeof(Elf32_Ehdr) || memcmp(wide.e_ident, ELFMAG, SELFMAG) != 0) return -ENOEXEC;
  if (wide.e_ident[EI_CLASS] == ELFCLASS32) {
    Elf32_Ehdr narrow;
    memcpy(&narrow, &wide, sizeof narrow);
    return (int64_t)narrow.e_shoff + (int64_t)narrow.e_shnum * narrow.e_shentsize;
  }
  if (n < (ssize_t)sizeof wide || wide.e_shoff > INT64_MAX / 2) return -ENOEXEC;
  return (int64_t)wide.e_shoff + (int64_t)wide.e_shnum * wide.e_shentsize;
}

int mp_bundle_is_one(const char *path) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int64_t end = fstat(fd, &st) < 0 ? -errno : end_of_program(fd);
  close(fd);
  if (end < 0) return (int)end;
  if (end > st.st_size) return -EBADMSG;
  return end < st.st_size;
}

/* ---- opening ---- */

static int read_seal(struct mp_bundle *b, const char *path, char *why) {
  struct stat st;
  char text[MP_SEAL_SIZE];
  b->fd = open(path, O_RDONLY | O_CLOEXEC);
  if (b->fd < 0 || fstat(b->fd, &st) < 0) return refuse(why, -errno, "%.300s: %s", path, strerror(errno));
  int64_t end = end_of_program(b->fd);
  if (end < 0) return refuse(why, -EBADMSG, "%.300s: no program, and so no bundle", path);
  if (end == st.st_size) return refuse(why, -EBADMSG, "%.300s: a program without an app behind it", path);
  if (end > st.st_size || st.st_size - end < MP_SEAL_SIZE ||
      pread(b->fd, text, sizeof text, st.st_size - MP_SEAL_SIZE) != MP_SEAL_SIZE ||
      mp_seal_read(&b->seal, text) == -ENOENT)
    return refuse(why, -EBADMSG, "%.300s: damaged: it is cut short, or its end was changed", path);
  if (mp_seal_read(&b->seal, text) < 0) return refuse(why, -EBADMSG, "%.300s: damaged: its seal was changed", path);
  if (b->seal.program != (uint64_t)end || b->seal.files != (uint64_t)st.st_size - (uint64_t)end - MP_SEAL_SIZE)
    return refuse(why, -EBADMSG, "%.300s: damaged: its length is another than its seal says", path);
  return 0;
}

static int map_files(struct mp_bundle *b, const char *path, char *why) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from = b->seal.program / page * page;
  b->skipped = (size_t)(b->seal.program - from);
  b->mapped = b->skipped + (size_t)b->seal.files + MP_SEAL_SIZE;
  void *map = mmap(NULL, b->mapped, PROT_READ, MAP_PRIVATE, b->fd, (off_t)from);
  if (map == MAP_FAILED) return refuse(why, -errno, "%.300s: %s", path, strerror(errno));
  b->map = map;
  return 0;
}

static struct mp_slice files_of(const struct mp_bundle *b) {
  return mp_slice(b->map + b->skipped, (size_t)b->seal.files);
}

static int check_files(const struct mp_bundle *b, const char *path, char *why) {
  char sum[MP_SUM_TEXT];
  mp_sum(files_of(b), sum);
  if (memcmp(sum, b->seal.files_sum, sizeof sum) == 0) return 0;
  return refuse(why, -EBADMSG, "%.300s: damaged: the files in it were changed", path);
}

/* The entry that the reader stands at. Only what lies as it is, within the map. */
static int take_entry(struct mp_bundle *b, unzFile zip) {
  char name[PATH_MAX];
  unz_file_info64 info;
  int method, level;
  if (unzGetCurrentFileInfo64(zip, &info, name, sizeof name, NULL, 0, NULL, 0) != UNZ_OK) return -EBADMSG;
  if (info.size_filename >= sizeof name || unzOpenCurrentFile2(zip, &method, &level, 1) != UNZ_OK) return -EBADMSG;
  uint64_t at = unzGetCurrentFileZStreamPos64(zip) - b->seal.program;
  unzCloseCurrentFile(zip);
  if (method != 0 || at > b->seal.files || info.uncompressed_size > b->seal.files - at) return -EBADMSG;
  struct mp_bundled *file = &b->files[b->n_files];
  file->bytes = mp_slice(files_of(b).at + at, (size_t)info.uncompressed_size);
  file->crc = (uint32_t)info.crc;
  file->name = strdup(name);
  if (!file->name) return -ENOMEM;
  if (b->n_files++ > 0 && strcmp(file[-1].name, name) >= 0) return -EBADMSG;
  return 0;
}

static int take_entries(struct mp_bundle *b, unzFile zip) {
  unz_global_info64 all;
  if (unzGetGlobalInfo64(zip, &all) != UNZ_OK || all.number_entry > b->seal.files / 46) return -EBADMSG;
  b->files = calloc((size_t)all.number_entry + 1, sizeof *b->files);
  if (!b->files) return -ENOMEM;
  int err = all.number_entry ? unzGoToFirstFile(zip) : UNZ_END_OF_LIST_OF_FILE;
  while (err == UNZ_OK && b->n_files < all.number_entry) {
    int failed = take_entry(b, zip);
    if (failed < 0) return failed;
    err = unzGoToNextFile(zip);
  }
  return err == UNZ_END_OF_LIST_OF_FILE && b->n_files == all.number_entry ? 0 : -EBADMSG;
}

static int read_entries(struct mp_bundle *b, const char *path, char *why) {
  unzFile zip = unzOpen64(path);
  int err = zip ? take_entries(b, zip) : -EBADMSG;
  if (zip) unzClose(zip);
  if (err == -EBADMSG) return refuse(why, err, "%.300s: damaged: the list of its files cannot be read", path);
  if (err < 0) return refuse(why, err, "%.300s: %s", path, strerror(-err));
  return 0;
}

int mp_bundle_open(struct mp_bundle *b, const char *path, bool checks, char *why) {
  *b = (struct mp_bundle){.fd = -1};
  int err = read_seal(b, path, why);
  if (err == 0) err = map_files(b, path, why);
  if (err == 0 && checks) err = check_files(b, path, why);
  if (err == 0) err = read_entries(b, path, why);
  if (err == 0 && !mp_bundle_find(b, NULL, "app.lua"))
    err = refuse(why, -EBADMSG, "%.300s: there is no app.lua in it", path);
  return err;
}

void mp_bundle_close(struct mp_bundle *b) {
  for (unsigned i = 0; i < b->n_files; i++) free(b->files[i].name);
  free(b->files);
  free(b->override);
  if (b->map) munmap(b->map, b->mapped);
  if (b->fd >= 0) close(b->fd);
  *b = (struct mp_bundle){.fd = -1};
}

int mp_bundle_verify(const struct mp_bundle *b, char *why) {
  char sum[MP_SUM_TEXT];
  void *program = mmap(NULL, (size_t)b->seal.program, PROT_READ, MAP_PRIVATE, b->fd, 0);
  if (program == MAP_FAILED) return refuse(why, -errno, "the program: %s", strerror(errno));
  mp_sum(mp_slice(program, (size_t)b->seal.program), sum);
  munmap(program, (size_t)b->seal.program);
  if (memcmp(sum, b->seal.program_sum, sizeof sum) == 0) return 0;
  return refuse(why, -EBADMSG, "damaged: the program was changed");
}

/* ---- finding ---- */

/* Adds the segments of a path. False: it leads elsewhere, or is too long. */
static bool add_segments(char *out, size_t *len, const char *path) {
  if (*path == '/') return false;
  for (size_t n; *path; path += n + (path[n] == '/')) {
    n = strcspn(path, "/");
    if (n == 0 || (n == 1 && *path == '.')) continue;
    if ((n == 2 && memcmp(path, "..", 2) == 0) || *len + n + 2 > PATH_MAX) return false;
    if (*len > 0) out[(*len)++] = '/';
    memcpy(out + *len, path, n);
    *len += n;
  }
  out[*len] = '\0';
  return true;
}

static bool name_of(char out[PATH_MAX], const char *root, const char *path) {
  size_t len = 0;
  out[0] = '\0';
  return (!root || add_segments(out, &len, root)) && add_segments(out, &len, path);
}

static int compare(const void *name, const void *file) {
  return strcmp(name, ((const struct mp_bundled *)file)->name);
}

const struct mp_bundled *mp_bundle_find(const struct mp_bundle *b, const char *root, const char *path) {
  char name[PATH_MAX];
  size_t len = strlen(path);
  if (len > 0 && path[len - 1] == '/') return NULL;
  return name_of(name, root, path) ? bsearch(name, b->files, b->n_files, sizeof *b->files, compare) : NULL;
}

bool mp_bundle_has_folder(const struct mp_bundle *b, const char *root, const char *path) {
  char name[PATH_MAX];
  if (!name_of(name, root, path)) return false;
  size_t len = strlen(name);
  for (unsigned i = 0; i < b->n_files; i++)
    if (len == 0 || (strncmp(b->files[i].name, name, len) == 0 && b->files[i].name[len] == '/')) return true;
  return false;
}

char *mp_bundle_overridden(const struct mp_bundle *b, const char *root, const char *path) {
  char name[PATH_MAX], *whole;
  struct stat st;
  if (!b->override || !name_of(name, root, path) || asprintf(&whole, "%s/%s", b->override, name) < 0) return NULL;
  if (stat(whole, &st) == 0 && S_ISREG(st.st_mode)) return whole;
  free(whole);
  return NULL;
}
