#include "http/param.h"
#include "http/bytes.h"
#include <errno.h>

static void drop(struct mp_slice *rest, size_t n) {
  rest->at += n;
  rest->len -= n;
}

static void drop_space(struct mp_slice *rest) {
  while (rest->len > 0 && (*rest->at == ' ' || *rest->at == '\t')) drop(rest, 1);
}

static struct mp_slice take(struct mp_slice *rest, size_t n) {
  struct mp_slice taken = mp_slice(rest->at, n);
  drop(rest, n);
  return taken;
}

struct mp_slice mp_param_head(struct mp_slice *rest) {
  const char *end = rest->len ? memchr(rest->at, ';', rest->len) : NULL;
  return mp_slice_trim(take(rest, end ? (size_t)(end - rest->at) : rest->len));
}

static struct mp_slice take_token(struct mp_slice *rest) {
  size_t n = 0;
  while (n < rest->len && mp_byte_is(rest->at[n], MP_BYTE_TOKEN)) n++;
  return take(rest, n);
}

static bool is_plain(char c) {
  return c > ' ' && c < 0x7f && c != ';' && c != ',' && c != '"';
}

static int take_plain(struct mp_slice *rest, struct mp_param *param) {
  size_t n = 0;
  while (n < rest->len && is_plain(rest->at[n])) n++;
  param->value = take(rest, n);
  param->quoted = false;
  return n > 0 ? 1 : -EINVAL;
}

static bool is_escape(struct mp_slice s, size_t i) {
  return s.at[i] == '\\' && i + 1 < s.len && (s.at[i + 1] == '"' || s.at[i + 1] == '\\');
}

static int take_quoted(struct mp_slice *rest, struct mp_param *param) {
  size_t n = 1;
  while (n < rest->len && rest->at[n] != '"') n += is_escape(*rest, n) ? 2 : 1;
  if (n >= rest->len) return -EINVAL;
  param->value = mp_slice(rest->at + 1, n - 1);
  param->quoted = true;
  drop(rest, n + 1);
  return 1;
}

int mp_param_next(struct mp_slice *rest, struct mp_param *param) {
  do {
    drop_space(rest);
    if (rest->len == 0) return 0;
    if (*rest->at != ';') return -EINVAL;
    drop(rest, 1);
    drop_space(rest);
  } while (rest->len == 0 || *rest->at == ';');
  param->name = take_token(rest);
  if (param->name.len == 0 || rest->len == 0 || *rest->at != '=') return -EINVAL;
  drop(rest, 1);
  if (rest->len == 0) return -EINVAL;
  return *rest->at == '"' ? take_quoted(rest, param) : take_plain(rest, param);
}

size_t mp_param_unescape(char *out, struct mp_slice quoted) {
  size_t n = 0;
  for (size_t i = 0; i < quoted.len; i++) {
    if (is_escape(quoted, i)) i++;
    out[n++] = quoted.at[i];
  }
  return n;
}
