#include "api/json.h"
#include "api/json_marker.h"
#include "api/number.h"
#include "api/push.h"
#include "base/log.h"
#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define RARE __attribute__((noinline, cold)) /* kept out of the common way, which is short and hot */
#define APART __attribute__((noinline))      /* its registers are not saved by who does not call it */

/* One table on the way down, and which of its values is being written. */
struct spot {
  const struct spot *up; /* borrowed: further out on the C stack; NULL at the outermost table */
  const void *table;     /* its identity alone, as lua_topointer tells it */
  const void *mark;      /* likewise, of a table further out: see is_too_deep */
  const char *key;       /* borrowed from the Lua stack; NULL: `index` says */
  size_t key_len;
  lua_Integer index;
  unsigned depth; /* 1 for the outermost */
};

struct encoder {
  lua_State *L;       /* borrowed */
  struct mp_buf *out; /* borrowed */
};

/* --- refusing ---------------------------------------------------------------------------------------------------- */

enum { SHOWN_STEPS = 6, KEY_SIZE = 40 }; /* of a long path this many steps are shown at either end */

struct text {
  char at[1024]; /* two times SHOWN_STEPS keys and the longest sentence fit */
  size_t len;
};

static void say(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(t->at + t->len, sizeof t->at - t->len, format, args);
  va_end(args);
  if (n > 0) t->len += (size_t)n;
  if (t->len >= sizeof t->at) t->len = sizeof t->at - 1;
}

static bool is_name(struct mp_slice s) {
  for (size_t i = 0; i < s.len; i++) {
    char c = s.at[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!letter && (i == 0 || c < '0' || c > '9')) return false;
  }
  return s.len > 0 && s.len < KEY_SIZE;
}

static void say_step(struct text *t, const struct spot *s) {
  char quoted[KEY_SIZE];
  struct mp_slice key = mp_slice(s->key, s->key_len);
  if (!s->key)
    say(t, "[%lld]", (long long)s->index);
  else if (is_name(key))
    say(t, ".%.*s", (int)key.len, key.at);
  else
    say(t, "[%s]", mp_log_quote(key, quoted, sizeof quoted));
}

/* "$.users[3].name": the way to the value that `s` stands at; NULL: the outermost. */
static void say_path(struct text *t, const struct spot *s) {
  const struct spot *steps[MP_JSON_DEPTH + 1];
  unsigned n = s ? s->depth : 0;
  for (; s; s = s->up) steps[s->depth - 1] = s;
  say(t, "$");
  for (unsigned i = 0; i < n; i++) {
    if (n > 2 * SHOWN_STEPS && i == SHOWN_STEPS) {
      say(t, "...");
      i = n - SHOWN_STEPS;
    }
    say_step(t, steps[i]);
  }
}

/* Pushes "cannot encode <what><which> at <path>". What else is on the stack is dropped by mp_json_encode. */
RARE static int refuse(struct encoder *e, const struct spot *in, const char *what, const char *which) {
  struct text t = {.len = 0};
  say(&t, "cannot encode %s%s at ", what, which);
  say_path(&t, in);
  int err = mp_push_slice(e->L, mp_slice(t.at, t.len));
  return err ? err : -EINVAL;
}

RARE static int refuse_type(struct encoder *e, const struct spot *in) {
  int type = lua_type(e->L, -1);
  return refuse(e, in, type == LUA_TNIL ? "" : "a ", lua_typename(e->L, type));
}

/* The key under the top cannot stand in this table. */
RARE static int refuse_key(struct encoder *e, const struct spot *here) {
  lua_State *L = e->L;
  if (lua_isinteger(L, -2) || lua_type(L, -2) == LUA_TSTRING) return refuse(e, here->up, "mixed keys", "");
  return refuse(e, here->up, "a key of type ", lua_typename(L, lua_type(L, -2)));
}

/* `here` goes too deep; if because it goes round, the way to where the first table comes again says more. */
RARE static int refuse_depth(struct encoder *e, const struct spot *here) {
  const struct spot *again = NULL;
  for (const struct spot *s = here; s->up; s = s->up)
    for (const struct spot *t = s->up; t; t = t->up)
      if (t->table == s->table) again = s;
  if (again) return refuse(e, again->up, "a cycle", "");
  return refuse(e, here->up, "nesting deeper than 1000", "");
}

