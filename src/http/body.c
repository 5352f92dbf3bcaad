#include "http/body.h"
#include "http/bytes.h"
#include "http/gate.h"

/*   SIZE ─ extensions ─ SIZE_LF ─► DATA ─ DATA_CR ─ DATA_LF ─► SIZE …
 *                          └─ size 0 ─► TRAILER ─ NAME ─ VALUE ─ VALUE_LF ─► TRAILER …
 *                                          └─ LAST_LF ─► ENDED                          (RFC 9112 7.1) */
enum state {
  LENGTH,
  SIZE,
  EXT_OR_SPACE, /* white space behind a size or a value: only ";" may follow */
  EXT_NAME_FIRST,
  EXT_NAME,
  EXT_NAME_SPACE,
  EXT_VALUE_FIRST,
  EXT_VALUE,
  QUOTED,
  QUOTED_PAIR,
  QUOTED_END,
  SIZE_LF,
  DATA,
  DATA_CR,
  DATA_LF,
  TRAILER,
  NAME,
  VALUE,
  VALUE_LF,
  LAST_LF,
  ENDED
};

enum { SIZE_DIGITS = 16, SPARE = 16 /* bytes that a size line may have for nothing */ };

static bool is_space(char c) {
  return c == ' ' || c == '\t';
}

enum mp_verdict mp_body_start(struct mp_body *body, const struct mp_head *head, const struct mp_http_limits *limits,
                              struct mp_refusal *why) {
  *body = (struct mp_body){.most = limits->body, .state = ENDED};
  if (head->body == MP_BODY_NONE) return MP_DONE;
  if (head->body == MP_BODY_CHUNKED) {
    body->state = SIZE;
    return MP_MORE;
  }
  if (head->content_length > limits->body) return mp_refuse(why, 413, "Content-Length above the limit");
  body->left = head->content_length;
  if (body->left == 0) return MP_DONE;
  body->state = LENGTH;
  return MP_MORE;
}

static enum mp_verdict to(struct mp_body *body, enum state state) {
  body->state = (uint8_t)state;
  return MP_MORE;
}

static enum mp_verdict take_size(struct mp_body *body, char c, struct mp_refusal *why) {
  if (mp_byte_is(c, MP_BYTE_HEX)) {
    if (++body->digits > SIZE_DIGITS) return mp_refuse(why, 400, "chunk size too long");
    body->left = body->left << 4 | mp_hex_value(c);
    return MP_MORE;
  }
  if (body->digits == 0) return mp_refuse(why, 400, "chunk size missing");
  if (c == ';') return to(body, EXT_NAME_FIRST);
  if (c == '\r') return to(body, SIZE_LF);
  if (is_space(c)) return to(body, EXT_OR_SPACE);
  return mp_refuse(why, 400, "malformed chunk size");
}

/* What may follow a complete extension name or value. */
static enum mp_verdict end_extension(struct mp_body *body, char c, enum state space, struct mp_refusal *why) {
  if (c == ';') return to(body, EXT_NAME_FIRST);
  if (c == '\r') return to(body, SIZE_LF);
  if (is_space(c)) return to(body, space);
  return mp_refuse(why, 400, "malformed chunk extension");
}

static enum mp_verdict take_quoted(struct mp_body *body, char c, struct mp_refusal *why) {
  if (!mp_byte_is(c, MP_BYTE_VALUE)) return mp_refuse(why, 400, "malformed chunk extension");
  if (body->state == QUOTED_PAIR) return to(body, QUOTED);
  return to(body, c == '"' ? QUOTED_END : c == '\\' ? QUOTED_PAIR : QUOTED);
}

/* *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) (RFC 9112 7.1.1) */
static enum mp_verdict take_extension(struct mp_body *body, char c, struct mp_refusal *why) {
  bool token = mp_byte_is(c, MP_BYTE_TOKEN);
  switch (body->state) {
  case EXT_OR_SPACE:
    if (is_space(c)) return MP_MORE;
    if (c == ';') return to(body, EXT_NAME_FIRST);
    break;
  case EXT_NAME_FIRST:
    if (is_space(c)) return MP_MORE;
    if (token) return to(body, EXT_NAME);
    break;
  case EXT_NAME:
    if (token) return MP_MORE;
    if (c == '=') return to(body, EXT_VALUE_FIRST);
    return end_extension(body, c, EXT_NAME_SPACE, why);
  case EXT_NAME_SPACE:
    if (is_space(c)) return MP_MORE;
    if (c == '=') return to(body, EXT_VALUE_FIRST);
    if (c == ';') return to(body, EXT_NAME_FIRST);
    break;
  case EXT_VALUE_FIRST:
    if (is_space(c)) return MP_MORE;
    if (token || c == '"') return to(body, token ? EXT_VALUE : QUOTED);
    break;
  case EXT_VALUE:
    if (token) return MP_MORE;
    return end_extension(body, c, EXT_OR_SPACE, why);
  case QUOTED_END:
    return end_extension(body, c, EXT_OR_SPACE, why);
  default:
    return take_quoted(body, c, why);
  }
  return mp_refuse(why, 400, "malformed chunk extension");
}

