#include "base/address.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

struct mp_address mp_address_v4(const uint8_t *bytes, uint16_t port) {
  struct mp_address a = {.kind = MP_ADDRESS_V4, .port = port};
  memcpy(a.bytes, bytes, 4);
  return a;
}

struct mp_address mp_address_v6(const uint8_t *bytes, uint16_t port) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  struct mp_address a = {.kind = MP_ADDRESS_V6, .port = port};
  if (memcmp(bytes, mapped, sizeof mapped) == 0) return mp_address_v4(bytes + sizeof mapped, port);
  memcpy(a.bytes, bytes, sizeof a.bytes);
  return a;
}

struct mp_address mp_address_of(const struct sockaddr *at) {
  const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)at;
  const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)at;
  switch (at->sa_family) {
  case AF_INET:
    return mp_address_v4((const uint8_t *)&four->sin_addr, ntohs(four->sin_port));
  case AF_INET6:
    return mp_address_v6((const uint8_t *)&six->sin6_addr, ntohs(six->sin6_port));
  case AF_UNIX:
    return (struct mp_address){.kind = MP_ADDRESS_UNIX};
  }
  return (struct mp_address){0};
}

bool mp_address_parse(struct mp_address *address, struct mp_slice text) {
  char copy[INET6_ADDRSTRLEN];
  uint8_t bytes[16];
  if (text.len == 0 || text.len >= sizeof copy || memchr(text.at, '\0', text.len)) return false;
  memcpy(copy, text.at, text.len);
  copy[text.len] = '\0';
  if (inet_pton(AF_INET, copy, bytes) == 1)
    *address = mp_address_v4(bytes, 0);
  else if (inet_pton(AF_INET6, copy, bytes) == 1)
    *address = mp_address_v6(bytes, 0);
  else
    return false;
  return true;
}

const char *mp_address_text(const struct mp_address *address, char *out) {
  out[0] = '\0';
  if (address->kind == MP_ADDRESS_V4) inet_ntop(AF_INET, address->bytes, out, MP_ADDRESS_TEXT);
  if (address->kind == MP_ADDRESS_V6) inet_ntop(AF_INET6, address->bytes, out, MP_ADDRESS_TEXT);
  if (address->kind == MP_ADDRESS_UNIX) memcpy(out, "unix:", sizeof "unix:");
  return out;
}

const char *mp_address_text_port(const struct mp_address *address, char *out) {
  char host[MP_ADDRESS_TEXT];
  bool six = address->kind == MP_ADDRESS_V6;
  if (address->kind < MP_ADDRESS_V4) return mp_address_text(address, out);
  snprintf(out, MP_ADDRESS_TEXT, "%s%.46s%s:%u", six ? "[" : "", mp_address_text(address, host), six ? "]" : "",
           address->port);
  return out;
}

bool mp_address_within(const struct mp_address *address, const struct mp_address *net, unsigned bits) {
  unsigned whole = bits / 8, rest = bits % 8;
  if (address->kind != net->kind || memcmp(address->bytes, net->bytes, whole) != 0) return false;
  uint8_t mask = (uint8_t)(0xff00u >> rest);
  return rest == 0 || ((address->bytes[whole] ^ net->bytes[whole]) & mask) == 0;
}
