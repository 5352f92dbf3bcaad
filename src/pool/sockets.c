#include "base/err.h"
#include "io/listener.h"
#include "pool/inside.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WRONG_USAGE = 2, CANNOT_LISTEN = 4 };

static void say_where(struct mp_pool *pool, const struct mp_socket *socket) {
  char name[160];
  if (mp_listen_name(socket->fd, name, sizeof name) < 0) return;
  bool path = strncmp(name, "unix:", 5) == 0;
  mp_log(pool->log, MP_LOG_INFO, "pool", "listening on %s%s", path ? "" : "http://", name);
}

/* A unix socket that we made leaves no name behind; one that was handed to us is not ours to remove, and what is used
 * by another master, before us or behind us, is not either. */
static void let_go(struct mp_socket *socket) {
  if (--socket->users > 0) return;
  char path[128];
  close(socket->fd);
  if (!socket->anothers && mp_listen_path(socket->address, path, sizeof path)) unlink(path);
  free(socket->address);
  free(socket);
}

static void empty(struct mp_sockets *set) {
  for (unsigned i = 0; i < set->n; i++) let_go(set->at[i]);
  set->n = 0;
}

static void share(struct mp_sockets *set, struct mp_socket *socket) {
  socket->users++;
  set->at[set->n++] = socket;
}

static struct mp_socket *find(const struct mp_sockets *set, const char *address) {
  for (unsigned i = 0; i < set->n; i++)
    if (strcmp(set->at[i]->address, address) == 0) return set->at[i];
  return NULL;
}

/* 0, or -errno and a sentence. */
static int open_one(struct mp_sockets *set, const char *address, int backlog, char *why, unsigned size) {
  struct mp_socket *socket = calloc(1, sizeof *socket);
  char text[128], *copy = strdup(address);
  int fd = socket && copy ? mp_listen(address, backlog, why, size) : -ENOMEM;
  if (fd < 0) {
    free(socket);
    free(copy);
    if (!why[0]) snprintf(why, size, "cannot listen on %s: %s", address, mp_err_text(fd, text, sizeof text));
    return fd;
  }
  *socket = (struct mp_socket){.fd = fd, .address = copy};
  share(set, socket);
  return 0;
}

/* From the master before us, or anew. */
static int open_first(struct mp_pool *pool, const char *address, char *why, unsigned size) {
  int fd = mp_predecessor_listener(pool, address);
  if (fd < 0) return open_one(&pool->sockets, address, (int)pool->plan->config.backlog, why, size);
  struct mp_socket *socket = calloc(1, sizeof *socket);
  char *copy = strdup(address);
  if (!socket || !copy) {
    close(fd);
    free(socket);
    free(copy);
    snprintf(why, size, "out of memory");
    return -ENOMEM;
  }
  *socket = (struct mp_socket){.fd = fd, .address = copy, .anothers = true};
  share(&pool->sockets, socket);
  return 0;
}

int mp_pool_listen(struct mp_pool *pool) {
  const struct mp_config *config = &pool->plan->config;
  char why[512] = "";
  if (config->n_listen > MP_POOL_LISTENERS) {
    fprintf(stderr, "moonpool: at most %d addresses can be listened on\n", (int)MP_POOL_LISTENERS);
    return WRONG_USAGE;
  }
  for (unsigned i = 0; i < config->n_listen; i++) {
    int err = open_first(pool, config->listen[i], why, sizeof why);
    if (err == 0) continue;
    fprintf(stderr, "moonpool: %s\n", why);
    return err == -EINVAL ? WRONG_USAGE : CANNOT_LISTEN;
  }
  for (unsigned i = 0; i < pool->sockets.n; i++) say_where(pool, pool->sockets.at[i]);
  return 0;
}

/* A change of configuration. */

/* One that is there already, be it for the workers of a generation before, or for one that is being probed. */
static struct mp_socket *find_open(const struct mp_pool *pool, const char *address) {
  struct mp_socket *socket = find(&pool->sockets, address);
  if (!socket) socket = find(&pool->next_sockets, address);
  return socket ? socket : find(&pool->old_sockets, address);
}

