#include "io/files.h"
#include "base/check.h"
#include "io/beneath.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>

enum {
  FRESH_MS = 1000, /* between two looks at a file */
  IDLE_MS = 10000, /* what nobody asked for so long is let go */
  SWEEP_MS = 5000,
  FDS_MOST = 64,
  HELD_MOST = 16 * 1024 * 1024
};

static const char *const endings[MP_FILE_FORMS] = {"", ".gz", ".br"};

/* ---- assets ---- */

static uint32_t hash_text(uint32_t hash, const char *text) {
  for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
  return (hash ^ 0xff) * 16777619u;
}

static uint32_t hash_of(const struct mp_files_ask *ask) {
  uint32_t hash = hash_text(ask->siblings ? 1 : 2166136261u, ask->path);
  return ask->root ? hash_text(hash, ask->root) : hash;
}

static struct mp_asset *new_asset(const struct mp_files_ask *ask) {
  size_t path = strlen(ask->path) + 1, root = ask->root ? strlen(ask->root) + 1 : 0;
  struct mp_asset *asset = calloc(1, sizeof *asset + path + root);
  if (!asset) return NULL;
  mp_list_init(&asset->node);
  asset->refs = 1;
  asset->siblings = ask->siblings;
  asset->hash = hash_of(ask);
  asset->path = memcpy(asset->names, ask->path, path);
  if (ask->root) asset->root = memcpy(asset->names + path, ask->root, root);
  for (int i = 0; i < MP_FILE_FORMS; i++) asset->forms[i].fd = -1;
  return asset;
}

void mp_asset_release(struct mp_asset *asset) {
  if (!asset || --asset->refs > 0) return;
  for (int i = 0; i < MP_FILE_FORMS; i++) {
    mp_source_close(&asset->forms[i]);
    mp_buf_free(&asset->note[i]);
  }
  free(asset);
}

static bool is_for(const struct mp_asset *asset, const struct mp_files_ask *ask, uint32_t hash) {
  if (asset->hash != hash || asset->siblings != ask->siblings || !asset->root != !ask->root) return false;
  return strcmp(asset->path, ask->path) == 0 && (!ask->root || strcmp(asset->root, ask->root) == 0);
}

static struct mp_files_ask ask_of(const struct mp_asset *asset) {
  return (struct mp_files_ask){asset->root, asset->path, asset->siblings};
}

/* ---- what is kept ---- */

static struct mp_asset **bucket_of(struct mp_files *files, uint32_t hash) {
  return &files->buckets[hash % MP_FILES_BUCKETS];
}

/* What it takes was counted before; now it may be something else. */
static void count(struct mp_files *files, struct mp_asset *asset, bool kept) {
  files->held -= asset->held;
  files->n_fds -= asset->n_fds;
  asset->held = 0;
  asset->n_fds = 0;
  for (int i = 0; kept && i < MP_FILE_FORMS; i++) {
    if (asset->forms[i].content && !asset->forms[i].lent) asset->held += (size_t)asset->forms[i].size;
    if (asset->forms[i].fd >= 0) asset->n_fds++;
  }
  files->held += asset->held;
  files->n_fds += asset->n_fds;
}

static void let_go(struct mp_asset *asset) {
  struct mp_files *files = asset->files;
  struct mp_asset **at = bucket_of(files, asset->hash);
  while (*at != asset) at = &(*at)->next;
  *at = asset->next;
  mp_list_unlink(&asset->node);
  count(files, asset, false);
  files->n_kept--;
  asset->files = NULL;
  mp_asset_release(asset);
}

/* The least recently used go first, until `enough` says so; NULL: all of them. */
static void let_go_until(struct mp_files *files, bool (*enough)(const struct mp_files *files)) {
  MP_LIST_EACH(node, &files->used) {
    if (enough && enough(files)) break;
    let_go(MP_CONTAINER(node, struct mp_asset, node));
  }
}

static bool within_bounds(const struct mp_files *files) {
  return files->n_kept <= MP_FILES_KEPT && files->held <= HELD_MOST && files->n_fds <= files->fds_most;
}

static void keep_within_bounds(struct mp_files *files) {
  let_go_until(files, within_bounds);
}

