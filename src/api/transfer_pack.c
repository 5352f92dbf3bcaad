#include "api/json_marker.h"
#include "api/transfer.h"
#include "sched/state.h"
#include <lauxlib.h>
#include <stdint.h>

/* Where a value stands, outermost first by `outer`: for the message of a refusal. Lives on the C stack. */
struct place {
  const struct place *outer; /* borrowed; NULL: an item itself */
  const char *upvalue;       /* borrowed; its name; NULL: a field */
  int key;                   /* of a field: where its key stands on the stack; 0: it is the key itself */
  unsigned depth;
};

struct packing {
  lua_State *L;
  const struct mp_transfer_words *words;
  struct mp_buf *out;
  int seen;  /* stack place: table or function -> its number; upvalue's id -> { function, place } */
  int names; /* stack place of mp_transfer_names; 0: not asked for yet */
  int item;  /* which one */
  lua_Integer n_numbered;
  bool lenient; /* metatables are dropped */
};

static void pack_value(struct packing *p, int index, const struct place *place);

/* ---- bytes ---- */

static void put(struct packing *p, const void *bytes, size_t n) {
  if (mp_buf_add(p->out, bytes, n) < 0) luaL_error(p->L, "%s: not enough memory", p->words->what);
}

static void put_tag(struct packing *p, enum mp_transfer_tag tag) {
  char byte = (char)tag;
  put(p, &byte, 1);
}

static void put_size(struct packing *p, size_t n) {
  uint32_t size = (uint32_t)n;
  if (n > UINT32_MAX) luaL_error(p->L, "%s: a string of more than 4 GiB", p->words->what);
  put(p, &size, sizeof size);
}

static void put_string(struct packing *p, enum mp_transfer_tag tag, int index) {
  size_t len;
  const char *s = lua_tolstring(p->L, index, &len);
  put_tag(p, tag);
  put_size(p, len);
  put(p, s, len);
}

/* ---- refusals ---- */

static const char *push_item(struct packing *p) {
  int number = p->words->number + p->item;
  if (p->words->item && number > 0) return lua_pushfstring(p->L, "%s %d", p->words->item, number);
  return lua_pushstring(p->L, p->words->name);
}

static void add_place(struct packing *p, luaL_Buffer *b, const struct place *place) {
  lua_State *L = p->L;
  for (int steps = 0; place->outer; place = place->outer) {
    if (++steps > 8) {
      luaL_addstring(b, "... of ");
      continue;
    }
    if (place->upvalue)
      lua_pushfstring(L, "upvalue '%s' of ", place->upvalue);
    else if (!place->key)
      lua_pushliteral(L, "a key of ");
    else if (lua_type(L, place->key) == LUA_TSTRING)
      lua_pushfstring(L, "field '%s' of ", lua_tostring(L, place->key));
    else if (lua_isinteger(L, place->key))
      lua_pushfstring(L, "item %I of ", lua_tointeger(L, place->key));
    else
      lua_pushliteral(L, "a field of ");
    luaL_addvalue(b);
  }
  push_item(p);
  luaL_addvalue(b);
}

static const char *describe(lua_State *L, int index) {
  switch (lua_type(L, index)) {
  case LUA_TTHREAD:
    return "a thread (coroutine)";
  case LUA_TLIGHTUSERDATA:
    return "a light userdata";
  case LUA_TFUNCTION:
    return "a C function of no module";
  case LUA_TTABLE:
    if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING)
      return lua_pushfstring(L, "a table with a metatable (%s)", lua_tostring(L, -1));
    return "a table with a metatable";
  default:
    if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING)
      return lua_pushfstring(L, "a userdata (%s)", lua_tostring(L, -1));
    return "a userdata";
  }
}

static int refuse(struct packing *p, int index, const struct place *place) {
  lua_State *L = p->L;
  luaL_Buffer b;
  luaL_checkstack(L, 16, NULL);
  const char *is = describe(L, index);
  luaL_buffinit(L, &b);
  add_place(p, &b, place);
  luaL_pushresult(&b);
  return luaL_error(L, "%s: %s is %s; only nil, booleans, numbers, strings, plain tables and Lua functions cross",
                    p->words->what, lua_tostring(L, -1), is);
}

/* ---- what is numbered, so that it crosses once ---- */

/* True: it stands in the bytes already, and is named by its number. */
static bool put_again(struct packing *p, int index) {
  lua_State *L = p->L;
  lua_pushvalue(L, index);
  bool again = lua_rawget(L, p->seen) == LUA_TNUMBER;
  uint32_t number = again ? (uint32_t)lua_tointeger(L, -1) : 0;
  lua_pop(L, 1);
  if (!again) return false;
  put_tag(p, MP_TAG_AGAIN);
  put(p, &number, sizeof number);
  return true;
}

