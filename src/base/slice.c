#include "base/slice.h"

static uint64_t load(const char *at, size_t n) {
  uint64_t w = 0;
  memcpy(&w, at, n);
  return w;
}

/* Eight bytes at a time; the last ones overlap, so that there is no loop over single bytes. */
uint32_t mp_slice_hash(struct mp_slice s) {
  const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
  uint64_t hash = s.len * factor, rest = 0;
  size_t at = 0;
  for (; at + 8 < s.len; at += 8) {
    hash = (hash ^ load(s.at + at, 8)) * factor;
    hash ^= hash >> 32;
  }
  if (s.len >= 8)
    rest = load(s.at + s.len - 8, 8);
  else if (s.len >= 4)
    rest = load(s.at, 4) | load(s.at + s.len - 4, 4) << 32;
  else if (s.len > 0)
    rest = load(s.at, 1) | load(s.at + s.len / 2, 1) << 8 | load(s.at + s.len - 1, 1) << 16;
  hash ^= rest;
  hash = (hash ^ hash >> 32) * factor; /* the last bytes are the highest ones, and must tell in the lowest */
  return (uint32_t)(hash >> 32);
}

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