/* A descriptor that was handed to us at the start is known by then; any other of that number is one of our own. */
static int open_next(const struct mp_pool *pool, struct mp_sockets *set, const char *address, int backlog, char *why,
                     unsigned size) {
  struct mp_socket *open = find_open(pool, address);
  why[0] = '\0';
  if (find(set, address)) {
    snprintf(why, size, "cannot listen on %s twice", address);
    return -EADDRINUSE;
  }
  if (open) {
    share(set, open);
    return 0;
  }
  if (strncmp(address, "fd:", 3) == 0) {
    snprintf(why, size, "cannot listen on %s: a descriptor is inherited at the start", address);
    return -EINVAL;
  }
  return open_one(set, address, backlog, why, size);
}

int mp_pool_listen_next(struct mp_pool *pool, const struct mp_config *config) {
  struct mp_sockets set = {0};
  char why[512];
  int err = config->n_listen > MP_POOL_LISTENERS ? -E2BIG : 0;
  snprintf(why, sizeof why, "at most %d addresses can be listened on", (int)MP_POOL_LISTENERS);
  for (unsigned i = 0; err == 0 && i < config->n_listen; i++)
    err = open_next(pool, &set, config->listen[i], (int)config->backlog, why, sizeof why);
  if (err < 0) {
    empty(&set);
    mp_log(pool->log, MP_LOG_ERROR, "pool", "reload refused, the old configuration goes on: %s", why);
    return err;
  }
  empty(&pool->next_sockets);
  pool->next_sockets = set;
  return 0;
}

void mp_pool_drop_sockets(struct mp_pool *pool) {
  empty(&pool->next_sockets);
}

static bool is_in(const struct mp_sockets *set, const struct mp_socket *socket) {
  for (unsigned i = 0; i < set->n; i++)
    if (set->at[i] == socket) return true;
  return false;
}

/* More than fit into the set of the old ones: the oldest are not waited for. */
static void keep_old(struct mp_pool *pool, struct mp_socket *socket) {
  struct mp_sockets *old = &pool->old_sockets;
  if (is_in(old, socket)) return;
  if (old->n == MP_POOL_LISTENERS) {
    let_go(old->at[0]);
    memmove(old->at, old->at + 1, --old->n * sizeof *old->at);
  }
  share(old, socket);
}

void mp_pool_adopt_sockets(struct mp_pool *pool) {
  struct mp_sockets before = pool->sockets;
  pool->sockets = pool->next_sockets;
  pool->next_sockets = (struct mp_sockets){0};
  for (unsigned i = 0; i < before.n; i++)
    if (!is_in(&pool->sockets, before.at[i])) keep_old(pool, before.at[i]);
  for (unsigned i = 0; i < pool->sockets.n; i++) {
    if (!is_in(&before, pool->sockets.at[i])) say_where(pool, pool->sockets.at[i]);
    listen(pool->sockets.at[i]->fd, (int)pool->plan->config.backlog); /* once more: it may have another length */
  }
  empty(&before);
}

void mp_pool_settle_sockets(struct mp_pool *pool) {
  struct mp_sockets *old = &pool->old_sockets;
  for (unsigned i = 0; i < old->n; i++)
    if (!is_in(&pool->sockets, old->at[i]) && !is_in(&pool->next_sockets, old->at[i]))
      mp_log(pool->log, MP_LOG_INFO, "pool", "no longer listening on %s", old->at[i]->address);
  empty(old);
}

void mp_pool_stop_listening(struct mp_pool *pool) {
  empty(&pool->sockets);
  empty(&pool->next_sockets);
  empty(&pool->old_sockets);
}

static void mark(struct mp_sockets *set, bool anothers) {
  for (unsigned i = 0; i < set->n; i++) set->at[i]->anothers = anothers;
}

void mp_pool_own_names(struct mp_pool *pool, bool ours) {
  mark(&pool->sockets, !ours);
  mark(&pool->next_sockets, !ours);
  mark(&pool->old_sockets, !ours);
}