static void recount(struct mp_asset *asset) {
  struct mp_files *files = asset->files;
  count(files, asset, true);
  keep_within_bounds(files); /* which may let go of this one: who calls has a reference */
}

static void on_sweep(struct mp_timer *timer) {
  struct mp_files *files = MP_CONTAINER(timer, struct mp_files, sweep);
  uint64_t now = mp_loop_now(files->loop);
  MP_LIST_EACH(node, &files->used) { /* least recently used first */
    if (now - MP_CONTAINER(node, struct mp_asset, node)->used_ms < IDLE_MS) break;
    let_go(MP_CONTAINER(node, struct mp_asset, node));
  }
  if (!mp_list_empty(&files->used)) mp_timer_start(timer, SWEEP_MS);
}

static void touch(struct mp_files *files, struct mp_asset *asset, uint64_t now) {
  asset->used_ms = now;
  mp_list_unlink(&asset->node);
  mp_list_append(&files->used, &asset->node);
}

static struct mp_asset *find(struct mp_files *files, const struct mp_files_ask *ask, uint32_t hash) {
  struct mp_asset *asset = *bucket_of(files, hash);
  while (asset && !is_for(asset, ask, hash)) asset = asset->next;
  return asset;
}

/* In place of an older one of that name. */
static void keep(struct mp_files *files, struct mp_asset *asset) {
  struct mp_files_ask ask = ask_of(asset);
  struct mp_asset *old = find(files, &ask, asset->hash);
  if (old) let_go(old);
  struct mp_asset **bucket = bucket_of(files, asset->hash);
  asset->files = files;
  asset->next = *bucket;
  *bucket = asset;
  asset->refs++;
  asset->checked_ms = mp_loop_now(files->loop);
  touch(files, asset, asset->checked_ms);
  files->n_kept++;
  count(files, asset, true);
  keep_within_bounds(files);
  if (!mp_timer_started(&files->sweep)) mp_timer_start(&files->sweep, SWEEP_MS);
}

/* ---- looking ---- */

