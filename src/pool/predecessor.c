#include "base/err.h"
#include "pool/inside.h"
#include <fcntl.h>
#include <unistd.h>

/* As a successor: the old master holds the names (pid file, the service manager's word) until it says "take". Should it
 * die before that, they are ours. */

static void on_word(void *ctx, const char *word) {
  struct mp_pool *pool = ctx;
  if (strcmp(word, "take") == 0)
    mp_pool_take_over(pool);
  else
    mp_log(pool->log, MP_LOG_WARN, "pool", "the old master says what nobody understands");
}

static void is_gone(struct mp_pool *pool) {
  struct mp_predecessor *p = &pool->predecessor;
  if (!p->lives) return;
  p->lives = false;
  mp_stream_close(&p->control);
  if (pool->over) return;
  if (p->leads)
    mp_log(pool->log, MP_LOG_WARN, "pool", "the old master has ended before we were ready, going on without it");
  else
    mp_log(pool->log, MP_LOG_INFO, "pool", "the old master has left");
  if (p->leads) mp_pool_take_over(pool);
}

static void on_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct mp_pool *pool = MP_CONTAINER(stream, struct mp_pool, predecessor.control);
  if (n <= 0 || mp_lines_feed(&pool->predecessor.lines, bytes, (size_t)n, on_word, pool) < 0) is_gone(pool);
}

static void on_broken(struct mp_stream *stream, int err) {
  (void)err; /* its reading end says the same */
  is_gone(MP_CONTAINER(stream, struct mp_pool, predecessor.control));
}

static void on_closed(struct mp_stream *stream) {
  (void)stream; /* it lies in the pool, which is freed when its loop is */
}

static const struct mp_stream_ops ops = {.on_read = on_read, .on_broken = on_broken, .on_closed = on_closed};

int mp_predecessor_open(struct mp_pool *pool) {
  struct mp_predecessor *p = &pool->predecessor;
  struct mp_inheritance *in = pool->setup->inherited;
  if (in->old_fd < 0) return 0;
  p->lives = p->leads = true;
  int err = mp_stream_open(&p->control, &pool->loop, in->old_fd, &ops);
  in->old_fd = -1;
  return err < 0 ? err : mp_stream_read_start(&p->control);
}

void mp_predecessor_close(struct mp_pool *pool) {
  if (pool->predecessor.lives) mp_stream_close(&pool->predecessor.control);
  pool->predecessor.lives = false;
}

int mp_predecessor_listener(struct mp_pool *pool, const char *address) {
  struct mp_inheritance *in = pool->setup->inherited;
  for (unsigned i = 0; i < in->n_listeners; i++) {
    int fd = in->listener[i].fd;
    if (fd < 0 || strcmp(in->listener[i].address, address) != 0) continue;
    in->listener[i].fd = -1;
    return fd;
  }
  return -1;
}

/* What we were given and have no use for. */
static void close_unwanted(struct mp_inheritance *in) {
  for (unsigned i = 0; i < in->n_listeners; i++) {
    if (in->listener[i].fd >= 0) close(in->listener[i].fd);
    in->listener[i].fd = -1;
  }
}

/* Until here stderr was a pipe to the old master, so that it could say why we failed. */
void mp_predecessor_begin(struct mp_pool *pool) {
  struct mp_inheritance *in = pool->setup->inherited;
  char text[128];
  close_unwanted(in);
  if (in->stderr_fd < 0) return;
  if (dup2(in->stderr_fd, STDERR_FILENO) < 0)
    mp_log(pool->log, MP_LOG_ERROR, "pool", "stderr stays what it was: %s", mp_err_text(-errno, text, sizeof text));
  close(in->stderr_fd);
  in->stderr_fd = -1;
}

void mp_predecessor_proven(struct mp_pool *pool) {
  struct mp_predecessor *p = &pool->predecessor;
  if (!p->lives || !p->leads) return;
  if (mp_stream_write(&p->control, MP_SLICE("ready\n")) < 0) {
    is_gone(pool);
    return;
  }
  mp_stream_flush(&p->control);
}
