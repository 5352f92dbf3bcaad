/* gather.h - which files of an app's folder go into a bundle: in the order of their names, whatever the disk's is. */
#ifndef MP_BUNDLE_GATHER_H
#define MP_BUNDLE_GATHER_H

#include "bundle/bundle.h"

struct mp_gather {
  const char *root;  /* borrowed: the app's folder */
  bool dotfiles;     /* take what begins with a dot, too */
  uint64_t dev, ino; /* of the file that is left out: the bundle itself, if it is there already */
  char **patterns;   /* owned, each too: as of the shell, of a whole name or its last part; matches are left out */
  unsigned n_patterns;
  char **names; /* owned, each too: sorted */
  unsigned n_names;
  char real[4096]; /* the folder without links on its way */
};

/* 0 or -ENOMEM. */
int mp_gather_exclude(struct mp_gather *g, const char *pattern);
/* 0; -EBADMSG: something there can be no part of a bundle; other -errno; with a sentence in `why`. */
int mp_gather_run(struct mp_gather *g, char *why);
void mp_gather_free(struct mp_gather *g);

#endif
