#include "http/multipart.h"
#include "http/bytes.h"
#include "http/param.h"
#include <errno.h>

/*   PREAMBLE ─┐        ┌─ "--" ─► EPILOGUE
 *             ├─ delimiter ─► BEHIND ─ PADDING ─ LINE_END ─► HEAD ─► CONTENT ─┐
 *             └──────────────────────────────────────────────────────────────┘ */
enum state { PREAMBLE, CONTENT, BEHIND, DASH, PADDING, LINE_END, HEAD, EPILOGUE };

static enum mp_part_event refuse(struct mp_refusal *why, int status, const char *reason) {
  *why = (struct mp_refusal){status, reason};
  return MP_PART_REFUSE;
}

/* ---- the boundary ---- */

/* bchars of RFC 2046 5.1.1, of which the last may not be a space. */
static bool is_boundary(struct mp_slice s) {
  if (s.len == 0 || s.len > MP_BOUNDARY_MOST || s.at[s.len - 1] == ' ') return false;
  for (size_t i = 0; i < s.len; i++) {
    unsigned char c = (unsigned char)s.at[i], lower = c | 0x20;
    bool letter = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
    if (!letter && (c == 0 || !strchr("'()+_,-./:=? ", c))) return false;
  }
  return true;
}

int mp_multipart_boundary(struct mp_slice content_type, char out[MP_BOUNDARY_MOST], struct mp_slice *boundary) {
  struct mp_param param;
  int more, n = 0;
  if (!mp_slice_is_nocase(mp_param_head(&content_type), MP_SLICE("multipart/form-data"))) return -ENOENT;
  while ((more = mp_param_next(&content_type, &param)) > 0) {
    if (!mp_slice_is_nocase(param.name, MP_SLICE("boundary"))) continue;
    if (++n > 1 || param.value.len > MP_BOUNDARY_MOST) return -EINVAL;
    *boundary = param.quoted ? mp_slice(out, mp_param_unescape(out, param.value)) : param.value;
  }
  return more == 0 && n == 1 && is_boundary(*boundary) ? 0 : -EINVAL;
}

/* The first delimiter needs no line end before it: as if one had come. */
void mp_multipart_init(struct mp_multipart *m, struct mp_slice boundary, const struct mp_multipart_limits *limits) {
  *m = (struct mp_multipart){.limits = *limits, .matched = 2};
  memcpy(m->delimiter, "\r\n--", 4);
  memcpy(m->delimiter + 4, boundary.at, boundary.len);
  m->delimiter_len = (uint8_t)(4 + boundary.len);
}

void mp_multipart_free(struct mp_multipart *m) {
  mp_buf_free(&m->head);
}

bool mp_multipart_is_whole(const struct mp_multipart *m) {
  return m->state == EPILOGUE;
}

/* ---- content, and what stands before the first part ---- */

static enum mp_part_event give(struct mp_multipart *m, struct mp_slice *piece, struct mp_slice content) {
  if (m->state != CONTENT || content.len == 0) return MP_PART_MORE;
  *piece = content;
  return MP_PART_DATA;
}

/* How much of the delimiter stands at `s`. */
static size_t common(const struct mp_multipart *m, struct mp_slice s, size_t from) {
  size_t n = 0;
  while (n < s.len && from + n < m->delimiter_len && s.at[n] == m->delimiter[from + n]) n++;
  return n;
}

/* Up to the delimiter, or to what may be the beginning of one. It has CR at its front alone, so that what did not match
 * holds no other beginning. */
static enum mp_part_event search(struct mp_multipart *m, struct mp_slice rest, size_t *used, struct mp_slice *piece) {
  for (size_t at = 0; at < rest.len;) {
    const char *cr = memchr(rest.at + at, '\r', rest.len - at);
    if (!cr) break;
    at = (size_t)(cr - rest.at);
    size_t n = common(m, mp_slice(cr, rest.len - at), 0);
    if (n == m->delimiter_len || at + n == rest.len) {
      m->matched = (uint8_t)n;
      *used = at + n;
      return give(m, piece, mp_slice(rest.at, at));
    }
    at += n;
  }
  *used = rest.len;
  return give(m, piece, rest);
}

