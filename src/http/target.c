#include "http/bytes.h"
#include "http/gate.h"
#include <arpa/inet.h>

/* Leading zeros are digits too (RFC 3986 3.2.3). */
static bool port_is_valid(struct mp_slice port) {
  unsigned number = 0;
  for (size_t i = 0; i < port.len; i++) {
    if (!mp_byte_is(port.at[i], MP_BYTE_DIGIT)) return false;
    number = number * 10 + (unsigned)(port.at[i] - '0');
    if (number > 65535) return false;
  }
  return true;
}

/* "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" ) (RFC 3986 3.2.2) */
static bool is_future_address(struct mp_slice s) {
  const char *dot = memchr(s.at, '.', s.len);
  if (!dot || dot - s.at < 2 || dot + 1 == s.at + s.len) return false;
  for (const char *p = s.at + 1; p < dot; p++)
    if (!mp_byte_is(*p, MP_BYTE_HEX)) return false;
  for (const char *p = dot + 1; p < s.at + s.len; p++)
    if (*p != ':' && !mp_byte_is(*p, MP_BYTE_HOST)) return false;
  return true;
}

static bool is_ipv6_address(struct mp_slice s) {
  char text[INET6_ADDRSTRLEN];
  struct in6_addr address;
  if (s.len >= sizeof text || memchr(s.at, '\0', s.len)) return false;
  memcpy(text, s.at, s.len);
  text[s.len] = '\0';
  return inet_pton(AF_INET6, text, &address) == 1;
}

static bool bracketed_is_valid(struct mp_slice authority) {
  const char *close = memchr(authority.at, ']', authority.len), *end = authority.at + authority.len;
  if (!close || close == authority.at + 1) return false;
  struct mp_slice address = mp_slice(authority.at + 1, (size_t)(close - authority.at - 1));
  bool future = address.at[0] == 'v' || address.at[0] == 'V';
  if (!(future ? is_future_address(address) : is_ipv6_address(address))) return false;
  if (close + 1 == end) return true;
  return close[1] == ':' && port_is_valid(mp_slice(close + 2, (size_t)(end - close - 2)));
}

bool mp_authority_is_valid(struct mp_slice authority) {
  const char *s = authority.at;
  size_t i = 0, n = authority.len;
  if (n > 0 && s[0] == '[') return bracketed_is_valid(authority);
  while (i < n && s[i] != ':') {
    if (mp_byte_is(s[i], MP_BYTE_HOST))
      i++;
    else if (s[i] == '%' && n - i > 2 && mp_byte_is(s[i + 1], MP_BYTE_HEX) && mp_byte_is(s[i + 2], MP_BYTE_HEX))
      i += 3;
    else
      return false;
  }
  return i > 0 && (i == n || port_is_valid(mp_slice(s + i + 1, n - i - 1)));
}

static size_t scheme_len(struct mp_slice target) {
  if (target.len > 7 && mp_slice_is_nocase(mp_slice(target.at, 7), MP_SLICE("http://"))) return 7;
  if (target.len > 8 && mp_slice_is_nocase(mp_slice(target.at, 8), MP_SLICE("https://"))) return 8;
  return 0;
}

static void split_query(struct mp_head *head, struct mp_slice s) {
  const char *mark = memchr(s.at, '?', s.len);
  head->path = mp_slice(s.at, mark ? (size_t)(mark - s.at) : s.len);
  head->query = mark ? mp_slice(mark + 1, (size_t)(s.at + s.len - mark - 1)) : mp_slice(NULL, 0);
}

/* The path of an absolute target may be missing: then it is "/", or "*" for OPTIONS (RFC 9112 3.2.4). */
static void supply_path(struct mp_head *head) {
  bool whole_server = mp_slice_is(head->method, MP_SLICE("OPTIONS")) && !head->query.at;
  head->path = whole_server ? MP_SLICE("*") : MP_SLICE("/");
}

static enum mp_verdict absolute_target(struct mp_head *head, size_t scheme, struct mp_refusal *why) {
  struct mp_slice rest = mp_slice(head->target.at + scheme, head->target.len - scheme);
  size_t i = 0;
  while (i < rest.len && rest.at[i] != '/' && rest.at[i] != '?') i++;
  head->host = mp_slice(rest.at, i);
  if (!mp_authority_is_valid(head->host)) return mp_refuse(why, 400, "bad authority in the target");
  split_query(head, mp_slice(rest.at + i, rest.len - i));
  if (head->path.len == 0) supply_path(head);
  return MP_DONE;
}

/* The four forms of RFC 9112 3.2; the authority form is CONNECT's alone, and we are no proxy. */
static enum mp_verdict read_target(struct mp_head *head, struct mp_refusal *why) {
  if (mp_slice_is(head->method, MP_SLICE("CONNECT"))) {
    if (!mp_authority_is_valid(head->target)) return mp_refuse(why, 400, "CONNECT to something else than a host");
    return mp_refuse(why, 501, "CONNECT");
  }
  if (head->target.at[0] == '/') {
    split_query(head, head->target);
    return MP_DONE;
  }
  if (mp_slice_is(head->target, MP_SLICE("*")) && mp_slice_is(head->method, MP_SLICE("OPTIONS"))) {
    head->path = head->target;
    return MP_DONE;
  }
  size_t scheme = scheme_len(head->target);
  return scheme ? absolute_target(head, scheme, why) : mp_refuse(why, 400, "target in none of the forms");
}

static enum mp_verdict read_version(struct mp_head *head, struct mp_slice version, struct mp_refusal *why) {
  const char *v = version.at;
  if (version.len != 8 || memcmp(v, "HTTP/", 5) != 0 || !mp_byte_is(v[5], MP_BYTE_DIGIT) || v[6] != '.' ||
      !mp_byte_is(v[7], MP_BYTE_DIGIT))
    return mp_refuse(why, 400, "malformed HTTP version");
  if (v[5] != '1' || v[7] > '1') return mp_refuse(why, 505, "HTTP version not supported");
  head->minor = v[7] == '1';
  return MP_DONE;
}

enum mp_verdict mp_request_line(struct mp_head *head, struct mp_slice line, struct mp_refusal *why) {
  const char *p = line.at, *end = line.at + line.len;
  while (p < end && mp_byte_is(*p, MP_BYTE_TOKEN)) p++;
  head->method = mp_slice(line.at, (size_t)(p - line.at));
  if (head->method.len == 0 || p == end || *p != ' ') return mp_refuse(why, 400, "method is not a token");
  const char *target = ++p;
  while (p < end && mp_byte_is(*p, MP_BYTE_TARGET)) p++;
  head->target = mp_slice(target, (size_t)(p - target));
  if (p == end) return mp_refuse(why, 400, "no HTTP version");
  if (*p != ' ' || head->target.len == 0) return mp_refuse(why, 400, "byte that no target may hold");
  enum mp_verdict verdict = read_version(head, mp_slice(p + 1, (size_t)(end - p - 1)), why);
  return verdict == MP_DONE ? read_target(head, why) : verdict;
}
