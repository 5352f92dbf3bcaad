#include "io/sink.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEPT_MOST = 256 * 1024, COPY_STEP = 1 << 20, TRIES = 16 };

/* ---- names; on the thread, but for mp_sink_name ---- */

/* "FOLDER/.moonpool-4f…": malloc'ed, or NULL. */
static char *fresh_name(const char *folder) {
  uint64_t bits = 0;
  char *name = NULL;
  if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != sizeof bits) bits = uv_hrtime() ^ ((uint64_t)getpid() << 40);
  if (asprintf(&name, "%s/.moonpool-%016" PRIx64, folder, bits) < 0) return NULL;
  return name;
}

/* A malloc'ed name below `folder` that `make` could make; NULL: errno says why not. */
static char *make_named(struct mp_sink *sink, const char *folder, int (*make)(struct mp_sink *sink, const char *name)) {
  for (int i = 0; i < TRIES; i++) {
    char *name = fresh_name(folder);
    if (!name) break;
    if (make(sink, name) == 0) return name;
    int err = errno;
    free(name);
    errno = err;
    if (err != EEXIST) return NULL;
  }
  return NULL;
}

static int make_file(struct mp_sink *sink, const char *name) {
  sink->fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  return sink->fd < 0 ? -1 : 0;
}

static int make_link(struct mp_sink *sink, const char *name) {
  char self[40];
  snprintf(self, sizeof self, "/proc/self/fd/%d", sink->fd);
  return linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
}

static char *folder_of(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return strdup(".");
  return slash == path ? strdup("/.") : strndup(path, (size_t)(slash - path));
}

/* ---- jobs, on the thread ---- */

static void fail(struct mp_sink *sink) {
  sink->job_err = errno ? -errno : -EIO;
}

static void do_open(struct mp_sink *sink) {
  sink->fd = open(sink->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (sink->fd >= 0) return;
  bool unknown = errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL; /* to this file system or kernel */
  if (unknown) sink->name = make_named(sink, sink->folder, make_file);
  if (sink->fd < 0) fail(sink);
}

static int write_all(int fd, const char *bytes, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, bytes, len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    bytes += n;
    len -= (size_t)n;
  }
  return 0;
}

static void do_write(struct mp_sink *sink) {
  struct mp_slice bytes = mp_buf_slice(&sink->writing);
  errno = 0;
  if (write_all(sink->fd, bytes.at, bytes.len) < 0) fail(sink);
}

/* What a new file would get: the mask cannot be asked for without changing it for all threads, but for here. */
static mode_t usual_mode(void) {
  char line[128];
  unsigned mask = 022;
  FILE *status = fopen("/proc/self/status", "re");
  while (status && fgets(line, sizeof line, status))
    if (strncmp(line, "Umask:", 6) == 0) mask = (unsigned)strtoul(line + 6, NULL, 8);
  if (status) (void)fclose(status);
  return 0666 & ~mask;
}

static int copy_bytes(int from, int to) {
  off_t at = 0;
  char *step = malloc(COPY_STEP);
  ssize_t n = step ? 1 : -1;
  while (n > 0) {
    n = pread(from, step, COPY_STEP, at);
    if (n > 0 && write_all(to, step, (size_t)n) < 0) n = -1;
    if (n > 0) at += n;
  }
  free(step);
  return n < 0 ? -1 : 0;
}

static int make_copy(struct mp_sink *sink, const char *name) {
  int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return -1;
  int err = copy_bytes(sink->fd, fd) < 0 || fchmod(fd, usual_mode()) < 0 || fsync(fd) < 0 ? errno : 0;
  close(fd);
  if (err == 0) return 0;
  unlink(name);
  errno = err;
  return -1;
}

/* Its second name in the folder of the target: a link, or a copy where there can be no link (another file system). */
static char *name_beside(struct mp_sink *sink, const char *target) {
  char *folder = folder_of(target), *name = NULL;
  if (!folder) return NULL;
  if (!sink->name && fchmod(sink->fd, usual_mode()) == 0 && fsync(sink->fd) == 0)
    name = make_named(sink, folder, make_link);
  if (!name) name = make_named(sink, folder, make_copy);
  free(folder);
  return name;
}

static void drop_name(struct mp_sink *sink) {
  if (sink->name) unlink(sink->name);
  free(sink->name);
  sink->name = NULL;
}

