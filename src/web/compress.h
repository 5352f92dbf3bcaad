/* compress.h - answers packed for clients that take it (RFC 9110 8.4, 12.5.3).
 *
 * Text of MP_PACK_LEAST bytes and more is packed: whole answers at once, those above MP_PACK_AT_ONCE a slice a turn of
 * the loop (packing.h), streams piece by piece, each flushed so that nothing is held back. Left as it is: what the
 * handler has encoded itself, or set a length for in a stream, parts of something (206), event streams, Cache-Control:
 * no-transform, and what packing would make no smaller. A handler turns it off for one answer by Content-Encoding:
 * identity, a field that is not sent. */
#ifndef MP_WEB_COMPRESS_H
#define MP_WEB_COMPRESS_H

#include "http/coding.h"
#include "http/reply.h"

enum {
  MP_PACK_LEAST = 1024,
  MP_PACK_AT_ONCE = 256 * 1024 /* more would hold the loop too long */
};

/* The state of one stream under way. */
struct mp_packer;

/* The one the client likes best among those that are built in. */
enum mp_coding mp_packing_accepted(const struct mp_head *head);

/* Whether an answer of `length` bytes (or MP_LENGTH_UNKNOWN) is of a kind that is packed, whoever asks for it. */
bool mp_reply_is_packable(const struct mp_reply *reply, uint64_t length);

/* Takes Content-Encoding: identity out again. */
void mp_reply_forget_identity(struct mp_reply *reply);

/* The fields of an answer that depends on Accept-Encoding; with a coding, those of the packed one too: its tag becomes
 * a weak one. 0 or -ENOMEM. */
int mp_reply_varies(struct mp_reply *reply);
int mp_reply_is_packed(struct mp_reply *reply, enum mp_coding coding);

/* `keep`: one packer that its owner keeps for the next use; the caller's, NULL at first. NULL: out of memory. */
struct mp_packer *mp_packer_open(enum mp_coding coding, struct mp_packer **keep);
void mp_packer_close(struct mp_packer *packer, struct mp_packer **keep); /* harmless on NULL */
void mp_packer_free(struct mp_packer *packer);                           /* of `keep` */

/* Appends the packed piece to `out`, so that all of it can be unpacked; `last`: nothing follows. 0 or -ENOMEM. */
int mp_packer_add(struct mp_packer *packer, struct mp_slice piece, bool last, struct mp_buf *out);

#endif