static lua_Integer number_it(struct packing *p, int index) {
  lua_pushvalue(p->L, index);
  lua_pushinteger(p->L, ++p->n_numbered);
  lua_rawset(p->L, p->seen);
  return p->n_numbered;
}

/* True: both sides know it, and it was put by its name. */
static bool put_named(struct packing *p, int index) {
  lua_State *L = p->L;
  if (!p->names) {
    mp_transfer_names(L);
    p->names = p->seen + 1;
    lua_replace(L, p->names);
  }
  if (!mp_transfer_name_of(L, p->names, index)) return false;
  put_string(p, MP_TAG_NAMED, -1);
  lua_pop(L, 1);
  return true;
}

/* ---- tables ---- */

/* Is the table at the top of the kind whose metatable the registry has under `name`? */
static bool is_of(lua_State *L, const char *name) {
  if (!lua_getmetatable(L, -1)) return false;
  bool is = luaL_getmetatable(L, name) == LUA_TTABLE && lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return is;
}

static enum mp_transfer_table kind_of(struct packing *p, int index, const struct place *place) {
  lua_State *L = p->L;
  enum mp_transfer_table kind = MP_TABLE_PLAIN;
  if (!lua_getmetatable(L, index)) return kind;
  lua_pop(L, 1);
  lua_pushvalue(L, index);
  if (mp_json_is_marked(L))
    kind = MP_TABLE_ARRAY;
  else if (is_of(L, "moonpool.result"))
    kind = MP_TABLE_RESULT;
  else if (!p->lenient)
    refuse(p, index, place);
  lua_pop(L, 1);
  return kind;
}

static void put_pairs(struct packing *p, int index, const struct place *place) {
  lua_State *L = p->L;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    int key = lua_gettop(L) - 1;
    struct place of_key = {.outer = place, .depth = place->depth + 1};
    struct place of_value = {.outer = place, .key = key, .depth = place->depth + 1};
    pack_value(p, key, &of_key);
    pack_value(p, key + 1, &of_value);
    lua_settop(L, key);
  }
}

static size_t count_rest(lua_State *L, int index, size_t array) {
  size_t n = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    n++;
    lua_pop(L, 1);
  }
  return n > array ? n - array : 0;
}

static void pack_table(struct packing *p, int index, const struct place *place) {
  if (put_named(p, index)) return;
  char kind = (char)kind_of(p, index, place);
  size_t array = (size_t)lua_rawlen(p->L, index);
  number_it(p, index);
  put_tag(p, MP_TAG_TABLE);
  put(p, &kind, 1);
  put_size(p, array);
  put_size(p, count_rest(p->L, index, array));
  put_pairs(p, index, place);
  put_tag(p, MP_TAG_END);
}

/* ---- functions ---- */

static int add_code(lua_State *L, const void *bytes, size_t n, void *ud) {
  struct packing *p = ud;
  (void)L;
  return mp_buf_add(p->out, bytes, n) < 0;
}

static void put_code(struct packing *p, int index) {
  uint32_t size = 0;
  put(p, &size, sizeof size);
  size_t before = mp_buf_len(p->out);
  lua_pushvalue(p->L, index);
  int err = lua_dump(p->L, add_code, p, 0);
  lua_pop(p->L, 1);
  if (err) luaL_error(p->L, "%s: not enough memory", p->words->what);
  size = (uint32_t)(mp_buf_len(p->out) - before);
  memcpy(mp_buf_at(p->out) + before - sizeof size, &size, sizeof size);
}

/* True: the variable is one that another function has brought along. Otherwise it is `number`'s from now on. */
static bool put_shared(struct packing *p, int index, int i, lua_Integer number) {
  lua_State *L = p->L;
  void *id = lua_upvalueid(L, index, i);
  bool shared = lua_rawgetp(L, p->seen, id) == LUA_TNUMBER;
  uint64_t where = shared ? (uint64_t)lua_tointeger(L, -1) : 0;
  lua_pop(L, 1);
  if (shared) {
    put_tag(p, MP_TAG_SHARED);
    put(p, &where, sizeof where);
    return true;
  }
  lua_pushinteger(L, number << 8 | i);
  lua_rawsetp(L, p->seen, id);
  return false;
}

static void pack_function(struct packing *p, int index, const struct place *place) {
  lua_State *L = p->L;
  if (put_named(p, index)) return;
  if (lua_iscfunction(L, index)) refuse(p, index, place);
  lua_Integer number = number_it(p, index);
  put_tag(p, MP_TAG_FUNCTION);
  put_code(p, index);
  const char *name;
  for (int i = 1; (name = lua_getupvalue(L, index, i)); i++) {
    struct place inside = {.outer = place, .upvalue = *name ? name : "?", .depth = place->depth + 1};
    if (!put_shared(p, index, i, number)) pack_value(p, lua_gettop(L), &inside);
    lua_pop(L, 1);
  }
  put_tag(p, MP_TAG_END);
}

