#include "pool/keeper.h"
#include "io/listener.h"
#include "pool/inside.h"
#include <stdarg.h>
#include <stdio.h>

static void say(struct mp_keeper *keeper, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct mp_keeper *keeper, const char *format, ...) {
  char word[MP_LINES_LONGEST + 2];
  va_list args;
  if (!keeper->open) return;
  va_start(args, format);
  int n = vsnprintf(word, sizeof word - 1, format, args);
  va_end(args);
  if (n < 0) return;
  size_t len = (size_t)n < sizeof word - 1 ? (size_t)n : sizeof word - 2;
  for (size_t i = 0; i < len; i++)
    if (word[i] == '\n') word[i] = ' ';
  word[len] = '\n';
  if (mp_stream_write(&keeper->stream, mp_slice(word, len + 1)) == 0) mp_stream_flush(&keeper->stream);
}

static void say_where(struct mp_pool *pool) {
  char name[160];
  for (unsigned i = 0; i < pool->sockets.n; i++)
    if (mp_listen_name(pool->sockets.at[i]->fd, name, sizeof name) == 0) say(&pool->keeper, "at %s", name);
}

void mp_keeper_ready(struct mp_pool *pool) {
  say_where(pool);
  say(&pool->keeper, "ready");
}

void mp_keeper_reloaded(struct mp_pool *pool, const char *why) {
  if (!pool->keeper.asked) return;
  pool->keeper.asked = false;
  if (!why) say_where(pool);
  if (why)
    say(&pool->keeper, "refused %s", why);
  else
    say(&pool->keeper, "reloaded");
}

static void on_word(void *ctx, const char *word) {
  struct mp_keeper *keeper = ctx;
  struct mp_pool *pool = keeper->pool;
  if (strcmp(word, "stop") == 0) {
    mp_pool_stop(pool, false);
  } else if (strcmp(word, "halt") == 0) {
    mp_pool_stop(pool, true);
  } else if (strcmp(word, "reopen") == 0) {
    mp_pool_reopen(pool);
  } else if (strncmp(word, "reload", 6) == 0) {
    keeper->asked = true;
    pool->setup->keeper->on_reload(pool->setup->keeper->ctx, word);
    mp_pool_reload(pool);
  }
}

/* Whatever became of the program: nothing that it has started outlives it. */
static void end(struct mp_keeper *keeper) {
  struct mp_pool *pool = keeper->pool;
  mp_keeper_close(pool);
  if (!pool->over) mp_pool_stop(pool, true);
}

static void on_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct mp_keeper *keeper = MP_CONTAINER(stream, struct mp_keeper, stream);
  if (n <= 0 || mp_lines_feed(&keeper->lines, bytes, (size_t)n, on_word, keeper) < 0) end(keeper);
}

static void on_broken(struct mp_stream *stream, int err) {
  (void)err;
  end(MP_CONTAINER(stream, struct mp_keeper, stream));
}

static void on_closed(struct mp_stream *stream) {
  (void)stream; /* its memory is the pool's, which stays until the loop has run out its closings */
}

static const struct mp_stream_ops ops = {.on_read = on_read, .on_broken = on_broken, .on_closed = on_closed};

int mp_keeper_open(struct mp_pool *pool) {
  struct mp_keeper *keeper = &pool->keeper;
  if (!pool->setup->keeper) return 0;
  keeper->pool = pool;
  int err = mp_stream_open(&keeper->stream, &pool->loop, pool->setup->keeper->fd, &ops);
  keeper->open = err == 0;
  return err < 0 ? err : mp_stream_read_start(&keeper->stream);
}

void mp_keeper_close(struct mp_pool *pool) {
  if (!pool->keeper.open) return;
  pool->keeper.open = false;
  mp_stream_close(&pool->keeper.stream);
}
