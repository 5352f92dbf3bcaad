#include "io/local.h"
#include "io/listener.h"
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { AS_CREATED = -1, GROUP_SIZE = 64 };

struct local {
  struct sockaddr_un at;
  socklen_t len;
  int mode;               /* permission bits; AS_CREATED: what the umask leaves */
  char group[GROUP_SIZE]; /* whose file it becomes; empty: the process's own */
};

static const char wrong_option[] =
    "behind the \"?\" of a path stand mode=OCTAL (as in mode=660) and group=NAME, with a \"&\" between them";

/* ---- names ---- */

static int read_mode(const char *digits, int *mode) {
  char *end;
  long n = strtol(digits, &end, 8);
  if (*digits < '0' || *digits > '7' || *end || n > 0777) return -EINVAL;
  *mode = (int)n;
  return 0;
}

static int read_option(struct local *local, const char *option) {
  if (strncmp(option, "mode=", 5) == 0) return read_mode(option + 5, &local->mode);
  size_t len = strlen(option);
  if (strncmp(option, "group=", 6) != 0 || len == 6 || len - 6 >= GROUP_SIZE) return -EINVAL;
  memcpy(local->group, option + 6, len - 5); /* with its NUL */
  return 0;
}

/* `options` is taken apart. */
static int read_options(struct local *local, char *options) {
  int err = *options ? 0 : -EINVAL;
  char *rest = options, *option;
  while (err == 0 && (option = strsep(&rest, "&"))) err = read_option(local, option);
  return err;
}

/* 0; -EINVAL; -ENAMETOOLONG. A path that holds a "?" is followed by another one. */
static int read_name(struct local *local, const char *name, const char **text) {
  char copy[PATH_MAX + 2 * GROUP_SIZE];
  *local = (struct local){.at.sun_family = AF_UNIX, .mode = AS_CREATED};
  size_t len = strlen(name);
  if (len >= sizeof copy) return -ENAMETOOLONG;
  memcpy(copy, name, len + 1);
  char *question = strrchr(copy, '?');
  if (question && read_options(local, question + 1) < 0) {
    *text = wrong_option;
    return -EINVAL;
  }
  if (question) *question = '\0';
  bool abstract = copy[0] == '@';
  len = strlen(copy);
  if (len == (abstract ? 1 : 0)) return -EINVAL;
  if (abstract && question) {
    *text = "a name without a file has no mode and no group";
    return -EINVAL;
  }
  if (len >= sizeof local->at.sun_path) return -ENAMETOOLONG;
  memcpy(local->at.sun_path, copy, len + 1);
  if (abstract) local->at.sun_path[0] = '\0';
  local->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (abstract ? 0 : 1));
  return 0;
}

bool mp_listen_path(const char *address, char *out, unsigned size) {
  struct local local;
  const char *text;
  if (strncmp(address, "unix:", 5) != 0 || read_name(&local, address + 5, &text) < 0) return false;
  return local.at.sun_path[0] && (unsigned)snprintf(out, size, "%s", local.at.sun_path) < size;
}

/* ---- the socket ---- */

static int new_socket(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return fd < 0 ? -errno : fd;
}

/* Nobody listens on it: a socket, and a connection is refused. */
static bool is_stale(const struct local *local) {
  struct stat st;
  if (!local->at.sun_path[0] || lstat(local->at.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode)) return false;
  int fd = new_socket();
  if (fd < 0) return false;
  bool refused = connect(fd, (const struct sockaddr *)&local->at, local->len) < 0 && errno == ECONNREFUSED;
  close(fd);
  return refused;
}

bool mp_listen_is_stale(const char *path) {
  struct local local = {.at.sun_family = AF_UNIX};
  size_t len = strlen(path);
  if (len >= sizeof local.at.sun_path) return false;
  memcpy(local.at.sun_path, path, len + 1);
  local.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
  return is_stale(&local);
}

static int bind_to(int fd, const struct local *local) {
  const struct sockaddr *at = (const struct sockaddr *)&local->at;
  if (bind(fd, at, local->len) == 0) return 0;
  if (errno != EADDRINUSE || !is_stale(local)) return -errno;
  unlink(local->at.sun_path);
  return bind(fd, at, local->len) < 0 ? -errno : 0;
}

/* 0; -ENOENT: there is no such group. */
static int find_group(const char *name, gid_t *gid) {
  char *end;
  unsigned long number = strtoul(name, &end, 10);
  const struct group *group = getgrnam(name);
  if (!group && (*end || *name < '0' || *name > '9' || number >= UINT_MAX)) return -ENOENT;
  *gid = group ? group->gr_gid : (gid_t)number;
  return 0;
}

/* The kernel makes the file with the descriptor's bits less the umask's: so it is never open to more than it is to be,
 * and only then opened to all of them. */
static int narrow(int fd, const struct local *local) {
  int mode = local->group[0] && local->mode == AS_CREATED ? 0700 : local->mode;
  return mode != AS_CREATED && fchmod(fd, (mode_t)mode) < 0 ? -errno : 0;
}

static int give_away(const struct local *local, const char **text) {
  gid_t gid = (gid_t)-1;
  if (local->group[0] && find_group(local->group, &gid) < 0) {
    *text = "there is no such group";
    return -ENOENT;
  }
  if (local->group[0] && chown(local->at.sun_path, (uid_t)-1, gid) < 0) return -errno;
  int mode = local->group[0] && local->mode == AS_CREATED ? 0770 : local->mode;
  return mode != AS_CREATED && chmod(local->at.sun_path, (mode_t)mode) < 0 ? -errno : 0;
}

int mp_listen_local(const char *name, int backlog, const char **text) {
  struct local local;
  int err = read_name(&local, name, text), fd = err < 0 ? err : new_socket();
  if (fd < 0) return fd;
  err = narrow(fd, &local);
  if (err == 0) err = bind_to(fd, &local);
  bool bound = err == 0;
  if (err == 0) err = give_away(&local, text);
  if (err == 0 && listen(fd, backlog) < 0) err = -errno;
  if (err == 0) return fd;
  if (bound && local.at.sun_path[0]) unlink(local.at.sun_path);
  close(fd);
  return err;
}
