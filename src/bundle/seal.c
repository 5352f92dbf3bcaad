#include "bundle/seal.h"
#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#define LINES "moonpool-bundle 1\nprogram %020llu %-64s\nfiles %020llu %-64s\nname %-64s\nversion %-64s\n"
enum { SIGNED_SIZE = 18 + 8 + 20 + 1 + 65 + 6 + 20 + 1 + 65 + 5 + 65 + 8 + 65 };
#define SIGNATURE "signature %-128s\n"
#define SUM "seal %64s\n"
#define FILLER "moonpool-bundle, its end"

_Static_assert(SIGNED_SIZE == 347, "the lines that are signed");

void mp_sum(struct mp_slice bytes, char out[MP_SUM_TEXT]) {
  unsigned char sum[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(sum, (const unsigned char *)bytes.at, bytes.len);
  sodium_bin2hex(out, MP_SUM_TEXT, sum, sizeof sum);
}

/* The lines that are signed; the rest of `out` is not touched. */
static size_t write_lines(const struct mp_seal *s, char *out, size_t size) {
  int n = snprintf(out, size, LINES, (unsigned long long)s->program, s->program_sum, (unsigned long long)s->files,
                   s->files_sum, s->name, s->version);
  return (size_t)n;
}

void mp_seal_write(const struct mp_seal *s, char out[MP_SEAL_SIZE]) {
  char text[MP_SEAL_SIZE + 1], sum[MP_SUM_TEXT];
  memset(text, '\n', sizeof text);
  size_t n = write_lines(s, text, sizeof text);
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

static int read_numbers(struct mp_seal *s, const char *text) {
  unsigned long long program, files;
  if (sscanf(text + 26, "%20llu", &program) != 1 || sscanf(text + 118, "%20llu", &files) != 1) return -EBADMSG;
  s->program = program;
  s->files = files;
  return 0;
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
  if (read_numbers(s, ended) < 0) return -EBADMSG;
  take(s->program_sum, text + 47, 64);
  take(s->files_sum, text + 139, 64);
  take(s->name, text + 209, MP_SEAL_WORD);
  take(s->version, text + 282, MP_SEAL_WORD);
  take(s->signature, text + 357, (size_t)2 * MP_SIGNATURE);
  mp_seal_write(s, again);
  return memcmp(again, text, MP_SEAL_SIZE) == 0 ? 0 : -EBADMSG;
}

static int read_hex(unsigned char *out, size_t size, const char *text) {
  size_t len;
  int err = sodium_hex2bin(out, size, text, strlen(text), "\n", &len, NULL);
  return err == 0 && len == size ? 0 : -EINVAL;
}

int mp_seal_sign(struct mp_seal *s, const char *secret, char public_key[MP_SUM_TEXT]) {
  unsigned char seed[crypto_sign_SEEDBYTES], open[crypto_sign_PUBLICKEYBYTES], key[crypto_sign_SECRETKEYBYTES];
  unsigned char signature[MP_SIGNATURE];
  char lines[SIGNED_SIZE + 1];
  if (read_hex(seed, sizeof seed, secret) < 0) return -EINVAL;
  crypto_sign_seed_keypair(open, key, seed);
  size_t n = write_lines(s, lines, sizeof lines);
  crypto_sign_detached(signature, NULL, (const unsigned char *)lines, n, key);
  sodium_bin2hex(s->signature, sizeof s->signature, signature, sizeof signature);
  sodium_bin2hex(public_key, MP_SUM_TEXT, open, sizeof open);
  sodium_memzero(seed, sizeof seed);
  sodium_memzero(key, sizeof key);
  return 0;
}

int mp_seal_check(const struct mp_seal *s, const char *public_key) {
  unsigned char open[crypto_sign_PUBLICKEYBYTES], signature[MP_SIGNATURE];
  char lines[SIGNED_SIZE + 1];
  if (read_hex(open, sizeof open, public_key) < 0) return -EINVAL;
  if (!s->signature[0]) return -ENOKEY;
  if (read_hex(signature, sizeof signature, s->signature) < 0) return -EKEYREJECTED;
  size_t n = write_lines(s, lines, sizeof lines);
  return crypto_sign_verify_detached(signature, (const unsigned char *)lines, n, open) == 0 ? 0 : -EKEYREJECTED;
}
