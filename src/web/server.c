#include "web/server.h"
#include "base/check.h"
#include "base/err.h"
#include "web/conn.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
  RETRY_MS = 100,
  HELD_BACK_MS = 1, /* long enough for a sibling to wake up and take what waits */
  FDS_KEPT = 16     /* descriptors that connections leave to everybody else */
};

void mp_server_set_date(struct mp_server *server) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  mp_date_set(&server->date, now.tv_sec);
}

void mp_server_look(struct mp_server *server) {
  mp_loop_post(server->loop, &server->flush);
}

/* ---- the door ---- */

static bool is_full(const struct mp_server *server) {
  uint32_t most = server->config.max_connections;
  return server->few_fds || (most && server->n_conns >= most);
}

/* At the very end there would be no descriptor for what requests need. New connections had better wait for a place, or
 * for a sibling that has one. */
static void spare_fds(struct mp_server *server) {
  uint64_t now = mp_loop_now(server->loop);
  server->few_fds = true;
  if (server->complained_ms && now - server->complained_ms < 1000) return;
  server->complained_ms = now;
  mp_log(server->log, MP_LOG_WARN, "http", "few descriptors left: connections wait connections=%u", server->n_conns);
}

/* Siblings get them meanwhile. */
static bool on_offer(struct mp_listener *listener) {
  struct mp_server *server = MP_CONTAINER(listener, struct mp_door, listener)->server;
  if (is_full(server)) {
    server->paused = true;
    mp_listener_rest(listener, MP_LISTENER_FOREVER);
    return false;
  }
  if (!server->ops->holds_back || !server->ops->holds_back(server)) return true;
  mp_listener_rest(listener, HELD_BACK_MS);
  return false;
}

static void on_connection(struct mp_listener *listener, int fd, const struct mp_address *peer) {
  struct mp_server *server = MP_CONTAINER(listener, struct mp_door, listener)->server;
  char text[128];
  int err = mp_conn_open(server, fd, peer);
  if (fd > server->fd_most) spare_fds(server);
  if (err < 0)
    mp_log(server->log, MP_LOG_ERROR, "http", "cannot take a connection: %s", mp_err_text(err, text, sizeof text));
  else if (server->ops->on_connections)
    server->ops->on_connections(server);
  if (err == -ENOMEM) mp_listener_rest(listener, RETRY_MS);
}

/* A listener that cannot poll tells nobody: it is tried again. */
static void start_doors(struct mp_server *server) {
  char text[128];
  server->paused = false;
  for (unsigned i = 0; i < server->n_doors; i++) {
    struct mp_listener *listener = &server->doors[i].listener;
    int err = mp_listener_start(listener);
    if (err == 0) continue;
    mp_log(server->log, MP_LOG_ERROR, "http", "cannot listen for now: %s", mp_err_text(err, text, sizeof text));
    mp_listener_rest(listener, RETRY_MS);
  }
}

static void on_door_closed(struct mp_listener *listener) {
  struct mp_door *door = MP_CONTAINER(listener, struct mp_door, listener);
  door->server->n_doors_open--;
  mp_server_look(door->server);
}

static void close_doors(struct mp_server *server) {
  for (unsigned i = 0; i < server->n_doors; i++) mp_listener_close(&server->doors[i].listener);
  server->paused = false;
}

void mp_server_conn_closed(struct mp_server *server) {
  server->n_conns--;
  server->few_fds = false;
  if (server->draining)
    mp_server_look(server);
  else if (server->paused && !is_full(server))
    start_doors(server);
}

/* ---- the end of a turn ---- */

static bool has_drained(const struct mp_server *server) {
  return server->draining && !server->drained && !server->n_conns && !server->n_held && !server->n_doors_open;
}

static void on_flush(struct mp_soon *soon) {
  struct mp_server *server = MP_CONTAINER(soon, struct mp_server, flush);
  mp_server_set_date(server);
  mp_exchange_tell(server);
  mp_conn_flush_dirty(server);
  mp_exchange_trim(server, server->n_held + MP_FREE_MOST);
  if (!has_drained(server)) return;
  server->drained = true;
  server->ops->on_drained(server); /* may free it */
}

/* ---- life ---- */

static int highest_fd(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur > INT_MAX) return INT_MAX;
  return files.rlim_cur > 4 * FDS_KEPT ? (int)files.rlim_cur - 1 - FDS_KEPT : INT_MAX;
}

int mp_server_init(struct mp_server *server, struct mp_loop *loop, struct mp_log *log,
                   const struct mp_server_config *config, const struct mp_server_ops *ops, void *ctx) {
  memset(server, 0, sizeof *server);
  server->loop = loop;
  server->log = log;
  server->config = *config;
  server->ops = ops;
  server->ctx = ctx;
  server->fd_most = highest_fd();
  mp_list_init(&server->conns);
  mp_soon_init(&server->flush, on_flush);
  return mp_files_init(&server->files, loop);
}

static int open_door(struct mp_server *server, int fd) {
  struct mp_door *door = &server->doors[server->n_doors];
  int err = mp_listener_open(&door->listener, server->loop, fd);
  door->server = server;
  door->listener.on_offer = on_offer;
  door->listener.on_connection = on_connection;
  door->listener.on_closed = on_door_closed;
  server->n_doors++;
  server->n_doors_open++;
  return err < 0 ? err : mp_listener_start(&door->listener);
}

int mp_server_adopt(struct mp_server *server, const int *fds, unsigned n) {
  unsigned taken = 0;
  int err = 0;
  if (MP_BUG(server->doors)) return -EALREADY;
  server->doors = calloc(n ? n : 1, sizeof *server->doors);
  if (!server->doors) err = -ENOMEM;
  while (err == 0 && taken < n) err = open_door(server, fds[taken++]);
  if (err < 0) close_doors(server);
  while (taken < n) close(fds[taken++]);
  return err;
}

int mp_server_take(struct mp_server *server, int fd, const struct mp_address *peer) {
  return mp_conn_open(server, fd, peer);
}

void mp_server_drain(struct mp_server *server, uint64_t idle_ms) {
  if (server->draining) return;
  server->draining = true;
  server->drain_due_ms = mp_loop_now(server->loop) + idle_ms;
  close_doors(server);
  MP_LIST_EACH(node, &server->conns) {
    struct mp_conn *c = MP_CONTAINER(node, struct mp_conn, node);
    if (c->due == MP_DUE_FIRST || c->due == MP_DUE_IDLE) c->due = MP_DUE_NONE; /* judged anew */
    mp_conn_touch(c);
  }
  mp_server_look(server);
}

/* Connections leave the list in their last callback, so that nothing that on_gone does can break this walk. */
void mp_server_close(struct mp_server *server) {
  server->draining = true;
  close_doors(server);
  MP_LIST_EACH(node, &server->conns) {
    mp_conn_close(MP_CONTAINER(node, struct mp_conn, node));
  }
  mp_server_look(server);
}

void mp_server_deinit(struct mp_server *server) {
  MP_CHECK(server->n_conns == 0 && server->n_held == 0);
  mp_soon_cancel(&server->flush);
  mp_exchange_trim(server, 0);
  mp_files_deinit(&server->files);
  mp_buf_free(&server->spare);
  mp_buf_free(&server->packed);
  mp_packer_free(server->packer);
  free(server->doors);
  memset(server, 0, sizeof *server);
}
