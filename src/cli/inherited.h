/* inherited.h - reads what a new master was given (pool/inheritance.h), and takes it out of the environment. */
#ifndef MP_CLI_INHERITED_H
#define MP_CLI_INHERITED_H

#include "cli/options.h"
#include "pool/inheritance.h"

/* Takes the words of an old master off the front of `argv`, and systemd's variables out of the environment. 0, -ENOMEM,
 * or -EINVAL with `why` (MP_WHY bytes). Give back with mp_inherited_free, also after an error. */
int mp_inherited_read(struct mp_inheritance *in, int *argc, char ***argv, char *why);
void mp_inherited_free(struct mp_inheritance *in); /* closes what was not taken over */

/* Where to listen, with systemd's sockets: all of them when nobody has said where; "fd:NAME" becomes the number of each
 * socket of that name. 0, -ENOMEM or -EINVAL with `why`. */
int mp_inherited_listen(const struct mp_inheritance *in, struct mp_options *o, char *why);

#endif
