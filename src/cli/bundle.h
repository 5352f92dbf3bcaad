/* bundle.h - the bundle that this very executable is, if it is one; and the verb that makes and judges others. */
#ifndef MP_CLI_BUNDLE_H
#define MP_CLI_BUNDLE_H

#include "bundle/bundle.h"

/* 1: it is one, and open; 0: it is none; -errno with a sentence in `why` (MP_BUNDLE_WHY bytes). `override`: the folder
 * whose files win, or NULL. Close it after 1. `checks`: see mp_bundle_open. */
int mp_own_bundle(struct mp_bundle *b, const char *override, bool checks, char *why);

/* The exit code of a bundle that cannot be used; says why. */
int mp_bundle_complain(const char *why, int err);

/* What a signature that was not found good (mp_seal_check) is said to be. */
const char *mp_bundle_judgement(int err);

/* The verb: 0; 1 the system said no; 2 wrong usage; 3 no bundle can come of it, or it is damaged. */
int mp_verb_bundle(int argc, char **argv);

#endif
