#include "io/identity.h"
#include "base/check.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOT_A_NUMBER = -1, MOST_GROUPS = 65536 /* NGROUPS_MAX */ };

static int refuse(char *why, unsigned size, const char *format, const char *name) {
  snprintf(why, size, format, name);
  return -EINVAL;
}

/* 4294967295 means "leave it" to the kernel, so it is nobody's number. */
static long long read_number(const char *text) {
  char *end;
  if (*text < '0' || *text > '9') return NOT_A_NUMBER;
  errno = 0;
  unsigned long long n = strtoull(text, &end, 10);
  return errno || *end || n >= 0xffffffffULL ? NOT_A_NUMBER : (long long)n;
}

/* What getpw* and getgr* say of a name that is not there differs; only a failing system is worth telling apart. */
static bool is_absent(int err) {
  return err == 0 || err == ENOENT || err == ESRCH || err == EBADF || err == EPERM;
}

static int read_group(struct mp_identity *id, const char *name, char *why, unsigned size) {
  long long number = read_number(name);
  errno = 0;
  const struct group *entry = number == NOT_A_NUMBER ? getgrnam(name) : NULL;
  if (number == NOT_A_NUMBER && !entry)
    return refuse(why, size, is_absent(errno) ? "group: there is no group %.100s" : "group: %.100s cannot be looked up",
                  name);
  id->gid = entry ? entry->gr_gid : (gid_t)number;
  id->set_user = true;
  return 0;
}

/* The groups of the user, its main one among them. */
static int list_groups(struct mp_identity *id, const char *user) {
  int n = 32;
  for (;;) {
    gid_t *groups = realloc(id->groups, (size_t)n * sizeof *groups);
    if (!groups) return -ENOMEM;
    id->groups = groups;
    int room = n;
    if (getgrouplist(user, id->gid, groups, &n) >= 0) break;
    if (n <= room) n = room * 2;
    if (n > MOST_GROUPS) return -EINVAL;
  }
  id->n_groups = (unsigned)n;
  return 0;
}

static int only_group(struct mp_identity *id) {
  id->groups = malloc(sizeof *id->groups);
  if (!id->groups) return -ENOMEM;
  id->groups[0] = id->gid;
  id->n_groups = 1;
  return 0;
}

static int read_user(struct mp_identity *id, const char *name, bool has_group, char *why, unsigned size) {
  long long number = read_number(name);
  errno = 0;
  const struct passwd *entry = number == NOT_A_NUMBER ? getpwnam(name) : getpwuid((uid_t)number);
  if (!entry && number == NOT_A_NUMBER)
    return refuse(why, size, is_absent(errno) ? "user: there is no user %.100s" : "user: %.100s cannot be looked up",
                  name);
  if (!entry && !has_group)
    return refuse(why, size, "user: %.100s is in no list of users, so a group is wanted too", name);
  id->set_user = true;
  id->uid = entry ? entry->pw_uid : (uid_t)number;
  if (entry && !has_group) id->gid = entry->pw_gid;
  return entry ? list_groups(id, entry->pw_name) : only_group(id);
}

static int read_umask(struct mp_identity *id, const char *text, char *why, unsigned size) {
  char *end;
  unsigned long mask = strtoul(text, &end, 8);
  if (*text < '0' || *text > '7' || *end || mask > 0777)
    return refuse(why, size, "umask: an octal number up to 777 is wanted, not \"%.40s\"", text);
  id->set_umask = true;
  id->umask = (mode_t)mask;
  return 0;
}

static bool has_capability(unsigned capability) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) return geteuid() == 0;
  return data[capability / 32].effective >> capability % 32 & 1;
}

/* Whoever changes nothing needs no right to; then the groups stay as they are, too. */
static int check_right(struct mp_identity *id, const char *user, const char *group, char *why, unsigned size) {
  bool other = id->uid != geteuid() || id->gid != getegid();
  bool may = has_capability(CAP_SETGID) && (id->uid == geteuid() || has_capability(CAP_SETUID));
  if (may) return 0;
  if (other)
    return refuse(why, size, user ? "user: only root can become %.100s" : "group: only root can change to %.100s",
                  user ? user : group);
  id->set_user = false;
  return 0;
}

int mp_identity_read(struct mp_identity *id, const char *user, const char *group, const char *umask, char *why,
                     unsigned size) {
  *id = (struct mp_identity){.uid = geteuid(), .gid = getegid()};
  int err = group ? read_group(id, group, why, size) : 0;
  if (err == 0 && user) err = read_user(id, user, group != NULL, why, size);
  if (err == 0 && group && !user) err = only_group(id);
  if (err == 0 && (user || group)) err = check_right(id, user, group, why, size);
  if (err == 0 && umask) err = read_umask(id, umask, why, size);
  if (err == -ENOMEM) snprintf(why, size, "out of memory");
  return err;
}

void mp_identity_free(struct mp_identity *id) {
  free(id->groups);
  *id = (struct mp_identity){0};
}

/* Of this thread alone, so by system call: libc would change every thread. */
static int set_groups(const gid_t *groups, int n) {
  return syscall(SYS_setgroups, n, groups) < 0 ? -errno : 0;
}

/* With another file-system user the kernel takes root's rights over files away, and gives them back with root's own
 * number. */
static int open_as_user(const struct mp_identity *id, const char *path, int flags, mode_t mode) {
  int dumpable = prctl(PR_GET_DUMPABLE), fd = -EPERM;
  gid_t gid = (gid_t)setfsgid(id->gid);
  uid_t uid = (uid_t)setfsuid(id->uid);
  if ((uid_t)setfsuid((uid_t)-1) == id->uid && (gid_t)setfsgid((gid_t)-1) == id->gid) {
    fd = open(path, flags | O_CLOEXEC, mode);
    if (fd < 0) fd = -errno;
  }
  setfsuid(uid);
  setfsgid(gid);
  if (dumpable == 1) prctl(PR_SET_DUMPABLE, 1); /* the change has taken our own core dumps away */
  return fd;
}

static int open_as(const struct mp_identity *id, const char *path, int flags, mode_t mode) {
  int n = getgroups(0, NULL);
  gid_t *own = n < 0 ? NULL : calloc((size_t)n + 1, sizeof *own);
  if (!own) return -ENOMEM;
  n = getgroups(n, own);
  int fd = n < 0 ? -errno : set_groups(id->groups, (int)id->n_groups);
  if (fd == 0) {
    fd = open_as_user(id, path, flags, mode);
    MP_CHECK(set_groups(own, n) == 0); /* what we had, we may have again */
  }
  free(own);
  return fd;
}

int mp_identity_open(const struct mp_identity *id, const char *path, int flags, mode_t mode) {
  if (id->set_user) return open_as(id, path, flags, mode);
  int fd = open(path, flags | O_CLOEXEC, mode);
  return fd < 0 ? -errno : fd;
}
