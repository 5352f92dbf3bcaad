/* multipart.h - a multipart/form-data body, taken apart as it comes (RFC 7578, RFC 2046 5.1).
 *
 *   BEGIN ─ DATA… ─ END ─ BEGIN … ─ END ─ done
 *
 * Nothing of a part's content is kept: what may be the beginning of a boundary is held back as a count, and given out
 * as content from the boundary's own text if it was none. Parts are bounded in number, and their heads in size. */
#ifndef MP_HTTP_MULTIPART_H
#define MP_HTTP_MULTIPART_H

#include "base/buf.h"
#include "http/head.h"

enum { MP_BOUNDARY_MOST = 70 };

struct mp_multipart_limits {
  uint32_t parts; /* how many: 413 */
  uint32_t head;  /* bytes of the fields of one part: 413 */
  uint32_t name;  /* bytes of its name: 413 */
};

/* What the fields of a part say; borrowed from the parser until the next BEGIN. */
struct mp_part {
  struct mp_slice name;
  struct mp_slice filename; /* the client's word: never a path */
  struct mp_slice type;     /* Content-Type as sent; empty: none was */
  bool is_file;             /* there was a filename, perhaps an empty one */
};

enum mp_part_event {
  MP_PART_MORE,  /* all bytes were eaten */
  MP_PART_BEGIN, /* `part` is filled */
  MP_PART_DATA,  /* `piece` is content of that part */
  MP_PART_END,
  MP_PART_REFUSE /* 400, 413, 415 (a transfer encoding), 503 (no memory); not to be fed again */
};

struct mp_multipart {
  struct mp_multipart_limits limits;
  struct mp_part part;
  struct mp_buf head; /* owned: the fields of the part under way, a "\n" behind each */
  uint32_t n_parts;
  uint8_t state;
  uint8_t matched; /* bytes of the delimiter that have come */
  uint8_t delimiter_len;
  bool saw_cr; /* in a head */
  char delimiter[4 + MP_BOUNDARY_MOST];
};

/* The boundary that a Content-Type names, borrowed from it or from `out`. 0; -ENOENT: it is not multipart/form-data;
 * -EINVAL: there is no boundary, or none that RFC 2046 allows. */
int mp_multipart_boundary(struct mp_slice content_type, char out[MP_BOUNDARY_MOST], struct mp_slice *boundary);

void mp_multipart_init(struct mp_multipart *m, struct mp_slice boundary, const struct mp_multipart_limits *limits);
void mp_multipart_free(struct mp_multipart *m);

/* Takes from the front of `bytes`: `*used` were eaten. Call again with what is left after every event but MORE and
 * REFUSE. `*piece` is borrowed from `bytes` or from the parser, until the next call. */
enum mp_part_event mp_multipart_feed(struct mp_multipart *m, const char *bytes, size_t len, size_t *used,
                                     struct mp_slice *piece, struct mp_refusal *why);

/* The body has ended: has the form, too? */
bool mp_multipart_is_whole(const struct mp_multipart *m);

#endif
