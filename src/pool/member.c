#include "base/err.h"
#include "base/self.h"
#include "pool/inside.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Its child and its control stream close on their own time; the last one frees. */
static void closed_one(struct mp_member *m) {
  struct mp_pool *pool = m->pool;
  if (--m->open > 0) return;
  mp_list_unlink(&m->node);
  free(m);
  mp_pool_left(pool);
}

static void on_child_closed(struct mp_child *child) {
  closed_one(child->ctx);
}

static void on_control_closed(struct mp_stream *stream) {
  closed_one(MP_CONTAINER(stream, struct mp_member, control));
}

static void tell_spent(struct mp_member *m, const char *requests) {
  mp_pool_tell(m->pool, &(struct mp_event){.kind = MP_EVENT_SPENT,
                                           .seat = m->seat,
                                           .limit = MP_LIMIT_REQUESTS,
                                           .figure = strtoull(requests, NULL, 10)});
}

static void on_word(void *ctx, const char *word) {
  struct mp_member *m = ctx;
  if (strcmp(word, "ready") == 0)
    mp_pool_tell(m->pool, &(struct mp_event){.kind = MP_EVENT_READY, .seat = m->seat});
  else if (strcmp(word, "stuck") == 0)
    mp_pool_tell(m->pool, &(struct mp_event){.kind = MP_EVENT_STUCK, .seat = m->seat});
  else if (strcmp(word, "back") == 0)
    mp_pool_tell(m->pool, &(struct mp_event){.kind = MP_EVENT_BACK, .seat = m->seat});
  else if (strncmp(word, "spent ", 6) == 0)
    tell_spent(m, word + 6);
  else if (strncmp(word, "part ", 5) == 0 || strncmp(word, "end ", 4) == 0)
    mp_inquiry_hear(&m->pool->control, m->seat, word);
  else if (!*word)
    return; /* in front of a word of the watchdog's, so that it begins a line whatever the loop was writing */
  else
    mp_log(m->pool->log, MP_LOG_WARN, "pool", "a worker says what nobody understands slot=%u pid=%d", m->slot,
           (int)m->child.proc.pid);
}

static void on_control_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct mp_member *m = MP_CONTAINER(stream, struct mp_member, control);
  if (n <= 0 || mp_lines_feed(&m->lines, bytes, (size_t)n, on_word, m) < 0) mp_stream_close(stream);
}

static void on_control_broken(struct mp_stream *stream, int err) {
  (void)err; /* the worker is about to end, and its pidfd will say how */
  mp_stream_close(stream);
}

static void on_settled(struct mp_child *child) {
  struct mp_member *m = child->ctx;
  struct mp_pool *pool = m->pool;
  struct mp_event e = {.kind = MP_EVENT_ENDED,
                       .seat = m->seat,
                       .status = child->status,
                       .answered = atomic_load(&pool->shm->slot[m->seat].requests)};
  mp_shm_fold(pool->shm, m->seat);
  mp_inquiry_lost(&pool->control, m->seat);
  /* The seat is free before anybody hears of it: the next worker may get the same one at once. */
  pool->seats[m->seat] = NULL;
  mp_cgroups_kill(&pool->cgroups, m->cgroup);
  mp_child_close(child);
  mp_stream_close(&m->control);
  mp_strangers_sweep(pool);
  mp_pool_tell(pool, &e);
}

static const struct mp_child_ops child_ops = {.on_settled = on_settled, .on_closed = on_child_closed};
static const struct mp_stream_ops control_ops = {
    .on_read = on_control_read, .on_broken = on_control_broken, .on_closed = on_control_closed};

static void use_slot(struct mp_shm *shm, const struct mp_member *m, uint64_t now) {
  struct mp_shm_slot *slot = &shm->slot[m->seat];
  mp_view_clear(&slot->view);
  atomic_store(&slot->number, m->slot + 1);
  atomic_store(&slot->born_ms, now);
  atomic_store(&slot->state, MP_SHM_STARTING);
  if (atomic_load(&shm->top) <= m->seat) atomic_store(&shm->top, m->seat + 1);
}

