/* What an answer is made of: its head, its body whole or piece by piece, packed or as it is. */
#include "http/status.h"
#include "web/conn.h"
#include "web/exchange.h"
#include "web/packing.h"
#include <errno.h>
#include <stdlib.h>

enum {
  PACKED_KEPT = 64 * 1024, /* bytes of a server's buffer for packing */
  APART_LEAST = 8 * 1024   /* bytes of a body that is not copied behind its head */
};

/* ---- writing ---- */

int mp_exchange_may_write(const struct mp_exchange *ex) {
  if (ex->finished || mp_exchange_is_over(ex)) return -EALREADY;
  if (ex->spoiled) return -ENOMEM;
  if (ex->gone || !ex->conn || ex->conn->stream.closing) return -EPIPE;
  return 0;
}

/* Nothing of it leaves: the connection's earlier answers stay whole. */
static int take_back(struct mp_buf *out, size_t len, int err) {
  out->end = out->start + (uint32_t)len;
  return err;
}

/* The client waits for "100 Continue" that will not come now: whether its body follows nobody can tell. */
static bool body_in_doubt(const struct mp_exchange *ex) {
  return !ex->body_done && ex->head.expect_continue && !ex->continued && mp_conn_at_hand(ex->conn).len == 0;
}

static bool body_in_the_way(const struct mp_exchange *ex) {
  if (ex->body_done) return false;
  return ex->refused.status || body_in_doubt(ex) ||
         (ex->head.body == MP_BODY_LENGTH && ex->body.left > MP_DISCARD_MOST);
}

/* A drain ends a connection by its last answer; requests that came behind this one still get theirs. */
static bool drain_ends_here(const struct mp_exchange *ex) {
  return ex->server->draining && (!ex->body_done || mp_conn_at_hand(ex->conn).len == 0);
}

/* `whole`: the answer ends with this call, so what is unread of the body stays so. */
static int send_head(struct mp_exchange *ex, uint64_t length, bool whole) {
  struct mp_conn *c = ex->conn;
  if (drain_ends_here(ex) || body_in_doubt(ex) || (whole && body_in_the_way(ex))) ex->reply.keep_alive = false;
  if (!c->busy) mp_server_set_date(ex->server);
  int err = mp_reply_head(&ex->reply, mp_conn_out(c), length, &ex->server->date);
  if (err == 0) ex->told_status = ex->reply.status;
  return err;
}

static void appended(struct mp_exchange *ex, size_t before) {
  mp_conn_appended(ex->conn, before);
  mp_conn_touch(ex->conn);
}

static void answered(struct mp_exchange *ex) {
  struct mp_conn *c = ex->conn;
  ex->server->n_requests++;
  if (!ex->reply.keep_alive || body_in_the_way(ex)) c->last = true;
  c->discarded = 0;
  ex->body.most = UINT64_MAX; /* what is discarded has a bound of its own */
  mp_exchange_record(ex, true);
  mp_exchange_tell_later(ex);
}

/* ---- packing ---- */

/* What the client takes, for an answer of `length` bytes; the fields say that it depends on that. */
static int choose_coding(struct mp_exchange *ex, uint64_t length, enum mp_coding *coding) {
  bool packable = ex->server->config.compress && mp_reply_is_packable(&ex->reply, length);
  *coding = MP_CODING_NONE;
  mp_reply_forget_identity(&ex->reply);
  if (!packable) return 0;
  *coding = mp_packing_accepted(&ex->head);
  return mp_reply_varies(&ex->reply);
}

static bool pack_into(struct mp_exchange *ex, enum mp_coding coding, struct mp_slice body, struct mp_buf *packed) {
  struct mp_packer **keep = &ex->server->packer, *packer = mp_packer_open(coding, keep);
  mp_buf_reset(packed, PACKED_KEPT);
  bool whole = packer && mp_packer_add(packer, body, true, packed) == 0;
  mp_packer_close(packer, keep);
  return whole;
}

/* `*body` becomes the packed one, borrowed from the server until the next. Without memory for that it stays. */
static int pack_whole(struct mp_exchange *ex, enum mp_coding coding, struct mp_slice *body) {
  struct mp_buf *packed = &ex->server->packed;
  if (!pack_into(ex, coding, *body, packed) || mp_buf_len(packed) >= body->len) return 0;
  *body = mp_buf_slice(packed);
  return mp_reply_is_packed(&ex->reply, coding);
}

