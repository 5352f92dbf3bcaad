/* doors.h - the listening sockets of a server in this process, kept over reloads. Each generation of the app listens on
 * descriptors of its own for the same sockets. */
#ifndef MP_EMBED_DOORS_H
#define MP_EMBED_DOORS_H

#include "base/buf.h"
#include "base/config.h"

enum { MP_DOORS_MOST = 64 };

struct mp_door_socket {
  int fd;        /* owned */
  char *address; /* owned: what it was opened for */
  bool wanted;   /* by the settings that were opened last */
};

struct mp_doors {
  unsigned n;
  struct mp_door_socket at[MP_DOORS_MOST];
};

/* Opens what is not open yet of config->listen; how it was before is kept if one cannot be had: -errno and a sentence.
 */
int mp_doors_open(struct mp_doors *doors, const struct mp_config *config, char *why, unsigned size);
/* Descriptors of their own, for what is wanted: how many, or -errno and none. */
int mp_doors_copy(const struct mp_doors *doors, int *fds);
void mp_doors_settle(struct mp_doors *doors); /* closes what is not wanted */
void mp_doors_close(struct mp_doors *doors);  /* all; harmless when it is empty */

/* "127.0.0.1:8080 unix:/run/a", of those wanted; the port of the first TCP address, or 0. */
int mp_doors_name(const struct mp_doors *doors, struct mp_buf *out);
int mp_doors_port(const struct mp_doors *doors);

#endif
