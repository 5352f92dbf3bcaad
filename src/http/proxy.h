/* proxy.h - the PROXY protocol, versions 1 and 2: a connection's first bytes, by which a proxy tells whose it is.
 * Strict: what is not exactly of the protocol is refused. */
#ifndef MP_HTTP_PROXY_H
#define MP_HTTP_PROXY_H

#include "base/address.h"
#include "http/head.h"

enum { MP_PROXY_LONGEST = 4096 /* bytes of a version 2 header with all it adds; of version 1 it is 107 */ };

struct mp_proxy {
  struct mp_address
      source;  /* MP_ADDRESS_NONE: the proxy speaks for itself (LOCAL, UNKNOWN): the socket's peer counts */
  bool secure; /* the client came to the proxy by TLS */
};

/* `bytes` are all since the connection began. MP_DONE: `*used` of them were the header; MP_MORE: call again with the
 * same and more; MP_REFUSE: `why`. */
enum mp_verdict mp_proxy_parse(struct mp_proxy *proxy, const char *bytes, size_t len, size_t *used,
                               struct mp_refusal *why);

#endif
