#include "base/slice.h"

static unsigned char lower(char c) {
  return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool mp_slice_is_nocase(struct mp_slice a, struct mp_slice b) {
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++)
    if (lower(a.at[i]) != lower(b.at[i])) return false;
  return true;
}

static bool is_ows(char c) {
  return c == ' ' || c == '\t';
}

struct mp_slice mp_slice_trim(struct mp_slice s) {
  while (s.len > 0 && is_ows(s.at[0])) s.at++, s.len--;
  while (s.len > 0 && is_ows(s.at[s.len - 1])) s.len--;
  return s;
}