static bool rename_to_target(struct mp_sink *sink) {
  if (fsync(sink->fd) < 0 || rename(sink->name, sink->target) < 0) return false;
  free(sink->name);
  sink->name = NULL;
  return fchmod(sink->fd, usual_mode()) == 0;
}

static void do_place(struct mp_sink *sink) {
  if (sink->name && rename_to_target(sink)) {
    sink->placed = true;
    return;
  }
  char *beside = name_beside(sink, sink->target);
  if (!beside || rename(beside, sink->target) < 0) {
    fail(sink);
    if (beside) unlink(beside);
  } else {
    sink->placed = true;
    drop_name(sink);
  }
  free(beside);
}

static void do_close(struct mp_sink *sink) {
  if (sink->fd >= 0) close(sink->fd);
  sink->fd = -1;
  drop_name(sink);
}

/* ---- on the loop ---- */

static void go_on(struct mp_sink *sink);

static void run_job(uv_work_t *work) {
  struct mp_sink *sink = MP_CONTAINER(work, struct mp_sink, work);
  sink->job(sink);
}

static void closed(struct mp_sink *sink) {
  mp_buf_free(&sink->filling);
  mp_buf_free(&sink->writing);
  free(sink->folder);
  free(sink->target);
  sink->on_closed(sink);
}

static void on_job_done(uv_work_t *work, int status) {
  struct mp_sink *sink = MP_CONTAINER(work, struct mp_sink, work);
  (void)status; /* never cancelled */
  mp_loop_woke(sink->loop);
  sink->busy = false;
  if (sink->err == 0) sink->err = sink->job_err;
  if (sink->job == do_write) mp_buf_reset(&sink->writing, KEPT_MOST);
  if (sink->job == do_close)
    closed(sink);
  else
    go_on(sink);
}

static void start(struct mp_sink *sink, void (*job)(struct mp_sink *sink)) {
  sink->busy = true;
  sink->job = job;
  uv_queue_work(&sink->loop->uv, &sink->work, run_job, on_job_done);
}

static void start_write(struct mp_sink *sink) {
  struct mp_buf empty = sink->writing;
  sink->writing = sink->filling;
  sink->filling = empty;
  start(sink, do_write);
}

static void go_on(struct mp_sink *sink) {
  if (sink->closing)
    start(sink, do_close);
  else if (sink->err == 0 && mp_buf_len(&sink->filling) > 0)
    start_write(sink);
  else if (sink->err == 0 && sink->target && !sink->placed)
    start(sink, do_place);
  else
    sink->on_idle(sink);
}

int mp_sink_open(struct mp_sink *sink, struct mp_loop *loop, const char *folder, void (*on_idle)(struct mp_sink *sink),
                 void (*on_closed)(struct mp_sink *sink)) {
  *sink = (struct mp_sink){.loop = loop, .on_idle = on_idle, .on_closed = on_closed, .fd = -1};
  sink->folder = strdup(folder);
  if (!sink->folder) return -ENOMEM;
  start(sink, do_open);
  return 0;
}

int mp_sink_write(struct mp_sink *sink, struct mp_slice bytes) {
  if (sink->err < 0) return sink->err;
  if (sink->target || sink->closing) return -EALREADY;
  int err = mp_buf_add_slice(&sink->filling, bytes);
  if (err < 0) return err;
  sink->size += bytes.len;
  if (!sink->busy && bytes.len > 0) start_write(sink);
  return 0;
}

int mp_sink_place(struct mp_sink *sink, const char *path) {
  if (sink->target || sink->closing) return -EALREADY;
  sink->target = strdup(path);
  if (!sink->target) return -ENOMEM;
  if (!sink->busy && sink->err == 0) start(sink, do_place);
  return 0;
}

int mp_sink_name(struct mp_sink *sink, const char **path) {
  if (sink->busy || sink->closing) return -EBUSY;
  if (sink->err < 0) return sink->err;
  if (!sink->placed && !sink->name && !(sink->name = make_named(sink, sink->folder, make_link))) return -errno;
  *path = sink->placed ? sink->target : sink->name;
  return 0;
}

void mp_sink_close(struct mp_sink *sink) {
  if (sink->closing) return;
  sink->closing = true;
  if (!sink->busy) start(sink, do_close);
}
