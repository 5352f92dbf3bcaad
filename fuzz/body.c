/* A chunked body: verdict, status and bytes are the same however they come; pieces lie within what was fed, and never
 * add up to more than the limit. The first byte is the size of a step. */
#include "http/body.h"
#include "base/buf.h"
#include <stdlib.h>

#define HOLDS(truth)                                                                                                   \
  do                                                                                                                   \
    if (!(truth)) abort();                                                                                             \
  while (0)

static const struct mp_http_limits limits = {
    .request_line = 60, .fields = 3, .field_size = 30, .head = 60, .body = 100};

struct got {
  struct mp_buf bytes; /* owned */
  struct mp_refusal why;
  enum mp_verdict verdict;
  size_t eaten;
};

static void feed_piece(struct mp_body *body, struct got *got, const uint8_t *data, size_t len) {
  char *copy = malloc(len);
  size_t at = 0, used = 0;
  struct mp_slice piece;
  HOLDS(copy);
  memcpy(copy, data, len);
  do {
    got->verdict = mp_body_feed(body, &limits, copy + at, len - at, &used, &piece, &got->why);
    if (got->verdict == MP_REFUSE) break;
    HOLDS(used <= len - at && piece.len <= used);
    HOLDS(piece.len == 0 || (piece.at >= copy + at && piece.at + piece.len <= copy + at + used));
    HOLDS(got->verdict == MP_DONE || piece.len > 0 || used == len - at);
    HOLDS(mp_buf_add_slice(&got->bytes, piece) == 0);
    at += used;
  } while (got->verdict == MP_MORE && at < len);
  got->eaten += at;
  free(copy);
}

static void feed(struct got *got, const uint8_t *data, size_t len, size_t step) {
  struct mp_head head = {.body = MP_BODY_CHUNKED};
  struct mp_body body;
  *got = (struct got){.verdict = mp_body_start(&body, &head, &limits, &got->why)};
  for (size_t at = 0; at < len && got->verdict == MP_MORE; at += step)
    feed_piece(&body, got, data + at, len - at < step ? len - at : step);
  HOLDS(mp_buf_len(&got->bytes) <= limits.body);
}

static void check_same_bytes(const struct got *a, const struct got *b) {
  size_t len = mp_buf_len(&a->bytes);
  HOLDS(a->eaten == b->eaten && len == mp_buf_len(&b->bytes));
  HOLDS(len == 0 || memcmp(mp_buf_at(&a->bytes), mp_buf_at(&b->bytes), len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  struct got whole, cut;
  if (len < 2) return 0;
  feed(&whole, data + 1, len - 1, len - 1);
  feed(&cut, data + 1, len - 1, 1 + data[0] % 8);
  HOLDS(whole.verdict == cut.verdict);
  if (whole.verdict == MP_REFUSE)
    HOLDS(whole.why.status == cut.why.status);
  else
    check_same_bytes(&whole, &cut);
  mp_buf_free(&whole.bytes);
  mp_buf_free(&cut.bytes);
  return 0;
}
