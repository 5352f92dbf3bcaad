#include "io/changes.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUIET_MS = 50, LONGEST_MS = 500, POLL_MS = 1000, DEEPEST = 24, MOST_FOLDERS = 4096 };

struct mp_changes_folder {
  struct mp_list node;
  uv_fs_event_t uv;
  struct mp_changes *changes; /* borrowed */
  ino_t inode;
  bool seen; /* by the look that is on */
  char path[];
};

static const char *const kinds[] = {".lua", ".html", ".htm", ".etlua", ".elua", ".tpl", ".tmpl",
                                    ".css", ".js",   ".mjs", ".svg",   ".json", ".md",  ".txt",
                                    ".xml", ".sql",  ".ini", ".yaml",  ".yml",  ".toml"};
static const char *const others[] = {"node_modules", "data", "tmp", "uploads", "log", "logs", "var", "__pycache__"};

static bool is_source(const char *name) {
  const char *dot = strrchr(name, '.');
  if (name[0] == '.' || name[0] == '#' || !dot) return false;
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(dot, kinds[i]) == 0) return true;
  return false;
}

static bool is_folder_of_sources(const char *name) {
  if (name[0] == '.') return false;
  for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
    if (strcmp(name, others[i]) == 0) return false;
  return true;
}

static void touch(struct mp_changes *changes) {
  uint64_t now = mp_loop_now(changes->loop);
  if (!changes->since_ms) changes->since_ms = now ? now : 1;
  uint64_t waited = now - changes->since_ms;
  mp_timer_start(&changes->timer, waited + QUIET_MS < LONGEST_MS ? QUIET_MS : 0);
}

static void on_event(uv_fs_event_t *uv, const char *name, int events, int status) {
  struct mp_changes_folder *folder = uv->data;
  (void)name, (void)events, (void)status; /* whatever it is: it is looked at as a whole */
  mp_loop_woke(folder->changes->loop);
  if (!folder->changes->polling) touch(folder->changes);
}

static void on_folder_closed(uv_handle_t *handle) {
  free(handle->data);
}

static void drop(struct mp_changes_folder *folder) {
  mp_list_unlink(&folder->node);
  uv_close((uv_handle_t *)&folder->uv, on_folder_closed);
}

static struct mp_changes_folder *find(struct mp_changes *changes, const char *path, ino_t inode) {
  MP_LIST_EACH(node, &changes->folders) {
    struct mp_changes_folder *folder = MP_CONTAINER(node, struct mp_changes_folder, node);
    if (folder->inode == inode && strcmp(folder->path, path) == 0) return folder;
  }
  return NULL;
}

/* What cannot be watched is looked at from time to time. */
static void watch(struct mp_changes *changes, const char *path, ino_t inode) {
  size_t size = strlen(path) + 1;
  struct mp_changes_folder *folder = find(changes, path, inode);
  if (folder) folder->seen = true;
  if (folder || changes->polling) return;
  folder = calloc(1, sizeof *folder + size);
  if (!folder || uv_fs_event_init(&changes->loop->uv, &folder->uv) < 0) {
    free(folder);
    changes->polling = true;
    return;
  }
  memcpy(folder->path, path, size);
  folder->uv.data = folder;
  folder->changes = changes;
  folder->inode = inode;
  folder->seen = true;
  mp_list_append(&changes->folders, &folder->node);
  if (uv_fs_event_start(&folder->uv, on_event, path, 0) == 0) return;
  changes->polling = true;
  drop(folder);
}

static uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * UINT64_C(0x9e3779b97f4a7c15);
  return h ^ h >> 29;
}

static uint64_t print_of(const char *path, const struct stat *st) {
  uint64_t h = 0;
  for (; *path; path++) h = mix(h, (unsigned char)*path);
  h = mix(h, (uint64_t)st->st_ino);
  h = mix(h, (uint64_t)st->st_size);
  h = mix(h, (uint64_t)st->st_mtim.tv_sec);
  return mix(h, (uint64_t)st->st_mtim.tv_nsec);
}

static uint64_t look_below(struct mp_changes *changes, const char *path, int depth, unsigned *n_folders);

static uint64_t look_at(struct mp_changes *changes, DIR *dir, const char *path, const struct dirent *entry, int depth,
                        unsigned *n_folders) {
  struct stat st;
  char *inside = NULL;
  uint64_t print = 0;
  bool known = is_source(entry->d_name);
  if (!known && !is_folder_of_sources(entry->d_name)) return 0;
  if (fstatat(dirfd(dir), entry->d_name, &st, known ? 0 : AT_SYMLINK_NOFOLLOW) < 0) return 0;
  if (asprintf(&inside, "%s/%s", path, entry->d_name) < 0) return 0;
  if (S_ISREG(st.st_mode) && known)
    print = print_of(inside, &st);
  else if (S_ISDIR(st.st_mode) && is_folder_of_sources(entry->d_name))
    print = look_below(changes, inside, depth + 1, n_folders);
  free(inside);
  return print;
}

/* A sum, so that the order in which a folder gives its names does not matter. */
static uint64_t look_below(struct mp_changes *changes, const char *path, int depth, unsigned *n_folders) {
  const struct dirent *entry;
  struct stat st;
  uint64_t print = 0;
  DIR *dir = depth < DEEPEST && ++*n_folders <= MOST_FOLDERS ? opendir(path) : NULL;
  if (!dir) return 0;
  if (fstat(dirfd(dir), &st) == 0) watch(changes, path, st.st_ino); /* first: what comes later is told */
  while ((entry = readdir(dir))) print += look_at(changes, dir, path, entry, depth, n_folders);
  closedir(dir);
  return print;
}

static uint64_t look(struct mp_changes *changes) {
  unsigned n_folders = 0;
  MP_LIST_EACH(node, &changes->folders) {
    MP_CONTAINER(node, struct mp_changes_folder, node)->seen = false;
  }
  uint64_t print = look_below(changes, changes->root, 0, &n_folders);
  struct mp_list *next;
  for (struct mp_list *node = changes->folders.next; node != &changes->folders; node = next) {
    struct mp_changes_folder *folder = MP_CONTAINER(node, struct mp_changes_folder, node);
    next = node->next;
    if (!folder->seen || changes->polling) drop(folder);
  }
  if (changes->polling) mp_timer_start(&changes->timer, POLL_MS);
  return print;
}

static void on_timer(struct mp_timer *timer) {
  struct mp_changes *changes = MP_CONTAINER(timer, struct mp_changes, timer);
  changes->since_ms = 0;
  uint64_t print = look(changes);
  if (print == changes->print) return;
  changes->print = print;
  changes->on_change(changes);
}

int mp_changes_open(struct mp_changes *changes, struct mp_loop *loop, const char *root,
                    void (*on_change)(struct mp_changes *changes)) {
  int err = mp_timer_init(&changes->timer, &loop->timers, on_timer);
  if (err < 0) return err;
  changes->loop = loop;
  changes->on_change = on_change;
  changes->polling = false;
  changes->since_ms = 0;
  mp_list_init(&changes->folders);
  if (!(changes->root = strdup(root))) {
    mp_timer_deinit(&changes->timer);
    return -ENOMEM;
  }
  changes->print = look(changes);
  return 0;
}

void mp_changes_close(struct mp_changes *changes) {
  if (!changes->root) return;
  struct mp_list *next;
  for (struct mp_list *node = changes->folders.next; node != &changes->folders; node = next) {
    next = node->next;
    drop(MP_CONTAINER(node, struct mp_changes_folder, node));
  }
  mp_timer_deinit(&changes->timer);
  free(changes->root);
  changes->root = NULL;
}
