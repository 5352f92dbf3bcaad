/* Queries and escapes: pairs lie within the query and cover all of it but "&" and the first "=" of each; what was
 * decoded encodes and decodes to itself. */
#include "http/url.h"
#include <stdlib.h>

#define HOLDS(truth)                                                                                                   \
  do                                                                                                                   \
    if (!(truth)) abort();                                                                                             \
  while (0)

static void check_escapes(struct mp_slice from) {
  char *out = malloc(from.len + 1), *again = malloc(3 * from.len + 1);
  struct mp_buf encoded = {0};
  HOLDS(out && again);
  ssize_t n = mp_url_decode(out, from, true);
  HOLDS(n <= (ssize_t)from.len && (n >= 0 || memchr(from.at, '%', from.len)));
  if (n >= 0 && !memchr(out, '\0', (size_t)n)) {
    HOLDS(mp_url_encode(&encoded, mp_slice(out, (size_t)n)) == 0);
    ssize_t back = mp_url_decode(again, mp_buf_slice(&encoded), false);
    HOLDS(back == n && memcmp(again, out, (size_t)n) == 0);
  }
  mp_buf_free(&encoded);
  free(out);
  free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char *copy = malloc(len + 1);
  struct mp_slice rest = mp_slice(copy, len), name, value;
  size_t covered = 0;
  HOLDS(copy);
  memcpy(copy, data, len);
  while (mp_query_next(&rest, &name, &value)) {
    HOLDS(name.at >= copy && name.at + name.len <= copy + len);
    HOLDS(value.at >= name.at + name.len && value.at + value.len <= copy + len);
    HOLDS(!memchr(name.at, '=', name.len) && !memchr(value.at, '&', value.len));
    covered += name.len + value.len;
    check_escapes(name);
    check_escapes(value);
  }
  HOLDS(rest.len == 0 && covered <= len);
  free(copy);
  return 0;
}
