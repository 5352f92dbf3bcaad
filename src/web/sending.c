#include "web/sending.h"
#include "base/err.h"
#include "web/conn.h"
#include <errno.h>
#include <stdlib.h>

struct mp_sending *mp_sending_new(struct mp_asset *asset, enum mp_file_form form) {
  struct mp_sending *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->asset = asset;
  s->form = form;
  return s;
}

void mp_sending_free(struct mp_sending *s) {
  if (!s) return;
  if (s->warming) mp_files_drop(s->warming);
  mp_asset_release(s->asset);
  mp_buf_free(&s->lines);
  free(s);
}

uint64_t mp_sending_length(const struct mp_sending *s) {
  uint64_t length = mp_buf_len(&s->lines);
  for (unsigned i = 0; i < s->parts.n; i++) length += s->parts.at[i].len;
  return length;
}

/* Why a file cannot be sent to its end, but for the client's own going away. */
static void tell_failure(const struct mp_sending *s, int err) {
  char text[128], path[256];
  if (err == -EPIPE || err == -ECONNRESET || err == -ETIMEDOUT) return;
  mp_log_quote(mp_slice(s->asset->path, strlen(s->asset->path)), path, sizeof path);
  const char *why = err == 0 ? "it became shorter while it was sent" : mp_err_text(err, text, sizeof text);
  mp_log(s->ex->server->log, MP_LOG_WARN, "http", "file cut path=%s reason=\"%s\"", path, why);
}

/* The client is to see that the answer is broken. */
static bool give_up(struct mp_sending *s, int err) {
  tell_failure(s, err);
  mp_conn_close(s->ex->conn); /* frees `s` with the exchange's hold on it */
  return false;
}

static int write_line(struct mp_sending *s, unsigned i) {
  struct mp_conn *c = s->ex->conn;
  uint32_t from = i ? s->line_end[i - 1] : 0, len = s->line_end[i] - from;
  struct mp_buf *out = mp_conn_out(c);
  int err = mp_buf_add(out, mp_buf_at(&s->lines) + from, len);
  s->ex->reply.left -= len;
  s->ex->body_sent += len;
  return err;
}

/* The head of the next part, or what closes the last. The queue may be empty afterwards, or not. */
static int begin_part(struct mp_sending *s) {
  int err = mp_buf_len(&s->lines) ? write_line(s, s->next) : 0;
  if (err == 0 && s->next < s->parts.n) {
    struct mp_range part = s->parts.at[s->next];
    s->cursor = (struct mp_source_cursor){.at = part.first, .end = part.first + part.len};
  }
  s->next++;
  mp_conn_flush(s->ex->conn);
  return err;
}

static void on_warm(struct mp_files_job *job) {
  struct mp_sending *s = job->ctx;
  s->warming = NULL;
  s->cursor.warm_to =
      job->at + job->len; /* at hand now, or as good as: no second look, or a full cache could go round */
  s->cursor.warm_ms = mp_loop_now(s->ex->server->loop);
  if (s->ex->conn) mp_conn_touch(s->ex->conn);
}

static bool warm(struct mp_sending *s) {
  uint64_t len = s->cursor.end - s->cursor.at;
  if (len > MP_SOURCE_SLICE) len = MP_SOURCE_SLICE;
  s->warming = mp_files_warm(&s->ex->server->files, s->asset, s->form, s->cursor.at, len, on_warm, s);
  return s->warming ? false : give_up(s, -ENOMEM);
}

static bool is_over(const struct mp_sending *s) {
  return s->cursor.at == s->cursor.end && s->next >= s->parts.n + (mp_buf_len(&s->lines) ? 1 : 0);
}

static bool send_slice(struct mp_sending *s) {
  struct mp_conn *c = s->ex->conn;
  ssize_t n = mp_source_push(&s->asset->forms[s->form], &s->cursor, &c->stream);
  if (n == -EAGAIN) return warm(s);
  if (n <= 0) return give_up(s, (int)n);
  s->ex->reply.left -= (uint64_t)n;
  s->ex->body_sent += (uint64_t)n;
  mp_conn_moved(c);
  return is_over(s);
}

bool mp_sending_step(struct mp_sending *s) {
  struct mp_conn *c = s->ex->conn;
  if (s->warming) return false;
  if (s->cursor.at == s->cursor.end && s->next <= s->parts.n && begin_part(s) < 0) return give_up(s, -ENOMEM);
  if (is_over(s)) return true;
  if (mp_stream_queued(&c->stream)) return false; /* on_drained goes on */
  if (s->cursor.at == s->cursor.end) return false;
  return send_slice(s);
}
