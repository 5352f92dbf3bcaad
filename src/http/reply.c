#include "http/reply.h"
#include "http/bytes.h"
#include "http/status.h"
#include <errno.h>

enum { KEPT = 4096 /* bytes of memory for fields that stay with a reply */ };

void mp_reply_init(struct mp_reply *reply, const struct mp_head *request) {
  struct mp_buf fields = reply->fields;
  mp_buf_reset(&fields, KEPT);
  *reply = (struct mp_reply){.fields = fields,
                             .left = MP_LENGTH_UNKNOWN,
                             .status = 200,
                             .minor = request->minor,
                             .head_only = mp_slice_is(request->method, MP_SLICE("HEAD")),
                             .keep_alive = request->keep_alive};
}

void mp_reply_free(struct mp_reply *reply) {
  mp_buf_free(&reply->fields);
}

/* Fields that framing has a word in. */
enum kind { PLAIN, DATE, SERVER, CONNECTION, LENGTH, CODING };

static enum kind kind_of(struct mp_slice name) {
  switch (name.len) {
  case 4:
    return mp_token_is(name.at, "date", 4) ? DATE : PLAIN;
  case 6:
    return mp_token_is(name.at, "server", 6) ? SERVER : PLAIN;
  case 10:
    return mp_token_is(name.at, "connection", 10) ? CONNECTION : PLAIN;
  case 14:
    return mp_token_is(name.at, "content-length", 14) ? LENGTH : PLAIN;
  case 17:
    return mp_token_is(name.at, "transfer-encoding", 17) ? CODING : PLAIN;
  default:
    return PLAIN;
  }
}

static uint64_t length_bit(size_t len) {
  return UINT64_C(1) << (len & 63);
}

/* The next line of that name at or behind `at`, an offset into the fields; its end behind CRLF. False: no more. */
static bool find_line(const struct mp_reply *reply, struct mp_slice name, size_t *at, size_t *end) {
  if (!(reply->name_lengths & length_bit(name.len))) return false;
  const char *bytes = mp_buf_at(&reply->fields);
  size_t len = mp_buf_len(&reply->fields);
  while (*at < len) {
    const char *lf = memchr(bytes + *at, '\n', len - *at);
    *end = (size_t)(lf + 1 - bytes);
    if (*end - *at > name.len && bytes[*at + name.len] == ':' &&
        mp_slice_is_nocase(mp_slice(bytes + *at, name.len), name))
      return true;
    *at = *end;
  }
  return false;
}

static void remove_lines(struct mp_reply *reply, struct mp_slice name) {
  size_t at = 0, end;
  while (find_line(reply, name, &at, &end)) {
    char *bytes = mp_buf_at(&reply->fields);
    memmove(bytes + at, bytes + end, mp_buf_len(&reply->fields) - end);
    reply->fields.end -= (uint32_t)(end - at);
  }
}

static int append_line(struct mp_reply *reply, struct mp_slice name, struct mp_slice value) {
  size_t len = name.len + 2 + value.len + 2;
  char *to = mp_buf_room(&reply->fields, len);
  if (!to) return -ENOMEM;
  memcpy(to, name.at, name.len);
  memcpy(to + name.len, ": ", 2);
  if (value.len) memcpy(to + name.len + 2, value.at, value.len);
  memcpy(to + len - 2, "\r\n", 2);
  mp_buf_grew(&reply->fields, len);
  reply->name_lengths |= length_bit(name.len);
  return 0;
}

/* What put would say of it, memory apart; `value` is trimmed, `length` that of a Content-Length. */
static int may_put(const struct mp_reply *reply, struct mp_slice name, struct mp_slice value, uint64_t *length) {
  if (reply->head_sent) return -EALREADY;
  if (!mp_is_token(name) || !mp_is_value(value)) return -EINVAL;
  switch (kind_of(name)) {
  case CODING:
    return -EPERM;
  case CONNECTION:
    return mp_slice_is_nocase(value, MP_SLICE("close")) ? 0 : -EPERM;
  case LENGTH:
    return mp_decimal(value, length) && *length != MP_LENGTH_UNKNOWN ? 0 : -EINVAL;
  default:
    return 0;
  }
}

static int put(struct mp_reply *reply, struct mp_slice name, struct mp_slice value, bool replace) {
  uint64_t length = 0;
  value = mp_slice_trim(value);
  int err = may_put(reply, name, value, &length);
  if (err < 0) return err;
  enum kind kind = kind_of(name);
  if (kind == CONNECTION) {
    reply->keep_alive = false;
    return 0;
  }
  if (replace || kind != PLAIN) remove_lines(reply, name);
  if (append_line(reply, name, value) < 0) return -ENOMEM;
  reply->has_date |= kind == DATE;
  reply->has_server |= kind == SERVER;
  if (kind == LENGTH) reply->has_length = true, reply->length = length;
  return 0;
}

