/* reporter.h - keeps the process `report` behind --metrics-listen: started by the master, ended with it, and started
 * again after a growing pause when it ends by itself, or when its address cannot be had for now. */
#ifndef MP_POOL_REPORTER_H
#define MP_POOL_REPORTER_H

#include "io/child.h"

struct mp_pool;

struct mp_reporter {
  struct mp_pool *pool; /* borrowed */
  struct mp_child child;
  struct mp_timer again;
  char *address;  /* owned: where it listens, or is to; NULL: nowhere */
  int fd;         /* owned: the listening socket; -1: none */
  unsigned tries; /* in a row that came to nothing */
  uint64_t born_ms;
  bool lives;   /* the child, up to its last handle */
  bool leaving; /* it was told to end */
  bool closing;
};

/* Before anything else; 0 or -ENOMEM. */
int mp_reporter_init(struct mp_reporter *reporter, struct mp_pool *pool);
void mp_reporter_deinit(struct mp_reporter *reporter); /* after it has closed, or if it was never used */

/* At `address` from now on; NULL: nowhere. The same address changes nothing. 0; -errno: it cannot be listened on,
 * `why` (of `size` bytes) says so, and what was before goes on. */
int mp_reporter_use(struct mp_reporter *reporter, const char *address, char *why, unsigned size);
/* The same, but an address that cannot be had is logged, and tried again until it can. */
void mp_reporter_take_over(struct mp_reporter *reporter, const char *address);

void mp_reporter_renew(struct mp_reporter *reporter); /* another process, as when the log was reopened */
void mp_reporter_close(struct mp_reporter *reporter); /* mp_pool_left is called when it has */
bool mp_reporter_is_closed(const struct mp_reporter *reporter);
bool mp_reporter_owns(const struct mp_reporter *reporter, pid_t pid);

#endif
