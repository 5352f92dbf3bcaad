#include "http/forwarded.h"
#include "http/bytes.h"
#include <errno.h>
#include <stdlib.h>

/* ---- who is trusted ---- */

static bool parse_net(struct mp_net *net, struct mp_slice text) {
  const char *slash = memchr(text.at, '/', text.len);
  struct mp_slice host = mp_slice(text.at, slash ? (size_t)(slash - text.at) : text.len);
  bool six = memchr(host.at, ':', host.len) != NULL;
  uint64_t bits = six ? 128 : 32;
  if (!mp_address_parse(&net->address, host)) return false;
  if (slash && (!mp_decimal(mp_slice(slash + 1, text.len - host.len - 1), &bits) || bits > (six ? 128 : 32)))
    return false;
  if (six && net->address.kind == MP_ADDRESS_V4) { /* ::ffff:10.0.0.0/104 */
    if (bits < 96) return false;
    bits -= 96;
  }
  net->bits = (uint8_t)bits;
  return true;
}

static int add_net(struct mp_trust *trust, struct mp_slice text) {
  struct mp_net net, *grown;
  if (mp_slice_is(text, MP_SLICE("unix"))) {
    trust->local = true;
    return 0;
  }
  if (!parse_net(&net, text)) return -EINVAL;
  grown = realloc(trust->nets, (trust->n + 1) * sizeof *grown);
  if (!grown) return -ENOMEM;
  trust->nets = grown;
  grown[trust->n++] = net;
  return 0;
}

int mp_trust_parse(struct mp_trust *trust, struct mp_slice list, struct mp_slice *bad) {
  int err = 0;
  *trust = (struct mp_trust){0};
  while (err == 0 && mp_list_next(&list, bad)) err = add_net(trust, *bad);
  return err;
}

void mp_trust_free(struct mp_trust *trust) {
  free(trust->nets);
  *trust = (struct mp_trust){0};
}

bool mp_trust_has(const struct mp_trust *trust, const struct mp_address *address) {
  if (address->kind == MP_ADDRESS_UNIX) return trust->local;
  for (unsigned i = 0; i < trust->n; i++)
    if (mp_address_within(address, &trust->nets[i].address, trust->nets[i].bits)) return true;
  return false;
}

/* ---- a list over several lines, read from its end ---- */

struct walk {
  const struct mp_head *head;
  struct mp_slice name; /* of the field */
  struct mp_slice rest; /* of the line under way */
  unsigned line;        /* its number; those before it come next */
};

static struct walk walk_of(const struct mp_head *head, struct mp_slice name) {
  return (struct walk){.head = head, .name = name, .rest = {"", 0}, .line = head->n_fields};
}

static bool is_escaped(struct mp_slice s, size_t at) {
  size_t n = 0;
  while (at > n && s.at[at - 1 - n] == '\\') n++;
  return n % 2 == 1;
}

/* Where the last element begins. A quote that the trusted end of the line does not open hides nothing from us: reading
 * from the right, what a client wrote into the left part is met last. */
static size_t last_comma(struct mp_slice s) {
  bool quoted = false;
  for (size_t at = s.len; at > 0; at--) {
    char c = s.at[at - 1];
    if (c == '"' && !is_escaped(s, at - 1)) quoted = !quoted;
    if (c == ',' && !quoted) return at;
  }
  return 0;
}

static bool previous_line(struct walk *walk) {
  while (walk->line > 0) {
    const struct mp_field *field = &walk->head->fields[--walk->line];
    if (!mp_slice_is_nocase(field->name, walk->name)) continue;
    walk->rest = field->value;
    return true;
  }
  return false;
}

/* The next element towards the left, trimmed; empty ones are passed over. */
static bool previous(struct walk *walk, struct mp_slice *element) {
  for (;;) {
    if (walk->rest.len == 0 && !previous_line(walk)) return false;
    size_t at = last_comma(walk->rest);
    *element = mp_slice_trim(mp_slice(walk->rest.at + at, walk->rest.len - at));
    walk->rest.len = at ? at - 1 : 0;
    if (element->len > 0) return true;
  }
}

static unsigned count(const struct mp_head *head, struct mp_slice name) {
  struct walk walk = walk_of(head, name);
  struct mp_slice element;
  unsigned n = 0;
  while (previous(&walk, &element)) n++;
  return n;
}

/* ---- one element ---- */

