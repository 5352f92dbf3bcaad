/* seal.h - the last lines of a bundle: what it is made of, in text of a fixed size, so that it is found from the end.
 *
 *   program | zip: the app's files, and the seal as its comment
 *
 * The sums are of the program, of all between it and the seal, and of the seal's own lines: no byte is without one. The
 * signature (ed25519) is of the lines above it. */
#ifndef MP_BUNDLE_SEAL_H
#define MP_BUNDLE_SEAL_H

#include "base/slice.h"
#include <stdint.h>

enum {
  MP_SUM = 32,
  MP_SUM_TEXT = 2 * MP_SUM + 1,
  MP_SIGNATURE = 64,
  MP_SEAL_WORD = 64,
  MP_SEAL_SIZE = 624,
  MP_SEAL_SIGNED = 347
};

struct mp_seal {
  uint64_t program, files;       /* bytes of each part */
  char program_sum[MP_SUM_TEXT]; /* SHA-256 in hexadecimal digits */
  char files_sum[MP_SUM_TEXT];
  char name[MP_SEAL_WORD + 1]; /* of the app; "": none was given */
  char version[MP_SEAL_WORD + 1];
  char signature[2 * MP_SIGNATURE + 1]; /* "": not signed */
};

/* The sum of some bytes as text. */
void mp_sum(struct mp_slice bytes, char out[MP_SUM_TEXT]);

void mp_seal_write(const struct mp_seal *seal, char out[MP_SEAL_SIZE]);
/* 0; -ENOENT: this is no seal; -EBADMSG: one that was changed. */
int mp_seal_read(struct mp_seal *seal, const char text[MP_SEAL_SIZE]);

/* The lines that are signed: MP_SEAL_SIGNED bytes and a NUL. How many. */
size_t mp_seal_lines(const struct mp_seal *seal, char *out, size_t size);
void mp_hex_write(char *out, const unsigned char *bytes, size_t n);

/* sign.c, with the machine's libsodium, which nobody else needs. -ENOSYS: it has none. Keys are hexadecimal digits: 64
 * of the secret seed, 64 of the public key. 0, -ENOSYS or -EINVAL. */
int mp_seal_sign(struct mp_seal *seal, const char *secret, char public_key[MP_SUM_TEXT]);
/* 0; -ENOSYS; -EINVAL: that is no key; -ENOKEY: it is not signed; -EKEYREJECTED: not by this key. */
int mp_seal_check(const struct mp_seal *seal, const char *public_key);

#endif
