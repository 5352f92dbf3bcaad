/* memo.h - the lines of a head that was good, and what they came to: a client on a kept connection sends the same
 * fields again and again, one that polls the same request line too, and the same bytes are not judged twice.
 *
 * What is recalled is what mp_head_parse would say, byte for byte: fields, framing, host. It is kept and recalled for
 * HTTP/1.1 and targets that begin with "/" alone, because for others the request line has a say in it. All zero is an
 * empty one; it is only good for the limits that it was kept under. */
#ifndef MP_HTTP_MEMO_H
#define MP_HTTP_MEMO_H

#include "http/head.h"

enum { MP_MEMO_BYTES = 1024, MP_MEMO_FIELDS = 32, MP_MEMO_LINE = 128 };

/* The request line that came last with those fields. */
struct mp_line_memo {
  uint32_t len; /* with its line end; 0: nothing is kept */
  bool known_method;
  struct mp_slice method, target, path, query; /* borrowed from bytes; as in struct mp_head */
  char bytes[MP_MEMO_LINE];
};

struct mp_head_memo {
  uint32_t len; /* of the field lines, up to and with the empty one; 0: nothing is kept */
  uint16_t n_fields;
  uint8_t body; /* enum mp_body_kind */
  bool keep_alive, expect_continue;
  uint64_t content_length;
  struct mp_slice host;                   /* borrowed from bytes */
  struct mp_field fields[MP_MEMO_FIELDS]; /* likewise */
  struct mp_line_memo line;
  char bytes[MP_MEMO_BYTES];
};

/* True: a whole head stands at the front of `bytes`, `head` is filled and `*used` bytes were it. False: not known;
 * nothing has changed but what `head` says of its last request. The request line is kept for the next time. */
bool mp_memo_recall(struct mp_head_memo *memo, struct mp_head *head, const char *bytes, size_t len,
                    const struct mp_http_limits *limits, size_t *used);

/* `head` was just read from the `used` bytes. One that cannot be kept leaves the memo as it is, and is false. */
bool mp_memo_keep(struct mp_head_memo *memo, const struct mp_head *head, const char *bytes, size_t used);

#endif
