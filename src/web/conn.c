#include "web/conn.h"
#include "base/check.h"
#include "io/peer.h"
#include <errno.h>
#include <stdlib.h>

enum {
  LINGER_MS = 2000,
  LINGER_MOST = 16 * 1024 * 1024, /* bytes that a client may still send into a connection that has ended */
  SPARE_MOST = 64 * 1024          /* a larger buffer is not kept for the next answer */
};

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

static void throw_away(struct mp_conn *c) {
  size_t n = mp_conn_at_hand(c).len;
  mp_conn_take(c, n);
  c->discarded = n > LINGER_MOST ? LINGER_MOST + 1 : c->discarded + (uint32_t)n;
}

/* What the loop lent and nobody used is kept: it cannot come again. */
static int keep_leftovers(struct mp_conn *c) {
  struct mp_lent *lent = &c->server->lent;
  if (lent->conn != c) return 0;
  struct mp_slice rest = lent->bytes;
  lent->conn = NULL;
  return mp_buf_add_slice(&c->in, rest);
}

static void forget_due(struct mp_conn *c) {
  c->due = MP_DUE_NONE;
  c->due_ms = 0;
}

static void take_bytes(struct mp_conn *c, const char *bytes, size_t n) {
  c->fresh = false;
  if (c->due == MP_DUE_BODY) forget_due(c); /* the time between two pieces starts anew */
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

/* ---- requests ---- */

static void log_refusal(struct mp_conn *c, struct mp_refusal why) {
  char peer[80];
  if (!mp_log_wants(c->server->log, MP_LOG_WARN)) return;
  if (mp_peer_name(mp_stream_fd(&c->stream), peer, sizeof peer) < 0) memcpy(peer, "unknown", sizeof "unknown");
  mp_log(c->server->log, MP_LOG_WARN, "http", "refused peer=%s status=%d reason=\"%s\"", peer, why.status, why.reason);
}

void mp_conn_refuse(struct mp_conn *c, struct mp_refusal why, bool head_only) {
  struct mp_server *server = c->server;
  struct mp_buf *out = mp_conn_out(c);
  size_t before = mp_buf_len(out);
  log_refusal(c, why);
  c->last = true;
  if (mp_reply_refuse(out, why.status, head_only, &server->date, server->config.no_server) < 0) {
    mp_conn_close(c);
    return;
  }
  mp_conn_appended(c, before);
}

/* The exchange before, whose answer is out, may still be held above: it goes on without a connection. */
static void leave_exchange(struct mp_conn *c) {
  struct mp_exchange *ex = c->ex;
  if (!ex) return;
  c->ex = NULL;
  if (ex->finished)
    mp_exchange_give_back(ex);
  else
    ex->conn = NULL;
}

static void start_exchange(struct mp_conn *c, struct mp_exchange *ex) {
  leave_exchange(c);
  c->ex = ex;
  forget_due(c);
  c->looking = false;
  c->discarded = 0;
  c->looks = 0;
  c->probed = c->late = false;
  if (c->saw_eof) c->half = true; /* it was sent before the end of file, so the client may wait for it */
  ex->conn = c;
  ex->started_ms = mp_loop_now(c->server->loop);
  ex->max_body = c->server->config.limits.body;
  ex->refused = (struct mp_refusal){0};
  ex->call = NULL;
  ex->continued = ex->wants_body = ex->wants_room = ex->gone = ex->finished = false;
  ex->body_done = ex->head.body == MP_BODY_NONE || (ex->head.body == MP_BODY_LENGTH && !ex->head.content_length);
  mp_reply_init(&ex->reply, &ex->head);
  ex->reply.no_server = c->server->config.no_server;
  c->server->n_held++;
}

/* The room above may finish the exchange inside on_request, or leave it for later: then the head must outlive the
 * bytes it was read from. `current` tells which. */
static void hand_up(struct mp_conn *c, struct mp_exchange *ex, struct mp_slice head) {
  struct mp_server *server = c->server;
  server->current = ex;
  server->ops->on_request(server, ex);
  if (server->current == ex) mp_exchange_hold(ex, head.at, head.len);
  server->current = NULL;
}

static void begin_request(struct mp_conn *c, struct mp_exchange *ex, struct mp_slice head) {
  struct mp_refusal why = {0};
  c->scan = (struct mp_head_scan){0};
  mp_conn_take(c, head.len);
  if (mp_body_start(&ex->body, &ex->head, &c->server->config.limits, &why) == MP_REFUSE) {
    bool head_only = mp_slice_is(ex->head.method, MP_SLICE("HEAD"));
    mp_exchange_give_back(ex);
    mp_conn_refuse(c, why, head_only);
    return;
  }
  start_exchange(c, ex);
  hand_up(c, ex, head);
}

static bool next_request(struct mp_conn *c) {
  static const struct mp_refusal no_memory = {503, "out of memory"};
  struct mp_exchange *ex = mp_exchange_borrow(c->server);
  struct mp_slice bytes = mp_conn_at_hand(c);
  struct mp_refusal why = {0};
  size_t used = 0;
  if (!ex) {
    mp_conn_refuse(c, no_memory, false);
    return false;
  }
  switch (mp_head_parse(&ex->head, &c->scan, bytes.at, bytes.len, &c->server->config.limits, &used, &why)) {
  case MP_DONE:
    begin_request(c, ex, mp_slice(bytes.at, used));
    return true;
  case MP_REFUSE:
    mp_exchange_give_back(ex);
    mp_conn_refuse(c, why, false);
    return true;
  default:
    mp_exchange_give_back(ex);
    c->starved = true;
    return false;
  }
}

/* ---- what comes next ---- */

static bool offer_body(struct mp_conn *c) {
  struct mp_exchange *ex = c->ex;
  if (!ex->wants_body) return false;
  if (mp_conn_at_hand(c).len == 0 && !c->saw_eof && !c->late) return false;
  ex->wants_body = false;
  c->server->ops->on_readable(ex);
  return true;
}

/* The answer is out and its request's body is not: it is in the way of the next request. */
static bool discard_body(struct mp_conn *c) {
  struct mp_exchange *ex = c->ex;
  struct mp_slice bytes = mp_conn_at_hand(c), piece = {0};
  struct mp_refusal why;
  size_t used = 0;
  if (bytes.len == 0) {
    c->starved = true;
    return false;
  }
  enum mp_verdict v = mp_body_feed(&ex->body, &c->server->config.limits, bytes.at, bytes.len, &used, &piece, &why);
  mp_conn_take(c, used);
  c->discarded += (uint32_t)piece.len;
  if (v == MP_DONE) ex->body_done = true;
  if (v == MP_REFUSE || c->discarded > MP_DISCARD_MOST) c->last = true;
  if (ex->finished && ex->body_done) leave_exchange(c);
  return true;
}

/* True: something has happened, ask again. */
static bool step(struct mp_conn *c, uint32_t *begun) {
  if (c->last) {
    throw_away(c);
    return false;
  }
  if (mp_conn_handling(c)) return offer_body(c);
  if (c->ex && !c->ex->body_done) return discard_body(c);
  if (mp_conn_at_hand(c).len == 0) {
    c->starved = true;
    return false;
  }
  if (mp_buf_len(&c->stream.out) >= MP_OUT_HIGH) mp_conn_flush(c);
  if (c->backlog && mp_stream_queued(&c->stream) >= MP_OUT_HIGH) return false; /* on_drained goes on */
  if (c->server->config.pipeline && *begun == c->server->config.pipeline) {
    c->again = true;
    return false;
  }
  ++*begun;
  return next_request(c);
}

static void work(struct mp_conn *c) {
  uint32_t begun = 0;
  c->starved = false;
  while (!c->stream.closing && step(c, &begun)) {
  }
}

/* True: the room above was told that it may write on. */
static bool offer_room(struct mp_conn *c) {
  struct mp_exchange *ex = c->ex;
  if (c->stream.closing || !ex || !ex->wants_room || mp_stream_queued(&c->stream) >= MP_OUT_LOW) return false;
  ex->wants_room = false;
  c->server->ops->on_writable(ex);
  return true;
}

/* The peer that ended first needs no time to read: what was written arrives, for nothing unread is left. */
static void end_when_sent(struct mp_conn *c) {
  if (mp_stream_queued(&c->stream)) return;
  if (c->cut) (void)mp_peer_reset_on_close(mp_stream_fd(&c->stream)); /* where it fails an end of file must do */
  if (c->cut || c->saw_eof || c->discarded > LINGER_MOST) {
    mp_conn_close(c);
    return;
  }
  if (c->lingering) return;
  c->lingering = true;
  c->discarded = 0;
  mp_stream_shutdown(&c->stream);
}

static bool wants_bytes(const struct mp_conn *c) {
  size_t held = mp_buf_len(&c->in);
  if (c->saw_eof) return false;
  if (c->last) return c->discarded <= LINGER_MOST;
  if (mp_conn_handling(c) && !c->ex->body_done) return held < MP_HELD_MOST;
  if (c->starved && !mp_conn_handling(c)) return true; /* the parser bounds a head */
  return held < c->server->config.limits.head;
}

static int set_reading(struct mp_conn *c) {
  if (wants_bytes(c)) return mp_stream_read_start(&c->stream);
  if (c->stream.reading) mp_stream_read_stop(&c->stream);
  return 0;
}

/* Some clients send an empty line behind a body; that begins no request. */
static bool only_line_ends(const struct mp_conn *c) {
  struct mp_slice s = mp_conn_at_hand(c);
  for (size_t i = 0; i < s.len; i++)
    if (s.at[i] != '\r' && s.at[i] != '\n') return false;
  return true;
}

static enum mp_due due_now(const struct mp_conn *c) {
  if (c->lingering) return MP_DUE_LINGER;
  if (c->last) return MP_DUE_NONE;
  if (mp_conn_handling(c)) return c->ex->wants_body && !c->late ? MP_DUE_BODY : MP_DUE_NONE;
  if (c->ex && !c->ex->body_done) return MP_DUE_BODY;
  if (!c->starved) return MP_DUE_NONE; /* it is ours to go on, not the client's */
  if (!only_line_ends(c)) return MP_DUE_HEAD;
  if (c->fresh) return MP_DUE_FIRST;
  return c->backlog ? MP_DUE_NONE : MP_DUE_IDLE;
}

static uint64_t time_for(const struct mp_conn *c, enum mp_due due) {
  const struct mp_server_config *config = &c->server->config;
  switch (due) {
  case MP_DUE_FIRST:
  case MP_DUE_HEAD:
    return config->header_ms;
  case MP_DUE_IDLE:
    return config->keep_alive_ms;
  case MP_DUE_BODY:
    return config->body_ms;
  case MP_DUE_LINGER:
    return LINGER_MS;
  default:
    return 0;
  }
}

static void set_due(struct mp_conn *c) {
  enum mp_due due = due_now(c), was = c->due;
  if (due == was) return;
  c->due = due;
  if (due == MP_DUE_HEAD && was == MP_DUE_FIRST) return; /* counts from accept */
  uint64_t ms = time_for(c, due), drain = c->server->drain_due_ms;
  c->due_ms = ms ? mp_loop_now(c->server->loop) + ms : 0;
  if (c->server->draining && (due == MP_DUE_FIRST || due == MP_DUE_IDLE) && (!c->due_ms || drain < c->due_ms))
    c->due_ms = drain ? drain : 1;
}

static void conclude(struct mp_conn *c) {
  if (keep_leftovers(c) < 0) {
    mp_conn_close(c);
    return;
  }
  if (mp_buf_len(&c->in) == 0 && c->in.mem && !mp_conn_handling(c)) mp_buf_free(&c->in);
  if (c->saw_eof && mp_conn_handling(c)) mp_conn_judge_eof(c);
  if (c->saw_eof && !mp_conn_handling(c) && c->starved) c->last = true;
  if (c->last && !c->stream.closing) end_when_sent(c);
  if (c->stream.closing) return;
  if (set_reading(c) < 0) {
    mp_conn_close(c);
    return;
  }
  set_due(c);
  mp_conn_arm(c);
  if (c->again) mp_conn_touch(c);
}

void mp_conn_settle(struct mp_conn *c) {
  if (c->stream.closing || c->busy) return;
  c->busy = true;
  c->again = false;
  work(c);
  mp_conn_flush(c);
  if (offer_room(c)) {
    work(c);
    mp_conn_flush(c);
    if (c->ex && c->ex->wants_room && !c->backlog) c->again = true; /* others' turn first */
  }
  c->busy = false;
  if (!c->stream.closing) conclude(c);
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

void mp_conn_touch(struct mp_conn *c) {
  if (c->busy || c->touched || c->stream.closing) return;
  c->touched = true;
  c->dirty = c->server->dirty;
  c->server->dirty = c;
  mp_loop_post(c->server->loop, &c->server->flush);
}

/* ---- life ---- */

void mp_conn_lose_exchange(struct mp_conn *c) {
  struct mp_exchange *ex = c->ex;
  bool handling = mp_conn_handling(c);
  leave_exchange(c);
  if (handling) mp_exchange_lose(ex);
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

static const struct mp_stream_ops stream_ops = {on_read, on_drained, on_broken, on_closed};

static void register_conn(struct mp_server *server, struct mp_conn *c) {
  mp_list_append(&server->conns, &c->node);
  c->server = server;
  c->fresh = c->starved = true;
  server->n_conns++;
}

int mp_conn_accept(struct mp_server *server, struct mp_door *door) {
  struct mp_conn *c = calloc(1, sizeof *c);
  if (!c) return -ENOMEM;
  if (mp_timer_init(&c->timer, &server->loop->timers, mp_conn_on_fire) < 0) {
    free(c);
    return -ENOMEM;
  }
  register_conn(server, c);
  int err = mp_stream_accept(&c->stream, server->loop, &door->listener.uv.stream, &stream_ops);
  if (err == 0) mp_conn_settle(c);
  return err; /* on an error on_closed frees it */
}
