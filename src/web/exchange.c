/* One request and its answer from the first byte to the last: who holds it, who waits for it, who is told. */
#include "web/exchange.h"
#include "base/check.h"
#include "web/conn.h"
#include "web/packing.h"
#include <errno.h>
#include <stdlib.h>

enum { KEPT_MOST = 8 * 1024 /* bytes of a recycled exchange's block */, BLOCK_LEAST = 1024 };

/* ---- recycling ---- */

struct mp_exchange *mp_exchange_borrow(struct mp_server *server) {
  struct mp_exchange *ex = server->free;
  if (!ex) {
    ex = calloc(1, sizeof *ex);
    if (ex) ex->server = server;
    return ex;
  }
  server->free = ex->next;
  server->n_free--;
  ex->next = NULL;
  return ex;
}

static void drop_block(struct mp_exchange *ex) {
  free(ex->block);
  ex->block = NULL;
  ex->block_cap = 0;
}

/* Whichever comes last: the end of the answer, or of what the room above does with it. */
static void forget_when_over(struct mp_exchange *ex) {
  if (!ex->place || !ex->recorded || !ex->finished) return;
  ex->server->ops->on_forget(ex);
  ex->place = 0;
}

void mp_exchange_record(struct mp_exchange *ex, bool whole) {
  const struct mp_server_ops *ops = ex->server->ops;
  if (ex->recorded) return;
  ex->recorded = true;
  if (ops->on_over) ops->on_over(ex, whole);
  forget_when_over(ex);
}

void mp_exchange_stop_sending(struct mp_exchange *ex) {
  if (ex->sending) ex->sending->drop(ex->sending);
  ex->sending = NULL;
}

/* It is not freed here: who calls may still look at the flags. Trimming waits for the end of the turn. */
void mp_exchange_give_back(struct mp_exchange *ex) {
  struct mp_server *server = ex->server;
  if (ex->sending) mp_exchange_record(ex, false); /* the client went away before the end */
  mp_exchange_stop_sending(ex);
  ex->conn = NULL;
  ex->next = server->free;
  server->free = ex;
  if (++server->n_free > server->n_held + MP_FREE_MOST) mp_server_look(server);
}

static void free_exchange(struct mp_exchange *ex) {
  mp_packer_free(ex->packer);
  mp_head_free(&ex->head);
  mp_reply_free(&ex->reply);
  free(ex->block);
  free(ex);
}

void mp_exchange_trim(struct mp_server *server, uint32_t keep) {
  while (server->n_free > keep) free_exchange(mp_exchange_borrow(server));
}

/* ---- the head outlives the bytes it was read from ---- */

static bool block_for(struct mp_exchange *ex, size_t len) {
  size_t cap = len < BLOCK_LEAST ? BLOCK_LEAST : len;
  if (ex->block_cap >= len) return true;
  drop_block(ex);
  ex->block = malloc(cap);
  if (ex->block) ex->block_cap = (uint32_t)cap;
  return ex->block != NULL;
}

/* Without memory for it there is nothing left that could be read; what asks for a field finds none. */
static void empty_head(struct mp_head *head) {
  head->method = head->target = head->path = head->query = head->host = MP_SLICE("");
  head->n_fields = 0;
}

void mp_exchange_hold(struct mp_exchange *ex, const char *head, size_t len) {
  if (block_for(ex, len)) {
    memcpy(ex->block, head, len);
    mp_head_rebase(&ex->head, head, ex->block);
    return;
  }
  empty_head(&ex->head);
  if (ex->conn) mp_conn_close(ex->conn);
}

/* ---- the waits of the room above ---- */

static void end_waits(struct mp_exchange *ex) {
  const struct mp_server_ops *ops = ex->server->ops;
  bool body = ex->wants_body, room = ex->wants_room;
  ex->wants_body = ex->wants_room = false;
  if (room) ops->on_writable(ex);
  if (body && !ex->finished) ops->on_readable(ex);
}

void mp_exchange_lose(struct mp_exchange *ex) {
  ex->gone = true;
  ex->conn = NULL;
  ex->into = NULL;
  mp_exchange_stop_sending(ex);
  mp_exchange_record(ex, false);
  ex->server->ops->on_gone(ex);
  if (!ex->finished) end_waits(ex);
}

/* The answer has ended while somebody waits to read or write. Not from within: the caller may be that somebody. */
void mp_exchange_tell_later(struct mp_exchange *ex) {
  struct mp_server *server = ex->server;
  if (ex->told || (!ex->wants_body && !ex->wants_room)) return;
  ex->told = true;
  ex->next = server->told;
  server->told = ex;
  mp_server_look(server);
}

static void forget_told(struct mp_exchange *ex) {
  struct mp_exchange **at = &ex->server->told;
  if (!ex->told) return;
  while (*at != ex) at = &(*at)->next;
  *at = ex->next;
  ex->told = false;
}

void mp_exchange_tell(struct mp_server *server) {
  while (server->told) {
    struct mp_exchange *ex = server->told;
    forget_told(ex);
    end_waits(ex);
  }
}

/* ---- reading ---- */

static enum mp_verdict refuse_reading(struct mp_exchange *ex, struct mp_refusal *why, int status, const char *reason) {
  ex->refused = *why = (struct mp_refusal){status, reason};
  ex->reply.keep_alive = false; /* where the next request begins can no longer be told */
  return MP_REFUSE;
}

