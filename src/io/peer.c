#include "io/peer.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* The numbers of the kernel's TCP states (net/tcp_states.h), which <netinet/tcp.h> names too. */
static enum mp_peer by_tcp_state(int state) {
  switch (state) {
  case TCP_CLOSE:
    return MP_PEER_GONE;
  case TCP_CLOSE_WAIT:
  case TCP_LAST_ACK:
  case TCP_CLOSING:
  case TCP_TIME_WAIT:
    return MP_PEER_ENDED;
  default:
    return MP_PEER_THERE;
  }
}

static enum mp_peer by_poll(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLRDHUP};
  if (poll(&p, 1, 0) <= 0) return MP_PEER_THERE;
  if (p.revents & (POLLHUP | POLLERR | POLLNVAL)) return MP_PEER_GONE;
  return p.revents & POLLRDHUP ? MP_PEER_ENDED : MP_PEER_THERE;
}

enum mp_peer mp_peer_state(int fd) {
  struct tcp_info info;
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) return by_tcp_state(info.tcpi_state);
  return by_poll(fd);
}

bool mp_peer_is_unix(int fd) {
  int domain = 0;
  socklen_t size = sizeof domain;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

bool mp_peer_has_sent(int fd) {
  int waiting = 0;
  return ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0;
}

int mp_peer_reset_on_close(int fd) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  return setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) < 0 ? -errno : 0;
}
