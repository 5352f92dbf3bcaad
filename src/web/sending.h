/* sending.h - a file on its way to a client, in the place of a handler that writes. The exchange owns it from
 * mp_exchange_send_file on, and the answer ends by itself: the room above may finish the exchange at once.
 *
 *   head ─► [part's head ─► slices of the file]… ─► closing line
 *
 * One slice a turn of the loop; what is not at hand is fetched by a thread, and the connection waits. */
#ifndef MP_WEB_SENDING_H
#define MP_WEB_SENDING_H

#include "http/range.h"
#include "io/files.h"
#include "web/server.h"

struct mp_sending {
  struct mp_exchange *ex; /* borrowed: owns this one */
  struct mp_asset *asset; /* owned reference */
  enum mp_file_form form;
  struct mp_source_cursor cursor; /* in the part under way */
  struct mp_ranges parts;         /* at least one */
  unsigned next;                  /* part to begin */
  struct mp_buf lines;            /* owned: what stands before each part, and behind the last; empty for a single one */
  uint32_t line_end[MP_RANGES + 1];
  struct mp_files_job *warming; /* borrowed: it tells when it is done; NULL: none */
};

/* A reference to the asset is taken over once this has not failed. NULL: out of memory. */
struct mp_sending *mp_sending_new(struct mp_asset *asset, enum mp_file_form form);
void mp_sending_free(struct mp_sending *sending); /* NULL is harmless */

/* Bytes of body it comes to. */
uint64_t mp_sending_length(const struct mp_sending *sending);

/* Goes on by one slice. The queue of the connection is empty. True: the answer has ended. */
bool mp_sending_step(struct mp_sending *sending);

#endif