static bool parse_port(struct mp_slice text, uint16_t *port) {
  uint64_t n;
  if (!mp_decimal(text, &n) || n > UINT16_MAX) return false;
  *port = (uint16_t)n;
  return true;
}

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". */
static bool parse_node(struct mp_address *address, struct mp_slice s) {
  const char *end = s.len > 0 && s.at[0] == '[' ? memchr(s.at, ']', s.len) : NULL, *colon;
  uint16_t port = 0;
  if (end) {
    struct mp_slice rest = mp_slice(end + 1, s.len - (size_t)(end + 1 - s.at));
    if (rest.len > 0 && (rest.at[0] != ':' || !parse_port(mp_slice(rest.at + 1, rest.len - 1), &port))) return false;
    s = mp_slice(s.at + 1, (size_t)(end - s.at) - 1);
    if (!memchr(s.at, ':', s.len)) return false;
  } else if ((colon = memchr(s.at, ':', s.len)) && !memchr(colon + 1, ':', s.len - (size_t)(colon + 1 - s.at))) {
    if (!parse_port(mp_slice(colon + 1, s.len - (size_t)(colon + 1 - s.at)), &port)) return false;
    s.len = (size_t)(colon - s.at);
  }
  if (!mp_address_parse(address, s)) return false;
  address->port = port;
  return true;
}

static void note_scheme(struct mp_client *client, struct mp_slice scheme) {
  if (mp_slice_is_nocase(scheme, MP_SLICE("https"))) client->secure = true;
  if (mp_slice_is_nocase(scheme, MP_SLICE("http"))) client->secure = false;
}

/* A token or a quoted string, without its quotes. One with escapes is no address and no scheme. */
static struct mp_slice unquoted(struct mp_slice s) {
  if (s.len >= 2 && s.at[0] == '"' && s.at[s.len - 1] == '"') return mp_slice(s.at + 1, s.len - 2);
  return s;
}

/* The value of one parameter of a Forwarded element; false when it is not there. */
static bool parameter(struct mp_slice element, struct mp_slice name, struct mp_slice *value) {
  while (element.len > 0) {
    bool quoted = false;
    size_t n = 0;
    for (; n < element.len && (quoted || element.at[n] != ';'); n++)
      if (element.at[n] == '"' && !is_escaped(element, n)) quoted = !quoted;
    struct mp_slice pair = mp_slice_trim(mp_slice(element.at, n));
    n += n < element.len;
    element = mp_slice(element.at + n, element.len - n);
    if (pair.len <= name.len || pair.at[name.len] != '=') continue;
    if (!mp_slice_is_nocase(mp_slice(pair.at, name.len), name)) continue;
    *value = unquoted(mp_slice(pair.at + name.len + 1, pair.len - name.len - 1));
    return true;
  }
  return false;
}

/* ---- the two dialects ---- */

/* Beside the client when both lists are as long; else the word of the nearest proxy. */
static void read_x_proto(struct mp_client *client, const struct mp_head *head, unsigned at) {
  struct mp_slice name = MP_SLICE("x-forwarded-proto"), scheme = {0};
  struct walk walk = walk_of(head, name);
  if (at == 0 || count(head, name) != count(head, MP_SLICE("x-forwarded-for"))) at = 1;
  while (at > 0 && previous(&walk, &scheme)) at--;
  if (scheme.len > 0) note_scheme(client, scheme);
}

static void read_x_forwarded(struct mp_client *client, const struct mp_head *head, const struct mp_trust *trust) {
  struct walk walk = walk_of(head, MP_SLICE("x-forwarded-for"));
  struct mp_slice element;
  struct mp_address next;
  unsigned at = 0;
  while (mp_trust_has(trust, &client->address) && previous(&walk, &element) && parse_node(&next, element)) {
    client->address = next;
    at++;
  }
  read_x_proto(client, head, at);
}

static void read_forwarded(struct mp_client *client, const struct mp_head *head, const struct mp_trust *trust) {
  struct walk walk = walk_of(head, MP_SLICE("forwarded"));
  struct mp_slice element, value;
  while (mp_trust_has(trust, &client->address) && previous(&walk, &element)) {
    struct mp_address next;
    if (parameter(element, MP_SLICE("proto"), &value)) note_scheme(client, value);
    if (!parameter(element, MP_SLICE("for"), &value) || !parse_node(&next, value)) return;
    client->address = next;
  }
}

void mp_forwarded_read(struct mp_client *client, const struct mp_head *head, const struct mp_trust *trust) {
  if (!mp_trust_has(trust, &client->address)) return;
  if (mp_head_field(head, MP_SLICE("forwarded")) && !mp_head_field(head, MP_SLICE("x-forwarded-for")))
    read_forwarded(client, head, trust);
  else
    read_x_forwarded(client, head, trust);
}
