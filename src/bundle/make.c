#include "bundle/make.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <minizip/zip.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };

static int refuse(struct mp_make *m, int err, const char *name, const char *text) {
  if (!m->why[0]) snprintf(m->why, sizeof m->why, "%.300s: %s", name, text);
  return err;
}

/* Takes nothing over. All of `from` goes to `to` (or to the zip). */
static int copy(struct mp_make *m, const char *name, int from, int to, zipFile zip) {
  char piece[PIECE];
  for (;;) {
    ssize_t n = read(from, piece, sizeof piece), put = 0;
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) return 0;
    if (n < 0) return refuse(m, -errno, name, strerror(errno));
    if (zip && zipWriteInFileInZip(zip, piece, (unsigned)n) != ZIP_OK) return refuse(m, -EIO, m->out, "cannot write");
    for (ssize_t at = 0; !zip && at < n; at += put)
      if ((put = write(to, piece + at, (size_t)(n - at))) < 0) return refuse(m, -errno, m->out, strerror(errno));
  }
}

static int add_program(struct mp_make *m, int to) {
  struct stat st;
  int is = mp_bundle_is_one(m->program);
  if (is == 1) return refuse(m, -EBADMSG, m->program, "a bundle already: a bundle is made of a program alone");
  if (is == -ENOEXEC || is == -EBADMSG) return refuse(m, -EBADMSG, m->program, "no program, or a damaged one");
  int from = is < 0 ? -1 : open(m->program, O_RDONLY | O_CLOEXEC);
  if (from < 0) return refuse(m, is < 0 ? is : -errno, m->program, strerror(is < 0 ? -is : errno));
  int err = copy(m, m->program, from, to, NULL);
  close(from);
  if (err == 0 && fstat(to, &st) < 0) err = -errno;
  if (err == 0) m->seal.program = (uint64_t)st.st_size;
  return err;
}

/* As the first of January 1980, when zip's time begins, by anybody, for everybody. */
static int begin_entry(zipFile zip, const char *name, bool large) {
  enum { DATE = 0x00210000, MADE_ON_UNIX = 3 << 8 | 20 };
  zip_fileinfo info = {.dosDate = DATE, .external_fa = (uLong)(S_IFREG | 0644) << 16};
  return zipOpenNewFileInZip4_64(zip, name, &info, NULL, 0, NULL, 0, NULL, 0, 0, 0, -MAX_WBITS, DEF_MEM_LEVEL, 0, NULL,
                                 0, MADE_ON_UNIX, 0, large);
}

static int add_file(struct mp_make *m, zipFile zip, const char *name) {
  char path[PATH_MAX];
  struct stat st;
  if (snprintf(path, sizeof path, "%s/%s", m->gather.root, name) >= PATH_MAX)
    return refuse(m, -EBADMSG, name, "too long a name");
  int from = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (from < 0 || fstat(from, &st) < 0) return refuse(m, -errno, name, strerror(errno));
  int err = begin_entry(zip, name, st.st_size >= UINT32_MAX) == ZIP_OK ? 0 : refuse(m, -EIO, m->out, "cannot write");
  if (err == 0) err = copy(m, name, from, -1, zip);
  close(from);
  if (err == 0 && zipCloseFileInZip(zip) != ZIP_OK) err = refuse(m, -EIO, m->out, "cannot write");
  return err;
}

/* Room for the seal is the zip's comment. */
static int add_files(struct mp_make *m, const char *path) {
  char room[MP_SEAL_SIZE + 1];
  memset(room, '\n', MP_SEAL_SIZE);
  room[MP_SEAL_SIZE] = '\0';
  zipFile zip = zipOpen64(path, APPEND_STATUS_CREATEAFTER);
  if (!zip) return refuse(m, -EIO, path, "cannot write");
  int err = 0;
  for (unsigned i = 0; err == 0 && i < m->gather.n_names; i++) err = add_file(m, zip, m->gather.names[i]);
  if (zipClose(zip, room) != ZIP_OK && err == 0) err = refuse(m, -EIO, path, "cannot write");
  return err;
}

static int sum_parts(struct mp_make *m, int fd) {
  struct stat st;
  if (fstat(fd, &st) < 0) return -errno;
  char *all = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (all == MAP_FAILED) return -errno;
  m->seal.files = (uint64_t)st.st_size - m->seal.program - MP_SEAL_SIZE;
  mp_sum(mp_slice(all, (size_t)m->seal.program), m->seal.program_sum);
  mp_sum(mp_slice(all + m->seal.program, (size_t)m->seal.files), m->seal.files_sum);
  munmap(all, (size_t)st.st_size);
  return 0;
}

static int add_seal(struct mp_make *m, int fd) {
  char text[MP_SEAL_SIZE];
  int err = sum_parts(m, fd);
  if (err < 0) return refuse(m, err, m->out, strerror(-err));
  if (m->secret) err = mp_seal_sign(&m->seal, m->secret, m->public_key);
  if (err == -ENOSYS) return refuse(m, err, "signing", "libsodium.so.23 is not on this machine");
  if (err < 0) return refuse(m, err, "the key", "64 hexadecimal digits are wanted");
  mp_seal_write(&m->seal, text);
  off_t at = (off_t)(m->seal.program + m->seal.files);
  if (pwrite(fd, text, sizeof text, at) != MP_SEAL_SIZE) return refuse(m, -EIO, m->out, "cannot write");
  return 0;
}

static bool has_app(const struct mp_gather *g) {
  for (unsigned i = 0; i < g->n_names; i++)
    if (strcmp(g->names[i], "app.lua") == 0) return true;
  return false;
}

static int write_all(struct mp_make *m, int fd, const char *path) {
  mode_t mask = umask(0);
  umask(mask);
  int err = add_program(m, fd);
  if (err == 0) err = add_files(m, path);
  if (err == 0) err = add_seal(m, fd);
  if (err == 0 && (fchmod(fd, 0777 & ~mask) < 0 || fsync(fd) < 0)) err = refuse(m, -errno, path, strerror(errno));
  return err;
}

/* Beside the old one, and then in its place. */
static int replace(struct mp_make *m) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s.XXXXXX", m->out) >= PATH_MAX) return refuse(m, -ENAMETOOLONG, m->out, "too long");
  int fd = mkostemp(path, O_CLOEXEC);
  if (fd < 0) return refuse(m, -errno, m->out, strerror(errno));
  int err = write_all(m, fd, path);
  close(fd);
  if (err == 0 && rename(path, m->out) < 0) err = refuse(m, -errno, m->out, strerror(errno));
  if (err < 0) unlink(path);
  return err;
}

int mp_make_run(struct mp_make *m) {
  struct stat st;
  if (stat(m->out, &st) == 0) m->gather.dev = st.st_dev, m->gather.ino = st.st_ino;
  int err = mp_gather_run(&m->gather, m->why);
  if (err < 0) return err;
  if (!has_app(&m->gather)) return refuse(m, -EBADMSG, m->gather.root, "there is no app.lua in it");
  return replace(m);
}
