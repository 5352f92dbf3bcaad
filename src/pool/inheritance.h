/* inheritance.h - what a master is given by whoever has started it, and hands on to its successor.
 *
 * systemd gives by the environment: sockets from descriptor 3 on, and where to send words. An old master gives by the
 * words in front of the user's own:
 *
 *   moonpool serve --upgrade-fd=9 --upgrade-stderr=8 --upgrade-listen=6=127.0.0.1:8080 … APP
 *
 * Neither reaches a worker. */
#ifndef MP_POOL_INHERITANCE_H
#define MP_POOL_INHERITANCE_H

#include <stdint.h>

enum { MP_INHERITED_LISTENERS = 64, MP_FIRST_ACTIVATED = 3 };

struct mp_inherited_listener {
  int fd;              /* owned; -1: adopted */
  const char *address; /* borrowed from the words */
};

struct mp_inheritance {
  const char *program; /* borrowed: by this name the next binary is looked up */
  char *const *words;  /* borrowed: the user's, behind the verb; ended by NULL */
  int old_fd;          /* owned: to the old master; -1: there is none */
  int stderr_fd;       /* owned: what stderr will be once we have begun; -1: it is that already */
  struct mp_inherited_listener listener[MP_INHERITED_LISTENERS];
  unsigned n_listeners;
  unsigned n_activated; /* systemd's sockets: from MP_FIRST_ACTIVATED on */
  char *names;          /* owned: theirs, with colons between; NULL: none */
  char *notify;         /* owned: where systemd wants to be told; NULL: nowhere */
  uint64_t watchdog_us; /* how long systemd waits for a sign of life; 0: for ever */
};

#endif
