#include "base/err.h"
#include "io/listener.h"
#include "io/local.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char not_an_address[] = "not an address (HOST:PORT, :PORT, [::1]:PORT, unix:PATH or fd:N)";

/* "cannot listen on ADDRESS: address already in use" */
static int refuse(const char *address, int err, const char *text, char *why, unsigned size) {
  char words[128];
  if (!text) text = mp_err_text(err, words, sizeof words);
  snprintf(why, size, "cannot listen on %s: %s", address, text);
  return err;
}

static int new_socket(int family) {
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return fd < 0 ? -errno : fd;
}

static int close_failed(int fd) {
  int err = -errno;
  close(fd);
  return err;
}

static void set_option(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value); /* fails only for a family that does not know it */
}

static int listen_at(const struct sockaddr *at, socklen_t len, int backlog, bool every_family) {
  int fd = new_socket(at->sa_family);
  if (fd < 0) return fd;
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (at->sa_family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !every_family);
  if (bind(fd, at, len) < 0 || listen(fd, backlog) < 0) return close_failed(fd);
  return fd;
}

/* 0 to 65535, digits only; -EINVAL. */
static int read_number(const char *digits, unsigned most) {
  unsigned long n = 0;
  if (!*digits) return -EINVAL;
  for (; *digits; digits++) {
    if (!isdigit((unsigned char)*digits)) return -EINVAL;
    n = n * 10 + (unsigned long)(*digits - '0');
    if (n > most) return -EINVAL;
  }
  return (int)n;
}

/* Both families by one socket, where the kernel has IPv6. */
static int listen_everywhere(int port, int backlog) {
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_any};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int fd = listen_at((struct sockaddr *)&six, sizeof six, backlog, true);
  if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
    fd = listen_at((struct sockaddr *)&four, sizeof four, backlog, false);
  return fd;
}

static int resolve_failed(int eai, const char **text) {
  if (eai == EAI_SYSTEM) return -errno;
  if (eai == EAI_MEMORY) return -ENOMEM;
  *text = gai_strerror(eai);
  return -EADDRNOTAVAIL;
}

/* The first of the host's addresses that can be had. */
static int listen_host(const char *host, const char *port, int backlog, const char **text) {
  struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
  int eai = getaddrinfo(host, port, &hints, &found), fd = -EADDRNOTAVAIL;
  if (eai) return resolve_failed(eai, text);
  for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
    fd = listen_at(a->ai_addr, a->ai_addrlen, backlog, false);
    if (fd == -EADDRINUSE || fd == -EACCES) break; /* another address would hide that */
  }
  freeaddrinfo(found);
  return fd;
}

static int listen_tcp(const char *address, int backlog, const char **text) {
  char host[256];
  const char *from = address, *colon = strrchr(address, ':');
  size_t len = colon ? (size_t)(colon - address) : 0;
  int port = colon ? read_number(colon + 1, 65535) : -EINVAL;
  if (port >= 0 && len == 0) return listen_everywhere(port, backlog);
  bool bracketed = len > 2 && from[0] == '[' && from[len - 1] == ']';
  if (bracketed) {
    from++;
    len -= 2;
  }
  bool six = memchr(from, ':', len) != NULL;
  if (port < 0 || six != bracketed || len >= sizeof host || memchr(from, '[', len)) {
    *text = not_an_address;
    return -EINVAL;
  }
  snprintf(host, sizeof host, "%.*s", (int)len, from);
  return listen_host(host, colon + 1, backlog, text);
}

static int adopt_fd(const char *digits, int backlog, const char **text) {
  int fd = read_number(digits, 1 << 30), listens = 0;
  socklen_t len = sizeof listens;
  if (fd < 0) {
    *text = not_an_address;
    return -EINVAL;
  }
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0) return -errno;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -errno;
  if (!listens && listen(fd, backlog) < 0) return -errno; /* bound by who gave it to us */
  return fd;
}

int mp_listen(const char *address, int backlog, char *why, unsigned size) {
  const char *text = NULL;
  int fd;
  if (strncmp(address, "unix:", 5) == 0)
    fd = address[5] ? mp_listen_local(address + 5, backlog, &text) : -EINVAL;
  else if (strncmp(address, "fd:", 3) == 0)
    fd = adopt_fd(address + 3, backlog, &text);
  else
    fd = listen_tcp(address, backlog, &text);
  if (fd == -EINVAL && !text) text = not_an_address;
  return fd < 0 ? refuse(address, fd, text, why, size) : fd;
}

int mp_listen_name(int fd, char *out, unsigned size) {
  union {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    struct sockaddr_un local;
  } at;
  char host[INET6_ADDRSTRLEN];
  socklen_t len = sizeof at - 1;
  memset(&at, 0, sizeof at); /* a path as long as can be has no NUL of its own */
  if (getsockname(fd, &at.any, &len) < 0) return -errno;
  switch (at.any.sa_family) {
  case AF_INET:
    snprintf(out, size, "%s:%d", inet_ntop(AF_INET, &at.four.sin_addr, host, sizeof host), ntohs(at.four.sin_port));
    return 0;
  case AF_INET6:
    snprintf(out, size, "[%s]:%d", inet_ntop(AF_INET6, &at.six.sin6_addr, host, sizeof host), ntohs(at.six.sin6_port));
    return 0;
  case AF_UNIX:
    len -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
    if (len > 1 && !at.local.sun_path[0])
      snprintf(out, size, "unix:@%.*s", (int)len - 1, at.local.sun_path + 1);
    else
      snprintf(out, size, "unix:%s", at.local.sun_path);
    return 0;
  }
  return -EAFNOSUPPORT;
}