static int name_form(const struct mp_asset *asset, int form, char out[PATH_MAX]) {
  int n = snprintf(out, PATH_MAX, "%s%s", asset->path, endings[form]);
  return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* A packed form may be missing, for whatever reason of its own; a reason of ours is an error. */
static bool is_ours(int err) {
  return err == -EAGAIN || err == -EMFILE || err == -ENFILE || err == -ENOMEM;
}

/* 0 or -errno; any thread. */
static int open_form(struct mp_asset *asset, int form, unsigned flags) {
  char name[PATH_MAX];
  struct stat st;
  int fd = name_form(asset, form, name);
  if (fd == 0) fd = mp_beneath_open(asset->root, name, flags, &st);
  if (fd < 0) return form != MP_FILE_PLAIN && !is_ours(fd) ? 0 : fd;
  mp_source_set(&asset->forms[form], fd, &st);
  asset->has[form] = true;
  return 0;
}

static int open_asset(const struct mp_files_ask *ask, unsigned flags, struct mp_asset **out) {
  struct mp_asset *asset = new_asset(ask);
  int err = asset ? open_form(asset, MP_FILE_PLAIN, flags) : -ENOMEM;
  for (int i = 1; err == 0 && ask->siblings && i < MP_FILE_FORMS; i++) err = open_form(asset, i, flags);
  if (err == 0) {
    *out = asset;
    return 0;
  }
  mp_asset_release(asset);
  return err;
}

/* 1: it is there as it was; 0: it is not; -EAGAIN. */
static int look_at_form(const struct mp_asset *asset, int form, unsigned flags) {
  char name[PATH_MAX];
  struct stat st;
  int err = name_form(asset, form, name);
  if (err == 0) err = mp_beneath_stat(asset->root, name, flags, &st);
  if (err < 0) return is_ours(err) ? err : !asset->has[form];
  return asset->has[form] ? mp_source_is_same(&asset->forms[form], &st) : !S_ISREG(st.st_mode);
}

static int look_again(const struct mp_asset *asset, unsigned flags) {
  int same = 1;
  for (int i = 0; same == 1 && i < (asset->siblings ? MP_FILE_FORMS : 1); i++) same = look_at_form(asset, i, flags);
  return same;
}

/* A change under an open descriptor shows at once; one of the name, within the second. */
static bool has_changed(const struct mp_asset *asset) {
  for (int i = 0; i < MP_FILE_FORMS; i++)
    if (asset->has[i] && mp_source_has_changed(&asset->forms[i])) return true;
  return false;
}

/* 1: it may be used; 0: not; -EAGAIN. */
static int is_good(struct mp_asset *asset, uint64_t now, unsigned flags) {
  if (asset->bundled) return !asset->files->bundle->override;
  if (has_changed(asset)) return 0;
  if (now - asset->checked_ms < FRESH_MS) return 1;
  int same = look_again(asset, flags);
  if (same == 1) asset->checked_ms = now;
  return same;
}

/* Without descriptors left, those that are only kept are given back. */
static int open_with_room(struct mp_files *files, const struct mp_files_ask *ask, struct mp_asset **asset) {
  unsigned flags = files->flags | MP_BENEATH_CACHED;
  int err = open_asset(ask, flags, asset);
  if ((err != -EMFILE && err != -ENFILE) || files->n_fds == 0) return err;
  let_go_until(files, NULL);
  return open_asset(ask, flags, asset);
}

/* ---- from a bundle ---- */

static int open_bundled(const struct mp_bundle *bundle, const struct mp_files_ask *ask, struct mp_asset **out) {
  char name[PATH_MAX];
  const struct mp_bundled *plain = mp_bundle_find(bundle, ask->root, ask->path);
  if (!plain) return mp_bundle_has_folder(bundle, ask->root, ask->path) ? -EISDIR : -ENOENT;
  struct mp_asset *asset = new_asset(ask);
  if (!asset) return -ENOMEM;
  asset->bundled = true;
  for (int i = 0; i < (ask->siblings ? MP_FILE_FORMS : 1); i++) {
    const struct mp_bundled *found = name_form(asset, i, name) < 0 ? NULL : mp_bundle_find(bundle, ask->root, name);
    if (!found) continue;
    mp_source_set_bundled(&asset->forms[i], found);
    asset->has[i] = true;
  }
  *out = asset;
  return 0;
}

/* Where a file wins over the bundle's, what is asked for is that; the folder's name is the caller's to free. */
static char *override_root(const struct mp_files *files, struct mp_files_ask *ask) {
  char *root = NULL, *path = files->bundle ? mp_bundle_overridden(files->bundle, ask->root, ask->path) : NULL;
  if (!path) return NULL;
  free(path);
  if (asprintf(&root, "%s%s%s", files->bundle->override, ask->root ? "/" : "", ask->root ? ask->root : "") < 0)
    return NULL;
  ask->root = root;
  return root;
}

static int get(struct mp_files *files, const struct mp_files_ask *ask, struct mp_asset **out) {
  uint64_t now = mp_loop_now(files->loop);
  struct mp_asset *asset = find(files, ask, hash_of(ask));
  int good = asset ? is_good(asset, now, files->flags | MP_BENEATH_CACHED) : 0;
  if (good == -EAGAIN) return -EAGAIN;
  if (good == 1) {
    touch(files, asset, now);
    asset->refs++;
    *out = asset;
    return 0;
  }
  if (asset) let_go(asset);
  int err = files->bundle ? open_bundled(files->bundle, ask, out) : -ENOENT;
  if (err == -ENOENT) err = open_with_room(files, ask, out);
  if (err == 0) keep(files, *out);
  return err;
}

int mp_files_get(struct mp_files *files, const struct mp_files_ask *ask, struct mp_asset **out) {
  struct mp_files_ask asked = *ask;
  char *root = override_root(files, &asked);
  int err = get(files, &asked, out);
  free(root);
  return err;
}

struct mp_slice mp_asset_content(struct mp_asset *asset, enum mp_file_form form) {
  struct mp_source *file = &asset->forms[form];
  bool had = file->content != NULL;
  if (!mp_source_hold(file)) return mp_slice(NULL, 0);
  if (!had && asset->files) recount(asset);
  return mp_slice(file->content, (size_t)file->size);
}

/* ---- threads ---- */

static void work(uv_work_t *req) {
  struct mp_files_job *job = MP_CONTAINER(req, struct mp_files_job, work);
  struct mp_asset *asset = job->asset;
  if (job->warms) {
    job->content = mp_source_read_slowly(&asset->forms[job->form], job->at, job->len);
    return;
  }
  job->found = open_form(asset, MP_FILE_PLAIN, job->flags);
  for (int i = 1; job->found == 0 && asset->siblings && i < MP_FILE_FORMS; i++)
    job->found = open_form(asset, i, job->flags);
}

static void take_result(struct mp_files_job *job) {
  struct mp_asset *asset = job->asset;
  if (!job->warms) {
    if (job->err == 0) job->err = job->found;
    if (job->err == 0 && job->files) keep(job->files, asset);
    return;
  }
  asset->forms[job->form].readers--;
  if (job->content) mp_source_take_content(&asset->forms[job->form], job->content);
  if (asset->files) recount(asset);
}

static void after_work(uv_work_t *req, int status) {
  struct mp_files_job *job = MP_CONTAINER(req, struct mp_files_job, work);
  mp_loop_woke(req->loop->data);
  if (status < 0) job->err = status;
  mp_list_unlink(&job->node);
  take_result(job);
  if (job->on_done) job->on_done(job);
  mp_asset_release(job->asset);
  free(job);
}

static struct mp_files_job *start_job(struct mp_files *files, struct mp_files_job job) {
  struct mp_files_job *started = job.asset ? malloc(sizeof *started) : NULL;
  if (!started) {
    mp_asset_release(job.asset);
    return NULL;
  }
  *started = job;
  started->files = files;
  started->flags = files->flags;
  mp_list_init(&started->node);
  mp_list_append(&files->jobs, &started->node);
  int err = uv_queue_work(&files->loop->uv, &started->work, work, after_work);
  MP_CHECK(err == 0); /* it only fails without a function */
  return started;
}

struct mp_files_job *mp_files_fetch(struct mp_files *files, const struct mp_files_ask *ask,
                                    void (*on_done)(struct mp_files_job *job), void *ctx) {
  struct mp_files_ask asked = *ask;
  char *root = override_root(files, &asked);
  struct mp_asset *asset = new_asset(&asked);
  free(root);
  return start_job(files, (struct mp_files_job){.asset = asset, .on_done = on_done, .ctx = ctx});
}

struct mp_files_job *mp_files_warm(struct mp_files *files, struct mp_asset *asset, enum mp_file_form form, uint64_t at,
                                   uint64_t len, void (*on_done)(struct mp_files_job *job), void *ctx) {
  asset->refs++;
  struct mp_files_job *job = start_job(
      files, (struct mp_files_job){
                 .asset = asset, .form = form, .at = at, .len = len, .warms = true, .on_done = on_done, .ctx = ctx});
  if (job) asset->forms[form].readers++;
  return job;
}

void mp_files_drop(struct mp_files_job *job) {
  job->on_done = NULL;
}

/* ---- life ---- */

static unsigned descriptors_to_keep(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur / 16 > FDS_MOST) return FDS_MOST;
  return (unsigned)(limit.rlim_cur / 16);
}

int mp_files_init(struct mp_files *files, struct mp_loop *loop) {
  memset(files, 0, sizeof *files);
  files->loop = loop;
  files->fds_most = descriptors_to_keep();
  mp_list_init(&files->used);
  mp_list_init(&files->jobs);
  return mp_timer_init(&files->sweep, &loop->timers, on_sweep);
}

void mp_files_deinit(struct mp_files *files) {
  struct mp_list *node;
  let_go_until(files, NULL);
  while ((node = mp_list_pop(&files->jobs))) {
    struct mp_files_job *job = MP_CONTAINER(node, struct mp_files_job, node);
    job->files = NULL;
    job->err = -ECANCELED;
    if (job->on_done) job->on_done(job);
    job->on_done = NULL;
  }
  mp_timer_deinit(&files->sweep);
}
