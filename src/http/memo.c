#include "http/memo.h"
#include "http/bytes.h"
#include "http/gate.h"

static struct mp_slice moved(struct mp_slice s, const char *from, const char *to) {
  return mp_slice(to + (s.at - from), s.len);
}

/* The request line is whole and has no control byte in it; how long it is. 0: not so, or too long. */
static size_t line_length(const char *bytes, size_t len, const struct mp_http_limits *limits) {
  size_t at = mp_next_control(bytes, 0, len);
  if (len - at < 2 || bytes[at] != '\r' || bytes[at + 1] != '\n') return 0;
  return at <= limits->request_line ? at : 0;
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

bool mp_memo_recall(const struct mp_head_memo *memo, struct mp_head *head, const char *bytes, size_t len,
                    const struct mp_http_limits *limits, size_t *used) {
  struct mp_refusal why;
  if (memo->len == 0 || head->cap_fields < memo->n_fields || len <= memo->len) return false;
  size_t line = line_length(bytes, len, limits), whole = line + 2 + memo->len;
  if (line == 0 || len < whole || whole > limits->head) return false;
  const char *lines = bytes + line + 2;
  if (memcmp(lines, memo->bytes, memo->len) != 0) return false;
  mp_head_forget(head);
  if (mp_request_line(head, mp_slice(bytes, line), &why) != MP_DONE) return false;
  if (head->minor != 1 || head->target.at[0] != '/') return false;
  head->known_method = mp_method_is_known(head->method);
  recall_fields(memo, head, lines);
  *used = whole;
  return true;
}

bool mp_memo_keep(struct mp_head_memo *memo, const struct mp_head *head, const char *bytes, size_t used) {
  const char *lines = head->target.at + head->target.len + sizeof " HTTP/1.1\r\n" - 1;
  size_t len = used - (size_t)(lines - bytes);
  if (head->minor != 1 || head->target.at[0] != '/') return false;
  if (len > MP_MEMO_BYTES || head->n_fields > MP_MEMO_FIELDS) return false;
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
