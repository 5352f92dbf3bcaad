/* sending.h - the rest of an answer that goes by itself, in the place of a handler that writes. The exchange owns it
 * from mp_exchange_send_rest on, and the room above may finish the exchange at once.
 *
 * It goes on a slice at a time, once a turn of the loop, whenever the connection's queue is empty. */
#ifndef MP_WEB_SENDING_H
#define MP_WEB_SENDING_H

#include "web/server.h"

struct mp_sending {
  struct mp_exchange *ex; /* borrowed: owns this one */
  /* Goes on by one slice; what it leaves in the connection's buffer is flushed afterwards. True: that was the last.
   * When it can never be whole the connection is closed by it, and with that this one freed. */
  bool (*step)(struct mp_sending *sending);
  void (*drop)(struct mp_sending *sending); /* frees it */
  bool waits;                               /* for a thread: it is asked again when it has touched the connection */
};

#endif
