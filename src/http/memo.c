#include "http/memo.h"
#include "http/bytes.h"
#include "http/gate.h"

static struct mp_slice moved(struct mp_slice s, const char *from, const char *to) {
  return mp_slice(to + (s.at - from), s.len);
}

static size_t known_line(const struct mp_line_memo *line, const char *bytes, size_t len) {
  return line->len > 0 && len > line->len && memcmp(bytes, line->bytes, line->len) == 0 ? line->len : 0;
}

/* The request line is whole and has no control byte in it; how long it is, with its end. 0: not so. */
static size_t whole_line(const char *bytes, size_t len) {
  size_t at = mp_next_control(bytes, 0, len);
  return len - at >= 2 && bytes[at] == '\r' && bytes[at + 1] == '\n' ? at + 2 : 0;
}

static void recall_line(const struct mp_line_memo *line, struct mp_head *head, const char *bytes) {
  head->method = moved(line->method, line->bytes, bytes);
  head->target = moved(line->target, line->bytes, bytes);
  head->path = moved(line->path, line->bytes, bytes);
  head->query = line->query.at ? moved(line->query, line->bytes, bytes) : line->query;
  head->known_method = line->known_method;
  head->minor = 1;
}

static void keep_line(struct mp_line_memo *line, const struct mp_head *head, const char *bytes, size_t len) {
  line->len = len <= MP_MEMO_LINE ? (uint32_t)len : 0;
  if (line->len == 0) return;
  memcpy(line->bytes, bytes, len);
  line->method = moved(head->method, bytes, line->bytes);
  line->target = moved(head->target, bytes, line->bytes);
  line->path = moved(head->path, bytes, line->bytes);
  line->query = head->query.at ? moved(head->query, bytes, line->bytes) : head->query;
  line->known_method = head->known_method;
}

static bool read_line(struct mp_line_memo *line, struct mp_head *head, const char *bytes, size_t len) {
  struct mp_refusal why;
  if (mp_request_line(head, mp_slice(bytes, len - 2), &why) != MP_DONE) return false;
  if (head->minor != 1 || head->target.at[0] != '/') return false;
  head->known_method = mp_method_is_known(head->method);
  keep_line(line, head, bytes, len);
  return true;
}

static void recall_fields(const struct mp_head_memo *memo, struct mp_head *head, const char *lines) {
  for (unsigned i = 0; i < memo->n_fields; i++)
    head->fields[i] = (struct mp_field){moved(memo->fields[i].name, memo->bytes, lines),
                                        moved(memo->fields[i].value, memo->bytes, lines)};
  head->n_fields = memo->n_fields;
  head->host = moved(memo->host, memo->bytes, lines);
  head->body = memo->body;
  head->keep_alive = memo->keep_alive;
  head->expect_continue = memo->expect_continue;
  head->content_length = memo->content_length;
}

bool mp_memo_recall(struct mp_head_memo *memo, struct mp_head *head, const char *bytes, size_t len,
                    const struct mp_http_limits *limits, size_t *used) {
  if (memo->len == 0 || head->cap_fields < memo->n_fields || len <= memo->len) return false;
  size_t known = known_line(&memo->line, bytes, len), line = known ? known : whole_line(bytes, len);
  size_t whole = line + memo->len;
  if (line == 0 || line - 2 > limits->request_line || len < whole || whole > limits->head) return false;
  const char *lines = bytes + line;
  if (memcmp(lines, memo->bytes, memo->len) != 0) return false;
  mp_head_forget(head);
  if (known)
    recall_line(&memo->line, head, bytes);
  else if (!read_line(&memo->line, head, bytes, line))
    return false;
  recall_fields(memo, head, lines);
  *used = whole;
  return true;
}

bool mp_memo_keep(struct mp_head_memo *memo, const struct mp_head *head, const char *bytes, size_t used) {
  const char *lines = head->target.at + head->target.len + sizeof " HTTP/1.1\r\n" - 1;
  size_t len = used - (size_t)(lines - bytes);
  if (head->minor != 1 || head->target.at[0] != '/') return false;
  if (len > MP_MEMO_BYTES || head->n_fields > MP_MEMO_FIELDS) return false;
  keep_line(&memo->line, head, bytes, (size_t)(lines - bytes));
  memcpy(memo->bytes, lines, len);
  memo->len = (uint32_t)len;
  memo->n_fields = head->n_fields;
  for (unsigned i = 0; i < head->n_fields; i++)
    memo->fields[i] = (struct mp_field){moved(head->fields[i].name, lines, memo->bytes),
                                        moved(head->fields[i].value, lines, memo->bytes)};
  memo->host = moved(head->host, lines, memo->bytes);
  memo->body = head->body;
  memo->keep_alive = head->keep_alive;
  memo->expect_continue = head->expect_continue;
  memo->content_length = head->content_length;
  return true;
}
