#include "api/json.h"
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* after the above, which it needs */
#include <cmocka.h>

/* --- a Lua state whose memory may run out ------------------------------------------------------------------------ */

struct ration {
  long left; /* allocations that still succeed; negative: all */
};

static void *allocate(void *ud, void *at, size_t old, size_t size) {
  struct ration *ration = ud;
  if (size == 0) {
    free(at);
    return NULL;
  }
  bool grows = !at || size > old;
  if (grows && ration->left == 0) return NULL;
  if (grows && ration->left > 0) ration->left--;
  return realloc(at, size);
}

struct world {
  lua_State *L;
  struct ration ration;
};

static int open_world(void **state) {
  struct world *w = calloc(1, sizeof *w);
  w->ration.left = -1;
  w->L = lua_newstate(allocate, &w->ration);
  luaL_openlibs(w->L);
  mp_json_open(w->L);
  lua_setglobal(w->L, "json");
  *state = w;
  return 0;
}

static int close_world(void **state) {
  struct world *w = *state;
  lua_close(w->L);
  free(w);
  return 0;
}

/* Runs Lua that must not fail, and leaves its one result on the stack. */
static void run(lua_State *L, const char *lua) {
  if (luaL_loadstring(L, lua) || lua_pcall(L, 0, 1, 0)) fail_msg("%s\nin: %s", lua_tostring(L, -1), lua);
}

static lua_State *lua_of(void **state) {
  return ((struct world *)*state)->L;
}

static void encodes(lua_State *L, const char *lua, const char *json) {
  struct mp_buf out = {0};
  run(L, lua);
  int top = lua_gettop(L), err = mp_json_encode(L, -1, &out);
  if (err) fail_msg("%s: %s", lua, lua_tostring(L, -1));
  assert_int_equal(lua_gettop(L), top);
  assert_int_equal(mp_buf_add(&out, "", 1), 0);
  assert_string_equal(mp_buf_at(&out), json);
  mp_buf_free(&out);
  lua_settop(L, 0);
}

static void refuses(lua_State *L, const char *lua, const char *message) {
  struct mp_buf out = {0};
  run(L, lua);
  int top = lua_gettop(L);
  assert_int_equal(mp_buf_add(&out, "kept", 4), 0);
  assert_int_equal(mp_json_encode(L, -1, &out), -EINVAL);
  assert_int_equal(lua_gettop(L), top + 1);
  assert_string_equal(lua_tostring(L, -1), message);
  assert_true(mp_slice_is(mp_buf_slice(&out), MP_SLICE("kept")));
  mp_buf_free(&out);
  lua_settop(L, 0);
}

static void decodes_not(lua_State *L, const char *text, const char *message) {
  assert_int_equal(mp_json_decode(L, text, strlen(text)), -EINVAL);
  assert_int_equal(lua_gettop(L), 1);
  assert_string_equal(lua_tostring(L, -1), message);
  lua_settop(L, 0);
}

/* --- encoding ---------------------------------------------------------------------------------------------------- */

static void scalars_are_written(void **state) {
  lua_State *L = lua_of(state);
  encodes(L, "return true", "true");
  encodes(L, "return false", "false");
  encodes(L, "return json.null", "null");
  encodes(L, "return 'moon'", "\"moon\"");
  encodes(L, "return ''", "\"\"");
}

static void integers_keep_their_64_bits(void **state) {
  lua_State *L = lua_of(state);
  encodes(L, "return 0", "0");
  encodes(L, "return -7", "-7");
  encodes(L, "return math.maxinteger", "9223372036854775807");
  encodes(L, "return math.mininteger", "-9223372036854775808");
  encodes(L, "return 9007199254740993", "9007199254740993");
}