/* ---- values ---- */

static void pack_number(struct packing *p, int index) {
  if (lua_isinteger(p->L, index)) {
    lua_Integer i = lua_tointeger(p->L, index);
    put_tag(p, MP_TAG_INTEGER);
    put(p, &i, sizeof i);
  } else {
    lua_Number n = lua_tonumber(p->L, index);
    put_tag(p, MP_TAG_FLOAT);
    put(p, &n, sizeof n);
  }
}

static void pack_nested(struct packing *p, int index, const struct place *place) {
  lua_State *L = p->L;
  if (put_again(p, index)) return;
  if (place->depth > MP_TRANSFER_DEPTH)
    luaL_error(L, "%s: %s is nested deeper than %d", p->words->what, push_item(p), MP_TRANSFER_DEPTH);
  if (lua_istable(L, index))
    pack_table(p, index, place);
  else
    pack_function(p, index, place);
}

static bool put_channel(struct packing *p, int index) {
  const struct mp_carrier *carrier = p->words->carrier;
  uint64_t number;
  if (!carrier || !carrier->take(p->L, index, &number, carrier->ctx)) return false;
  put_tag(p, MP_TAG_CHANNEL);
  put(p, &number, sizeof number);
  return true;
}

/* `index` is absolute. */
static void pack_value(struct packing *p, int index, const struct place *place) {
  lua_State *L = p->L;
  luaL_checkstack(L, 12, "deeply nested values");
  switch (lua_type(L, index)) {
  case LUA_TNIL:
    put_tag(p, MP_TAG_NIL);
    return;
  case LUA_TBOOLEAN:
    put_tag(p, lua_toboolean(L, index) ? MP_TAG_TRUE : MP_TAG_FALSE);
    return;
  case LUA_TNUMBER:
    pack_number(p, index);
    return;
  case LUA_TSTRING:
    put_string(p, MP_TAG_STRING, index);
    return;
  case LUA_TTABLE:
  case LUA_TFUNCTION:
    pack_nested(p, index, place);
    return;
  case LUA_TLIGHTUSERDATA:
    if (lua_touserdata(L, index)) break;
    put_tag(p, MP_TAG_NULL);
    return;
  case LUA_TUSERDATA:
    if (mp_is_cancelled(L, index)) {
      put_tag(p, MP_TAG_CANCELLED);
      return;
    }
    if (put_channel(p, index) || put_named(p, index)) return;
    break;
  default:
    break;
  }
  refuse(p, index, place);
}

static void pack_all(struct packing *p, int first, int n) {
  lua_State *L = p->L;
  int top = lua_gettop(L);
  const struct place item = {0};
  luaL_checkstack(L, 12, NULL);
  lua_newtable(L);
  p->seen = top + 1;
  lua_pushnil(L); /* the place of the names */
  put_size(p, (size_t)n);
  for (p->item = 0; p->item < n; p->item++) pack_value(p, first + p->item, &item);
  lua_settop(L, top);
}

void mp_transfer_pack(lua_State *L, int first, int n, const struct mp_transfer_words *words, struct mp_buf *out) {
  struct packing p = {.L = L, .words = words, .out = out};
  pack_all(&p, lua_absindex(L, first), n);
}

/* ---- errors ---- */

struct error_packing {
  struct mp_buf *out; /* borrowed for the call */
};

static int p_pack_error(lua_State *L) {
  static const struct mp_transfer_words words = {.what = "offload", .name = "the error"};
  const struct error_packing *e = lua_touserdata(L, 2);
  struct packing p = {.L = L, .words = &words, .out = e->out, .lenient = true};
  pack_all(&p, 1, 1);
  return 0;
}

void mp_transfer_pack_error(lua_State *L, int index, struct mp_buf *out) {
  static const struct mp_transfer_words words = {.what = "offload", .name = "the error"};
  struct error_packing e = {out};
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, NULL);
  lua_pushcfunction(L, p_pack_error);
  lua_pushvalue(L, index);
  lua_pushlightuserdata(L, &e);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  lua_pop(L, 1);
  mp_buf_reset(out, 0);
  const char *text = luaL_tolstring(L, index, NULL);
  lua_pushfstring(L, "%s (this is its text: an error that holds %s cannot leave its thread)", text,
                  lua_istable(L, index) ? "such values" : luaL_typename(L, index));
  mp_transfer_pack(L, -1, 1, &words, out);
  lua_pop(L, 2);
}