RARE static int refuse_memory(struct encoder *e) {
  int err = mp_push_slice(e->L, MP_SLICE("not enough memory"));
  return err ? err : -ENOMEM;
}

/* --- plain values ------------------------------------------------------------------------------------------------ */

static inline bool put(struct encoder *e, const char *bytes, size_t n) {
  char *to = mp_buf_room(e->out, n);
  if (!to) return false;
  memcpy(to, bytes, n);
  mp_buf_grew(e->out, n);
  return true;
}

static inline int encode_word(struct encoder *e, struct mp_slice word) {
  return put(e, word.at, word.len) ? 0 : refuse_memory(e);
}

APART static int encode_number(struct encoder *e, const struct spot *in) {
  char *to = mp_buf_room(e->out, MP_NUMBER_MAX);
  if (!to) return refuse_memory(e);
  if (lua_isinteger(e->L, -1)) {
    mp_buf_grew(e->out, mp_number_integer(to, lua_tointegerx(e->L, -1, NULL)));
    return 0;
  }
  double d = lua_tonumberx(e->L, -1, NULL);
  if (isnan(d)) return refuse(e, in, "NaN", "");
  if (isinf(d)) return refuse(e, in, d < 0 ? "-" : "", "infinity");
  mp_buf_grew(e->out, mp_number_float(to, d));
  return 0;
}

/* --- strings ----------------------------------------------------------------------------------------------------- */

/* Bytes that do not stand for themselves: the letter of their escape, `u` for \u00XX, `8` where UTF-8 begins. */
static const char special[256] = {
    [0 ... 7] = 'u', ['\b'] = 'b',      ['\t'] = 't', ['\n'] = 'n',  ['\v'] = 'u',       ['\f'] = 'f',
    ['\r'] = 'r',    [14 ... 31] = 'u', ['"'] = '"',  ['\\'] = '\\', [128 ... 255] = '8'};

/* Of the eight bytes in `w`, the high bit of each that is special (and, above the first such one, perhaps of others):
 * below 0x20, a quote, a backslash, or not ASCII. */
static inline uint64_t special_bits(uint64_t w) {
  const uint64_t ones = ~UINT64_C(0) / 255, highs = ones * 128;
  uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
  return ((w - ones * 0x20) | (quote - ones) | (slash - ones) | w) & highs;
}

static inline uint64_t load(const char *at, size_t n) {
  uint64_t w = 0;
  memcpy(&w, at, n);
  return w;
}

/* Copies `s` if every byte stands for itself. Words overlap at the end, so that there is no loop over single bytes. */
static inline bool copy_plain(char *to, const char *s, size_t len) {
  if (len >= 8) {
    uint64_t found = 0, last = load(s + len - 8, 8);
    for (size_t i = 0; i + 8 < len; i += 8) {
      uint64_t w = load(s + i, 8);
      found |= special_bits(w);
      memcpy(to + i, &w, 8);
    }
    memcpy(to + len - 8, &last, 8);
    return (found | special_bits(last)) == 0;
  }
  if (len >= 4) {
    uint64_t first = load(s, 4), last = load(s + len - 4, 4);
    memcpy(to, &first, 4);
    memcpy(to + len - 4, &last, 4);
    return special_bits(first | last << 32) == 0;
  }
  unsigned char found = 0;
  for (size_t i = 0; i < len; i++) {
    to[i] = s[i];
    found |= (unsigned char)special[(unsigned char)s[i]];
  }
  return found == 0;
}

/* How many bytes at the front stand for themselves. */
static size_t plain_run(const char *s, size_t len) {
  size_t n = 0;
  while (n + 8 <= len && !special_bits(load(s + n, 8))) n += 8;
  while (n < len && !special[(unsigned char)s[n]]) n++;
  return n;
}

static bool is_tail(char c) {
  return ((unsigned char)c & 0xc0) == 0x80;
}