static void floats_are_short_and_stay_floats(void **state) {
  lua_State *L = lua_of(state);
  encodes(L, "return 3.0", "3.0");
  encodes(L, "return -0.0", "-0.0");
  encodes(L, "return 0.1", "0.1");
  encodes(L, "return 1 / 3", "0.3333333333333333");
  encodes(L, "return 19.99", "19.99");
  encodes(L, "return -1234.5678", "-1234.5678");
  encodes(L, "return 0.000001", "0.000001");
  encodes(L, "return 0.00001234", "0.00001234");
  encodes(L, "return 1e-7", "1e-7");
  encodes(L, "return 123456789012.0", "123456789012.0");
  encodes(L, "return 1e15", "1000000000000000.0");
  encodes(L, "return 1e16", "1e16");
  encodes(L, "return 2^53", "9007199254740992.0");
  encodes(L, "return 9.999999999999999e22", "1e23");
  encodes(L, "return 99999999999999.99", "99999999999999.98");
  encodes(L, "return 0.1 + 0.2", "0.30000000000000004");
  encodes(L, "return 5e-324 * 3", "1.48219693752374e-323");
  encodes(L, "return 1.5e300", "1.5e300");
  encodes(L, "return 0x1.fffffffffffffp1023", "1.7976931348623157e308");
  encodes(L, "return 0x1p-1074", "4.94065645841247e-324");
}

static void floats_are_written_with_a_point_in_any_locale(void **state) {
  lua_State *L = lua_of(state);
  run(L, "return os.setlocale('de_DE.UTF-8', 'numeric') and 1 or 0");
  bool there = lua_tointeger(L, -1) == 1;
  lua_settop(L, 0);
  if (!there) skip();
  encodes(L, "return 1 / 3", "0.3333333333333333");
  encodes(L, "local v = json.decode('0.3333333333333333'); return v == 1 / 3", "true");
  run(L, "return os.setlocale('C', 'numeric')");
}

static void strings_are_escaped_where_they_must_be(void **state) {
  lua_State *L = lua_of(state);
  encodes(L, "return 'say \"hi\" \\\\ /'", "\"say \\\"hi\\\" \\\\ /\"");
  encodes(L, "return '\\b\\t\\n\\f\\r'", "\"\\b\\t\\n\\f\\r\"");
  encodes(L, "return '\\0\\1\\11\\31\\127'", "\"\\u0000\\u0001\\u000b\\u001f\x7f\"");
  encodes(L, "return 'grüße, 世界 🌙'", "\"grüße, 世界 🌙\"");
  encodes(L, "return ('x'):rep(7) .. '\"' .. ('y'):rep(9) .. '\\n'", "\"xxxxxxx\\\"yyyyyyyyy\\n\"");
}

static void every_place_in_a_string_is_looked_at(void **state) {
  lua_State *L = lua_of(state);
  char lua[128], json[128];
  for (int before = 0; before < 20; before++)
    for (int behind = 0; behind < 10; behind++) {
      snprintf(lua, sizeof lua, "return ('a'):rep(%d) .. '\\n' .. ('b'):rep(%d)", before, behind);
      snprintf(json, sizeof json, "\"%.*s\\n%.*s\"", before, "aaaaaaaaaaaaaaaaaaaa", behind, "bbbbbbbbbb");
      encodes(L, lua, json);
    }
}

static void strings_that_are_not_utf8_are_refused(void **state) {
  lua_State *L = lua_of(state);
  static const char *bad[] = {"\\xff",
                              "\\x80",
                              "\\xc3",
                              "\\xc0\\x80",
                              "\\xe0\\x80\\x80",
                              "\\xe4\\xb8",
                              "\\xed\\xa0\\x80",
                              "\\xf0\\x80\\x80\\x80",
                              "\\xf4\\x90\\x80\\x80",
                              "\\xf8\\x88\\x80\\x80\\x80"};
  char lua[128];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    snprintf(lua, sizeof lua, "return { name = 'plain text %s' }", bad[i]);
    refuses(L, lua, "cannot encode a string that is not UTF-8 at $.name");
  }
  refuses(L, "return { ['\\xff'] = 1 }", "cannot encode a string that is not UTF-8 at $[\"\\xff\"]");
  encodes(L, "return '\\u{7ff}\\u{800}\\u{ffff}\\u{10000}\\u{10ffff}'", "\"\u07ff\u0800\uffff\U00010000\U0010ffff\"");
}

