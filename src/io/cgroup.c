#include "io/cgroup.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { MOST = 1024 }; /* bytes of a path in /proc that we follow */

#define FIRST_NAMESPACE 0xEFFFFFFBU /* PROC_CGROUP_INIT_INO: the number that the kernel gives to its own */

/* ---- finding it ---- */

/* A word of /proc/self/mounts, where a space is written \040. */
static void unescape(char *word) {
  char *to = word;
  for (const char *at = word; *at;) {
    bool octal = at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] && at[3];
    *to++ = octal ? (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0')) : *at;
    at += octal ? 4 : 1;
  }
  *to = '\0';
}

static bool find_mount(char *out) {
  char line[4096], path[MOST], type[64];
  FILE *mounts = fopen("/proc/self/mounts", "re");
  bool found = false;
  if (!mounts) return false;
  while (!found && fgets(line, sizeof line, mounts))
    found = sscanf(line, "%*s %1023s %63s", path, type) == 2 && strcmp(type, "cgroup2") == 0;
  fclose(mounts);
  if (!found) return false;
  unescape(path);
  memcpy(out, path, strlen(path) + 1);
  return true;
}

/* The line "0::/path". */
static bool find_own(char *out) {
  char line[MOST];
  FILE *file = fopen("/proc/self/cgroup", "re");
  bool found = false;
  if (!file) return false;
  while (!found && fgets(line, sizeof line, file)) found = strncmp(line, "0::/", 4) == 0;
  fclose(file);
  if (!found) return false;
  line[strcspn(line, "\n")] = '\0';
  memcpy(out, line + 3, strlen(line + 3) + 1);
  return strstr(out, "/..") == NULL; /* outside of what this namespace shows */
}

static bool is_marked(const char *folder) {
  static const char *const names[] = {"user.delegate", "trusted.delegate"};
  char value[4];
  for (unsigned i = 0; i < 2; i++)
    if (getxattr(folder, names[i], value, sizeof value) == 1 && value[0] == '1') return true;
  return false;
}

static bool is_delegated(const char *folder, const char *own) {
  struct stat st, ns;
  if (stat(folder, &st) < 0) return false;
  if (is_marked(folder) || (st.st_uid == geteuid() && geteuid() != 0)) return true;
  return strcmp(own, "/") == 0 && stat("/proc/self/ns/cgroup", &ns) == 0 && ns.st_ino != FIRST_NAMESPACE;
}

/* A mount of a part of the tree shows another folder under our path: who is in it decides. */
static bool holds_us(const char *folder) {
  char path[2 * MOST + 32], line[32];
  snprintf(path, sizeof path, "%s/cgroup.procs", folder);
  FILE *file = fopen(path, "re");
  bool found = false;
  if (!file) return false;
  while (!found && fgets(line, sizeof line, file)) found = strtol(line, NULL, 10) == getpid();
  fclose(file);
  return found;
}

static void name_group(const struct mp_cgroups *cgroups, unsigned number, const char *file, char *out, size_t size) {
  snprintf(out, size, "%s/moonpool-%d-%u%s", cgroups->folder, (int)getpid(), number, file);
}

/* Of a master that is dead; one that is not empty stays. */
static void remove_left_over(const char *folder, const char *name) {
  char path[2 * MOST + 300];
  static const char prefix[] = "moonpool-";
  char *end;
  if (strncmp(name, prefix, sizeof prefix - 1) != 0) return;
  long pid = strtol(name + sizeof prefix - 1, &end, 10);
  if (*end != '-' || pid <= 0 || pid > INT_MAX || kill((pid_t)pid, 0) == 0) return;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  rmdir(path);
}

static void remove_left_overs(const char *folder) {
  DIR *dir = opendir(folder);
  const struct dirent *entry;
  if (!dir) return;
  while ((entry = readdir(dir))) remove_left_over(folder, entry->d_name);
  closedir(dir);
}

void mp_cgroups_open(struct mp_cgroups *cgroups) {
  char mount[MOST], own[MOST], folder[2 * MOST];
  *cgroups = (struct mp_cgroups){.first = 1};
  if (!find_mount(mount) || !find_own(own)) return;
  snprintf(folder, sizeof folder, "%s%s", mount, strcmp(own, "/") == 0 ? "" : own);
  if (!holds_us(folder) || !is_delegated(folder, own)) return;
  cgroups->folder = strdup(folder); /* without memory: none */
  if (cgroups->folder) remove_left_overs(folder);
}

void mp_cgroups_close(struct mp_cgroups *cgroups) {
  mp_cgroups_tidy(cgroups, NULL, NULL);
  free(cgroups->folder);
  cgroups->folder = NULL;
}

/* ---- using it ---- */

static int write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
  close(fd);
  return err;
}

int mp_cgroups_enter(struct mp_cgroups *cgroups, pid_t pid) {
  char path[2 * MOST + 64], text[16];
  if (!cgroups->folder) return 0;
  unsigned number = cgroups->last + 1;
  name_group(cgroups, number, "", path, sizeof path);
  int err = mkdir(path, 0755) < 0 ? -errno : 0;
  if (err == 0) {
    cgroups->last = number;
    name_group(cgroups, number, "/cgroup.procs", path, sizeof path);
    snprintf(text, sizeof text, "%d\n", (int)pid);
    err = write_file(path, text);
  }
  if (err == 0) return (int)number;
  mp_cgroups_close(cgroups);
  return err;
}

void mp_cgroups_kill(const struct mp_cgroups *cgroups, unsigned number) {
  char path[2 * MOST + 64];
  if (!cgroups->folder || number == 0) return;
  name_group(cgroups, number, "/cgroup.kill", path, sizeof path);
  if (write_file(path, "1\n") < 0) return; /* an older kernel: the sweep does it, one by one */
}

void mp_cgroups_tidy(struct mp_cgroups *cgroups, bool (*used)(unsigned number, void *ctx), void *ctx) {
  char path[2 * MOST + 64];
  bool all = true;
  if (!cgroups->folder) return;
  for (unsigned number = cgroups->first; number <= cgroups->last; number++) {
    name_group(cgroups, number, "", path, sizeof path);
    bool gone = !(used && used(number, ctx)) && (rmdir(path) == 0 || errno == ENOENT);
    all = all && gone;
    if (all) cgroups->first = number + 1;
  }
}