void mp_exchange_drop_packer(struct mp_exchange *ex) {
  mp_packer_close(ex->packer, &ex->server->packer);
  ex->packer = NULL;
}

static int begin_stream(struct mp_exchange *ex) {
  enum mp_coding coding;
  int err = choose_coding(ex, MP_LENGTH_UNKNOWN, &coding);
  if (err == 0 && coding != MP_CODING_NONE) {
    ex->packer = mp_packer_open(coding, &ex->server->packer);
    if (ex->packer) err = mp_reply_is_packed(&ex->reply, coding);
  }
  if (err == 0) err = send_head(ex, MP_LENGTH_UNKNOWN, false);
  if (err < 0 || ex->reply.bodiless) mp_exchange_drop_packer(ex);
  return err;
}

/* A piece, or the end, of a stream. What the packer has taken cannot be taken back from it. */
static int put_piece(struct mp_exchange *ex, struct mp_buf *out, struct mp_slice piece, bool last) {
  if (!ex->packer) return mp_reply_body(&ex->reply, out, piece);
  if (piece.len == 0 && !last) return 0;
  struct mp_buf *packed = &ex->server->packed;
  mp_buf_reset(packed, PACKED_KEPT);
  int err = mp_packer_add(ex->packer, piece, last, packed);
  if (err == 0) err = mp_reply_body(&ex->reply, out, mp_buf_slice(packed));
  if (err < 0) ex->spoiled = true;
  return err;
}

/* ---- answers ---- */

static int may_begin(const struct mp_exchange *ex) {
  int err = mp_exchange_may_write(ex);
  return err == 0 && ex->reply.head_sent ? -EALREADY : err;
}

/* A large body is sent from where it lies, with the head and what is queued before it. */
static int send_apart(struct mp_exchange *ex, struct mp_slice body) {
  struct mp_reply *reply = &ex->reply;
  ssize_t len = mp_reply_pass(reply, body.len);
  int err = len < 0 ? (int)len : mp_reply_end(reply, NULL); /* a known length has no end to be written */
  if (err == 0 && len > 0) err = mp_conn_send(ex->conn, body);
  if (err < 0) reply->ended = false; /* there is an answer to be cut */
  return err;
}

static int put_whole(struct mp_exchange *ex, struct mp_buf *out, struct mp_slice body) {
  int err = mp_reply_body(&ex->reply, out, body);
  return err < 0 ? err : mp_reply_end(&ex->reply, out);
}

static int send_whole(struct mp_exchange *ex, struct mp_slice body) {
  struct mp_conn *c = ex->conn;
  struct mp_buf *out = mp_conn_out(c);
  size_t before = mp_buf_len(out);
  bool apart = body.len >= APART_LEAST && !c->backlog;
  int err = send_head(ex, body.len, true);
  if (err == 0) err = apart ? send_apart(ex, body) : put_whole(ex, out, body);
  if (err < 0) return take_back(out, before, err);
  if (!ex->reply.bodiless) ex->body_sent = body.len;
  if (apart)
    mp_conn_touch(c);
  else
    appended(ex, before);
  answered(ex);
  return 0;
}

int mp_exchange_send_as_is(struct mp_exchange *ex, struct mp_slice body) {
  int err = may_begin(ex);
  return err < 0 ? err : send_whole(ex, body);
}

int mp_exchange_head(struct mp_exchange *ex, uint64_t length) {
  int err = may_begin(ex);
  if (err < 0) return err;
  struct mp_buf *out = mp_conn_out(ex->conn);
  size_t before = mp_buf_len(out);
  err = send_head(ex, length, false);
  if (err < 0) return take_back(out, before, err);
  appended(ex, before);
  return 0;
}

/* More than the length that was promised; asked while the head can still become that of an error. */
static bool breaks_promise(const struct mp_exchange *ex, struct mp_slice piece) {
  const struct mp_reply *reply = &ex->reply;
  bool has_body = !reply->head_only && !mp_status_bodiless(reply->status);
  return !reply->head_sent && reply->has_length && has_body && piece.len > reply->length;
}