/* Size lines may be longer than what they carry by limits->head in all: enough for signatures, not for a flood of
 * extensions around a few bytes of body. */
static enum mp_verdict end_size(struct mp_body *body, char c, struct mp_refusal *why) {
  if (c != '\n') return mp_refuse(why, 400, "bare CR in a chunk size line");
  if (body->left > body->most - body->total) return mp_refuse(why, 413, "chunks above the limit");
  uint64_t free = body->left + SPARE;
  body->extras = body->extras > free ? body->extras - (uint32_t)free : 0;
  body->line = body->digits = 0;
  if (body->left > 0) return to(body, DATA);
  body->extras = 0;
  return to(body, TRAILER);
}

static enum mp_verdict take_size_line(struct mp_body *body, const struct mp_http_limits *limits, char c,
                                      struct mp_refusal *why) {
  if (++body->extras > limits->head) return mp_refuse(why, 400, "chunk extensions too large");
  if (body->state == SIZE) return take_size(body, c, why);
  if (body->state == SIZE_LF) return end_size(body, c, why);
  return take_extension(body, c, why);
}

/* The trailers are checked and left out: nothing above asks for them, and none may pass for a field of the head. */
static enum mp_verdict take_trailer(struct mp_body *body, char c, struct mp_refusal *why) {
  switch (body->state) {
  case TRAILER:
    if (c == '\r') return to(body, LAST_LF);
    if (mp_byte_is(c, MP_BYTE_TOKEN)) return to(body, NAME);
    return mp_refuse(why, 400, "malformed trailer name");
  case NAME:
    if (mp_byte_is(c, MP_BYTE_TOKEN)) return MP_MORE;
    return c == ':' ? to(body, VALUE) : mp_refuse(why, 400, "malformed trailer name");
  case VALUE:
    if (mp_byte_is(c, MP_BYTE_VALUE)) return MP_MORE;
    return c == '\r' ? to(body, VALUE_LF) : mp_refuse(why, 400, "control byte in a trailer");
  default: /* VALUE_LF, LAST_LF */
    if (c != '\n') return mp_refuse(why, 400, "bare CR in a trailer");
    return to(body, body->state == LAST_LF ? ENDED : TRAILER);
  }
}

static enum mp_verdict take_trailer_line(struct mp_body *body, const struct mp_http_limits *limits, char c,
                                         struct mp_refusal *why) {
  if (++body->extras > limits->head) return mp_refuse(why, 431, "trailers too large");
  if (body->state == TRAILER) body->line = 0;
  if (c != '\r' && c != '\n' && ++body->line > limits->field_size) return mp_refuse(why, 431, "trailer line too long");
  if (body->state == VALUE_LF && (body->trailers == UINT16_MAX || ++body->trailers > limits->fields))
    return mp_refuse(why, 431, "too many trailers");
  return take_trailer(body, c, why);
}

/* One byte that is not body. */
static enum mp_verdict take_byte(struct mp_body *body, const struct mp_http_limits *limits, char c,
                                 struct mp_refusal *why) {
  if (body->state >= TRAILER) return take_trailer_line(body, limits, c, why);
  if (body->state < DATA) return take_size_line(body, limits, c, why);
  if (body->state == DATA_CR && c == '\r') return to(body, DATA_LF);
  if (body->state == DATA_LF && c == '\n') return to(body, SIZE);
  return mp_refuse(why, 400, "chunk not followed by CRLF");
}

static enum mp_verdict take_data(struct mp_body *body, const char *bytes, size_t len, size_t *used,
                                 struct mp_slice *piece) {
  size_t n = body->left < len ? (size_t)body->left : len;
  *piece = mp_slice(bytes, n);
  *used += n;
  body->left -= n;
  body->total += n;
  if (body->left > 0) return MP_MORE;
  if (body->state == DATA) return to(body, DATA_CR);
  body->state = ENDED;
  return MP_DONE;
}

enum mp_verdict mp_body_pass(struct mp_body *body, size_t n) {
  body->left -= n;
  body->total += n;
  if (body->left > 0) return MP_MORE;
  body->state = ENDED;
  return MP_DONE;
}

enum mp_verdict mp_body_feed(struct mp_body *body, const struct mp_http_limits *limits, const char *bytes, size_t len,
                             size_t *used, struct mp_slice *piece, struct mp_refusal *why) {
  *used = 0;
  *piece = mp_slice(bytes, 0);
  while (*used < len && body->state != ENDED) {
    if (body->state == DATA || body->state == LENGTH) return take_data(body, bytes + *used, len - *used, used, piece);
    enum mp_verdict verdict = take_byte(body, limits, bytes[*used], why);
    if (verdict != MP_MORE) return verdict;
    ++*used;
  }
  return body->state == ENDED ? MP_DONE : MP_MORE;
}