int mp_reply_set_all(struct mp_reply *reply, struct mp_slice name, const struct mp_slice *values, size_t n) {
  size_t room = 0;
  uint64_t length;
  for (size_t i = 0; i < n; i++) {
    int err = may_put(reply, name, mp_slice_trim(values[i]), &length);
    if (err < 0) return err;
    room += name.len + values[i].len + 4;
  }
  if (room > 0 && !mp_buf_room(&reply->fields, room)) return -ENOMEM;
  int err = mp_reply_remove(reply, name);
  for (size_t i = 0; err == 0 && i < n; i++) err = put(reply, name, values[i], false);
  return err;
}

int mp_reply_set(struct mp_reply *reply, struct mp_slice name, struct mp_slice value) {
  return put(reply, name, value, true);
}

int mp_reply_add(struct mp_reply *reply, struct mp_slice name, struct mp_slice value) {
  return put(reply, name, value, false);
}

int mp_reply_add_lines(struct mp_reply *reply, struct mp_slice lines, uint64_t names) {
  if (reply->head_sent) return -EALREADY;
  reply->name_lengths |= names;
  return mp_buf_add_slice(&reply->fields, lines);
}

int mp_reply_remove(struct mp_reply *reply, struct mp_slice name) {
  if (reply->head_sent) return -EALREADY;
  if (!mp_is_token(name)) return -EINVAL;
  enum kind kind = kind_of(name);
  remove_lines(reply, name);
  if (kind == DATE) reply->has_date = false;
  if (kind == SERVER) reply->has_server = false;
  if (kind == LENGTH) reply->has_length = false;
  return 0;
}

bool mp_reply_get(const struct mp_reply *reply, struct mp_slice name, struct mp_slice *value) {
  size_t at = 0, end;
  if (!find_line(reply, name, &at, &end)) return false;
  const char *bytes = mp_buf_at(&reply->fields);
  *value = mp_slice(bytes + at + name.len + 2, end - 2 - (at + name.len + 2));
  return true;
}

static char *put_slice(char *to, struct mp_slice s) {
  memcpy(to, s.at, s.len);
  return to + s.len;
}
#define PUT(to, literal) put_slice(to, MP_SLICE(literal))

static char *put_decimal(char *to, uint64_t n) {
  char digits[20], *p = digits + sizeof digits;
  do *--p = (char)('0' + n % 10);
  while (n /= 10);
  return put_slice(to, mp_slice(p, (size_t)(digits + sizeof digits - p)));
}

static char *put_status_line(char *to, int status) {
  if (status == 200) return PUT(to, "HTTP/1.1 200 OK\r\n");
  const char *phrase = mp_status_phrase(status);
  to = put_decimal(PUT(to, "HTTP/1.1 "), (uint64_t)status);
  to = put_slice(PUT(to, " "), mp_slice(phrase, strlen(phrase)));
  return PUT(to, "\r\n");
}

static char *put_framing(char *to, const struct mp_reply *reply, bool coded, uint64_t length) {
  if (coded)
    to = PUT(to, "Transfer-Encoding: chunked\r\n");
  else if (length != MP_LENGTH_UNKNOWN)
    to = PUT(put_decimal(PUT(to, "Content-Length: "), length), "\r\n");
  if (reply->minor == 1 && !reply->keep_alive) to = PUT(to, "Connection: close\r\n");
  if (reply->minor == 0 && reply->keep_alive) to = PUT(to, "Connection: keep-alive\r\n");
  return PUT(to, "\r\n");
}

/* The longest of all that is not fields: status line 48, Date 37, Server 18, framing 38, Connection 24, end 2. */
enum { HEAD_ROOM = 256 };

static int write_head(const struct mp_reply *reply, struct mp_buf *out, bool coded, uint64_t length,
                      const struct mp_date *date) {
  char *room = mp_buf_room(out, HEAD_ROOM + mp_buf_len(&reply->fields)), *to = room;
  if (!room) return -ENOMEM;
  to = put_status_line(to, reply->status);
  if (date && !reply->has_date) to = PUT(put_slice(PUT(to, "Date: "), mp_slice(date->text, 29)), "\r\n");
  if (!reply->no_server && !reply->has_server) to = PUT(to, "Server: moonpool\r\n");
  if (mp_buf_len(&reply->fields)) to = put_slice(to, mp_buf_slice(&reply->fields));
  to = put_framing(to, reply, coded, length);
  mp_buf_grew(out, (size_t)(to - room));
  return 0;
}

/* 1xx and 204 may not speak of a length at all (RFC 9110 8.6). */
static bool is_lengthless(int status) {
  return status < 200 || status == 204;
}

