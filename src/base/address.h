/* address.h - who is at the other end, as numbers: an IPv4 or IPv6 address and a port, or a local socket.
 * An IPv6 address that stands for an IPv4 one (::ffff:1.2.3.4) is that IPv4 address everywhere here. */
#ifndef MP_BASE_ADDRESS_H
#define MP_BASE_ADDRESS_H

#include "base/slice.h"
#include <stdint.h>

struct sockaddr;

enum mp_address_kind { MP_ADDRESS_NONE, MP_ADDRESS_UNIX, MP_ADDRESS_V4, MP_ADDRESS_V6 };

struct mp_address {
  uint8_t kind;      /* enum mp_address_kind */
  uint16_t port;     /* 0: not known */
  uint8_t bytes[16]; /* as on the wire; 4 of them with V4, the rest zero */
};

enum { MP_ADDRESS_TEXT = 64 /* room enough for any address in text, with its port */ };

/* What accept, getpeername and getsockname give; MP_ADDRESS_NONE for a family that is none of ours. */
struct mp_address mp_address_of(const struct sockaddr *at);

/* 4 or 16 bytes as on the wire. */
struct mp_address mp_address_v4(const uint8_t *bytes, uint16_t port);
struct mp_address mp_address_v6(const uint8_t *bytes, uint16_t port);

/* "192.0.2.1" or "2001:db8::1", nothing around it; no zone. False for anything else. */
bool mp_address_parse(struct mp_address *address, struct mp_slice text);

/* "192.0.2.1", "2001:db8::1", "unix:", or "" for none. `out` has MP_ADDRESS_TEXT bytes and is returned. */
const char *mp_address_text(const struct mp_address *address, char *out);

/* The same with its port: "192.0.2.1:80", "[2001:db8::1]:80", "unix:". */
const char *mp_address_text_port(const struct mp_address *address, char *out);

/* Of one kind, and the first `bits` bits are the same. */
bool mp_address_within(const struct mp_address *address, const struct mp_address *net, unsigned bits);

#endif
