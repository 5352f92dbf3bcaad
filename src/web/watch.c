/* What time and the kernel say about a client: deadlines, progress, and whether it is still there. */
#include "io/peer.h"
#include "web/conn.h"
#include "web/sending.h"

enum { PAUSED_LOOK_MS = 250, LINGER_MS = 2000, DUE_MOST_MS = 20 * 24 * 3600 * 1000 /* low bits tell no longer time */ };

static uint64_t now_of(const struct mp_conn *c) {
  return mp_loop_now(c->server->loop);
}

/* The full time whose low bits were kept; it is less than 24 days away. */
static uint64_t full_time(const struct mp_conn *c, uint32_t low) {
  uint64_t now = now_of(c);
  return now + (uint64_t)(int64_t)(int32_t)(low - (uint32_t)now);
}

static uint64_t due_at(const struct mp_conn *c) {
  return c->due_ms ? full_time(c, c->due_ms) : UINT64_MAX;
}

static void set_due_at(struct mp_conn *c, uint64_t at) {
  c->due_ms = (uint32_t)at | 1; /* 0 says none */
}

static void look_after(struct mp_conn *c, uint32_t ms) {
  c->looking = true;
  c->look_ms = (uint32_t)now_of(c) + ms;
}

/* ---- is the client still there? ---- */

static bool may_probe(const struct mp_conn *c) {
  const struct mp_exchange *ex = c->ex;
  return !c->probed && ex->head.minor >= 1 && !ex->reply.head_sent && !mp_peer_is_unix(mp_stream_fd(&c->stream));
}

/* A client that has closed answers to this with a reset; one that is half-closed passes over it (RFC 9110 15.2). No
 * other 1xx will do: some clients take it for the answer. */
static void probe(struct mp_conn *c) {
  struct mp_buf *out = mp_conn_out(c);
  size_t before = mp_buf_len(out);
  if (!may_probe(c)) return;
  c->probed = true;
  if (mp_buf_add_slice(out, MP_SLICE("HTTP/1.1 100 Continue\r\n\r\n")) < 0) return;
  mp_conn_appended(c, before);
  mp_conn_touch(c);
}

static void start_looking(struct mp_conn *c) {
  c->half = true;
  c->probed = false;
  c->looks = 0;
  probe(c);
  look_after(c, 10);
}

/* An end of file while the room above holds the exchange. Bytes that were sent ahead of it and wait here speak for a
 * half-close, and so does an answer begun after it. */
void mp_conn_judge_eof(struct mp_conn *c) {
  const struct mp_exchange *ex = c->ex;
  bool more = mp_buf_len(&c->in) > 0;
  if (!c->half && (ex->head.minor == 0 || (ex->reply.head_sent && !more)))
    mp_conn_close(c);
  else if (!c->half || !c->looking)
    start_looking(c);
}

static uint32_t pause_after_eof(struct mp_conn *c) {
  static const uint8_t pauses[] = {50, 200};
  unsigned i = c->looks;
  if (i < sizeof pauses - 1) c->looks++;
  return pauses[i];
}

/* While nothing is read, the end of file of a client that has closed may stand behind bytes that its kernel cannot send
 * us: only an answer to a probe tells. Every other look sends one. */
static uint32_t pause_while_paused(struct mp_conn *c) {
  c->looks ^= 1;
  if (c->looks) {
    c->probed = false;
    probe(c);
  }
  return PAUSED_LOOK_MS;
}

static void look(struct mp_conn *c) {
  c->looking = false;
  if (!mp_conn_handling(c)) return;
  if (mp_peer_state(mp_stream_fd(&c->stream)) == MP_PEER_GONE)
    mp_conn_close(c);
  else if (c->saw_eof)
    look_after(c, pause_after_eof(c));
  else if (!c->stream.reading)
    look_after(c, pause_while_paused(c));
}

