#include "bundle/gather.h"
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

_Static_assert(sizeof((struct mp_gather *)0)->real >= PATH_MAX, "realpath writes there");

static int add(char ***list, unsigned *n, const char *text) {
  char *copy = strdup(text);
  char **more = copy ? realloc(*list, (*n + 1) * sizeof **list) : NULL;
  if (more) *list = more;
  if (more) more[(*n)++] = copy;
  if (more) return 0;
  free(copy);
  return -ENOMEM;
}

static void free_list(char **list, unsigned n) {
  for (unsigned i = 0; i < n; i++) free(list[i]);
  free(list);
}

int mp_gather_exclude(struct mp_gather *g, const char *pattern) {
  return add(&g->patterns, &g->n_patterns, pattern);
}

void mp_gather_free(struct mp_gather *g) {
  free_list(g->patterns, g->n_patterns);
  free_list(g->names, g->n_names);
  g->patterns = g->names = NULL;
  g->n_patterns = g->n_names = 0;
}

static int refuse(char *why, int err, const char *name, const char *text) {
  snprintf(why, MP_BUNDLE_WHY, "%.300s: %s", name, text);
  return err;
}

static bool is_left_out(const struct mp_gather *g, const char *name) {
  const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
  if (last[0] == '.' && !g->dotfiles) return true;
  for (unsigned i = 0; i < g->n_patterns; i++)
    if (fnmatch(g->patterns[i], name, 0) == 0 || fnmatch(g->patterns[i], last, 0) == 0) return true;
  return false;
}

/* A link stands for the file it leads to, which must be one of the app's. */
static int check_link(const struct mp_gather *g, const char *path, const char *name, const struct stat *st, char *why) {
  char real[PATH_MAX];
  size_t len = strlen(g->real);
  if (!realpath(path, real)) return refuse(why, -EBADMSG, name, "a link that leads nowhere");
  if (strncmp(real, g->real, len) != 0 || real[len] != '/')
    return refuse(why, -EBADMSG, name, "a link that leads out of the app's folder");
  return S_ISDIR(st->st_mode) ? refuse(why, -EBADMSG, name, "a link to a folder") : 0;
}

static int walk(struct mp_gather *g, const char *folder, char *why);

static int take(struct mp_gather *g, const char *path, const char *name, char *why) {
  struct stat link, st;
  if (lstat(path, &link) < 0) return refuse(why, -errno, name, strerror(errno));
  bool leads = S_ISLNK(link.st_mode);
  if (stat(path, &st) < 0 && !leads) return refuse(why, -errno, name, strerror(errno));
  int err = leads ? check_link(g, path, name, &st, why) : 0;
  if (err < 0) return err;
  if (S_ISDIR(st.st_mode)) return walk(g, name, why);
  if (!S_ISREG(st.st_mode)) return refuse(why, -EBADMSG, name, "neither a file nor a folder");
  if (st.st_ino == g->ino && st.st_dev == g->dev) return 0;
  return add(&g->names, &g->n_names, name) < 0 ? refuse(why, -ENOMEM, name, "out of memory") : 0;
}

static int take_entry(struct mp_gather *g, const char *folder, const char *entry, char *why) {
  char *name = NULL, *path = NULL;
  int err = -ENOMEM;
  if (strcmp(entry, ".") == 0 || strcmp(entry, "..") == 0) return 0;
  if (asprintf(&name, "%s%s%s", folder, *folder ? "/" : "", entry) < 0) name = NULL;
  if (name && asprintf(&path, "%s/%s", g->root, name) < 0) path = NULL;
  if (path) err = is_left_out(g, name) ? 0 : take(g, path, name, why);
  if (!path) refuse(why, err, entry, "out of memory");
  free(path);
  free(name);
  return err;
}

static int walk(struct mp_gather *g, const char *folder, char *why) { // NOLINT(misc-no-recursion)
  char path[PATH_MAX];
  int err = 0;
  if (snprintf(path, sizeof path, "%s/%s", g->root, folder) >= (int)sizeof path)
    return refuse(why, -EBADMSG, folder, "too long a name");
  DIR *dir = opendir(path);
  if (!dir) return refuse(why, -errno, path, strerror(errno));
  for (const struct dirent *entry; err == 0 && (entry = readdir(dir));) err = take_entry(g, folder, entry->d_name, why);
  closedir(dir);
  return err;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_ignored(struct mp_gather *g) {
  char path[PATH_MAX], *line = NULL;
  size_t size = 0;
  int err = 0;
  snprintf(path, sizeof path, "%s/.moonpoolignore", g->root);
  FILE *file = fopen(path, "re");
  if (!file) return errno == ENOENT ? 0 : -errno;
  while (err == 0 && getline(&line, &size, file) > 0) {
    line[strcspn(line, "\r\n")] = '\0';
    size_t len = strlen(line);
    if (len > 1 && line[len - 1] == '/') line[len - 1] = '\0';
    if (*line && *line != '#') err = mp_gather_exclude(g, line);
  }
  free(line);
  fclose(file);
  return err;
}

int mp_gather_run(struct mp_gather *g, char *why) {
  if (!realpath(g->root, g->real)) return refuse(why, -errno, g->root, strerror(errno));
  int err = read_ignored(g);
  if (err < 0) return refuse(why, err, ".moonpoolignore", strerror(-err));
  err = walk(g, "", why);
  if (err == 0 && g->n_names) qsort(g->names, g->n_names, sizeof *g->names, by_name);
  return err;
}
