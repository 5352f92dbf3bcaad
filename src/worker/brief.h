/* brief.h - a line of the access log for the one who writes the app: "200 GET /a 1.2 ms", in colours on a terminal.
 * Requests of Moonpool's own scripts, below /.moonpool/, have none. */
#ifndef MP_WORKER_BRIEF_H
#define MP_WORKER_BRIEF_H

#include "worker/access.h"

int mp_brief_line(struct mp_buf *out, const struct mp_access_facts *facts, bool colour); /* 0 or -ENOMEM */

#endif
