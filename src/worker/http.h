/* http.h - how HTTP is served, out of the settings: for a worker, and for the apps of a test. */
#ifndef MP_WORKER_HTTP_H
#define MP_WORKER_HTTP_H

#include "base/config.h"
#include "web/server.h"

/* `trust`: borrowed; filled by mp_worker_http_trust. */
struct mp_server_config mp_worker_http_config(const struct mp_config *config, const struct mp_trust *trust);

/* Whose Forwarded fields are believed. 0 or -errno. Give back with mp_trust_free. */
int mp_worker_http_trust(const struct mp_config *config, struct mp_trust *trust);

#endif
