#include "http/proxy.h"
#include "http/bytes.h"
#include "http/gate.h"

enum {
  V1_LONGEST = 107, /* with its line end */
  V2_FIXED = 16,    /* signature, version and command, family, length */
  TLV_SSL = 0x20,
  CLIENT_SSL = 0x01
};

static const char v1_begin[] = "PROXY ";
static const char v2_begin[] = "\r\n\r\n\0\r\nQUIT\n"; /* 12 bytes */

/* As far as there are bytes, they are those. */
static bool begins(const char *bytes, size_t len, const char *with, size_t n) {
  return memcmp(bytes, with, len < n ? len : n) == 0;
}

/* ---- version 1 ---- */

/* Words are parted by one space each. */
static struct mp_slice next_word(struct mp_slice *rest) {
  const char *space = rest->len ? memchr(rest->at, ' ', rest->len) : NULL;
  size_t n = space ? (size_t)(space - rest->at) : rest->len, skip = n + (space != NULL);
  struct mp_slice word = mp_slice(rest->at, n);
  *rest = mp_slice(rest->at + skip, rest->len - skip);
  return word;
}

static bool parse_port(struct mp_slice word, uint16_t *port) {
  uint64_t n;
  if (!mp_decimal(word, &n) || n > UINT16_MAX || (word.len > 1 && word.at[0] == '0')) return false;
  *port = (uint16_t)n;
  return true;
}

static bool is_written_as(struct mp_slice word, bool six) {
  return word.len > 0 && (memchr(word.at, ':', word.len) != NULL) == six;
}

/* "TCP4 192.0.2.1 198.51.100.1 56324 443" */
static bool parse_line(struct mp_proxy *proxy, struct mp_slice line) {
  struct mp_slice family = next_word(&line), from, to;
  struct mp_address here;
  uint16_t port;
  if (mp_slice_is(family, MP_SLICE("UNKNOWN"))) return true; /* what may follow is to be passed over */
  bool six = mp_slice_is(family, MP_SLICE("TCP6"));
  if (!six && !mp_slice_is(family, MP_SLICE("TCP4"))) return false;
  from = next_word(&line);
  to = next_word(&line);
  if (!is_written_as(from, six) || !is_written_as(to, six)) return false;
  if (!mp_address_parse(&proxy->source, from) || !mp_address_parse(&here, to)) return false;
  return parse_port(next_word(&line), &proxy->source.port) && line.len > 0 && parse_port(line, &port);
}

static enum mp_verdict parse_v1(struct mp_proxy *proxy, const char *bytes, size_t len, size_t *used,
                                struct mp_refusal *why) {
  size_t seen = len < V1_LONGEST ? len : V1_LONGEST;
  const char *nl = memchr(bytes, '\n', seen);
  if (!nl) return len < V1_LONGEST ? MP_MORE : mp_refuse(why, 400, "a PROXY line without an end");
  size_t n = (size_t)(nl - bytes), head = sizeof v1_begin - 1;
  if (n <= head || bytes[n - 1] != '\r' || !parse_line(proxy, mp_slice(bytes + head, n - 1 - head)))
    return mp_refuse(why, 400, "a malformed PROXY line");
  *used = n + 1;
  return MP_DONE;
}

/* ---- version 2 ---- */

static unsigned two_bytes(const uint8_t *at) {
  return (unsigned)at[0] << 8 | at[1];
}

/* Type, length, value, to the very end. */
static bool parse_additions(struct mp_proxy *proxy, const uint8_t *at, size_t len) {
  while (len > 0) {
    if (len < 3 || two_bytes(at + 1) > len - 3) return false;
    size_t n = two_bytes(at + 1);
    if (at[0] == TLV_SSL && n < 5) return false;
    if (at[0] == TLV_SSL) proxy->secure = at[3] & CLIENT_SSL;
    at += 3 + n;
    len -= 3 + n;
  }
  return true;
}

/* How many bytes the addresses of a family and protocol take; -1: none that a web server is asked by. */
static int address_bytes(unsigned family) {
  switch (family) {
  case 0x00:
    return 0;
  case 0x11:
    return 12;
  case 0x21:
    return 36;
  case 0x31:
    return 216;
  }
  return -1;
}

static bool parse_addresses(struct mp_proxy *proxy, unsigned family, const uint8_t *at, size_t len) {
  int n = address_bytes(family);
  if (n < 0 || (size_t)n > len) return false;
  if (family == 0x11) proxy->source = mp_address_v4(at, (uint16_t)two_bytes(at + 8));
  if (family == 0x21) proxy->source = mp_address_v6(at, (uint16_t)two_bytes(at + 32));
  if (family == 0x31) proxy->source = (struct mp_address){.kind = MP_ADDRESS_UNIX};
  return family == 0x00 || parse_additions(proxy, at + n, len - (size_t)n);
}

static enum mp_verdict parse_v2(struct mp_proxy *proxy, const char *bytes, size_t len, size_t *used,
                                struct mp_refusal *why) {
  const uint8_t *at = (const uint8_t *)bytes;
  if (len < V2_FIXED) return MP_MORE;
  size_t n = two_bytes(at + 14);
  if (at[12] != 0x20 && at[12] != 0x21) return mp_refuse(why, 400, "a PROXY header of an unknown version or command");
  if (n > MP_PROXY_LONGEST - V2_FIXED) return mp_refuse(why, 400, "a PROXY header too long");
  if (len < V2_FIXED + n) return MP_MORE;
  bool speaks_for_itself = at[12] == 0x20;
  if (!speaks_for_itself && !parse_addresses(proxy, at[13], at + V2_FIXED, n))
    return mp_refuse(why, 400, "a malformed PROXY header");
  *used = V2_FIXED + n;
  return MP_DONE;
}

enum mp_verdict mp_proxy_parse(struct mp_proxy *proxy, const char *bytes, size_t len, size_t *used,
                               struct mp_refusal *why) {
  *proxy = (struct mp_proxy){0};
  if (len == 0) return MP_MORE;
  if (begins(bytes, len, v2_begin, sizeof v2_begin - 1)) return parse_v2(proxy, bytes, len, used, why);
  if (!begins(bytes, len, v1_begin, sizeof v1_begin - 1)) return mp_refuse(why, 400, "no PROXY header");
  return len < sizeof v1_begin - 1 ? MP_MORE : parse_v1(proxy, bytes, len, used, why);
}
