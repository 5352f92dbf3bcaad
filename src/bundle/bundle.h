/* bundle.h - a bundle: an executable with an app's files behind its program, as a zip whose entries lie as they are.
 *
 * Opening maps the files; what is found is borrowed from there until close. Nothing changes while it is open, so any
 * thread may look. */
#ifndef MP_BUNDLE_BUNDLE_H
#define MP_BUNDLE_BUNDLE_H

#include "bundle/seal.h"

enum { MP_BUNDLE_WHY = 512 };

struct mp_bundled {
  char *name; /* owned by the bundle: "public/index.html" */
  struct mp_slice bytes;
  uint32_t crc;
};

struct mp_bundle {
  struct mp_seal seal;
  struct mp_bundled *files; /* owned, sorted by name */
  unsigned n_files;
  char *override;         /* owned: the folder whose files win; NULL: none */
  int fd;                 /* owned */
  char *map;              /* owned: of all behind the last page's begin before the files */
  size_t mapped, skipped; /* bytes of it; before the files */
};

/* What a file is, by its length and its ELF header. 1: with something behind its program; 0: a program alone;
 * -EBADMSG: it has lost its end; -ENOEXEC: no program; other -errno. */
int mp_bundle_is_one(const char *path);

/* 0; -EBADMSG: it is none, or was changed, cut short…: a sentence in `why` (MP_BUNDLE_WHY bytes); other -errno, with
 * one too. `checks`: the files are summed, not only the seal. Close it in the end, also after an error. */
int mp_bundle_open(struct mp_bundle *b, const char *path, bool checks, char *why);
void mp_bundle_close(struct mp_bundle *b);

/* Sums the program too. 0, -EBADMSG, with a sentence in `why`; or -errno. */
int mp_bundle_verify(const struct mp_bundle *b, char *why);

/* By a path as the app says it: "./a//b" is "a/b"; an absolute one, or with "..", is none of ours. `root` (NULL: none)
 * stands before it. NULL: there is no such file. */
const struct mp_bundled *mp_bundle_find(const struct mp_bundle *b, const char *root, const char *path);
/* Whether files lie below it. */
bool mp_bundle_has_folder(const struct mp_bundle *b, const char *root, const char *path);

/* The same in the folder whose files win: its path, on the heap, if there is a file. NULL: no, or no memory. */
char *mp_bundle_overridden(const struct mp_bundle *b, const char *root, const char *path);

#endif