static void arrays_are_what_has_the_keys_1_to_n(void **state) {
  lua_State *L = lua_of(state);
  encodes(L, "return { 1, 2, 3 }", "[1,2,3]");
  encodes(L, "return { { 'a' }, {}, { 'b', { 'c' } } }", "[[\"a\"],{},[\"b\",[\"c\"]]]");
  encodes(L, "return { [3] = 'c', [1] = 'a', [2] = 'b' }", "[\"a\",\"b\",\"c\"]");
  encodes(L, "local t = {} for i = 40, 1, -1 do t[i] = i end return #t == 40 and t",
          "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,"
          "39,40]");
  encodes(L, "return { [1.0] = 'one' }", "[\"one\"]");
}

static void an_empty_table_is_an_object_unless_marked(void **state) {
  lua_State *L = lua_of(state);
  encodes(L, "return {}", "{}");
  encodes(L, "return json.array({})", "[]");
  encodes(L, "return json.array({ 1 })", "[1]");
  encodes(L, "return setmetatable({}, { __len = error, __index = error, __pairs = error })", "{}");
}

static void objects_have_string_keys(void **state) {
  lua_State *L = lua_of(state);
  encodes(L, "return { message = 'Hello, World!' }", "{\"message\":\"Hello, World!\"}");
  encodes(L, "return { ['a\"b'] = { [''] = json.null } }", "{\"a\\\"b\":{\"\":null}}");
  encodes(L, "return { ['1'] = 'text' }", "{\"1\":\"text\"}");
}

static void what_json_has_no_word_for_is_refused_by_name_and_place(void **state) {
  lua_State *L = lua_of(state);
  refuses(L, "return nil", "cannot encode nil at $");
  refuses(L, "return print", "cannot encode a function at $");
  refuses(L, "return { users = { { name = 'a' }, { name = 'b' }, { name = print } } }",
          "cannot encode a function at $.users[3].name");
  refuses(L, "return { coroutine.create(print) }", "cannot encode a thread at $[1]");
  refuses(L, "return { f = io.stdout }", "cannot encode a userdata at $.f");
  refuses(L, "return { 1, 0 / 0 }", "cannot encode NaN at $[2]");
  refuses(L, "return { x = 1 / 0 }", "cannot encode infinity at $.x");
  refuses(L, "return { x = -1 / 0 }", "cannot encode -infinity at $.x");
  refuses(L, "return { ['odd key'] = { ['a\"\\n'] = print } }",
          "cannot encode a function at $[\"odd key\"][\"a\\\"\\x0a\"]");
}

static void holes_and_mixed_keys_are_refused(void **state) {
  lua_State *L = lua_of(state);
  refuses(L, "return { list = { 1, nil, 3 } }", "cannot encode a hole at $.list[2]");
  refuses(L, "return { [2] = 'b' }", "cannot encode a hole at $[1]");
  refuses(L, "return { 1, 2, [1000000000] = 3 }", "cannot encode a hole at $[3]");
  refuses(L, "return { t = { 1, 2, name = 'x' } }", "cannot encode mixed keys at $.t");
  refuses(L, "return { name = 'x', [1] = 1 }", "cannot encode mixed keys at $");
  refuses(L, "return { [0] = 'zero' }", "cannot encode mixed keys at $");
  refuses(L, "return { [-1] = 'below' }", "cannot encode mixed keys at $");
  refuses(L, "return json.array({ name = 'x' })", "cannot encode mixed keys at $");
  refuses(L, "return { a = { [true] = 1 } }", "cannot encode a key of type boolean at $.a");
  refuses(L, "return { [1.5] = 1 }", "cannot encode a key of type number at $");
  refuses(L, "return { [print] = 1 }", "cannot encode a key of type function at $");
}

static void cycles_are_refused_where_they_close(void **state) {
  lua_State *L = lua_of(state);
  refuses(L, "local t = {} t.again = t return t", "cannot encode a cycle at $.again");
  refuses(L, "local a, b = {}, {} a.b = { b } b.back = b return { a }", "cannot encode a cycle at $[1].b[1].back");
  refuses(L, "local a = {} a[1] = { { { a } } } return { x = a }", "cannot encode a cycle at $.x[1][1][1][1]");
  encodes(L, "local twice = { 1 } return { twice, twice, { twice } }", "[[1],[1],[[1]]]");
}