/* ---- deadlines ---- */

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
  c->due_ms = 0;
  if (ms) set_due_at(c, now_of(c) + (ms < DUE_MOST_MS ? ms : DUE_MOST_MS));
  if (c->server->draining && (due == MP_DUE_FIRST || due == MP_DUE_IDLE) && drain < due_at(c)) set_due_at(c, drain);
}

/* A file is fetched from a disk: the client waits for us. */
static bool is_warming(const struct mp_conn *c) {
  return c->ex && c->ex->sending && c->ex->sending->waits;
}

static void check_progress(struct mp_conn *c) {
  size_t queued = mp_stream_queued(&c->stream);
  bool moved = c->moved || is_warming(c);
  c->moved = false;
  c->stale = queued < c->unsent || moved ? 0 : (c->stale + 1) & 7;
  c->unsent = (uint32_t)queued;
  c->check_ms = (uint32_t)(now_of(c) + c->server->config.write_ms / MP_CHECKS);
  if (c->stale >= MP_CHECKS) mp_conn_close(c);
}

static void body_is_late(struct mp_conn *c) {
  if (mp_conn_handling(c))
    c->late = true;
  else
    c->last = true;
}

/* A drain must not close on a request that has come and was not read yet. */
static void idle_is_over(struct mp_conn *c) {
  if (mp_peer_has_sent(mp_stream_fd(&c->stream)))
    set_due_at(c, now_of(c) + 100);
  else
    mp_conn_close(c);
}

static void due_is_over(struct mp_conn *c) {
  static const struct mp_refusal late_head = {408, "the head did not come in time"};
  c->due_ms = 0;
  switch (c->due) {
  case MP_DUE_FIRST:
  case MP_DUE_IDLE:
    idle_is_over(c);
    break;
  case MP_DUE_HEAD:
    mp_conn_refuse_unread(c, late_head, false);
    break;
  case MP_DUE_BODY:
    body_is_late(c);
    break;
  case MP_DUE_LINGER:
    mp_conn_close(c);
    break;
  }
}

static uint64_t request_due(const struct mp_conn *c) {
  uint64_t ms = mp_conn_handling(c) ? c->ex->request_ms : 0;
  return ms ? c->ex->started_ms + ms : UINT64_MAX;
}

/* The room above is told that its client is gone; the client, that the server is to blame. */
static void request_is_late(struct mp_conn *c) {
  static const struct mp_refusal late = {503, "the handler did not answer in time"};
  bool in_stream = c->ex->reply.head_sent, head_only = c->ex->reply.head_only;
  if (!in_stream) c->ex->told_status = (uint16_t)late.status;
  c->ex->overdue = true;
  mp_conn_lose_exchange(c);
  if (in_stream)
    c->last = c->cut = true;
  else
    mp_conn_refuse(c, late, head_only);
}

void mp_conn_on_fire(struct mp_timer *timer) {
  struct mp_conn *c = MP_CONTAINER(timer, struct mp_conn, timer);
  uint64_t now = now_of(c);
  mp_server_set_date(c->server);
  if (c->backlog && c->server->config.write_ms && full_time(c, c->check_ms) <= now) check_progress(c);
  if (!c->stream.closing && c->looking && full_time(c, c->look_ms) <= now) look(c);
  if (!c->stream.closing && request_due(c) <= now) request_is_late(c);
  if (!c->stream.closing && due_at(c) <= now) due_is_over(c);
  mp_conn_settle(c);
}

static uint64_t least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

void mp_conn_arm(struct mp_conn *c) {
  set_due(c);
  uint64_t now = now_of(c), next = due_at(c);
  if (mp_conn_handling(c)) {
    if (!c->looking && !c->stream.reading && !c->saw_eof) look_after(c, PAUSED_LOOK_MS);
    next = least(next, request_due(c));
  }
  if (c->looking) next = least(next, full_time(c, c->look_ms));
  if (c->backlog && c->server->config.write_ms) next = least(next, full_time(c, c->check_ms));
  if (next == UINT64_MAX || (mp_timer_started(&c->timer) && c->timer.due_ms <= next)) return;
  mp_timer_start(&c->timer, next > now ? next - now : 0);
}
