/* make.h - writes a bundle: the same program and the same files make the same bytes, whoever writes where and when. */
#ifndef MP_BUNDLE_MAKE_H
#define MP_BUNDLE_MAKE_H

#include "bundle/gather.h"

struct mp_make {
  const char *program; /* borrowed: the executable that goes in front */
  const char *out;     /* borrowed: replaced as a whole, or not at all */
  const char *secret;  /* borrowed: to sign with; NULL: not signed */
  struct mp_gather gather;
  struct mp_seal seal;          /* name and version are the caller's; the rest comes of it */
  char public_key[MP_SUM_TEXT]; /* of `secret` */
  char why[MP_BUNDLE_WHY];
};

/* 0; -EBADMSG: these files, or this program, make no bundle; other -errno. With a sentence in `why`. */
int mp_make_run(struct mp_make *m);

#endif