int mp_exchange_write(struct mp_exchange *ex, struct mp_slice piece) {
  int err = mp_exchange_may_write(ex);
  if (err < 0) return err;
  if (breaks_promise(ex, piece)) return -EMSGSIZE;
  struct mp_buf *out = mp_conn_out(ex->conn);
  size_t before = mp_buf_len(out);
  if (!ex->reply.head_sent) err = begin_stream(ex);
  if (err < 0) return take_back(out, before, err);
  size_t head = mp_buf_len(out); /* it stays: a later piece without it would be a body without a head */
  err = put_piece(ex, out, piece, false);
  if (err < 0)
    take_back(out, head, err);
  else if (!ex->reply.bodiless)
    ex->body_sent += piece.len;
  appended(ex, before);
  return err;
}

/* Packed by itself; to HEAD all but that. `*none`: there is no memory for it. */
static int send_packing(struct mp_exchange *ex, enum mp_coding coding, struct mp_slice body, bool *none) {
  struct mp_sending *sending = ex->reply.head_only ? NULL : mp_packing_new(coding, body);
  *none = !sending && !ex->reply.head_only;
  if (*none) return 0;
  int err = mp_reply_is_packed(&ex->reply, coding);
  if (err == 0 && sending) err = mp_exchange_send_rest(ex, MP_LENGTH_UNKNOWN, sending);
  if (err == 0 && !sending) err = mp_exchange_head(ex, MP_LENGTH_UNKNOWN);
  if (err == 0 && !sending) err = mp_exchange_end(ex);
  if (err < 0 && sending) sending->drop(sending);
  return err;
}

int mp_exchange_send(struct mp_exchange *ex, struct mp_slice body) {
  enum mp_coding coding = MP_CODING_NONE;
  bool none = true, mistaken = ex->reply.has_length && ex->reply.length != body.len; /* which the handler is told of */
  int err = may_begin(ex);
  if (err == 0) err = choose_coding(ex, body.len, &coding);
  if (err == 0 && coding != MP_CODING_NONE && !mistaken) {
    if (body.len > MP_PACK_AT_ONCE)
      err = send_packing(ex, coding, body, &none);
    else
      err = pack_whole(ex, coding, &body);
  }
  return err < 0 || !none ? err : send_whole(ex, body);
}

int mp_exchange_end(struct mp_exchange *ex) {
  int err = mp_exchange_may_write(ex);
  if (err < 0) return err;
  if (!ex->reply.head_sent) return mp_exchange_send(ex, MP_SLICE(""));
  struct mp_buf *out = mp_conn_out(ex->conn);
  size_t before = mp_buf_len(out);
  if (ex->packer) err = put_piece(ex, out, MP_SLICE(""), true);
  if (err == 0) err = mp_reply_end(&ex->reply, out);
  if (err < 0) return take_back(out, before, err);
  appended(ex, before);
  answered(ex);
  return 0;
}

/* What is short sits in the socket already; the loop goes on with what is not. */
int mp_exchange_send_rest(struct mp_exchange *ex, uint64_t length, struct mp_sending *sending) {
  int err = mp_exchange_head(ex, length);
  if (err < 0) return err;
  sending->ex = ex;
  ex->sending = sending;
  mp_exchange_tell_later(ex);
  return 0;
}

void mp_exchange_rest_sent(struct mp_exchange *ex) {
  struct mp_conn *c = ex->conn;
  mp_exchange_stop_sending(ex);
  if (mp_reply_end(&ex->reply, mp_conn_out(c)) < 0) { /* no memory for the last chunk: all that was declared is out */
    mp_conn_close(c);
    return;
  }
  answered(ex);
  if (ex->finished && ex->body_done) mp_conn_leave_exchange(c);
}

bool mp_exchange_full(struct mp_exchange *ex) {
  if (mp_exchange_may_write(ex) < 0) return false;
  struct mp_stream *stream = &ex->conn->stream;
  if (mp_stream_queued(stream) < MP_OUT_HIGH) return false;
  mp_conn_flush(ex->conn);
  if (mp_stream_queued(stream) < MP_OUT_HIGH) return false;
  ex->wants_room = true;
  return true;
}
