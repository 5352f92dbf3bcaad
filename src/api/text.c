#include "api/text.h"
#include "api/push.h"
#include "base/err.h"
#include "http/url.h"
#include <errno.h>
#include <lauxlib.h>
#include <sys/random.h>

enum { RANDOM_MAX = 1024 };

static struct mp_slice entity(char c) {
  switch (c) {
  case '&':
    return MP_SLICE("&amp;");
  case '<':
    return MP_SLICE("&lt;");
  case '>':
    return MP_SLICE("&gt;");
  case '"':
    return MP_SLICE("&quot;");
  case '\'':
    return MP_SLICE("&#39;"); /* &apos; is unknown to HTML 4 */
  default:
    return mp_slice(NULL, 0);
  }
}

static size_t plain_run(const char *s, size_t len) {
  size_t n = 0;
  while (n < len && entity(s[n]).len == 0) n++;
  return n;
}

static int l_escape(lua_State *L) {
  size_t len;
  const char *s = luaL_checklstring(L, 1, &len);
  size_t n = plain_run(s, len);
  luaL_Buffer b;
  if (n == len) {
    lua_settop(L, 1);
    return 1;
  }
  luaL_buffinit(L, &b);
  for (; len > 0; n = plain_run(s, len)) {
    luaL_addlstring(&b, s, n);
    if (n == len) break;
    struct mp_slice e = entity(s[n]);
    luaL_addlstring(&b, e.at, e.len);
    s += n + 1;
    len -= n + 1;
  }
  luaL_pushresult(&b);
  return 1;
}

static int l_url_encode(lua_State *L) {
  size_t len;
  const char *s = luaL_checklstring(L, 1, &len);
  struct mp_buf out = {0};
  if (mp_url_encode(&out, mp_slice(s, len))) return luaL_error(L, "not enough memory");
  int err = mp_push_slice(L, mp_buf_slice(&out));
  mp_buf_free(&out);
  return err ? lua_error(L) : 1;
}

static int l_url_decode(lua_State *L) {
  size_t len;
  const char *s = luaL_checklstring(L, 1, &len);
  bool plus = lua_toboolean(L, 2);
  luaL_Buffer b;
  ssize_t n = mp_url_decode(luaL_buffinitsize(L, &b, len), mp_slice(s, len), plus);
  if (n >= 0) {
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
  }
  lua_pushnil(L);
  lua_pushliteral(L, "a broken escape, or %00");
  lua_pushstring(L, mp_err_name((int)n));
  return 3;
}

/* Not blocking: only a machine that has just started has too little, and waiting would hold up every request. */
static int fill_random(unsigned char *out, size_t n) {
  while (n > 0) {
    ssize_t got = getrandom(out, n, GRND_NONBLOCK);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    out += got;
    n -= (size_t)got;
  }
  return 0;
}

/* Raises instead of returning nil: who forgets to look must not go on without a secret. */
static int l_random(lua_State *L) {
  static const char hex[] = "0123456789abcdef";
  unsigned char bytes[RANDOM_MAX];
  char digits[2 * RANDOM_MAX], why[128];
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 1 && n <= RANDOM_MAX, 1, "must be 1 to 1024");
  int err = fill_random(bytes, (size_t)n);
  if (err) return luaL_error(L, "random: %s", mp_err_text(err, why, sizeof why));
  for (size_t i = 0; i < (size_t)n; i++) {
    digits[2 * i] = hex[bytes[i] >> 4];
    digits[2 * i + 1] = hex[bytes[i] & 15];
  }
  lua_pushlstring(L, digits, 2 * (size_t)n);
  return 1;
}

void mp_text_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"escape", l_escape},
                                       {"url_encode", l_url_encode},
                                       {"url_decode", l_url_decode},
                                       {"random", l_random},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
}