int mp_reply_head(struct mp_reply *reply, struct mp_buf *out, uint64_t length, const struct mp_date *date) {
  if (reply->head_sent) return -EALREADY;
  if (reply->status < 100 || reply->status > 999) return -EINVAL;
  bool lengthless = is_lengthless(reply->status), no_body = mp_status_bodiless(reply->status);
  bool reset = reply->status == 205; /* no body, and a length of 0 that says so (RFC 9110 15.3.6) */
  reply->bodiless = reply->head_only || no_body || reset;
  if (reset) length = 0;
  if (lengthless || reset) {
    int err = mp_reply_remove(reply, MP_SLICE("Content-Length"));
    if (err < 0) return err;
  }
  if (reply->has_length && length != MP_LENGTH_UNKNOWN && length != reply->length && !reply->bodiless) return -EMSGSIZE;
  if (reply->has_length) length = reply->length;
  bool coded = length == MP_LENGTH_UNKNOWN && !no_body && reply->minor == 1;
  if (length == MP_LENGTH_UNKNOWN && !no_body && reply->minor == 0) reply->keep_alive = false;
  int err = write_head(reply, out, coded, reply->has_length || no_body ? MP_LENGTH_UNKNOWN : length, date);
  if (err < 0) return err;
  reply->head_sent = true;
  reply->chunked = coded && !reply->bodiless;
  reply->left = length;
  return 0;
}

static int write_chunk(struct mp_buf *out, struct mp_slice piece) {
  static const char hex[] = "0123456789abcdef";
  char size[16], *p = size + sizeof size;
  for (size_t n = piece.len; n; n >>= 4) *--p = hex[n & 15];
  struct mp_slice digits = mp_slice(p, (size_t)(size + sizeof size - p));
  if (piece.len > SIZE_MAX - 32) return -ENOMEM;
  char *room = mp_buf_room(out, digits.len + 4 + piece.len);
  if (!room) return -ENOMEM;
  char *to = PUT(put_slice(room, digits), "\r\n");
  to = PUT(put_slice(to, piece), "\r\n");
  mp_buf_grew(out, (size_t)(to - room));
  return 0;
}

int mp_reply_body(struct mp_reply *reply, struct mp_buf *out, struct mp_slice piece) {
  if (!reply->head_sent) return -EINVAL;
  if (reply->ended) return -EALREADY;
  if (reply->bodiless || piece.len == 0) return 0;
  if (reply->chunked) return write_chunk(out, piece);
  if (reply->left == MP_LENGTH_UNKNOWN) return mp_buf_add_slice(out, piece);
  if (piece.len > reply->left) return -EMSGSIZE;
  int err = mp_buf_add_slice(out, piece);
  if (err == 0) reply->left -= piece.len;
  return err;
}

ssize_t mp_reply_pass(struct mp_reply *reply, size_t len) {
  if (!reply->head_sent || reply->chunked || reply->left == MP_LENGTH_UNKNOWN) return -EINVAL;
  if (reply->ended) return -EALREADY;
  if (reply->bodiless) return 0;
  if (len > reply->left) return -EMSGSIZE;
  reply->left -= len;
  return (ssize_t)len;
}

int mp_reply_end(struct mp_reply *reply, struct mp_buf *out) {
  if (!reply->head_sent) return -EINVAL;
  if (reply->ended) return -EALREADY;
  if (reply->chunked) {
    int err = mp_buf_add(out, "0\r\n\r\n", 5);
    if (err < 0) return err;
  } else if (!reply->bodiless && reply->left != MP_LENGTH_UNKNOWN && reply->left > 0) {
    return -EMSGSIZE;
  }
  reply->ended = true;
  return 0;
}

static int refuse_with(struct mp_reply *reply, struct mp_buf *out, const struct mp_date *date) {
  char text[64], *to = put_decimal(text, reply->status);
  const char *phrase = mp_status_phrase(reply->status);
  to = put_slice(PUT(to, " "), mp_slice(phrase, strlen(phrase)));
  struct mp_slice body = mp_slice(text, (size_t)(PUT(to, "\n") - text));
  int err = mp_reply_set(reply, MP_SLICE("Content-Type"), MP_SLICE("text/plain"));
  if (err == 0) err = mp_reply_head(reply, out, body.len, date);
  if (err == 0) err = mp_reply_body(reply, out, body);
  if (err == 0) err = mp_reply_end(reply, out);
  return err;
}

int mp_reply_refuse(struct mp_buf *out, int status, bool head_only, const struct mp_date *date, bool no_server) {
  struct mp_reply reply = {.status = (uint16_t)status, .minor = 1, .head_only = head_only, .no_server = no_server};
  int err = refuse_with(&reply, out, date);
  mp_reply_free(&reply);
  return err;
}