static void clear_slot(struct mp_shm_slot *slot, uint32_t generation) {
  atomic_store(&slot->pid, 0);
  atomic_store(&slot->generation, generation);
  atomic_store(&slot->busy_since_ms, 0);
  atomic_store(&slot->moved_ms, 0);
  atomic_store(&slot->requests, 0);
  atomic_store(&slot->in_flight, 0);
  atomic_store(&slot->connections, 0);
  atomic_store(&slot->accepting, 0);
  atomic_store(&slot->accepted, 0);
  atomic_store(&slot->stuck.filled, 0);
}

/* The command line: where it sits, its descriptors, then the settings. */
struct command {
  char slot[32], seat[32], generation[32], control[32], death[32], shm[32], commons[32], bell[32], settings[32];
  char listen[16 + MP_POOL_LISTENERS * 12];
  char *trouble; /* owned */
  char **argv;   /* owned; its words are borrowed */
};

static void free_command(struct command *c) {
  free(c->trouble);
  free(c->argv);
}

static void name_listeners(const struct mp_sockets *sockets, char *out, size_t size) {
  size_t at = (size_t)snprintf(out, size, "--listen-fds=");
  for (unsigned i = 0; i < sockets->n; i++)
    at += (size_t)snprintf(out + at, size - at, "%s%d", i ? "," : "", sockets->at[i]->fd);
}

static int name_trouble(struct command *c, const char *trouble) {
  if (!trouble || asprintf(&c->trouble, "--trouble=%s", trouble) >= 0) return 0;
  c->trouble = NULL;
  return -ENOMEM;
}

static int write_command(struct command *c, const struct mp_pool *pool, const struct mp_member *m, int control,
                         const struct mp_plan *plan, const struct mp_sockets *sockets) {
  char *const own[] = {"moonpool", "worker", c->slot,    c->seat, c->generation, c->control,
                       c->death,   c->shm,   c->commons, c->bell, c->settings,   c->listen};
  size_t n_own = sizeof own / sizeof *own, n = 0;
  snprintf(c->slot, sizeof c->slot, "--slot=%u", m->slot);
  snprintf(c->seat, sizeof c->seat, "--seat=%u", m->seat);
  snprintf(c->generation, sizeof c->generation, "--generation=%u", m->generation);
  snprintf(c->control, sizeof c->control, "--control-fd=%d", control);
  snprintf(c->death, sizeof c->death, "--death-fd=%d", pool->death_pipe[0]);
  snprintf(c->shm, sizeof c->shm, "--shm-fd=%d", pool->shm_fd);
  snprintf(c->commons, sizeof c->commons, "--commons-fd=%d", pool->commons_fd);
  snprintf(c->bell, sizeof c->bell, "--bell-fd=%d", pool->bell_fd);
  snprintf(c->settings, sizeof c->settings, "--settings-fd=%d", plan->settings_fd);
  name_listeners(sockets, c->listen, sizeof c->listen);
  while (plan->words[n]) n++;
  if (name_trouble(c, plan->config.trouble) < 0) return -ENOMEM;
  if (!(c->argv = calloc(n_own + n + 3, sizeof *c->argv))) return -ENOMEM;
  memcpy(c->argv, own, sizeof own);
  if (c->trouble) c->argv[n_own++] = c->trouble;
  c->argv[n_own++] = "--";
  memcpy(c->argv + n_own, plan->words, n * sizeof *c->argv);
  return 0;
}

/* Of its generation. */
static const struct mp_sockets *sockets_of(const struct mp_pool *pool, const struct mp_plan *plan) {
  return plan == pool->next ? &pool->next_sockets : &pool->sockets;
}

