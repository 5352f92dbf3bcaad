/* parts.h - a file on its way to a client: all of it, a part, or several parts (RFC 9110 14.6).
 *
 *   [part's head ─► slices of the file]… ─► closing line
 *
 * What is not at hand is fetched by a thread, and the connection waits. Heads of parts are made one by one: thousands
 * of parts take no more memory than the field that asked for them. */
#ifndef MP_WEB_PARTS_H
#define MP_WEB_PARTS_H

#include "http/range.h"
#include "io/files.h"
#include "web/sending.h"

enum { MP_BOUNDARY = 18 };

/* Sends a form of the file: all of it (`ranges->n` 0), or those parts of it, after the head of the answer, whose fields
 * for several parts are set here. A reference to the asset is taken over unless this fails; `type` is copied. 0 or
 * -errno as mp_exchange_send_rest. */
int mp_parts_send(struct mp_exchange *ex, struct mp_asset *asset, enum mp_file_form form,
                  const struct mp_ranges *ranges, struct mp_slice type);

#endif
