#include "base/sodium.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static struct mp_sodium sodium;
static const char *trouble; /* static; NULL: it is loaded */
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined MOONPOOL_SODIUM_OFF

static void load(void) {
  trouble = "this moonpool was built without libsodium";
}

#else

static const struct {
  const char *name;
  size_t at; /* in struct mp_sodium */
} symbols[] = {
    {"sodium_init", offsetof(struct mp_sodium, init)},
    {"crypto_aead_xchacha20poly1305_ietf_encrypt", offsetof(struct mp_sodium, encrypt)},
    {"crypto_aead_xchacha20poly1305_ietf_decrypt", offsetof(struct mp_sodium, decrypt)},
    {"crypto_generichash", offsetof(struct mp_sodium, hash)},
    {"crypto_pwhash_str_alg", offsetof(struct mp_sodium, password_hash)},
    {"crypto_pwhash_str_verify", offsetof(struct mp_sodium, password_verify)},
    {"crypto_pwhash_str_needs_rehash", offsetof(struct mp_sodium, password_is_stale)},
};

enum { N_SYMBOLS = sizeof symbols / sizeof *symbols };

#if defined MOONPOOL_SODIUM_STATIC

extern char sodium_init[], crypto_aead_xchacha20poly1305_ietf_encrypt[], crypto_aead_xchacha20poly1305_ietf_decrypt[],
    crypto_generichash[], crypto_pwhash_str_alg[], crypto_pwhash_str_verify[], crypto_pwhash_str_needs_rehash[];

static bool find_all(void) {
  void *const found[N_SYMBOLS] = {sodium_init,
                                  crypto_aead_xchacha20poly1305_ietf_encrypt,
                                  crypto_aead_xchacha20poly1305_ietf_decrypt,
                                  crypto_generichash,
                                  crypto_pwhash_str_alg,
                                  crypto_pwhash_str_verify,
                                  crypto_pwhash_str_needs_rehash};
  for (unsigned i = 0; i < N_SYMBOLS; i++) memcpy((char *)&sodium + symbols[i].at, &found[i], sizeof found[i]);
  return true;
}

#else

/* 23 is the interface since 1.0.12; 26 since 1.0.19, which kept all of these. */
static void *open_library(void) {
  void *library = dlopen("libsodium.so.23", RTLD_NOW | RTLD_LOCAL);
  return library ? library : dlopen("libsodium.so.26", RTLD_NOW | RTLD_LOCAL);
}

static bool find_all(void) {
  void *library = open_library();
  for (unsigned i = 0; library && i < N_SYMBOLS; i++) {
    void *found = dlsym(library, symbols[i].name);
    if (!found) return false;
    memcpy((char *)&sodium + symbols[i].at, &found, sizeof found); /* ISO C has no cast for it */
  }
  return library != NULL;
}

#endif

static void load(void) {
  if (!find_all())
    trouble = "libsodium is not installed (Debian: libsodium23)";
  else if (sodium.init() < 0)
    trouble = "libsodium does not start: the machine has no randomness";
}

#endif

const struct mp_sodium *mp_sodium_load(const char **why) {
  pthread_once(&once, load);
  *why = trouble;
  return trouble ? NULL : &sodium;
}
