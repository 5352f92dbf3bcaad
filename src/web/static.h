/* static.h - answers that are files: what the client has already, ranges, packed forms (RFC 9110 8, 13, 14).
 *
 *   path ─► mp_files_get ─► prepare ─ (the room above may add to ex->reply) ─► send
 *
 * A file is sent in one of the forms that lie there, and never packed here: its tag, its length and its ranges are
 * those of that form, for HEAD and GET, held or not.
 *
 * Knows no route and no folder but the one it is told. */
#ifndef MP_WEB_STATIC_H
#define MP_WEB_STATIC_H

#include "web/parts.h"

/* The path below a folder that a part of a target (as sent, without its query) means: decoded, no leading "/". 0; or
 * -ENOENT for what no file is served under: an empty, "." or ".." segment, one with "/", "\\", NUL or a control byte in
 * it, encoded or not, a malformed escape, and (unless `dotfiles`) one that begins with a dot; -ENAMETOOLONG. An empty
 * last segment is a folder's own path: it ends in "/", or is empty. */
int mp_static_path(struct mp_slice sent, bool dotfiles, char *out, size_t size);

/* Without a ".." segment or a NUL. */
bool mp_static_is_straight(struct mp_slice path);

/* The status that says why a file cannot be had: 404, 403, 503, 500. */
int mp_static_status(int err);

struct mp_static_options {
  struct mp_slice type;     /* empty: by the name's ending */
  struct mp_slice download; /* to be saved under that name; at is NULL: to be shown */
  int64_t max_age_s;        /* negative: no Cache-Control */
};

/* What was decided, until it is sent; on the caller's stack. */
struct mp_static {
  struct mp_asset *asset; /* owned reference */
  enum mp_file_form form;
  struct mp_ranges ranges; /* to be sent, borrowed from the request; n == 0: all */
  struct mp_slice type;    /* borrowed from the options, or static */
  uint64_t size;           /* of the file in that form */
};

/* Takes the reference over. Sets status and fields of ex->reply: 200, 206, 304; the handler's own status and fields
 * stay, and with a status but 200 there are no ranges and conditions. 0; or 412 or 416, then nothing is set; or
 * -ENOMEM. Anything but 0 has given the reference back. */
int mp_static_prepare(struct mp_static *plan, struct mp_exchange *ex, struct mp_asset *asset,
                      const struct mp_static_options *options);
/* Ends the answer, now or by itself. 0 or -errno as mp_exchange_send. */
int mp_static_send(struct mp_static *plan, struct mp_exchange *ex);
void mp_static_drop(struct mp_static *plan); /* instead of send */

/* 301 to the same path with a "/" behind it, the query kept. */
int mp_static_redirect(struct mp_exchange *ex);

#endif