static void a_long_cycle_is_found_before_its_text_grows(void **state) {
  lua_State *L = lua_of(state);
  refuses(L,
          "local first = { ('x'):rep(1000) } local t = first "
          "for i = 1, 49 do t[2] = { i } t = t[2] end t[2] = first return first",
          "cannot encode a cycle at $[2][2][2][2][2][2]...[2][2][2][2][2][2]");
}

static void nesting_ends_at_1000(void **state) {
  lua_State *L = lua_of(state);
  run(L, "function nest(n) local t = json.array({}) for i = 2, n do t = { t } end return t end");
  run(L, "return #json.encode(nest(1000)) == 2000 or error('size')");
  refuses(L, "return nest(1001)", "cannot encode nesting deeper than 1000 at $[1][1][1][1][1][1]...[1][1][1][1][1][1]");
}

/* --- decoding ---------------------------------------------------------------------------------------------------- */

static void texts_become_values(void **state) {
  lua_State *L = lua_of(state);
  run(L, "local v = json.decode '{\"a\": [1, 2.0, -0.0, 1e2, \"\\\\u00e9\\\\u0000\", true, null], \"b\": {}}' "
         "assert(math.type(v.a[1]) == 'integer' and math.type(v.a[2]) == 'float' and v.a[2] == 2) "
         "assert(1 / v.a[3] < 0 and math.type(v.a[4]) == 'float' and v.a[5] == 'é\\0') "
         "assert(v.a[6] == true and v.a[7] == json.null and next(v.b) == nil)");
  run(L, "assert(json.decode ' 9223372036854775807 ' == math.maxinteger)");
  run(L, "assert(json.decode '-9223372036854775808' == math.mininteger)");
  run(L, "assert(json.decode '\"\\\\ud83c\\\\udf19\"' == '🌙')");
  run(L, "assert(json.decode '{\"a\": 1, \"a\": 2}'.a == 2)");
}

static void a_decoded_array_stays_one_even_when_empty(void **state) {
  lua_State *L = lua_of(state);
  encodes(L, "return json.decode '[]'", "[]");
  encodes(L, "return json.decode '{\"a\":[{},[]]}'", "{\"a\":[{},[]]}");
  encodes(L, "local t = json.decode '[1]' t[1] = nil return t", "[]");
}

static void broken_texts_are_refused_with_their_place(void **state) {
  lua_State *L = lua_of(state);
  decodes_not(L, "", "line 1 column 0: unexpected token near end of file");
  decodes_not(L, "[1,]", "line 1 column 4: unexpected token near ']'");
  decodes_not(L, "{\n  \"a\": x }", "line 2 column 8: invalid token near 'x'");
  decodes_not(L, "[1] 2", "line 1 column 5: end of file expected near '2'");
  decodes_not(L, "9223372036854775808", "line 1 column 19: too big integer near '9223372036854775808'");
  decodes_not(L, "[-9223372036854775809]", "line 1 column 21: too big negative integer near '-9223372036854775809'");
  decodes_not(L, "1e400", "line 1 column 5: real number overflow near '1e400'");
  decodes_not(L, "[\"\xff\"]", "line 1 column 2: unable to decode byte 0xff near '\"'");
  decodes_not(L, "{\"a\\u0000b\":1}", "line 1 column 11: NUL byte in object key not supported near '\"a\\u0000b\"'");
  decodes_not(L, "NaN", "line 1 column 3: invalid token near 'NaN'");
  assert_int_equal(mp_json_decode(L, NULL, 0), -EINVAL);
  assert_int_equal(mp_json_decode(L, "[1]\0", 4), -EINVAL);
}

static void nested_texts_end_at_1000(void **state) {
  lua_State *L = lua_of(state);
  run(L, "assert(json.decode(('['):rep(1000) .. (']'):rep(1000)))");
  run(L, "local v, why = json.decode(('['):rep(1001) .. (']'):rep(1001)) "
         "assert(v == nil and why == 'nested deeper than 1000', why)");
  run(L, "local v, why = json.decode(('['):rep(100000)) assert(v == nil and why:find('depth'), why)");
}

