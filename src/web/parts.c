#include "web/parts.h"
#include "base/err.h"
#include "web/conn.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* Parts and their heads up to this are gathered, so that many small ones cost few calls. */
enum { GATHERED = 16 * 1024, NUMBERS = 80 };

struct parts {
  struct mp_sending base;
  struct mp_asset *asset; /* owned reference */
  enum mp_file_form form;
  struct mp_source_cursor cursor; /* in the part under way */
  struct mp_ranges left;          /* parts to begin; borrows from `field` */
  struct mp_buf field;            /* owned: the ranges as they were asked for */
  struct mp_buf lines;            /* owned: the delimiter, and what stands before a part's numbers; empty: no lines */
  bool closed;                    /* nothing is to begin any more */
  struct mp_files_job *warming;   /* borrowed: it tells when it is done; NULL: none */
};

/* ---- lines ---- */

static void make_boundary(char out[MP_BOUNDARY + 1]) {
  static const char hex[] = "0123456789abcdef";
  unsigned char bits[MP_BOUNDARY / 2] = {0};
  if (getrandom(bits, sizeof bits, GRND_NONBLOCK) < 0)
    memcpy(bits, &(uint64_t){(uintptr_t)out ^ 0x9e3779b97f4a7c15u}, 8);
  for (int i = 0; i < MP_BOUNDARY / 2; i++) out[2 * i] = hex[bits[i] >> 4], out[2 * i + 1] = hex[bits[i] & 15];
  out[MP_BOUNDARY] = '\0';
}

/* CRLF, two hyphens, the boundary: what each part begins with, and the last line too. */
static struct mp_slice delimiter_of(const struct parts *p) {
  return mp_slice(mp_buf_at(&p->lines), 4 + MP_BOUNDARY);
}

static const struct mp_slice closing = {"--\r\n", 4};

static int print_numbers(const struct parts *p, struct mp_range r, char out[NUMBERS]) {
  return snprintf(out, NUMBERS, "%" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n\r\n", r.first, r.first + r.len - 1,
                  p->left.size);
}

static unsigned digits_of(uint64_t n) {
  unsigned digits = 1;
  while (n >= 10) {
    n /= 10;
    digits++;
  }
  return digits;
}

/* Of all heads, parts and the closing line. */
static uint64_t length_of_all(const struct parts *p) {
  struct mp_ranges ranges = p->left;
  struct mp_range r;
  uint64_t sum = delimiter_of(p).len + closing.len, fixed = mp_buf_len(&p->lines) + digits_of(ranges.size) + 6;
  while (mp_ranges_next(&ranges, &r)) sum += fixed + digits_of(r.first) + digits_of(r.first + r.len - 1) + r.len;
  return sum;
}

static int make_lines(struct parts *p, struct mp_reply *reply, struct mp_slice type) {
  char boundary[MP_BOUNDARY + 1], value[64];
  make_boundary(boundary);
  int err = mp_buf_addf(&p->lines, "\r\n--%s\r\nContent-Type: %.*s\r\nContent-Range: bytes ", boundary, (int)type.len,
                        type.at);
  if (err < 0) return err;
  int n = snprintf(value, sizeof value, "multipart/byteranges; boundary=%s", boundary);
  return mp_reply_set(reply, MP_SLICE("Content-Type"), mp_slice(value, (size_t)n));
}

/* ---- going on ---- */

static struct mp_source *source_of(const struct parts *p) {
  return &p->asset->forms[p->form];
}

/* Why a file cannot be sent to its end, but for the client's own going away. */
static void tell_failure(const struct parts *p, int err) {
  char text[128], path[256];
  if (err == -EPIPE || err == -ECONNRESET || err == -ETIMEDOUT) return;
  mp_log_quote(mp_slice(p->asset->path, strlen(p->asset->path)), path, sizeof path);
  const char *why = err == 0 ? "it became shorter while it was sent" : mp_err_text(err, text, sizeof text);
  mp_log(p->base.ex->server->log, MP_LOG_WARN, "http", "file cut path=%s reason=\"%s\"", path, why);
}

/* The client is to see that the answer is broken. */
static bool give_up(struct parts *p, int err) {
  tell_failure(p, err);
  mp_conn_close(p->base.ex->conn); /* frees `p` with the exchange's hold on it */
  return false;
}

static void count_sent(struct parts *p, size_t n) {
  p->base.ex->reply.left -= n;
  p->base.ex->body_sent += n;
}

static int gather(struct parts *p, struct mp_slice bytes) {
  int err = mp_buf_add_slice(mp_conn_out(p->base.ex->conn), bytes);
  if (err == 0) count_sent(p, bytes.len);
  return err;
}

static int close_parts(struct parts *p) {
  p->closed = true;
  if (mp_buf_len(&p->lines) == 0) return 0;
  int err = gather(p, delimiter_of(p));
  return err < 0 ? err : gather(p, closing);
}

