/* Escapes: what encodes decodes to itself, and what decodes is no longer than it was and holds no NUL; a target's path
 * and query lie within it. */
#include "http/url.h"
#include "base/buf.h"
#include "http/head.h"
#include <stdlib.h>

#define HOLDS(truth)                                                                                                   \
  do                                                                                                                   \
    if (!(truth)) abort();                                                                                             \
  while (0)

static void check_decode(struct mp_slice from, bool plus) {
  char *out = malloc(from.len + 1);
  HOLDS(out);
  ssize_t n = mp_url_decode(out, from, plus);
  HOLDS(n <= (ssize_t)from.len);
  if (n > 0) HOLDS(!memchr(out, '\0', (size_t)n) || memchr(from.at, '\0', from.len));
  free(out);
}

static void check_round_trip(struct mp_slice from) {
  struct mp_buf encoded = {0};
  char *out = malloc(3 * from.len + 1);
  HOLDS(out && mp_url_encode(&encoded, from) == 0);
  struct mp_slice text = mp_buf_len(&encoded) ? mp_buf_slice(&encoded) : MP_SLICE("");
  ssize_t n = mp_url_decode(out, text, false);
  if (from.len == 0 || !memchr(from.at, '\0', from.len))
    HOLDS(n == (ssize_t)from.len && memcmp(out, from.at, from.len) == 0);
  else
    HOLDS(n < 0);
  mp_buf_free(&encoded);
  free(out);
}

static void check_target(struct mp_slice target) {
  static const struct mp_http_limits limits = {
      .request_line = 4096, .fields = 4, .field_size = 100, .head = 8192, .body = 0};
  struct mp_head head = {0};
  struct mp_head_scan scan = {0};
  struct mp_refusal why;
  struct mp_buf text = {0};
  size_t used;
  HOLDS(mp_buf_add(&text, "GET ", 4) == 0 && mp_buf_add_slice(&text, target) == 0);
  HOLDS(mp_buf_add(&text, " HTTP/1.1\r\nHost: h\r\n\r\n", 22) == 0);
  if (mp_head_parse(&head, &scan, mp_buf_at(&text), mp_buf_len(&text), &limits, &used, &why) == MP_DONE) {
    HOLDS(head.path.len > 0 && (head.path.at[0] == '/' || head.path.at[0] == '*'));
    HOLDS(!head.query.at || (head.query.at > head.path.at && head.query.at[-1] == '?'));
    check_decode(head.path, false);
  }
  mp_head_free(&head);
  mp_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char *copy = malloc(len ? len : 1);
  HOLDS(copy);
  memcpy(copy, len ? (const char *)data : "", len);
  check_decode(mp_slice(copy, len), true);
  check_decode(mp_slice(copy, len), false);
  check_round_trip(mp_slice(copy, len));
  check_target(mp_slice(copy, len));
  free(copy);
  return 0;
}
