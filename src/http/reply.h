/* reply.h - one answer: status, fields and framing, formatted in one pass into a buffer (RFC 9112 6.3, 7.1).
 *
 *   init ─ status, set, add, remove ─► head ─ body… ─► end
 *
 * Nothing is written but into the buffer handed in. After any function has returned an error the answer can only be
 * cut: the caller closes the connection. */
#ifndef MP_HTTP_REPLY_H
#define MP_HTTP_REPLY_H

#include "base/buf.h"
#include "http/date.h"
#include "http/head.h"

#define MP_LENGTH_UNKNOWN UINT64_MAX

struct mp_reply {
  struct mp_buf fields;  /* owned: "Name: value\r\n" each, in order; kept from request to request */
  uint64_t name_lengths; /* bit n: a field with a name of n bytes, modulo 64, may be among them */
  uint64_t length;       /* of the Content-Length that was set, with has_length */
  uint64_t left;         /* of the declared length; MP_LENGTH_UNKNOWN when chunked or ended by close */
  uint16_t status;
  uint8_t minor;                         /* of the request */
  bool head_only;                        /* the request was HEAD */
  bool keep_alive;                       /* the connection may live on; head may clear it */
  bool no_server;                        /* leave the Server field out */
  bool has_length, has_date, has_server; /* among the fields */
  bool head_sent;
  bool bodiless; /* nothing may follow the head */
  bool chunked;
  bool ended;
};

/* Status 200, no fields. A reply is all zero before the first time; later ones keep its memory. */
void mp_reply_init(struct mp_reply *reply, const struct mp_head *request);
void mp_reply_free(struct mp_reply *reply);

/* 0; -EINVAL: not a token, or CR, LF, NUL or another control byte in the value; -EPERM: a field that framing owns and
 * that may not be set so (Transfer-Encoding; Connection but for "close"); -EALREADY: the head is out; -ENOMEM.
 * White space around the value is left out. Content-Length is a number, or -EINVAL; adding it replaces it. */
int mp_reply_set(struct mp_reply *reply, struct mp_slice name, struct mp_slice value); /* replaces every line of it */
int mp_reply_add(struct mp_reply *reply, struct mp_slice name, struct mp_slice value);
/* Replaces every line of it by one for each value: all of them, or none and the error of the first that cannot be. */
int mp_reply_set_all(struct mp_reply *reply, struct mp_slice name, const struct mp_slice *values, size_t n);
/* Whole lines, each with its CRLF, that are known to be right and none of framing's; `names`: MP_REPLY_NAME of each. */
int mp_reply_add_lines(struct mp_reply *reply, struct mp_slice lines, uint64_t names);
#define MP_REPLY_NAME(literal) (UINT64_C(1) << ((sizeof(literal) - 1) & 63))
int mp_reply_remove(struct mp_reply *reply, struct mp_slice name);
/* The first line's value, borrowed until the next change; false when there is none. */
bool mp_reply_get(const struct mp_reply *reply, struct mp_slice name, struct mp_slice *value);

/* Writes the head. `length`: bytes of body that follow, or MP_LENGTH_UNKNOWN: then a Content-Length that was set
 * counts, else 1.1 is chunked and 1.0 ends by close. A Content-Length that was set and differs from a known `length`
 * is -EMSGSIZE, but for HEAD and 304, where it tells of a body that is not sent. `date` may be NULL (then there is no
 * Date field). */
int mp_reply_head(struct mp_reply *reply, struct mp_buf *out, uint64_t length, const struct mp_date *date);

/* Body bytes, framed, behind the head (-EINVAL before it, -EALREADY after the end). Dropped when the answer is
 * bodiless. -EMSGSIZE: more than the declared length (nothing is written, the answer must be cut). An empty piece
 * writes nothing. */
int mp_reply_body(struct mp_reply *reply, struct mp_buf *out, struct mp_slice piece);

/* As mp_reply_body for an answer of known length, but the caller sends the bytes behind what is in the buffer. Returns
 * how many of them: all, none (bodiless), or an error. */
ssize_t mp_reply_pass(struct mp_reply *reply, size_t len);

/* Ends the framing. -EMSGSIZE: less was written than declared; the connection must be cut. */
int mp_reply_end(struct mp_reply *reply, struct mp_buf *out);

/* A whole answer with a short text body and "Connection: close", for refusals that no handler sees. */
int mp_reply_refuse(struct mp_buf *out, int status, bool head_only, const struct mp_date *date, bool no_server);

#endif
