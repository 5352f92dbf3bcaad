#include "web/conn.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { SPARE_MOST = 64 * 1024 /* a larger buffer is not kept for the next answer */ };

static struct mp_conn *of_stream(struct mp_stream *stream) {
  return MP_CONTAINER(stream, struct mp_conn, stream);
}

/* ---- bytes in ---- */

void mp_conn_take(struct mp_conn *c, size_t n) {
  struct mp_lent *lent = &c->server->lent;
  if (lent->conn != c) {
    mp_buf_take(&c->in, n);
    return;
  }
  lent->bytes.at += n;
  lent->bytes.len -= n;
}

static void take_bytes(struct mp_conn *c, const char *bytes, size_t n) {
  c->fresh = false;
  if (c->due == MP_DUE_BODY) mp_conn_forget_due(c); /* the time between two pieces starts anew */
  if (mp_conn_received(c, bytes, n)) return;
  if (mp_buf_len(&c->in) == 0)
    c->server->lent = (struct mp_lent){c, mp_slice(bytes, n)};
  else if (mp_buf_add(&c->in, bytes, n) < 0)
    mp_conn_close(c);
}

static void take_eof(struct mp_conn *c) {
  c->saw_eof = true;
  mp_stream_read_stop(&c->stream);
}

static void on_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct mp_conn *c = of_stream(stream);
  struct mp_server *server = c->server;
  mp_server_set_date(server);
  if (n > 0)
    take_bytes(c, bytes, (size_t)n);
  else if (n == 0)
    take_eof(c);
  else
    mp_conn_close(c); /* reset: nobody is left to be told why */
  mp_conn_settle(c);
  server->lent.conn = NULL;
}

/* ---- bytes out ---- */

struct mp_buf *mp_conn_out(struct mp_conn *c) {
  struct mp_buf *out = &c->stream.out;
  if (!out->mem) {
    *out = c->server->spare;
    c->server->spare = (struct mp_buf){0};
  }
  return out;
}

static void lend_back(struct mp_conn *c) {
  struct mp_buf *out = &c->stream.out, *spare = &c->server->spare;
  if (!out->mem) return;
  if (!spare->mem && out->cap <= SPARE_MOST) {
    *spare = *out;
    spare->start = spare->end = 0;
    *out = (struct mp_buf){0};
  } else {
    mp_buf_free(out);
  }
}

void mp_conn_appended(struct mp_conn *c, size_t before) {
  size_t more = mp_buf_len(&c->stream.out) - before;
  if (c->backlog) c->unsent += (uint32_t)more;
}

static void note_backlog(struct mp_conn *c, size_t queued) {
  if (c->backlog) return;
  c->backlog = true;
  c->unsent = (uint32_t)queued;
  c->stale = 0;
  c->check_ms = (uint32_t)(mp_loop_now(c->server->loop) + c->server->config.write_ms / MP_CHECKS);
}

void mp_conn_flush(struct mp_conn *c) {
  if (c->stream.closing) return;
  if (mp_buf_len(&c->stream.out)) {
    mp_stream_flush(&c->stream);
    size_t queued = mp_stream_queued(&c->stream);
    if (queued) note_backlog(c, queued);
  }
  if (mp_buf_len(&c->stream.out) == 0) lend_back(c);
}

int mp_conn_send(struct mp_conn *c, struct mp_slice bytes) {
  size_t before = mp_stream_queued(&c->stream);
  int err = mp_stream_send(&c->stream, bytes);
  size_t queued = mp_stream_queued(&c->stream);
  if (queued && c->backlog && queued > before) c->unsent += (uint32_t)(queued - before);
  if (queued) note_backlog(c, queued);
  return err;
}

void mp_conn_moved(struct mp_conn *c) {
  size_t queued = mp_stream_queued(&c->stream);
  c->moved = true;
  if (queued) note_backlog(c, queued);
}

static void on_drained(struct mp_stream *stream) {
  struct mp_conn *c = of_stream(stream);
  if (mp_stream_queued(stream) == 0) c->backlog = false;
  mp_server_set_date(c->server);
  mp_conn_settle(c);
}

static void on_broken(struct mp_stream *stream, int err) {
  (void)err; /* the client went away: that is all there is to know */
  mp_conn_close(of_stream(stream));
}

/* ---- the end of a turn ---- */

void mp_conn_touch(struct mp_conn *c) {
  if (c->busy || c->touched || c->stream.closing) return;
  c->touched = true;
  c->dirty = c->server->dirty;
  c->server->dirty = c;
  mp_loop_post(c->server->loop, &c->server->flush);
}

void mp_conn_flush_dirty(struct mp_server *server) {
  struct mp_conn *c = server->dirty;
  server->dirty = NULL;
  while (c) {
    struct mp_conn *next = c->dirty;
    c->touched = false;
    if (c->dead)
      free(c);
    else
      mp_conn_settle(c);
    c = next;
  }
}

/* ---- life ---- */

/* The exchange before, whose answer is out, may still be held above: it goes on without a connection. */
void mp_conn_leave_exchange(struct mp_conn *c) {
  struct mp_exchange *ex = c->ex;
  if (!ex) return;
  c->ex = NULL;
  if (ex->finished)
    mp_exchange_give_back(ex);
  else
    ex->conn = NULL;
}

void mp_conn_lose_exchange(struct mp_conn *c) {
  struct mp_exchange *ex = c->ex;
  bool held = mp_conn_handling(c) && !ex->finished;
  mp_conn_leave_exchange(c);
  if (held) mp_exchange_lose(ex);
}

void mp_conn_close(struct mp_conn *c) {
  if (c->stream.closing) return;
  mp_stream_close(&c->stream);
  mp_timer_stop(&c->timer);
  mp_conn_lose_exchange(c);
}

static void on_closed(struct mp_stream *stream) {
  struct mp_conn *c = of_stream(stream);
  struct mp_server *server = c->server;
  mp_timer_deinit(&c->timer);
  mp_list_unlink(&c->node);
  mp_buf_free(&c->in);
  if (c->touched)
    c->dead = true;
  else
    free(c);
  mp_server_conn_closed(server);
}

static const struct mp_stream_ops stream_ops = {
    .on_read = on_read, .lend = mp_conn_lend, .on_drained = on_drained, .on_broken = on_broken, .on_closed = on_closed};

static void register_conn(struct mp_server *server, struct mp_conn *c) {
  mp_list_append(&server->conns, &c->node);
  c->server = server;
  c->fresh = c->starved = true;
  c->memo = server->memo;
  server->n_conns++;
}

static struct mp_conn *new_conn(struct mp_server *server) {
  struct mp_conn *c = calloc(1, sizeof *c);
  if (c && mp_timer_init(&c->timer, &server->loop->timers, mp_conn_on_fire) == 0) return c;
  free(c);
  return NULL;
}

int mp_conn_open(struct mp_server *server, int fd, const struct mp_address *peer) {
  struct mp_conn *c = new_conn(server);
  if (!c) {
    close(fd);
    return -ENOMEM;
  }
  register_conn(server, c);
  c->peer = *peer;
  c->unnamed = server->config.proxy_protocol;
  int err = mp_stream_accepted(&c->stream, server->loop, fd, peer->kind != MP_ADDRESS_UNIX, &stream_ops);
  if (err == 0) mp_conn_settle(c); /* else on_closed frees it */
  return err;
}
