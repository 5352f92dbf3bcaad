/* A form: events come in order, and the same however the bytes do; names and pieces add up to no more than was fed. The
 * first byte is the size of a step, the second the length of the boundary, which follows. */
#include "http/multipart.h"
#include <stdlib.h>

#define HOLDS(truth)                                                                                                   \
  do                                                                                                                   \
    if (!(truth)) abort();                                                                                             \
  while (0)

static const struct mp_multipart_limits limits = {.parts = 5, .head = 300, .name = 40};

struct got {
  struct mp_buf text; /* owned: all that was told */
  struct mp_refusal why;
  enum mp_part_event last;
  uint32_t n_begun;
  bool open, whole;
};

static void tell(struct got *got, struct mp_slice s) {
  if (s.len) HOLDS(mp_buf_add_slice(&got->text, s) == 0);
}

static void note(struct got *got, const struct mp_multipart *m, struct mp_slice piece) {
  switch (got->last) {
  case MP_PART_BEGIN:
    HOLDS(!got->open && ++got->n_begun <= limits.parts && m->part.name.len <= limits.name);
    HOLDS(m->part.is_file || m->part.filename.len == 0);
    got->open = true;
    tell(got, MP_SLICE("["));
    tell(got, m->part.name);
    tell(got, m->part.filename);
    tell(got, m->part.type);
    tell(got, MP_SLICE("]"));
    break;
  case MP_PART_DATA:
    HOLDS(got->open && piece.len > 0);
    tell(got, piece);
    break;
  case MP_PART_END:
    HOLDS(got->open);
    got->open = false;
    tell(got, MP_SLICE(";"));
    break;
  default:
    break;
  }
}

static void feed_piece(struct mp_multipart *m, struct got *got, const uint8_t *data, size_t len) {
  char *copy = malloc(len);
  size_t at = 0, used;
  struct mp_slice piece;
  HOLDS(copy);
  memcpy(copy, data, len);
  do {
    got->last = mp_multipart_feed(m, copy + at, len - at, &used, &piece, &got->why);
    HOLDS(used <= len - at);
    note(got, m, piece);
    at += used;
  } while (got->last != MP_PART_MORE && got->last != MP_PART_REFUSE);
  HOLDS(got->last == MP_PART_REFUSE || at == len);
  free(copy);
}

static void feed(struct got *got, struct mp_slice boundary, const uint8_t *data, size_t len, size_t step) {
  struct mp_multipart m;
  *got = (struct got){.last = MP_PART_MORE};
  mp_multipart_init(&m, boundary, &limits);
  for (size_t at = 0; at < len && got->last != MP_PART_REFUSE; at += step)
    feed_piece(&m, got, data + at, len - at < step ? len - at : step);
  got->whole = mp_multipart_is_whole(&m);
  HOLDS(!got->whole || !got->open);
  mp_multipart_free(&m);
}

static void check_same(const struct got *a, const struct got *b) {
  size_t len = mp_buf_len(&a->text);
  HOLDS(a->last == b->last);
  if (a->last == MP_PART_REFUSE) {
    HOLDS(a->why.status == b->why.status);
    return;
  }
  HOLDS(a->whole == b->whole && len == mp_buf_len(&b->text));
  HOLDS(len == 0 || memcmp(mp_buf_at(&a->text), mp_buf_at(&b->text), len) == 0);
}

static void check_boundary(struct mp_slice type) {
  char out[MP_BOUNDARY_MOST];
  struct mp_slice boundary;
  if (mp_multipart_boundary(type, out, &boundary) < 0) return;
  HOLDS(boundary.len >= 1 && boundary.len <= MP_BOUNDARY_MOST);
  HOLDS(!memchr(boundary.at, '\r', boundary.len) && !memchr(boundary.at, '\n', boundary.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  struct got whole, cut;
  check_boundary(mp_slice((const char *)data, len));
  if (len < 4) return 0;
  size_t step = 1 + data[0] % 16, n = 1 + data[1] % MP_BOUNDARY_MOST;
  data += 2, len -= 2;
  if (n >= len || memchr(data, '\r', n)) return 0;
  struct mp_slice boundary = mp_slice((const char *)data, n);
  feed(&whole, boundary, data + n, len - n, len - n);
  feed(&cut, boundary, data + n, len - n, step);
  check_same(&whole, &cut);
  mp_buf_free(&whole.text);
  mp_buf_free(&cut.text);
  return 0;
}
