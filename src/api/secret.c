#include "api/secret.h"
#include "base/sodium.h"
#include <errno.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

/* Raises where libsodium is missing: nobody can go on without it. */
static const struct mp_sodium *need_sodium(lua_State *L) {
  const char *why;
  const struct mp_sodium *sodium = mp_sodium_load(&why);
  if (!sodium) luaL_error(L, "%s", why);
  return sodium;
}

/* core.sodium() → true, or nil, message, "ENOENT" */
static int l_sodium(lua_State *L) {
  const char *why;
  if (mp_sodium_load(&why)) {
    lua_pushboolean(L, true);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, why);
  lua_pushliteral(L, "ENOENT");
  return 3;
}

static const unsigned char *check_bytes(lua_State *L, int index, size_t *len) {
  return (const unsigned char *)luaL_checklstring(L, index, len);
}

static const unsigned char *check_key(lua_State *L, int index) {
  size_t len;
  const unsigned char *key = check_bytes(L, index, &len);
  luaL_argcheck(L, len == MP_SODIUM_KEY, index, "a key of 32 bytes");
  return key;
}

/* ---- sealed and signed ---- */

static void draw_nonce(lua_State *L, unsigned char *nonce) {
  ssize_t got;
  do got = getrandom(nonce, MP_SODIUM_NONCE, 0);
  while (got < 0 && errno == EINTR);
  if (got != MP_SODIUM_NONCE) luaL_error(L, "the machine has no randomness");
}

/* core.seal(key, text, beside) → nonce, encrypted text, tag; `beside` is not in it, but must be the same to open it. */
static int l_seal(lua_State *L) {
  const struct mp_sodium *sodium = need_sodium(L);
  const unsigned char *key = check_key(L, 1);
  size_t n_text, n_beside;
  const unsigned char *text = check_bytes(L, 2, &n_text), *beside = check_bytes(L, 3, &n_beside);
  luaL_Buffer b;
  unsigned long long n;
  unsigned char *out = (unsigned char *)luaL_buffinitsize(L, &b, MP_SODIUM_NONCE + n_text + MP_SODIUM_TAG);
  draw_nonce(L, out);
  sodium->encrypt(out + MP_SODIUM_NONCE, &n, text, n_text, beside, n_beside, NULL, out, key);
  luaL_pushresultsize(&b, MP_SODIUM_NONCE + (size_t)n);
  return 1;
}

/* core.unseal(key, sealed, beside) → text, or nil when it was not sealed so */
static int l_unseal(lua_State *L) {
  const struct mp_sodium *sodium = need_sodium(L);
  const unsigned char *key = check_key(L, 1);
  size_t n_sealed, n_beside;
  const unsigned char *sealed = check_bytes(L, 2, &n_sealed), *beside = check_bytes(L, 3, &n_beside);
  if (n_sealed < MP_SODIUM_NONCE + MP_SODIUM_TAG) return 0;
  luaL_Buffer b;
  unsigned long long n;
  unsigned char *out = (unsigned char *)luaL_buffinitsize(L, &b, n_sealed);
  if (sodium->decrypt(out, &n, NULL, sealed + MP_SODIUM_NONCE, n_sealed - MP_SODIUM_NONCE, beside, n_beside, sealed,
                      key) < 0)
    return 0;
  luaL_pushresultsize(&b, (size_t)n);
  return 1;
}

/* core.mac(key, text) → 32 bytes: BLAKE2b with a key */
static int l_mac(lua_State *L) {
  const struct mp_sodium *sodium = need_sodium(L);
  const unsigned char *key = check_key(L, 1);
  unsigned char mac[MP_SODIUM_MAC];
  size_t len;
  const unsigned char *text = check_bytes(L, 2, &len);
  sodium->hash(mac, sizeof mac, text, len, key, MP_SODIUM_KEY);
  lua_pushlstring(L, (const char *)mac, sizeof mac);
  return 1;
}

/* core.digest(text) → 32 bytes */
static int l_digest(lua_State *L) {
  const struct mp_sodium *sodium = need_sodium(L);
  unsigned char digest[MP_SODIUM_MAC];
  size_t len;
  const unsigned char *text = check_bytes(L, 1, &len);
  sodium->hash(digest, sizeof digest, text, len, NULL, 0);
  lua_pushlstring(L, (const char *)digest, sizeof digest);
  return 1;
}

/* core.same(a, b): the time tells nothing but the length of `b`, which is what the client sent. */
static int l_same(lua_State *L) {
  size_t n_a, n_b;
  const volatile unsigned char *a = check_bytes(L, 1, &n_a);
  const volatile unsigned char *b = check_bytes(L, 2, &n_b);
  unsigned char differ = n_a != n_b;
  for (size_t i = 0; i < n_b; i++) differ |= (unsigned char)(b[i] ^ a[i < n_a ? i : 0]); /* a[n_a] is Lua's NUL */
  lua_pushboolean(L, differ == 0);
  return 1;
}

/* ---- base64 ---- */

static const char url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* core.base64url(bytes): without padding (RFC 4648, 5) */
static int l_base64url(lua_State *L) {
  size_t len, n = 0;
  const unsigned char *s = check_bytes(L, 1, &len);
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, len / 3 * 4 + 4);
  for (size_t i = 0; i < len; i += 3) {
    size_t left = len - i;
    unsigned bits = (unsigned)s[i] << 16 | (left > 1 ? s[i + 1] << 8 : 0) | (left > 2 ? s[i + 2] : 0);
    for (size_t k = 0; k <= (left > 2 ? 3 : left); k++) out[n++] = url_digits[bits >> (18 - 6 * k) & 63];
  }
  luaL_pushresultsize(&b, n);
  return 1;
}

