/* forwarded.h - what proxies say about the client behind them, and which of them are believed.
 *
 *   client ─► proxy a ─► proxy b ─► here       X-Forwarded-For: (what the client sent), client, a
 *
 * The list is read from the right: each proxy adds whom it saw. As long as that one is trusted too, the next is asked;
 * what an untrusted one has written is never looked at. X-Forwarded-For and -Proto are used, and Forwarded (RFC 7239)
 * where there is no X-Forwarded-For. */
#ifndef MP_HTTP_FORWARDED_H
#define MP_HTTP_FORWARDED_H

#include "base/address.h"
#include "http/head.h"

struct mp_net {
  struct mp_address address;
  uint8_t bits; /* of it that count */
};

struct mp_trust {
  struct mp_net *nets; /* owned */
  unsigned n;
  bool local; /* whoever comes by a unix socket */
};

/* Addresses, nets such as 10.0.0.0/8 or fd00::/8, and the word "unix", between commas. 0; -ENOMEM; -EINVAL, and `bad`
 * (borrowed from the list) is what was not understood. Give back with mp_trust_free, also after an error. */
int mp_trust_parse(struct mp_trust *trust, struct mp_slice list, struct mp_slice *bad);
void mp_trust_free(struct mp_trust *trust);
bool mp_trust_has(const struct mp_trust *trust, const struct mp_address *address);

/* Who asks, and whether by a secure connection. */
struct mp_client {
  struct mp_address address;
  bool secure;
};

/* `client` comes in as the connection shows it and leaves as trusted proxies do. A name that is no address ("unknown",
 * "_hidden") ends the search at the proxy that said it. */
void mp_forwarded_read(struct mp_client *client, const struct mp_head *head, const struct mp_trust *trust);

#endif
