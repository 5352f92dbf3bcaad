/* The head of a request: the verdict, its status and the facts are the same however the bytes come, and every slice
 * lies within them. */
#include "http/head.h"
#include "http/body.h"
#include <stdlib.h>

#define HOLDS(truth)                                                                                                   \
  do                                                                                                                   \
    if (!(truth)) abort();                                                                                             \
  while (0)

static const struct mp_http_limits limits = {
    .request_line = 60, .fields = 6, .field_size = 50, .head = 200, .body = 1000};

struct got {
  struct mp_head head;
  struct mp_refusal why;
  enum mp_verdict verdict;
  size_t used;
  char *bytes; /* owned */
};

/* In pieces of `step` bytes, each time in memory of exactly that size. */
static void feed(struct got *got, const uint8_t *data, size_t len, size_t step) {
  struct mp_head_scan scan = {0};
  *got = (struct got){.verdict = MP_MORE};
  for (size_t have = 0; have < len && got->verdict == MP_MORE;) {
    have = len - have < step ? len : have + step;
    free(got->bytes);
    HOLDS(got->bytes = malloc(have));
    memcpy(got->bytes, data, have);
    got->verdict = mp_head_parse(&got->head, &scan, got->bytes, have, &limits, &got->used, &got->why);
  }
}

static bool within(struct mp_slice s, const char *bytes, size_t len) {
  return s.len == 0 || (s.at >= bytes && s.at + s.len <= bytes + len);
}

static void check_facts(const struct got *got) {
  const struct mp_head *head = &got->head;
  HOLDS(within(head->method, got->bytes, got->used) && head->method.len > 0);
  HOLDS(within(head->target, got->bytes, got->used) && head->target.len > 0);
  HOLDS(head->path.len > 0 && (head->path.at[0] == '/' || mp_slice_is(head->path, MP_SLICE("*"))));
  HOLDS(within(head->query, got->bytes, got->used) && within(head->host, got->bytes, got->used));
  HOLDS(head->n_fields <= limits.fields && head->minor <= 1);
  HOLDS(head->body != MP_BODY_LENGTH || head->content_length > 0);
  for (unsigned i = 0; i < head->n_fields; i++) {
    HOLDS(within(head->fields[i].name, got->bytes, got->used) && head->fields[i].name.len > 0);
    HOLDS(within(head->fields[i].value, got->bytes, got->used));
    HOLDS(mp_slice_is(mp_slice_trim(head->fields[i].value), head->fields[i].value));
  }
}

static void check_same(const struct got *a, const struct got *b) {
  HOLDS(a->verdict == b->verdict);
  if (a->verdict == MP_REFUSE) HOLDS(a->why.status == b->why.status);
  if (a->verdict != MP_DONE) return;
  HOLDS(a->used == b->used && a->head.n_fields == b->head.n_fields && a->head.body == b->head.body);
  HOLDS(a->head.content_length == b->head.content_length && a->head.keep_alive == b->head.keep_alive);
  HOLDS(mp_slice_is(a->head.path, b->head.path) && mp_slice_is(a->head.host, b->head.host));
}

/* A copy says the same, and nothing points back. */
static void check_rebase(struct got *got) {
  char *copy = malloc(got->used);
  HOLDS(copy);
  memcpy(copy, got->bytes, got->used);
  mp_head_rebase(&got->head, got->bytes, copy);
  free(got->bytes);
  got->bytes = copy;
  check_facts(got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  struct got whole, cut;
  size_t step = len ? 1 + data[len - 1] % 16 : 1;
  feed(&whole, data, len, len ? len : 1);
  feed(&cut, data, len, step);
  check_same(&whole, &cut);
  if (whole.verdict == MP_DONE) {
    check_facts(&whole);
    check_rebase(&whole);
  }
  mp_head_free(&whole.head);
  mp_head_free(&cut.head);
  free(whole.bytes);
  free(cut.bytes);
  return 0;
}