static int digit_value(unsigned char c) {
  if (c == '+') c = '-';
  if (c == '/') c = '_';
  const char *at = c ? strchr(url_digits, c) : NULL;
  return at ? (int)(at - url_digits) : -1;
}

/* Bits beyond the last byte must be 0, so that no two texts are the same bytes. */
static bool decode(const unsigned char *s, size_t len, unsigned char *out, size_t *n) {
  unsigned bits = 0, have = 0;
  for (size_t i = 0; i < len; i++) {
    int value = digit_value(s[i]);
    if (value < 0) return false;
    bits = (bits << 6 | (unsigned)value) & 0xffff;
    have += 6;
    if (have < 8) continue;
    have -= 8;
    out[(*n)++] = (unsigned char)(bits >> have);
  }
  return have < 6 && (bits & ((1u << have) - 1)) == 0;
}

/* core.unbase64(text) → bytes, or nil; either alphabet, with padding or without */
static int l_unbase64(lua_State *L) {
  size_t len, n = 0;
  const unsigned char *s = check_bytes(L, 1, &len);
  if (len % 4 == 0)
    for (int pads = 0; pads < 2 && len > 0 && s[len - 1] == '='; pads++) len--;
  luaL_Buffer b;
  unsigned char *out = (unsigned char *)luaL_buffinitsize(L, &b, len / 4 * 3 + 3);
  if (!decode(s, len, out, &n)) return 0;
  luaL_pushresultsize(&b, n);
  return 1;
}

/* core.xor(a, b): of the same length */
static int l_xor(lua_State *L) {
  size_t n_a, n_b;
  const unsigned char *a = check_bytes(L, 1, &n_a), *b = check_bytes(L, 2, &n_b);
  luaL_argcheck(L, n_a == n_b, 2, "must be as long as the first");
  luaL_Buffer buffer;
  char *out = luaL_buffinitsize(L, &buffer, n_a + 1);
  for (size_t i = 0; i < n_a; i++) out[i] = (char)(a[i] ^ b[i]);
  luaL_pushresultsize(&buffer, n_a);
  return 1;
}

/* ---- passwords: these hold their thread for as long as they take ---- */

static void check_cost(lua_State *L, int index, unsigned long long *passes, size_t *memory) {
  lua_Integer p = luaL_checkinteger(L, index), m = luaL_checkinteger(L, index + 1);
  luaL_argcheck(L, p >= 1 && p <= 1000, index, "1 to 1000 passes");
  luaL_argcheck(L, m >= 8192 && m <= (lua_Integer)1 << 32, index + 1, "8 KiB to 4 GiB");
  *passes = (unsigned long long)p;
  *memory = (size_t)m;
}

/* core.password_hash(password, passes, memory) → text, or nil, message, "ENOMEM" */
static int l_password_hash(lua_State *L) {
  const struct mp_sodium *sodium = need_sodium(L);
  char hash[MP_SODIUM_HASH];
  unsigned long long passes;
  size_t len, memory;
  const char *password = luaL_checklstring(L, 1, &len);
  check_cost(L, 2, &passes, &memory);
  if (sodium->password_hash(hash, password, len, passes, memory, MP_SODIUM_ARGON2ID) == 0) {
    lua_pushstring(L, hash);
    return 1;
  }
  lua_pushnil(L);
  lua_pushliteral(L, "not enough memory to hash a password");
  lua_pushliteral(L, "ENOMEM");
  return 3;
}

/* The library reads 128 bytes of a hash. */
static bool take_hash(lua_State *L, int index, char *hash) {
  size_t len;
  const char *s = luaL_checklstring(L, index, &len);
  memset(hash, 0, MP_SODIUM_HASH);
  if (len >= MP_SODIUM_HASH || memchr(s, 0, len)) return false;
  memcpy(hash, s, len);
  return true;
}

/* core.password_verify(password, hash) → boolean */
static int l_password_verify(lua_State *L) {
  const struct mp_sodium *sodium = need_sodium(L);
  char hash[MP_SODIUM_HASH];
  size_t len;
  const char *password = luaL_checklstring(L, 1, &len);
  lua_pushboolean(L, take_hash(L, 2, hash) && sodium->password_verify(hash, password, len) == 0);
  return 1;
}

/* core.password_is_stale(hash, passes, memory) → boolean: made in another way, or no hash at all */
static int l_password_is_stale(lua_State *L) {
  const struct mp_sodium *sodium = need_sodium(L);
  char hash[MP_SODIUM_HASH];
  unsigned long long passes;
  size_t memory;
  bool readable = take_hash(L, 1, hash);
  check_cost(L, 2, &passes, &memory);
  lua_pushboolean(L, !readable || sodium->password_is_stale(hash, passes, memory) != 0);
  return 1;
}

void mp_secret_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"sodium", l_sodium},
                                       {"seal", l_seal},
                                       {"unseal", l_unseal},
                                       {"mac", l_mac},
                                       {"digest", l_digest},
                                       {"same", l_same},
                                       {"base64url", l_base64url},
                                       {"unbase64", l_unbase64},
                                       {"xor", l_xor},
                                       {"password_hash", l_password_hash},
                                       {"password_verify", l_password_verify},
                                       {"password_is_stale", l_password_is_stale},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
