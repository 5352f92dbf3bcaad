/* sodium.h - libsodium, found when it is first wanted: who keeps no secrets need not have it.
 * Loaded once, from any thread, and never given back. How it is found is decided by the build (MOONPOOL_SODIUM). The
 * prototypes are those of its stable interface, so that the build needs no header of its. */
#ifndef MP_BASE_SODIUM_H
#define MP_BASE_SODIUM_H

#include <stddef.h>

enum {
  MP_SODIUM_KEY = 32,
  MP_SODIUM_MAC = 32,
  MP_SODIUM_NONCE = 24, /* of XChaCha20: long enough to be drawn at random */
  MP_SODIUM_TAG = 16,
  MP_SODIUM_HASH = 128,  /* the text of a password's hash, with its NUL */
  MP_SODIUM_ARGON2ID = 2 /* crypto_pwhash_ALG_ARGON2ID13 */
};

struct mp_sodium {
  int (*init)(void);
  int (*encrypt)(unsigned char *out, unsigned long long *n_out, const unsigned char *text, unsigned long long n_text,
                 const unsigned char *beside, unsigned long long n_beside, const unsigned char *unused,
                 const unsigned char *nonce, const unsigned char *key);
  int (*decrypt)(unsigned char *out, unsigned long long *n_out, unsigned char *unused, const unsigned char *sealed,
                 unsigned long long n_sealed, const unsigned char *beside, unsigned long long n_beside,
                 const unsigned char *nonce, const unsigned char *key);
  int (*hash)(unsigned char *out, size_t n_out, const unsigned char *text, unsigned long long n_text,
              const unsigned char *key, size_t n_key);
  int (*password_hash)(char *out, const char *password, unsigned long long n_password, unsigned long long passes,
                       size_t memory, int algorithm);
  int (*password_verify)(const char *hash, const char *password, unsigned long long n_password);
  int (*password_is_stale)(const char *hash, unsigned long long passes, size_t memory);
};

/* NULL: it is not there, and `*why` (static) names the package. */
const struct mp_sodium *mp_sodium_load(const char **why);

#endif
