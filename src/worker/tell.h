/* tell.h - answers the master's "ask ID what" on the control pair: "part ID …" as often as it takes, "end ID bytes". */
#ifndef MP_WORKER_TELL_H
#define MP_WORKER_TELL_H

#include "api/open.h"
#include "io/stream.h"

void mp_tell(struct mp_stream *control, struct mp_api *api, const char *question); /* "ID what" */

#endif
