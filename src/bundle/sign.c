/* Signatures. The library is opened when one is asked for, so that a server without has no part of it. */
#include "bundle/seal.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#ifndef MOONPOOL_SODIUM_OFF
#include <sodium.h>

struct library {
  void *handle; /* owned */
  __typeof__(crypto_sign_seed_keypair) *make_keys;
  __typeof__(crypto_sign_detached) *sign;
  __typeof__(crypto_sign_verify_detached) *check;
};

#ifdef MOONPOOL_SODIUM_STATIC

static int open_library(struct library *lib) {
  *lib = (struct library){NULL, crypto_sign_seed_keypair, crypto_sign_detached, crypto_sign_verify_detached};
  return 0;
}

static void close_library(struct library *lib) {
  (void)lib;
}

#else

/* POSIX has it that a function's address fits there; ISO C has no words for it. */
static void find(void *handle, const char *name, void *function) {
  void *found = dlsym(handle, name);
  memcpy(function, &found, sizeof found);
}

static int open_library(struct library *lib) {
  *lib = (struct library){.handle = dlopen("libsodium.so.23", RTLD_NOW | RTLD_LOCAL)};
  if (!lib->handle) return -ENOSYS;
  find(lib->handle, "crypto_sign_seed_keypair", &lib->make_keys);
  find(lib->handle, "crypto_sign_detached", &lib->sign);
  find(lib->handle, "crypto_sign_verify_detached", &lib->check);
  if (lib->make_keys && lib->sign && lib->check) return 0;
  dlclose(lib->handle);
  return -ENOSYS;
}

static void close_library(struct library *lib) {
  dlclose(lib->handle);
}

#endif

static int digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* A line end may follow. */
static int read_hex(unsigned char *out, size_t size, const char *text) {
  for (size_t i = 0; i < size; i++, text += 2) {
    int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);
    if (low < 0) return -EINVAL;
    out[i] = (unsigned char)(high << 4 | low);
  }
  return text[strspn(text, "\r\n")] == '\0' ? 0 : -EINVAL;
}

int mp_seal_sign(struct mp_seal *s, const char *secret, char public_key[MP_SUM_TEXT]) {
  unsigned char seed[crypto_sign_SEEDBYTES], open[crypto_sign_PUBLICKEYBYTES], key[crypto_sign_SECRETKEYBYTES];
  unsigned char signature[MP_SIGNATURE];
  char lines[MP_SEAL_SIGNED + 1];
  struct library lib = {0};
  int err = read_hex(seed, sizeof seed, secret);
  if (err == 0) err = open_library(&lib);
  if (err < 0 || !lib.make_keys || !lib.sign) return err;
  size_t n = mp_seal_lines(s, lines, sizeof lines);
  lib.make_keys(open, key, seed);
  lib.sign(signature, NULL, (const unsigned char *)lines, n, key);
  close_library(&lib);
  mp_hex_write(s->signature, signature, sizeof signature);
  mp_hex_write(public_key, open, sizeof open);
  explicit_bzero(seed, sizeof seed);
  explicit_bzero(key, sizeof key);
  return 0;
}

int mp_seal_check(const struct mp_seal *s, const char *public_key) {
  unsigned char open[crypto_sign_PUBLICKEYBYTES], signature[MP_SIGNATURE];
  char lines[MP_SEAL_SIGNED + 1];
  struct library lib = {0};
  if (read_hex(open, sizeof open, public_key) < 0) return -EINVAL;
  if (!s->signature[0]) return -ENOKEY;
  if (read_hex(signature, sizeof signature, s->signature) < 0) return -EKEYREJECTED;
  int err = open_library(&lib);
  if (err < 0 || !lib.check) return err;
  size_t n = mp_seal_lines(s, lines, sizeof lines);
  err = lib.check(signature, (const unsigned char *)lines, n, open) == 0 ? 0 : -EKEYREJECTED;
  close_library(&lib);
  return err;
}

#else

int mp_seal_sign(struct mp_seal *s, const char *secret, char public_key[MP_SUM_TEXT]) {
  (void)s, (void)secret, (void)public_key;
  return -ENOSYS;
}

int mp_seal_check(const struct mp_seal *s, const char *public_key) {
  (void)public_key;
  return s->signature[0] ? -ENOSYS : -ENOKEY;
}

#endif