/* The bytes of the one character at the front, by the table of RFC 3629 4; 0: not UTF-8. */
static size_t utf8_len(const char *s, size_t len) {
  unsigned char first = (unsigned char)s[0], second = len > 1 ? (unsigned char)s[1] : 0;
  size_t need = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || len < need) return 0;
  for (size_t i = 1; i < need; i++)
    if (!is_tail(s[i])) return 0;
  if ((first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90)) return 0; /* longer than need be */
  if ((first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f)) return 0; /* surrogates, past U+10FFFF */
  return need;
}

static size_t utf8_run(const char *s, size_t len) {
  size_t n = 0;
  while (n < len && (unsigned char)s[n] >= 0x80) {
    size_t one = utf8_len(s + n, len - n);
    if (one == 0) break;
    n += one;
  }
  return n;
}

static bool put_escape(struct encoder *e, char c) {
  static const char hex[] = "0123456789abcdef";
  char letter = special[(unsigned char)c];
  if (letter != 'u') return put(e, (char[]){'\\', letter}, 2);
  return put(e, (char[]){'\\', 'u', '0', '0', hex[c >> 4 & 15], hex[c & 15]}, 6);
}

static bool put_special(struct encoder *e, const char *s, size_t n) {
  return n > 0 ? put(e, s, n) : put_escape(e, *s);
}

/* A string that is not all plain, or for which the buffer has to grow. */
RARE static int encode_slowly(struct encoder *e, const struct spot *in, struct mp_slice s, char before, char behind) {
  if (before && !put(e, &before, 1)) return refuse_memory(e);
  if (!put(e, "\"", 1)) return refuse_memory(e);
  while (s.len > 0) {
    size_t n = special[(unsigned char)*s.at] == '8' ? utf8_run(s.at, s.len) : plain_run(s.at, s.len);
    if (n == 0 && (unsigned char)*s.at >= 0x80) return refuse(e, in, "a string that is not UTF-8", "");
    if (!put_special(e, s.at, n)) return refuse_memory(e);
    n += n == 0;
    s = mp_slice(s.at + n, s.len - n);
  }
  return put(e, (char[]){'"', behind}, behind ? 2 : 1) ? 0 : refuse_memory(e);
}

/* The string between `before` (0: nothing) and `behind` (likewise), so that a key shares one check of room with the
 * marks around it. Calls nothing on the common way. */
static int encode_string(struct encoder *e, const struct spot *in, struct mp_slice s, char before, char behind) {
  struct mp_buf *out = e->out;
  if (!out->mem || s.len + 4 > out->cap - out->end) return encode_slowly(e, in, s, before, behind);
  char *to = out->mem + out->end, *at = to;
  *at = before;
  at += before != 0;
  *at++ = '"';
  if (!copy_plain(at, s.at, s.len)) return encode_slowly(e, in, s, before, behind); /* nothing counts yet */
  at += s.len;
  *at++ = '"';
  *at = behind;
  at += behind != 0;
  mp_buf_grew(out, (size_t)(at - to));
  return 0;
}

/* --- tables ------------------------------------------------------------------------------------------------------ */

static int encode_value(struct encoder *e, const struct spot *in);

/* stack: table key value. The pair, with what stands before it. */
static int encode_pair(struct encoder *e, struct spot *here, char before) {
  here->key = lua_tolstring(e->L, -2, &here->key_len);
  int err = encode_string(e, here, mp_slice(here->key, here->key_len), before, ':');
  return err ? err : encode_value(e, here);
}

/* stack: table key value, the first pair, whose key is a string. */
static int encode_object(struct encoder *e, struct spot *here) {
  lua_State *L = e->L;
  int err = encode_pair(e, here, '{');
  while (!err) {
    lua_pop(L, 1);
    if (!lua_next(L, -2)) return encode_word(e, MP_SLICE("}"));
    if (lua_type(L, -2) != LUA_TSTRING) return refuse_key(e, here);
    err = encode_pair(e, here, ',');
  }
  return err;
}

/* stack: table. A table that holds nothing but indices from 1 on, whatever their order: 0 and their count. */
RARE static int count_sequence(struct encoder *e, const struct spot *here, lua_Integer *count) {
  lua_State *L = e->L;
  lua_Integer greatest = 0;
  *count = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    lua_Integer i = lua_tointegerx(L, -2, NULL);
    if (!lua_isinteger(L, -2) || i < 1) return refuse_key(e, here);
    if (i > greatest) greatest = i;
    ++*count;
  }
  if (greatest == *count) return 0;
  struct spot hole = *here;
  for (hole.index = 1; lua_rawgeti(L, -1, hole.index) != LUA_TNIL; hole.index++) lua_pop(L, 1);
  return refuse(e, &hole, "a hole", "");
}