/* Asks a waiting client for its body, unless the answer has overtaken that. */
static void invite_body(struct mp_exchange *ex) {
  struct mp_buf *out = mp_conn_out(ex->conn);
  size_t before = mp_buf_len(out);
  if (!ex->head.expect_continue || ex->continued || ex->reply.head_sent) return;
  ex->continued = true;
  if (mp_buf_add_slice(out, MP_SLICE("HTTP/1.1 100 Continue\r\n\r\n")) == 0) mp_conn_appended(ex->conn, before);
}

static enum mp_verdict wait_for_body(struct mp_exchange *ex, struct mp_refusal *why) {
  struct mp_conn *c = ex->conn;
  if (c->saw_eof) return refuse_reading(ex, why, 400, "the body was cut short");
  if (c->late) return refuse_reading(ex, why, 408, "the body did not come in time");
  invite_body(ex);
  ex->wants_body = true;
  mp_conn_touch(c);
  return MP_MORE;
}

static enum mp_verdict next_piece(struct mp_exchange *ex, struct mp_slice *piece, struct mp_refusal *why) {
  struct mp_conn *c = ex->conn;
  struct mp_slice bytes = mp_conn_at_hand(c);
  size_t used = 0;
  if (bytes.len == 0) return wait_for_body(ex, why);
  enum mp_verdict v = mp_body_feed(&ex->body, &ex->server->config.limits, bytes.at, bytes.len, &used, piece, why);
  if (v == MP_REFUSE) return refuse_reading(ex, why, why->status, why->reason);
  mp_conn_take(c, used);
  mp_conn_touch(c); /* there may be room to read on, or the end of the body is behind us */
  ex->continued = true;
  if (v == MP_DONE) ex->body_done = true;
  if (v == MP_MORE && piece->len == 0) return wait_for_body(ex, why);
  return v;
}

enum mp_verdict mp_exchange_read(struct mp_exchange *ex, struct mp_slice *piece, struct mp_refusal *why) {
  *piece = MP_SLICE("");
  if (MP_BUG(ex->finished)) return refuse_reading(ex, why, 400, "the request is over");
  if (ex->body_done) return MP_DONE;
  if (ex->refused.status) {
    *why = ex->refused;
    return MP_REFUSE;
  }
  if (!ex->conn || ex->conn->stream.closing) return refuse_reading(ex, why, 400, "the client went away");
  if (ex->reply.ended) return refuse_reading(ex, why, 400, "the answer has ended");
  if (mp_exchange_is_too_long(ex)) return refuse_reading(ex, why, 413, "the body is too large");
  if (ex->body.total == 0) ex->body.most = ex->max_body;
  return next_piece(ex, piece, why);
}

/* ---- the end ---- */

/* What ends by close looks whole when it is closed; only a reset shows that it is not. */
static void cut_answer(struct mp_exchange *ex) {
  struct mp_conn *c = ex->conn;
  bool ends_by_close = ex->reply.head_sent && !ex->reply.chunked && ex->reply.left == MP_LENGTH_UNKNOWN;
  c->last = true;
  if (ends_by_close) c->cut = true;
  mp_exchange_record(ex, false);
}

static void end_answer(struct mp_exchange *ex, bool cut) {
  int err = mp_exchange_may_write(ex);
  if (err < 0 && err != -ENOMEM) return;
  if (!cut && !ex->reply.head_sent && ex->reply.status == 200) ex->reply.status = 204;
  if (cut || mp_exchange_end(ex) < 0) cut_answer(ex);
}

/* The connection keeps an exchange whose rest still goes; and one whose body is not read, to know where it ends. */
static bool is_kept(const struct mp_exchange *ex) {
  const struct mp_conn *c = ex->conn;
  if (!c || c->ex != ex || c->stream.closing) return false;
  return ex->sending || (!ex->body_done && !c->last);
}

void mp_exchange_finish(struct mp_exchange *ex, bool cut) {
  struct mp_server *server = ex->server;
  struct mp_conn *c = ex->conn;
  if (MP_BUG(ex->finished)) return;
  if (cut) mp_exchange_stop_sending(ex);
  end_answer(ex, cut);
  mp_exchange_drop_packer(ex);
  forget_told(ex);
  ex->finished = true;
  ex->call = NULL;
  ex->into = NULL;
  ex->wants_body = ex->wants_room = false;
  if (server->current == ex && !(ex->sending && is_kept(ex))) server->current = NULL; /* else its head is needed on */
  server->n_held--;
  forget_when_over(ex);
  if (c) mp_conn_touch(c);
  if (server->draining) mp_server_look(server);
  if (is_kept(ex)) return;
  if (c && c->ex == ex) c->ex = NULL;
  if (ex->block_cap > KEPT_MOST) drop_block(ex);
  mp_exchange_give_back(ex);
}

void mp_exchange_set_time(struct mp_exchange *ex, uint64_t ms) {
  ex->request_ms = ms;
  if (ex->conn) mp_conn_touch(ex->conn);
}

struct mp_client mp_exchange_client(const struct mp_exchange *ex) {
  struct mp_client client = ex->peer;
  const struct mp_trust *trust = ex->server->config.trust;
  if (trust) mp_forwarded_read(&client, &ex->head, trust);
  return client;
}
