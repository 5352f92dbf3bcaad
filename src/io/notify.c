#include "io/notify.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

int mp_notify_open(struct mp_notify *notify, const char *address) {
  size_t len = strlen(address);
  *notify = (struct mp_notify){.fd = -1, .at.sun_family = AF_UNIX};
  if ((*address != '/' && *address != '@') || len < 2) return -EAFNOSUPPORT;
  if (len >= sizeof notify->at.sun_path) return -ENAMETOOLONG;
  memcpy(notify->at.sun_path, address, len);
  if (*address == '@') notify->at.sun_path[0] = '\0'; /* its length ends it, not a NUL */
  notify->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*address == '/'));
  notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return notify->fd < 0 ? -errno : 0;
}

int mp_notify_send(const struct mp_notify *notify, struct mp_slice text) {
  ssize_t n;
  do n = sendto(notify->fd, text.at, text.len, MSG_NOSIGNAL, (const struct sockaddr *)&notify->at, notify->len);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return 0;
  return errno == ENOBUFS ? -EAGAIN : -errno;
}

void mp_notify_close(struct mp_notify *notify) {
  if (notify->fd >= 0) close(notify->fd);
  notify->fd = -1;
}