static enum mp_part_event take_content(struct mp_multipart *m, struct mp_slice rest, size_t *used,
                                       struct mp_slice *piece) {
  if (m->matched == 0) return search(m, rest, used, piece);
  *used = common(m, rest, m->matched);
  m->matched += (uint8_t)*used;
  if (m->matched < m->delimiter_len) {
    if (*used == rest.len) return MP_PART_MORE;
    size_t held = m->matched;
    m->matched = 0;
    return give(m, piece, mp_slice(m->delimiter, held));
  }
  enum mp_part_event event = m->state == CONTENT ? MP_PART_END : MP_PART_MORE;
  m->matched = 0;
  m->state = BEHIND;
  return event;
}

/* ---- the rest of a boundary line ---- */

static enum mp_part_event begin_head(struct mp_multipart *m, struct mp_refusal *why) {
  if (++m->n_parts > m->limits.parts) return refuse(why, 413, "too many parts");
  m->state = HEAD;
  m->saw_cr = false;
  mp_buf_reset(&m->head, m->limits.head);
  return MP_PART_MORE;
}

static enum mp_part_event take_line_end(struct mp_multipart *m, char c, struct mp_refusal *why) {
  bool space = c == ' ' || c == '\t';
  switch (m->state) {
  case DASH:
    if (c != '-') break;
    m->state = EPILOGUE;
    return MP_PART_MORE;
  case LINE_END:
    if (c != '\n') break;
    return begin_head(m, why);
  default: /* BEHIND, PADDING */
    if (c == '-' && m->state == BEHIND)
      m->state = DASH;
    else if (space)
      m->state = PADDING;
    else if (c == '\r')
      m->state = LINE_END;
    else
      break;
    return MP_PART_MORE;
  }
  return refuse(why, 400, "malformed boundary line");
}

/* ---- the fields of a part ---- */

static struct mp_slice unescaped(const struct mp_param *param) {
  char *in_place = (char *)(uintptr_t)param->value.at; /* our own memory: of the head */
  return param->quoted ? mp_slice(in_place, mp_param_unescape(in_place, param->value)) : param->value;
}

static enum mp_part_event read_disposition(struct mp_multipart *m, struct mp_slice value, struct mp_refusal *why) {
  struct mp_param param;
  int more;
  if (m->part.name.at) return refuse(why, 400, "two Content-Dispositions in a part");
  if (!mp_slice_is_nocase(mp_param_head(&value), MP_SLICE("form-data")))
    return refuse(why, 400, "a part that is no form-data");
  while ((more = mp_param_next(&value, &param)) > 0) {
    bool is_name = mp_slice_is_nocase(param.name, MP_SLICE("name"));
    bool is_filename = mp_slice_is_nocase(param.name, MP_SLICE("filename"));
    if ((is_name && m->part.name.at) || (is_filename && m->part.is_file))
      return refuse(why, 400, "a part with two names");
    if (is_name) m->part.name = unescaped(&param);
    if (is_filename) m->part.filename = unescaped(&param), m->part.is_file = true;
  }
  if (more < 0) return refuse(why, 400, "malformed Content-Disposition");
  return MP_PART_MORE;
}

/* What a server does not decode it must not pass off as decoded (RFC 7578 4.7). */
static bool is_as_it_is(struct mp_slice coding) {
  return mp_slice_is_nocase(coding, MP_SLICE("binary")) || mp_slice_is_nocase(coding, MP_SLICE("8bit")) ||
         mp_slice_is_nocase(coding, MP_SLICE("7bit"));
}

