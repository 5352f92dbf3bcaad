/* What a connection does next: the heart of it, run after everything that happened to it. */
#include "http/proxy.h"
#include "io/peer.h"
#include "web/conn.h"
#include "web/sending.h"

enum { LINGER_MOST = 16 * 1024 * 1024 /* bytes that a client may still send into a connection that has ended */ };

/* ---- requests ---- */

static void log_refusal(struct mp_conn *c, struct mp_refusal why) {
  char peer[MP_ADDRESS_TEXT];
  if (!mp_log_wants(c->server->log, MP_LOG_WARN)) return;
  mp_log(c->server->log, MP_LOG_WARN, "http", "refused peer=%s status=%d reason=\"%s\"",
         mp_address_text_port(&c->peer, peer), why.status, why.reason);
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

void mp_conn_refuse_unread(struct mp_conn *c, struct mp_refusal why, bool head_only) {
  const struct mp_server_ops *ops = c->server->ops;
  if (ops->on_refused) ops->on_refused(c->server, &c->peer, why.status);
  mp_conn_refuse(c, why, head_only);
}

static void start_exchange(struct mp_conn *c, struct mp_exchange *ex) {
  mp_conn_leave_exchange(c);
  c->ex = ex;
  mp_conn_forget_due(c);
  c->looking = false;
  c->discarded = 0;
  c->looks = 0;
  c->probed = c->late = false;
  if (c->saw_eof) c->half = true; /* it was sent before the end of file, so the client may wait for it */
  ex->conn = c;
  ex->started_ms = mp_loop_now(c->server->loop);
  ex->max_body = c->server->config.limits.body;
  ex->request_ms = c->server->config.request_ms;
  ex->refused = (struct mp_refusal){0};
  ex->call = NULL;
  ex->sending = NULL;
  ex->into = NULL;
  ex->peer = (struct mp_client){.address = c->peer, .secure = c->secure};
  ex->body_sent = ex->told_status = 0;
  ex->began_ns = ex->place = 0;
  ex->recorded = false;
  ex->continued = ex->wants_body = ex->wants_room = ex->gone = ex->finished = ex->spoiled = ex->overdue = false;
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

/* What is too long may be right for the one that it is meant for: that is asked before it is refused. */
static enum mp_verdict start_body(struct mp_server *server, struct mp_exchange *ex, struct mp_refusal *why) {
  const struct mp_head *head = &ex->head;
  enum mp_verdict verdict = mp_body_start(&ex->body, head, &server->config.limits, why);
  if (verdict != MP_REFUSE || why->status != 413 || !server->ops->takes_body) return verdict;
  if (!server->ops->takes_body(server, head->content_length)) return verdict;
  struct mp_http_limits limits = server->config.limits;
  limits.body = head->content_length;
  return mp_body_start(&ex->body, head, &limits, why);
}

static void begin_request(struct mp_conn *c, struct mp_exchange *ex, struct mp_slice head) {
  struct mp_refusal why = {0};
  c->scan = (struct mp_head_scan){0};
  mp_conn_take(c, head.len);
  if (start_body(c->server, ex, &why) == MP_REFUSE) {
    bool head_only = mp_slice_is(ex->head.method, MP_SLICE("HEAD"));
    mp_exchange_give_back(ex);
    mp_conn_refuse_unread(c, why, head_only);
    return;
  }
  start_exchange(c, ex);
  hand_up(c, ex, head);
}

static void remember_head(struct mp_conn *c, const struct mp_exchange *ex, const char *bytes, size_t used) {
  struct mp_server *server = c->server;
  if (!mp_memo_keep(&server->memos[server->next_memo], &ex->head, bytes, used)) return;
  c->memo = server->memo = server->next_memo;
  server->next_memo = (uint8_t)((server->next_memo + 1) % MP_MEMOS);
}

static enum mp_verdict read_head(struct mp_conn *c, struct mp_exchange *ex, size_t *used, struct mp_refusal *why) {
  struct mp_slice bytes = mp_conn_at_hand(c);
  const struct mp_http_limits *limits = &c->server->config.limits;
  if (c->scan.at == 0 && mp_memo_recall(&c->server->memos[c->memo], &ex->head, bytes.at, bytes.len, limits, used)) {
    c->server->memo = c->memo;
    return MP_DONE;
  }
  enum mp_verdict verdict = mp_head_parse(&ex->head, &c->scan, bytes.at, bytes.len, limits, used, why);
  if (verdict == MP_DONE)
    remember_head(c, ex, bytes.at + 2 * (size_t)c->scan.skipped, *used - 2 * (size_t)c->scan.skipped);
  return verdict;
}

static bool next_request(struct mp_conn *c) {
  static const struct mp_refusal no_memory = {503, "out of memory"};
  struct mp_exchange *ex = mp_exchange_borrow(c->server);
  struct mp_refusal why = {0};
  size_t used = 0;
  if (!ex) {
    mp_conn_refuse_unread(c, no_memory, false);
    return false;
  }
  switch (read_head(c, ex, &used, &why)) {
  case MP_DONE:
    begin_request(c, ex, mp_slice(mp_conn_at_hand(c).at, used));
    return true;
  case MP_REFUSE:
    mp_exchange_give_back(ex);
    mp_conn_refuse_unread(c, why, false);
    return true;
  default:
    mp_exchange_give_back(ex);
    c->starved = true;
    return false;
  }
}

/* ---- who it is ---- */

/* Where proxies are listed, only they may say for whom they come. */
static bool may_name_another(const struct mp_conn *c) {
  const struct mp_trust *trust = c->server->config.trust;
  return !trust || mp_trust_has(trust, &c->peer);
}

static void take_name(struct mp_conn *c, const struct mp_proxy *proxy) {
  if (proxy->source.kind != MP_ADDRESS_NONE) c->peer = proxy->source;
  c->secure = proxy->secure;
  c->unnamed = false;
  c->fresh = true; /* the first request has all the time that it has on other connections */
}

static bool read_name(struct mp_conn *c) {
  static const struct mp_refusal untrusted = {400, "a PROXY header from who is no trusted proxy"};
  struct mp_slice bytes = mp_conn_at_hand(c);
  struct mp_proxy proxy;
  struct mp_refusal why = {0};
  size_t used = 0;
  switch (mp_proxy_parse(&proxy, bytes.at, bytes.len, &used, &why)) {
  case MP_MORE:
    c->starved = true;
    return false;
  case MP_REFUSE:
    mp_conn_refuse_unread(c, why, false);
    return true;
  default:
    break;
  }
  if (!may_name_another(c)) {
    mp_conn_refuse_unread(c, untrusted, false);
    return true;
  }
  mp_conn_take(c, used);
  take_name(c, &proxy);
  return true;
}

/* ---- steps ---- */

static void throw_away(struct mp_conn *c) {
  size_t n = mp_conn_at_hand(c).len;
  mp_conn_take(c, n);
  c->discarded = n > LINGER_MOST ? LINGER_MOST + 1 : c->discarded + (uint32_t)n;
}

static bool offer_body(struct mp_conn *c) {
  struct mp_exchange *ex = c->ex;
  if (!ex->wants_body) return false;
  bool whole = ex->into && ex->body_done;
  if (mp_conn_at_hand(c).len == 0 && !whole && !c->saw_eof && !c->late) return false;
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
  if (ex->finished && ex->body_done) mp_conn_leave_exchange(c);
  return true;
}

/* True: something has happened, ask again. */
static bool step(struct mp_conn *c, uint32_t *begun) {
  if (c->last) {
    throw_away(c);
    return false;
  }
  if (c->unnamed) return read_name(c);
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

/* A slice of the rest of an answer that goes by itself. True: it has ended with that. */
static bool push_rest(struct mp_conn *c) {
  struct mp_exchange *ex = c->ex;
  if (c->stream.closing || !ex || !ex->sending || mp_stream_queued(&c->stream)) return false;
  if (ex->sending->step(ex->sending)) {
    mp_exchange_rest_sent(ex);
    return true;
  }
  if (!c->stream.closing && !ex->sending->waits && mp_stream_queued(&c->stream) == 0) c->again = true;
  return false;
}

/* ---- until something happens ---- */

/* What the loop lent and nobody used is kept: it cannot come again. */
static int keep_leftovers(struct mp_conn *c) {
  struct mp_lent *lent = &c->server->lent;
  if (lent->conn != c) return 0;
  struct mp_slice rest = lent->bytes;
  lent->conn = NULL;
  return mp_buf_add_slice(&c->in, rest);
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

static void conclude(struct mp_conn *c) {
  if (keep_leftovers(c) < 0) {
    mp_conn_close(c);
    return;
  }
  if (mp_buf_len(&c->in) == 0 && c->in.mem && !mp_conn_handling(c)) mp_buf_free(&c->in);
  if (c->saw_eof && mp_conn_handling(c) && !c->ex->sending) mp_conn_judge_eof(c);
  if (c->saw_eof && !mp_conn_handling(c) && c->starved) c->last = true;
  if (c->last && !c->stream.closing) end_when_sent(c);
  if (c->stream.closing) return;
  if (set_reading(c) < 0) {
    mp_conn_close(c);
    return;
  }
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
  if (push_rest(c)) {
    work(c);
    mp_conn_flush(c);
    if (c->ex && c->ex->sending) c->again = true;
  }
  c->busy = false;
  if (!c->stream.closing) conclude(c);
}