/* The head of the next part, or what closes the last. */
static int begin_part(struct parts *p) {
  char numbers[NUMBERS];
  struct mp_range r;
  if (!mp_ranges_next(&p->left, &r)) return close_parts(p);
  p->cursor = (struct mp_source_cursor){.at = r.first, .end = r.first + r.len};
  if (mp_buf_len(&p->lines) == 0) return 0;
  int err = gather(p, mp_buf_slice(&p->lines));
  return err < 0 ? err : gather(p, mp_slice(numbers, (size_t)print_numbers(p, r, numbers)));
}

static void on_warm(struct mp_files_job *job) {
  struct parts *p = job->ctx;
  struct mp_exchange *ex = p->base.ex;
  p->warming = NULL;
  p->base.waits = false;
  /* At hand now, or as good as: no second look, or a full cache could go round. */
  p->cursor.warm_to = job->at + job->len;
  p->cursor.warm_ms = mp_loop_now(ex->server->loop);
  if (ex->conn) mp_conn_touch(ex->conn);
}

static bool warm(struct parts *p) {
  uint64_t len = p->cursor.end - p->cursor.at;
  if (len > MP_SOURCE_SLICE) len = MP_SOURCE_SLICE;
  p->warming = mp_files_warm(&p->base.ex->server->files, p->asset, p->form, p->cursor.at, len, on_warm, p);
  p->base.waits = p->warming != NULL;
  return p->warming ? false : give_up(p, -ENOMEM);
}

static bool is_over(const struct parts *p) {
  return p->closed && p->cursor.at == p->cursor.end;
}

static bool send_slice(struct parts *p) {
  struct mp_conn *c = p->base.ex->conn;
  ssize_t n = mp_source_push(source_of(p), &p->cursor, &c->stream);
  if (n == -EAGAIN) return warm(p);
  if (n <= 0) return give_up(p, (int)n);
  count_sent(p, (size_t)n);
  mp_conn_moved(c);
  return is_over(p);
}

static bool is_small(const struct parts *p) {
  return mp_buf_len(&p->lines) > 0 && p->cursor.end - p->cursor.at <= GATHERED;
}

/* Small parts one after the other. 1: that is enough for one turn, or the next one is large; 0 or -errno: the next one
 * cannot be had as it stands there. */
static ssize_t gather_parts(struct parts *p) {
  struct mp_buf *out = mp_conn_out(p->base.ex->conn);
  for (;;) {
    if (p->cursor.at == p->cursor.end && !p->closed && begin_part(p) < 0) return -ENOMEM;
    if (is_over(p) || !is_small(p) || mp_buf_len(out) >= GATHERED) return 1;
    ssize_t n = mp_source_copy(source_of(p), &p->cursor, out, mp_loop_now(p->base.ex->server->loop));
    if (n <= 0) return n;
    count_sent(p, (size_t)n);
  }
}

static bool step(struct mp_sending *sending) {
  struct parts *p = MP_CONTAINER(sending, struct parts, base);
  struct mp_conn *c = sending->ex->conn;
  ssize_t n = gather_parts(p);
  if (n <= 0 && n != -EAGAIN) return give_up(p, (int)n);
  if (is_over(p)) return true;
  mp_conn_flush(c);
  if (n == -EAGAIN) return warm(p);
  if (c->stream.closing || mp_stream_queued(&c->stream) || is_small(p)) return false; /* on_drained goes on */
  return send_slice(p);
}

/* ---- life ---- */

static void drop(struct mp_sending *sending) {
  struct parts *p = MP_CONTAINER(sending, struct parts, base);
  if (p->warming) mp_files_drop(p->warming);
  mp_asset_release(p->asset);
  mp_buf_free(&p->field);
  mp_buf_free(&p->lines);
  free(p);
}

static struct parts *new_parts(enum mp_file_form form, const struct mp_ranges *ranges) {
  struct parts *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->base.step = step;
  p->base.drop = drop;
  p->form = form;
  p->left = *ranges;
  if (mp_buf_add_slice(&p->field, ranges->rest) == 0) {
    if (ranges->rest.len > 0) p->left.rest = mp_buf_slice(&p->field);
    return p;
  }
  free(p);
  return NULL;
}

int mp_parts_send(struct mp_exchange *ex, struct mp_asset *asset, enum mp_file_form form,
                  const struct mp_ranges *ranges, struct mp_slice type) {
  struct parts *p = new_parts(form, ranges);
  struct mp_range one = {0, asset->forms[form].size};
  int err = p ? 0 : -ENOMEM;
  if (err == 0 && ranges->n > 1) err = make_lines(p, &ex->reply, type);
  if (err == 0 && ranges->n <= 1) {
    if (ranges->n == 1) mp_ranges_next(&p->left, &one);
    p->cursor = (struct mp_source_cursor){.at = one.first, .end = one.first + one.len};
    p->closed = true;
  }
  if (err == 0) err = mp_exchange_send_rest(ex, p->closed ? one.len : length_of_all(p), &p->base);
  if (err == 0)
    p->asset = asset;
  else if (p)
    drop(&p->base);
  return err;
}
