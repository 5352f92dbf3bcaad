#include "http/range.h"
#include "http/bytes.h"
#include <errno.h>
#include <limits.h>

enum { NO_NUMBER = 0, A_NUMBER = 1, TOO_LARGE = -1 };

static void skip_spaces(struct mp_slice *s) {
  while (s->len > 0 && s->at[0] == ' ') *s = mp_slice(s->at + 1, s->len - 1);
}

/* Takes digits off the front of `s`, and the spaces behind them. */
static int take_number(struct mp_slice *s, uint64_t *number) {
  size_t n = 0;
  while (n < s->len && mp_byte_is(s->at[n], MP_BYTE_DIGIT)) n++;
  struct mp_slice digits = mp_slice(s->at, n);
  *s = mp_slice(s->at + n, s->len - n);
  skip_spaces(s);
  if (n == 0) return NO_NUMBER;
  return mp_decimal(digits, number) && *number <= INT64_MAX ? A_NUMBER : TOO_LARGE;
}

/* "first-", "first-last" or "-suffix" as [*first, *end), empty where nothing of `size` is meant. False: malformed. */
static bool read_one(struct mp_slice spec, uint64_t size, uint64_t *first, uint64_t *end) {
  uint64_t last = 0;
  int has_first = take_number(&spec, first);
  if (has_first == TOO_LARGE || spec.len == 0 || spec.at[0] != '-') return false;
  spec = mp_slice(spec.at + 1, spec.len - 1);
  skip_spaces(&spec);
  int has_last = take_number(&spec, &last);
  if (has_last == TOO_LARGE || spec.len > 0 || (!has_first && !has_last)) return false;
  *end = size;
  if (!has_first) *first = last < size ? size - last : 0;
  if (!has_first && last == 0) *first = size;
  if (has_first && has_last && last < size) *end = last + 1;
  return true;
}

static bool takes_bytes(struct mp_slice *value) {
  if (value->len <= 6 || !mp_slice_is_nocase(mp_slice(value->at, 6), MP_SLICE("bytes="))) return false;
  *value = mp_slice(value->at + 6, value->len - 6);
  return true;
}

/* Of nothing, what begins at its first byte is all of it: that is sent, and is no error. */
static bool is_all_of_nothing(uint64_t size, uint64_t first) {
  return size == 0 && first == 0;
}

int mp_ranges_read(struct mp_ranges *ranges, struct mp_slice value, uint64_t size) {
  struct mp_slice spec;
  uint64_t sum = 0, first = 0, end = 0;
  *ranges = (struct mp_ranges){.size = size};
  if (!takes_bytes(&value)) return 0;
  ranges->rest = value;
  unsigned n = 0;
  while (mp_list_next(&value, &spec)) {
    if (!read_one(spec, size, &first, &end)) return -ERANGE;
    if (is_all_of_nothing(size, first)) return 0;
    if (first >= end) continue;
    n++;
    sum = sum > size ? sum : sum + (end - first);
  }
  if (n == 0) return -ERANGE;
  if (sum > size || n > INT_MAX) return 0;
  ranges->n = n;
  return (int)n;
}

bool mp_ranges_next(struct mp_ranges *ranges, struct mp_range *range) {
  struct mp_slice spec;
  uint64_t first = 0, end = 0;
  while (mp_list_next(&ranges->rest, &spec)) {
    if (!read_one(spec, ranges->size, &first, &end) || first >= end) continue;
    *range = (struct mp_range){first, end - first};
    return true;
  }
  return false;
}