static int start_child(struct mp_pool *pool, struct mp_member *m, int control, const struct mp_plan *plan,
                       enum mp_exec_step *step) {
  const struct mp_sockets *sockets = sockets_of(pool, plan);
  int keep[MP_POOL_LISTENERS + 6] = {control, pool->death_pipe[0], pool->shm_fd, pool->commons_fd, pool->bell_fd};
  unsigned n_keep = 5;
  struct command command = {.argv = NULL};
  int err = write_command(&command, pool, m, control, plan, sockets);
  if (err < 0) {
    free_command(&command);
    return err;
  }
  if (plan->settings_fd >= 0) keep[n_keep++] = plan->settings_fd;
  for (unsigned i = 0; i < sockets->n; i++) keep[n_keep++] = sockets->at[i]->fd;
  int out = pool->setup->error_log;
  struct mp_identity identity = plan->identity; /* borrows its groups */
  if (!identity.set_umask) identity.umask = pool->setup->umask;
  identity.set_umask = true; /* ours may be of another generation */
  struct mp_child_spec spec = {.exec = {.argv = command.argv,
                                        .program = mp_self_path(),
                                        .envp = environ,
                                        .cwd = plan->folder,
                                        .stdio = {-1, out, out},
                                        .keep = keep,
                                        .n_keep = n_keep,
                                        .own_group = true,
                                        .identity = &identity}};
  m->child.ctx = m; /* not dies_with_us: its guardian sees our death, and ends what it has started before itself */
  err = mp_child_start(&m->child, &pool->loop, &spec, &child_ops, step);
  free_command(&command);
  return err;
}

static struct mp_member *new_member(struct mp_pool *pool, const struct mp_action *a) {
  struct mp_member *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->pool = pool;
  m->seat = a->seat;
  m->slot = a->slot;
  m->generation = a->generation;
  mp_list_init(&m->node);
  return m;
}

/* Before it has started anything: it still opens its own files. */
static void enter_cgroup(struct mp_pool *pool, struct mp_member *m) {
  char text[128];
  int number = mp_cgroups_enter(&pool->cgroups, m->child.proc.pid);
  if (number >= 0)
    m->cgroup = (unsigned)number;
  else
    mp_log(pool->log, MP_LOG_WARN, "pool", "workers get no cgroup of their own: %s",
           mp_err_text(number, text, sizeof text));
}

/* The control stream is open whatever comes next; its close frees a member that got no child. */
static int run_member(struct mp_pool *pool, struct mp_member *m, int control, const struct mp_plan *plan) {
  enum mp_exec_step step = MP_EXEC_START;
  clear_slot(&pool->shm->slot[m->seat], m->generation);
  use_slot(pool->shm, m, mp_loop_now(&pool->loop));
  int err = start_child(pool, m, control, plan, &step);
  if (err < 0) {
    if (step == MP_EXEC_CHDIR)
      mp_log(pool->log, MP_LOG_ERROR, "pool", "workers cannot run in the folder %s", plan->folder);
    if (step == MP_EXEC_USER) mp_log(pool->log, MP_LOG_ERROR, "pool", "workers cannot become another user");
    atomic_store(&pool->shm->slot[m->seat].state, MP_SHM_FREE);
    return err;
  }
  enter_cgroup(pool, m);
  m->open++;
  atomic_store(&pool->shm->slot[m->seat].pid, (int32_t)m->child.proc.pid);
  pool->seats[m->seat] = m;
  return 0;
}

int mp_member_start(struct mp_pool *pool, const struct mp_action *action, const struct mp_plan *plan) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  struct mp_member *m = new_member(pool, action);
  if (!m) {
    close(pair[0]);
    close(pair[1]);
    return -ENOMEM;
  }
  m->open = 1;
  mp_list_append(&pool->members, &m->node);
  int err = mp_stream_open(&m->control, &pool->loop, pair[0], &control_ops);
  if (err == 0) err = mp_stream_read_start(&m->control);
  if (err == 0) err = run_member(pool, m, pair[1], plan);
  close(pair[1]);
  if (err < 0) mp_stream_close(&m->control);
  return err;
}

void mp_member_say(struct mp_member *member, const char *word) {
  if (mp_stream_write(&member->control, mp_slice(word, strlen(word))) < 0) {
    mp_log(member->pool->log, MP_LOG_WARN, "pool", "a worker hears nothing any more slot=%u pid=%d", member->slot,
           (int)member->child.proc.pid);
    return; /* the roster's deadline ends it */
  }
  mp_stream_flush(&member->control);
}

void mp_member_kill(struct mp_member *member) {
  int err = mp_child_signal(&member->child, SIGKILL, true);
  if (err < 0 && err != -ESRCH)
    mp_log(member->pool->log, MP_LOG_ERROR, "pool", "cannot kill a worker slot=%u pid=%d err=%d", member->slot,
           (int)member->child.proc.pid, err);
}