static enum mp_part_event read_field(struct mp_multipart *m, struct mp_slice line, struct mp_refusal *why) {
  const char *colon = memchr(line.at, ':', line.len);
  struct mp_slice name = mp_slice(line.at, colon ? (size_t)(colon - line.at) : 0);
  if (!mp_is_token(name)) return refuse(why, 400, "malformed field in a part");
  struct mp_slice value = mp_slice_trim(mp_slice(colon + 1, line.len - name.len - 1));
  if (mp_slice_is_nocase(name, MP_SLICE("content-disposition"))) return read_disposition(m, value, why);
  if (mp_slice_is_nocase(name, MP_SLICE("content-type"))) m->part.type = value;
  if (mp_slice_is_nocase(name, MP_SLICE("content-transfer-encoding")) && !is_as_it_is(value))
    return refuse(why, 415, "a part with a transfer encoding");
  return MP_PART_MORE;
}

static enum mp_part_event read_head(struct mp_multipart *m, struct mp_refusal *why) {
  struct mp_slice rest = mp_buf_slice(&m->head);
  enum mp_part_event event = MP_PART_MORE;
  m->part = (struct mp_part){0};
  while (rest.len > 0 && event == MP_PART_MORE) {
    const char *end = memchr(rest.at, '\n', rest.len);
    struct mp_slice line = mp_slice(rest.at, (size_t)(end - rest.at));
    rest = mp_slice(end + 1, rest.len - line.len - 1);
    event = read_field(m, line, why);
  }
  if (event != MP_PART_MORE) return event;
  if (!m->part.name.at) return refuse(why, 400, "a part without a name");
  if (m->part.name.len > m->limits.name) return refuse(why, 413, "the name of a part is too long");
  m->state = CONTENT;
  return MP_PART_BEGIN;
}

/* The fields of a part end with an empty line; each ends with CRLF and nothing else. */
static enum mp_part_event end_line(struct mp_multipart *m, char c, struct mp_refusal *why) {
  size_t len = mp_buf_len(&m->head);
  if (c != '\n') return refuse(why, 400, "bare CR in the head of a part");
  m->saw_cr = false;
  if (len == 0 || mp_buf_at(&m->head)[len - 1] == '\n') return read_head(m, why);
  return mp_buf_add(&m->head, "\n", 1) < 0 ? refuse(why, 503, "out of memory") : MP_PART_MORE;
}

static enum mp_part_event take_head(struct mp_multipart *m, struct mp_slice rest, size_t *used,
                                    struct mp_refusal *why) {
  if (m->saw_cr) {
    *used = 1;
    return end_line(m, *rest.at, why);
  }
  size_t n = 0;
  while (n < rest.len && mp_byte_is(rest.at[n], MP_BYTE_VALUE)) n++;
  if (n > m->limits.head - mp_buf_len(&m->head)) return refuse(why, 413, "the head of a part is too large");
  if (mp_buf_add(&m->head, rest.at, n) < 0) return refuse(why, 503, "out of memory");
  *used = n;
  if (n == rest.len) return MP_PART_MORE;
  if (rest.at[n] != '\r') return refuse(why, 400, "control byte in the head of a part");
  if (mp_buf_len(&m->head) == m->limits.head) return refuse(why, 413, "the head of a part is too large");
  m->saw_cr = true;
  ++*used;
  return MP_PART_MORE;
}

/* ---- all of it ---- */

enum mp_part_event mp_multipart_feed(struct mp_multipart *m, const char *bytes, size_t len, size_t *used,
                                     struct mp_slice *piece, struct mp_refusal *why) {
  enum mp_part_event event = MP_PART_MORE;
  *used = 0;
  *piece = mp_slice(bytes, 0);
  while (event == MP_PART_MORE && (*used < len || m->matched == m->delimiter_len)) {
    struct mp_slice rest = mp_slice(bytes + *used, len - *used);
    size_t n = 1;
    if (m->state == EPILOGUE)
      n = rest.len;
    else if (m->state == HEAD)
      event = take_head(m, rest, &n, why);
    else if (m->state == PREAMBLE || m->state == CONTENT)
      event = take_content(m, rest, &n, piece);
    else
      event = take_line_end(m, *rest.at, why);
    *used += n;
  }
  return event;
}