/* stack: table. Its elements behind the n-th, which lua_next does not give in order. */
RARE static int encode_rest(struct encoder *e, struct spot *here, lua_Integer n) {
  lua_Integer count;
  int err = count_sequence(e, here, &count);
  if (err) return err;
  while (n < count) {
    if (!put(e, n ? "," : "[", 1)) return refuse_memory(e);
    here->index = ++n;
    lua_rawgeti(e->L, -1, n);
    err = encode_value(e, here);
    if (err) return err;
    lua_pop(e->L, 1);
  }
  return encode_word(e, MP_SLICE("]"));
}

/* stack: table key value, the first pair. One walk suffices for as long as the keys come in order. */
APART static int encode_array(struct encoder *e, struct spot *here) {
  lua_State *L = e->L;
  here->key = NULL;
  here->index = 0;
  do {
    if (!lua_isinteger(L, -2) || lua_tointegerx(L, -2, NULL) != here->index + 1) {
      lua_pop(L, 2);
      return encode_rest(e, here, here->index);
    }
    if (!put(e, here->index++ ? "," : "[", 1)) return refuse_memory(e);
    int err = encode_value(e, here);
    if (err) return err;
    lua_pop(L, 1);
  } while (lua_next(L, -2));
  return encode_word(e, MP_SLICE("]"));
}

/* A walk that goes round goes round for ever, so sooner or later it meets a table remembered at a depth that is a
 * power of two, long before the text has grown out of proportion; and each table is compared once. */
static bool is_too_deep(struct spot *here) {
  const struct spot *up = here->up;
  if (!up) return false;
  here->mark = (up->depth & (up->depth - 1)) == 0 ? up->table : up->mark;
  return here->table == here->mark || here->depth > MP_JSON_DEPTH;
}

APART static int encode_table(struct encoder *e, const struct spot *in) {
  lua_State *L = e->L;
  struct spot here;
  here.up = in;
  here.table = lua_topointer(L, -1);
  here.mark = NULL;
  here.depth = in ? in->depth + 1 : 1;
  if (is_too_deep(&here)) return refuse_depth(e, &here);
  if (!lua_checkstack(L, 6)) return refuse_memory(e); /* key, value, and what a refusal or a marker needs */
  bool marked = mp_json_is_marked(L);
  lua_pushnil(L);
  if (!lua_next(L, -2)) return encode_word(e, marked ? MP_SLICE("[]") : MP_SLICE("{}"));
  return !marked && lua_type(L, -2) == LUA_TSTRING ? encode_object(e, &here) : encode_array(e, &here);
}

/* The value on top of the stack, which stays there; after an error a message stands above it. */
static int encode_value(struct encoder *e, const struct spot *in) {
  lua_State *L = e->L;
  const char *s;
  size_t len;
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    s = lua_tolstring(L, -1, &len);
    return encode_string(e, in, mp_slice(s, len), 0, 0);
  case LUA_TNUMBER:
    return encode_number(e, in);
  case LUA_TBOOLEAN:
    return encode_word(e, lua_toboolean(L, -1) ? MP_SLICE("true") : MP_SLICE("false"));
  case LUA_TTABLE:
    return encode_table(e, in);
  case LUA_TLIGHTUSERDATA:
    return lua_touserdata(L, -1) ? refuse_type(e, in) : encode_word(e, MP_SLICE("null"));
  default:
    return refuse_type(e, in);
  }
}

int mp_json_encode(lua_State *L, int index, struct mp_buf *out) {
  struct encoder e = {.L = L, .out = out};
  size_t before = mp_buf_len(out);
  int top = lua_gettop(L);
  lua_pushvalue(L, index);
  int err = encode_value(&e, NULL);
  if (!err) {
    lua_settop(L, top);
    return 0;
  }
  out->end = out->start + (uint32_t)before;
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  return err;
}
