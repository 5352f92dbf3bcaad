#include "base/err.h"
#include "io/listener.h"
#include "pool/inside.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WRONG_USAGE = 2, CANNOT_LISTEN = 4 };

static void say_where(struct mp_pool *pool, int fd) {
  char name[160];
  if (mp_listen_name(fd, name, sizeof name) < 0) return;
  bool path = strncmp(name, "unix:", 5) == 0;
  mp_log(pool->log, MP_LOG_INFO, "pool", "listening on %s%s", path ? "" : "http://", name);
}

static int listen_on(struct mp_pool *pool, const char *address) {
  char why[512] = "";
  int fd = mp_listen(address, (int)pool->plan->config.backlog, why, sizeof why);
  if (fd >= 0) {
    pool->addresses[pool->n_listeners] = strdup(address);
    pool->listeners[pool->n_listeners++] = fd;
    return 0;
  }
  char text[128];
  if (why[0])
    fprintf(stderr, "moonpool: %s\n", why);
  else
    fprintf(stderr, "moonpool: cannot listen on %s: %s\n", address, mp_err_text(fd, text, sizeof text));
  return fd == -EINVAL ? WRONG_USAGE : CANNOT_LISTEN;
}

int mp_pool_listen(struct mp_pool *pool) {
  const struct mp_config *config = &pool->plan->config;
  if (config->n_listen > MP_POOL_LISTENERS) {
    fprintf(stderr, "moonpool: at most %d addresses can be listened on\n", (int)MP_POOL_LISTENERS);
    return WRONG_USAGE;
  }
  for (unsigned i = 0; i < config->n_listen; i++) {
    int code = listen_on(pool, config->listen[i]);
    if (code != 0) return code;
  }
  for (unsigned i = 0; i < pool->n_listeners; i++) say_where(pool, pool->listeners[i]);
  return 0;
}

/* A unix socket that we made leaves no name behind; one that was handed to us is not ours to remove. */
static void remove_name(const char *address) {
  char path[128];
  if (address && mp_listen_path(address, path, sizeof path)) unlink(path);
}

void mp_pool_stop_listening(struct mp_pool *pool) {
  for (unsigned i = 0; i < pool->n_listeners; i++) {
    close(pool->listeners[i]);
    remove_name(pool->addresses[i]);
    free(pool->addresses[i]);
  }
  pool->n_listeners = 0;
}
