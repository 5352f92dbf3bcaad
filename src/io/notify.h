/* notify.h - words to the service manager: datagrams to the unix socket that it has named (a path, or "@name" for one
 * without a file). Never waits. */
#ifndef MP_IO_NOTIFY_H
#define MP_IO_NOTIFY_H

#include "base/slice.h"
#include <sys/socket.h>
#include <sys/un.h>

struct mp_notify {
  int fd; /* owned; -1: closed */
  struct sockaddr_un at;
  socklen_t len;
};

/* 0 or -errno; -EAFNOSUPPORT: no such address. Then it is closed. */
int mp_notify_open(struct mp_notify *notify, const char *address);
int mp_notify_send(const struct mp_notify *notify, struct mp_slice text); /* -EAGAIN: it has not read what was there */
void mp_notify_close(struct mp_notify *notify);                           /* may be called twice */

#endif