/* --- both -------------------------------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

static void any_float_survives_a_round_trip(void **state) {
  lua_State *L = lua_of(state);
  uint64_t seed = 20260101;
  struct mp_buf out = {0};
  for (int i = 0; i < 20000; i++) {
    uint64_t bits = next_random(&seed);
    double d;
    memcpy(&d, &bits, sizeof d);
    if (i % 4 == 1) d = (double)(int64_t)(bits % 2000000000) / 1000;
    if (i % 4 == 2) d = (double)(int64_t)bits / 65536;
    if (i % 4 == 3) d = ldexp((double)(bits >> 11), (int)(bits % 100) - 80);
    if (!isfinite(d)) continue;
    lua_pushnumber(L, d);
    assert_int_equal(mp_json_encode(L, -1, &out), 0);
    assert_int_equal(mp_json_decode(L, mp_buf_at(&out), mp_buf_len(&out)), 0);
    assert_false(lua_isinteger(L, -1));
    double back = lua_tonumber(L, -1);
    if (back != d || signbit(back) != signbit(d)) fail_msg("%a came back as %a", d, back);
    lua_settop(L, 0);
    mp_buf_reset(&out, 4096);
  }
  mp_buf_free(&out);
}

/* Values of every kind, from seeded random numbers. Deep comparison tells integers from floats. */
static const char random_values[] =
    "math.randomseed(7) local random = math.random\n"
    "local function bytes() local t = {} for i = 1, random(0, 30) do\n"
    "    t[i] = utf8.char(random(4) > 1 and random(0, 127) or random(3) > 1 and random(0xe000, 0x10ffff) or 0x7ff)\n"
    "  end return table.concat(t) end\n"
    "local function key() return (bytes():gsub('\\0', '')) end\n"
    "local value\n"
    "local function list(d) local t = json.array({}) for i = 1, random(0, 6) do t[i] = value(d) end return t end\n"
    "local function map(d) local t = {} for _ = 1, random(0, 6) do t[key()] = value(d) end return t end\n"
    "function value(d) local k = random(d > 5 and 6 or 9)\n"
    "  if k == 1 then return random(0) elseif k == 2 then return random() * 10 ^ random(-30, 30)\n"
    "  elseif k == 3 then return bytes() elseif k == 4 then return random(2) == 1\n"
    "  elseif k == 5 then return json.null elseif k == 6 then return random(-1000, 1000)\n"
    "  elseif k == 7 then return list(d + 1) else return map(d + 1) end end\n"
    "local function same(a, b)\n"
    "  if type(a) ~= 'table' then return a == b and math.type(a) == math.type(b) end\n"
    "  if type(b) ~= 'table' or getmetatable(a) ~= getmetatable(b) then return false end\n"
    "  for k in pairs(b) do if a[k] == nil then return false end end\n"
    "  for k, v in pairs(a) do if not same(v, b[k]) then return false end end return true end\n"
    "for i = 1, 2000 do local v = value(0) local s = json.encode(v)\n"
    "  local back, why = json.decode(s)\n"
    "  if why or not same(v, back) then error(s) end end";

static void any_value_survives_a_round_trip(void **state) {
  run(lua_of(state), random_values);
}

static void lua_hears_of_mistakes_at_its_own_line(void **state) {
  lua_State *L = lua_of(state);
  run(L, "local ok, why = pcall(load('return 1 + json.encode({ a = print })', '=app.lua')) "
         "assert(why == 'app.lua:1: cannot encode a function at $.a', why)");
  run(L, "assert(not pcall(json.encode)) assert(not pcall(json.decode)) assert(not pcall(json.decode, {}))");
  run(L, "local v, why = json.decode '[' assert(v == nil and why:find '^line 1 column 1: ', why)");
  run(L, "assert(not pcall(json.array)) assert(not pcall(json.array, setmetatable({}, {})))");
  run(L, "local t = {} assert(json.array(t) == t and json.array(t) == t)");
}

/* Calls `step` with memory for 0, 1, 2… allocations until there was enough; a failure must say so and hold
 * nothing. */
static void starve(struct world *w, int (*step)(lua_State *L), const char *setup) {
  lua_State *L = w->L;
  for (long k = 0;; k++) {
    run(L, setup);
    lua_gc(L, LUA_GCCOLLECT);
    lua_gc(L, LUA_GCSTOP);
    int top = lua_gettop(L);
    w->ration.left = k;
    int err = step(L);
    w->ration.left = -1;
    assert_int_equal(lua_gettop(L), top + 1);
    if (err == -ENOMEM) assert_string_equal(lua_tostring(L, -1), "not enough memory");
    if (k > 10000) fail_msg("never enough for %s", setup);
    lua_settop(L, 0);
    if (err != -ENOMEM) return;
  }
}

