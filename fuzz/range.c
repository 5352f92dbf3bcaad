/* Ranges, preconditions and dates: every range lies within the size, and what is to be sent is never more than there
 * is. The first two bytes are the size. */
#include "http/range.h"
#include "http/conditional.h"
#include "http/date.h"
#include <errno.h>
#include <stdlib.h>

#define HOLDS(truth)                                                                                                   \
  do                                                                                                                   \
    if (!(truth)) abort();                                                                                             \
  while (0)

static void check_ranges(struct mp_slice value, uint64_t size) {
  struct mp_ranges ranges;
  uint64_t sum = 0;
  int n = mp_ranges_read(&ranges, value, size);
  HOLDS(n == -ERANGE || n >= 0);
  for (int i = 0; i < n; i++) {
    struct mp_range r;
    HOLDS(mp_ranges_next(&ranges, &r));
    HOLDS(r.len >= 1 && r.len <= size && r.first <= size - r.len);
    sum += r.len;
  }
  HOLDS(n < 0 || sum <= size);
}

static void check_conditions(struct mp_slice value) {
  static const char *const names[] = {"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
                                      "If-Range"};
  struct mp_validators now = {.etag = MP_SLICE("\"abc\""), .modified = 784111777};
  for (unsigned i = 0; i < 5; i++) {
    struct mp_field field = {mp_slice(names[i], strlen(names[i])), value};
    struct mp_head head = {.method = MP_SLICE("GET"), .fields = &field, .n_fields = 1};
    int status = mp_conditional_status(&head, &now);
    HOLDS(status == 0 || status == 304 || status == 412);
    (void)mp_conditional_range(&head, &now);
  }
}

/* A date that was read is written and read as the same. */
static void check_date(struct mp_slice value) {
  struct mp_date date = {0};
  time_t at, again;
  if (!mp_date_parse(value, &at)) return;
  mp_date_set(&date, at);
  HOLDS(mp_date_parse(mp_slice(date.text, 29), &again) && again == at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len < 2) return 0;
  char *copy = malloc(len - 1);
  HOLDS(copy);
  memcpy(copy, data + 2, len - 2);
  struct mp_slice value = mp_slice_trim(mp_slice(copy, len - 2));
  uint64_t size = (uint64_t)data[0] << 8 | data[1];
  check_ranges(value, size);
  check_ranges(value, size << 40);
  check_conditions(value);
  check_date(value);
  free(copy);
  return 0;
}
