#include "base/hash.h"

struct sip {
  uint64_t a, b, c, d;
};

static uint64_t turn(uint64_t x, unsigned by) {
  return x << by | x >> (64 - by);
}

static void mix(struct sip *s) {
  s->a += s->b;
  s->c += s->d;
  s->b = turn(s->b, 13) ^ s->a;
  s->d = turn(s->d, 16) ^ s->c;
  s->a = turn(s->a, 32);
  s->c += s->b;
  s->a += s->d;
  s->b = turn(s->b, 17) ^ s->c;
  s->d = turn(s->d, 21) ^ s->a;
  s->c = turn(s->c, 32);
}

static void take(struct sip *s, uint64_t word) {
  s->d ^= word;
  mix(s);
  s->a ^= word;
}

uint64_t mp_hash(const uint64_t seed[2], struct mp_slice bytes) {
  struct sip s = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du, seed[0] ^ 0x6c7967656e657261u,
                  seed[1] ^ 0x7465646279746573u};
  size_t left = bytes.len;
  const char *at = bytes.at;
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    take(&s, word);
  }
  uint64_t last = 0;
  if (left > 0) memcpy(&last, at, left);
  take(&s, last | (uint64_t)bytes.len << 56);
  s.c ^= 0xff;
  for (int i = 0; i < 3; i++) mix(&s);
  return s.a ^ s.b ^ s.c ^ s.d;
}