static int encode_step(lua_State *L) {
  struct mp_buf out = {0};
  int err = mp_json_encode(L, -1, &out);
  mp_buf_free(&out);
  if (!err) lua_pushnil(L);
  return err;
}

static int decode_step(lua_State *L) {
  static const char text[] = "{\"users\":[{\"name\":\"one of more than forty characters, which is a long string\"},"
                             "[[[[1,2,3.5]]]],{}],\"total\":2}";
  return mp_json_decode(L, text, sizeof text - 1);
}

static int decode_broken_step(lua_State *L) {
  return mp_json_decode(L, "[1,", 3);
}

static int encode_string_step(lua_State *L) {
  lua_getglobal(L, "json");
  lua_getfield(L, -1, "encode");
  lua_pushvalue(L, 1);
  int status = lua_pcall(L, 1, 1, 0);
  lua_replace(L, 2);
  lua_settop(L, 2);
  return status == LUA_ERRMEM ? -ENOMEM : status ? -EINVAL : 0;
}

static void want_of_memory_is_an_error_and_no_leak(void **state) {
  struct world *w = *state;
  const char *fresh = "collectgarbage('restart') return coroutine.running()";
  starve(w, decode_step, fresh);
  starve(w, decode_broken_step, fresh);
  starve(w, encode_step, "local t = {} for i = 1, 200 do t = { t } end return t");
  starve(w, encode_step, "local t = { print } for i = 1, 200 do t = { ['key ' .. i] = t } end return t");
  starve(w, encode_string_step, "return { ('a long string '):rep(50), 1.5, { x = true } }");
}

static void a_full_stack_is_an_error_and_no_crash(void **state) {
  lua_State *L = lua_of(state);
  run(L, "function nest(n) local t = {} for i = 2, n do t = { t } end return t end");
  run(L, "local t, s = nest(1000), ('['):rep(900) .. (']'):rep(900) "
         "local function deep(n) if n > 0 then local r = deep(n - 1) return r end "
         "  return pcall(json.encode, t), pcall(json.decode, s) end "
         "for n = 100, 190000, 9973 do pcall(deep, n) end");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scalars_are_written),
      cmocka_unit_test(integers_keep_their_64_bits),
      cmocka_unit_test(floats_are_short_and_stay_floats),
      cmocka_unit_test(floats_are_written_with_a_point_in_any_locale),
      cmocka_unit_test(strings_are_escaped_where_they_must_be),
      cmocka_unit_test(every_place_in_a_string_is_looked_at),
      cmocka_unit_test(strings_that_are_not_utf8_are_refused),
      cmocka_unit_test(arrays_are_what_has_the_keys_1_to_n),
      cmocka_unit_test(an_empty_table_is_an_object_unless_marked),
      cmocka_unit_test(objects_have_string_keys),
      cmocka_unit_test(what_json_has_no_word_for_is_refused_by_name_and_place),
      cmocka_unit_test(holes_and_mixed_keys_are_refused),
      cmocka_unit_test(cycles_are_refused_where_they_close),
      cmocka_unit_test(a_long_cycle_is_found_before_its_text_grows),
      cmocka_unit_test(nesting_ends_at_1000),
      cmocka_unit_test(texts_become_values),
      cmocka_unit_test(a_decoded_array_stays_one_even_when_empty),
      cmocka_unit_test(broken_texts_are_refused_with_their_place),
      cmocka_unit_test(nested_texts_end_at_1000),
      cmocka_unit_test(any_float_survives_a_round_trip),
      cmocka_unit_test(any_value_survives_a_round_trip),
      cmocka_unit_test(lua_hears_of_mistakes_at_its_own_line),
      cmocka_unit_test(want_of_memory_is_an_error_and_no_leak),
      cmocka_unit_test(a_full_stack_is_an_error_and_no_crash),
  };
  return cmocka_run_group_tests(tests, open_world, close_world);
}
