#include "embed/doors.h"
#include "io/listener.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct mp_door_socket *find(struct mp_doors *doors, const char *address) {
  for (unsigned i = 0; i < doors->n; i++)
    if (strcmp(doors->at[i].address, address) == 0) return &doors->at[i];
  return NULL;
}

/* A unix socket that we made leaves no name behind. */
static void close_one(struct mp_door_socket *socket) {
  char path[512];
  close(socket->fd);
  if (mp_listen_path(socket->address, path, sizeof path)) unlink(path);
  free(socket->address);
}

static int open_one(struct mp_doors *doors, const char *address, int backlog, char *why, unsigned size) {
  if (doors->n == MP_DOORS_MOST) {
    snprintf(why, size, "at most %d addresses can be listened on", (int)MP_DOORS_MOST);
    return -E2BIG;
  }
  char *copy = strdup(address);
  int fd = copy ? mp_listen(address, backlog, why, size) : -ENOMEM;
  if (fd < 0) {
    free(copy);
    return fd;
  }
  doors->at[doors->n++] = (struct mp_door_socket){.fd = fd, .address = copy};
  return 0;
}

static bool names(const struct mp_config *config, const char *address) {
  for (unsigned i = 0; i < config->n_listen; i++)
    if (strcmp(config->listen[i], address) == 0) return true;
  return false;
}

int mp_doors_open(struct mp_doors *doors, const struct mp_config *config, char *why, unsigned size) {
  unsigned before = doors->n;
  int err = 0;
  snprintf(why, size, "out of memory");
  for (unsigned i = 0; err == 0 && i < config->n_listen; i++) {
    const struct mp_door_socket *open = find(doors, config->listen[i]);
    if (!open) err = open_one(doors, config->listen[i], (int)config->backlog, why, size);
    if (open) listen(open->fd, (int)config->backlog); /* once more: it may have another length */
  }
  while (err < 0 && doors->n > before) close_one(&doors->at[--doors->n]);
  for (unsigned i = 0; err == 0 && i < doors->n; i++) doors->at[i].wanted = names(config, doors->at[i].address);
  return err;
}

int mp_doors_copy(const struct mp_doors *doors, int *fds) {
  int n = 0;
  for (unsigned i = 0; i < doors->n; i++) {
    if (!doors->at[i].wanted) continue;
    fds[n] = fcntl(doors->at[i].fd, F_DUPFD_CLOEXEC, 0);
    if (fds[n] >= 0) {
      n++;
      continue;
    }
    int err = -errno;
    while (n > 0) close(fds[--n]);
    return err;
  }
  return n;
}

void mp_doors_settle(struct mp_doors *doors) {
  unsigned kept = 0;
  for (unsigned i = 0; i < doors->n; i++) {
    if (doors->at[i].wanted)
      doors->at[kept++] = doors->at[i];
    else
      close_one(&doors->at[i]);
  }
  doors->n = kept;
}

void mp_doors_close(struct mp_doors *doors) {
  while (doors->n > 0) close_one(&doors->at[--doors->n]);
}

int mp_doors_name(const struct mp_doors *doors, struct mp_buf *out) {
  int err = 0;
  for (unsigned i = 0; err == 0 && i < doors->n; i++) {
    char name[160];
    if (!doors->at[i].wanted || mp_listen_name(doors->at[i].fd, name, sizeof name) < 0) continue;
    err = mp_buf_addf(out, "%s%s", mp_buf_len(out) ? " " : "", name);
  }
  return err < 0 ? err : mp_buf_add(out, "", 1);
}

int mp_doors_port(const struct mp_doors *doors) {
  char name[160];
  for (unsigned i = 0; i < doors->n; i++) {
    if (!doors->at[i].wanted || mp_listen_name(doors->at[i].fd, name, sizeof name) < 0) continue;
    const char *colon = strncmp(name, "unix:", 5) == 0 ? NULL : strrchr(name, ':');
    if (colon) return (int)strtol(colon + 1, NULL, 10);
  }
  return 0;
}
