/* identity.h - as whom a process runs: user, groups, umask, and whether set-uid programs can raise it again.
 * Made from names by whoever reads the configuration; put on by exec.h in a new process, before its program runs. */
#ifndef MP_IO_IDENTITY_H
#define MP_IO_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

/* All zero: as we are. */
struct mp_identity {
  bool set_user; /* the four below count */
  uid_t uid;
  gid_t gid;
  gid_t *groups; /* owned: all of them, `gid` too */
  unsigned n_groups;
  bool set_umask;
  mode_t umask;
  bool no_new_privs;
};

/* A user and a group by name or number, an umask in octal; NULL: as we are. A group alone changes the group and drops
 * the further ones; a user brings its own group and all that it is a member of. 0, -ENOMEM, or -EINVAL and a sentence
 * in `why`: no such user, or we lack the right to become it. Give back with mp_identity_free, also after an error. */
int mp_identity_read(struct mp_identity *id, const char *user, const char *group, const char *umask, char *why,
                     unsigned size);
void mp_identity_free(struct mp_identity *id); /* harmless on all zero */

/* open(2) with the rights of that user, whoever we are; close-on-exec. The descriptor or -errno. */
int mp_identity_open(const struct mp_identity *id, const char *path, int flags, mode_t mode);

#endif
