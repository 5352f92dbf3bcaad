#include "base/emit.h"

static void put(struct mp_emit *e, const char *bytes, size_t n) {
  if (e->err == 0) e->err = mp_buf_add(e->out, bytes, n);
}

static bool is_plain(unsigned char c) {
  return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void put_escaped(struct mp_emit *e, unsigned char c) {
  static const char hex[] = "0123456789abcdef";
  char pair[2] = {'\\', (char)c}, code[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
  if (c == '"' || c == '\\')
    put(e, pair, sizeof pair);
  else
    put(e, code, sizeof code);
}

static void put_string(struct mp_emit *e, struct mp_slice s) {
  put(e, "\"", 1);
  for (size_t at = 0; at < s.len;) {
    size_t n = at;
    while (n < s.len && is_plain((unsigned char)s.at[n])) n++;
    if (n > at) put(e, s.at + at, n - at);
    if (n < s.len) put_escaped(e, (unsigned char)s.at[n++]);
    at = n;
  }
  put(e, "\"", 1);
}

static void put_key(struct mp_emit *e, const char *key) {
  if (e->follows) put(e, ",", 1);
  e->follows = true;
  if (!key) return;
  put_string(e, mp_slice(key, strlen(key)));
  put(e, ":", 1);
}

void mp_emit_begin(struct mp_emit *e, const char *key, char bracket) {
  put_key(e, key);
  put(e, &bracket, 1);
  e->follows = false;
}

void mp_emit_end(struct mp_emit *e, char bracket) {
  put(e, &bracket, 1);
  e->follows = true;
}

void mp_emit_text(struct mp_emit *e, const char *key, struct mp_slice text) {
  put_key(e, key);
  put_string(e, text);
}

void mp_emit_count(struct mp_emit *e, const char *key, uint64_t n) {
  put_key(e, key);
  if (e->err == 0) e->err = mp_buf_addf(e->out, "%llu", (unsigned long long)n);
}

void mp_emit_number(struct mp_emit *e, const char *key, double n) {
  put_key(e, key);
  if (e->err == 0) e->err = mp_buf_addf(e->out, "%.3f", n);
}

void mp_emit_flag(struct mp_emit *e, const char *key, bool flag) {
  mp_emit_raw(e, key, flag ? MP_SLICE("true") : MP_SLICE("false"));
}

void mp_emit_null(struct mp_emit *e, const char *key) {
  mp_emit_raw(e, key, MP_SLICE("null"));
}

void mp_emit_raw(struct mp_emit *e, const char *key, struct mp_slice json) {
  put_key(e, key);
  put(e, json.at, json.len);
}
