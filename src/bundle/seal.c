#include "bundle/seal.h"
#include <errno.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>

#define LINES "moonpool-bundle 1\nprogram %020llu %-64s\nfiles %020llu %-64s\nname %-64s\nversion %-64s\n"
#define SIGNATURE "signature %-128s\n"
#define SUM "seal %64s\n"
#define FILLER "moonpool-bundle, its end"

void mp_hex_write(char *out, const unsigned char *bytes, size_t n) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < n; i++) {
    *out++ = digits[bytes[i] >> 4];
    *out++ = digits[bytes[i] & 15];
  }
  *out = '\0';
}

void mp_sum(struct mp_slice bytes, char out[MP_SUM_TEXT]) {
  unsigned char sum[MP_SUM];
  SHA2_CTX state;
  SHA256Init(&state);
  SHA256Update(&state, (const unsigned char *)bytes.at, bytes.len);
  SHA256Final(sum, &state);
  mp_hex_write(out, sum, sizeof sum);
}

size_t mp_seal_lines(const struct mp_seal *s, char *out, size_t size) {
  int n = snprintf(out, size, LINES, (unsigned long long)s->program, s->program_sum, (unsigned long long)s->files,
                   s->files_sum, s->name, s->version);
  return (size_t)n;
}

void mp_seal_write(const struct mp_seal *s, char out[MP_SEAL_SIZE]) {
  char text[MP_SEAL_SIZE + 1], sum[MP_SUM_TEXT];
  memset(text, '\n', sizeof text);
  size_t n = mp_seal_lines(s, text, sizeof text);
  n += (size_t)snprintf(text + n, sizeof text - n, SIGNATURE, s->signature);
  mp_sum(mp_slice(text, n), sum);
  n += (size_t)snprintf(text + n, sizeof text - n, SUM, sum);
  snprintf(text + n, sizeof text - n, "%*s\n", (int)(MP_SEAL_SIZE - n - 1), FILLER);
  memcpy(out, text, MP_SEAL_SIZE);
}

/* A word that was padded by spaces. */
static void take(char *out, const char *at, size_t len) {
  while (len > 0 && at[len - 1] == ' ') len--;
  memcpy(out, at, len);
  out[len] = '\0';
}

/* Whatever else stands there shows when it is written again. */
static void read_numbers(struct mp_seal *s, const char *text) {
  s->program = strtoull(text + 26, NULL, 10);
  s->files = strtoull(text + 118, NULL, 10);
}

/* What comes of the words is written again: any difference is one. */
int mp_seal_read(struct mp_seal *s, const char text[MP_SEAL_SIZE]) {
  static const char first[] = "moonpool-bundle 1\n";
  char ended[MP_SEAL_SIZE + 1], again[MP_SEAL_SIZE];
  bool begins = memcmp(text, first, sizeof first - 1) == 0;
  bool ends = memcmp(text + MP_SEAL_SIZE - sizeof FILLER, FILLER "\n", sizeof FILLER) == 0;
  *s = (struct mp_seal){0};
  if (!begins && !ends) return -ENOENT;
  memcpy(ended, text, MP_SEAL_SIZE);
  ended[MP_SEAL_SIZE] = '\0';
  read_numbers(s, ended);
  take(s->program_sum, text + 47, 64);
  take(s->files_sum, text + 139, 64);
  take(s->name, text + 209, MP_SEAL_WORD);
  take(s->version, text + 282, MP_SEAL_WORD);
  take(s->signature, text + 357, (size_t)2 * MP_SIGNATURE);
  mp_seal_write(s, again);
  return memcmp(again, text, MP_SEAL_SIZE) == 0 ? 0 : -EBADMSG;
}
