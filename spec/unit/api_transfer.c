#include "api/json.h"
#include "api/process.h"
#include "api/transfer.h"
#include "sched/state.h"
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* after the above, which it needs */
#include <cmocka.h>

/* Two Lua states, and memory that may run out in either. */
struct side {
  lua_State *L;
  struct mp_sched sched;
  long left; /* allocations that still succeed; negative: all */
};

struct world {
  struct side from, to;
};

static void *allocate(void *ud, void *at, size_t old, size_t size) {
  struct side *side = ud;
  if (size == 0) {
    free(at);
    return NULL;
  }
  bool grows = !at || size > old;
  if (grows && side->left == 0) return NULL;
  if (grows && side->left > 0) side->left--;
  return realloc(at, size);
}

static void open_side(struct side *side) {
  side->left = -1;
  side->L = lua_newstate(allocate, side);
  assert_int_equal(mp_sched_init(&side->sched, side->L, NULL), 0);
  luaL_openlibs(side->L);
  mp_json_open(side->L);
  lua_setglobal(side->L, "json");
  mp_result_open(side->L);
  mp_push_cancelled(side->L);
  lua_setglobal(side->L, "cancelled");
}

static void close_side(struct side *side) {
  lua_close(side->L);
  mp_sched_deinit(&side->sched);
}

static int open_world(void **state) {
  struct world *w = calloc(1, sizeof *w);
  open_side(&w->from);
  open_side(&w->to);
  *state = w;
  return 0;
}

static int close_world(void **state) {
  struct world *w = *state;
  close_side(&w->from);
  close_side(&w->to);
  free(w);
  return 0;
}

static int p_pack(lua_State *L) {
  struct mp_transfer_words words = {.what = "spec", .item = "value", .number = 1};
  struct mp_buf *out = lua_touserdata(L, 1);
  mp_transfer_pack(L, 2, lua_gettop(L) - 1, &words, out);
  return 0;
}

static int p_unpack(lua_State *L) {
  return mp_transfer_unpack(L, mp_buf_slice(lua_touserdata(L, 1)), NULL);
}

/* What the Lua text gives, packed; false and the error on the stack when it was refused. */
static bool pack(lua_State *L, const char *lua, struct mp_buf *out) {
  lua_settop(L, 0);
  lua_pushcfunction(L, p_pack);
  lua_pushlightuserdata(L, out);
  if (luaL_loadstring(L, lua) || lua_pcall(L, 0, LUA_MULTRET, 0)) fail_msg("%s in: %s", lua_tostring(L, -1), lua);
  return lua_pcall(L, lua_gettop(L) - 1, 0, 0) == LUA_OK;
}

/* Sends what `lua` gives, and calls `check` with it on the other side: it must give true. */
static void cross(void **state, const char *lua, const char *check) {
  struct world *w = *state;
  struct mp_buf bytes = {0};
  lua_State *L = w->to.L;
  if (!pack(w->from.L, lua, &bytes)) fail_msg("refused: %s in: %s", lua_tostring(w->from.L, -1), lua);
  lua_settop(L, 0);
  if (luaL_loadstring(L, check)) fail_msg("%s", lua_tostring(L, -1));
  lua_pushcfunction(L, p_unpack);
  lua_pushlightuserdata(L, &bytes);
  if (lua_pcall(L, 1, LUA_MULTRET, 0)) fail_msg("%s in: %s", lua_tostring(L, -1), lua);
  if (lua_pcall(L, lua_gettop(L) - 1, 1, 0)) fail_msg("%s in: %s", lua_tostring(L, -1), check);
  if (!lua_toboolean(L, -1)) fail_msg("not so: %s of: %s", check, lua);
  mp_buf_free(&bytes);
}

static void refused(void **state, const char *lua, const char *message) {
  struct world *w = *state;
  struct mp_buf bytes = {0};
  assert_false(pack(w->from.L, lua, &bytes));
  assert_string_equal(lua_tostring(w->from.L, -1), message);
  mp_buf_free(&bytes);
}

static void plain_values_cross(void **state) {
  cross(state, "return", "return select('#', ...) == 0");
  cross(state, "return nil, nil", "return select('#', ...) == 2");
  cross(state, "return true, false, nil, 'a\\0b', ''",
        "local a, b, c, d, e = ... return a == true and b == false and c == nil and d == 'a\\0b' and e == ''");
  cross(
      state, "return math.maxinteger, math.mininteger, 2^53, -0.0, 1/0, 0/0",
      "local a, b, c, d, e, f = ... return math.type(a) == 'integer' and a == math.maxinteger and b == math.mininteger "
      "and math.type(c) == 'float' and 1/d == -1/0 and e == 1/0 and f ~= f");
  cross(state, "return ('x'):rep(1000000)", "return ... == ('x'):rep(1000000)");
  cross(state, "return cancelled, json.null", "local a, b = ... return a == cancelled and b == json.null");
}

static void tables_cross_with_what_they_share(void **state) {
  cross(state, "return { 1, 2, nil, 4, x = { y = { z = 'deep' } }, [1.5] = true, [false] = 1 }",
        "local t = ... return t[1] == 1 and t[3] == nil and t[4] == 4 and t.x.y.z == 'deep' and t[1.5] and t[false] == "
        "1");
  cross(state, "local a = {} local t = { a, a, { a } } t.me = t t[a] = 'key' return t, a",
        "local t, a = ... return t[1] == a and t[2] == a and t[3][1] == a and t.me == t and t[a] == 'key'");
  cross(state, "return json.array {}, {}", "local a, b = ... return json.encode(a) == '[]' and json.encode(b) == '{}'");
  cross(state, "local t = {} for i = 1, 900 do t = { t } end return t",
        "local t, n = ..., 0 while t[1] do t = t[1] n = n + 1 end return n == 900");
}

static void functions_cross_with_their_upvalues(void **state) {
  cross(state, "local n = 5 return function(x) return x + n end", "return (...)(1) == 6");
  cross(state, "local function f(n) return n < 2 and 1 or n * f(n - 1) end return f", "return (...)(10) == 3628800");
  cross(state, "local n = 0 return function() n = n + 1 end, function() return n end",
        "local inc, get = ... inc() inc() return get() == 2");
  cross(state, "local t = { f = print } local g = function() return t end t.g = g return g",
        "local g = ... return g().g == g and g().f == print");
  cross(state, "return function() return here end", "here = 'there' return (...)() == 'there'");
  cross(state, "local format, s, str = string.format, string, ('x').upper return function() return format, s, str end",
        "local a, b, c = (...)() return a == string.format and b == string and c == string.upper");
  cross(state, "local env = { x = 3 } return load('return x', 'c', 't', env)", "return (...)() == 3");
  cross(state, "return load(string.dump(function() return 7 end, true))", "return (...)() == 7");
  cross(state, "return function(...) return select('#', ...) end", "return (...)(1, nil) == 2");
}

static void the_rest_is_refused_by_name(void **state) {
#define ONLY "; only nil, booleans, numbers, strings, plain tables and Lua functions cross"
  refused(state, "return 1, coroutine.create(print)", "spec: value 2 is a thread (coroutine)" ONLY);
  refused(state, "return io.stdout", "spec: value 1 is a userdata (FILE*)" ONLY);
  refused(state, "return { a = { 1, io.stdout } }", "spec: item 2 of field 'a' of value 1 is a userdata (FILE*)" ONLY);
  refused(state, "return setmetatable({}, {})", "spec: value 1 is a table with a metatable" ONLY);
  refused(state, "local co = coroutine.create(print) return function() return co end",
          "spec: upvalue 'co' of value 1 is a thread (coroutine)" ONLY);
  refused(state, "return string.gmatch('a', 'a')", "spec: value 1 is a C function of no module" ONLY);
  refused(state, "local t = {} for i = 1, 1100 do t = { t } end return t", "spec: value 1 is nested deeper than 1000");
}

static void modules_cross_by_name(void **state) {
  struct world *w = *state;
  for (int i = 0; i < 2; i++) {
    lua_State *L = i ? w->to.L : w->from.L;
    assert_int_equal(luaL_dostring(L, "package.preload.mine = function() return setmetatable({}, {}) end mine = "
                                      "require 'mine'"),
                     0);
  }
  cross(state, "local m = mine return m, function() return m end", "local m, f = ... return m == mine and f() == mine");
}

static void pack_error(lua_State *L, const char *lua, struct mp_buf *out) {
  lua_settop(L, 0);
  if (luaL_dostring(L, lua)) fail_msg("%s", lua_tostring(L, -1));
  mp_transfer_pack_error(L, 1, out);
}

static void errors_always_cross(void **state) {
  struct world *w = *state;
  struct mp_buf out = {0};
  lua_State *L = w->to.L;
  pack_error(w->from.L, "return setmetatable({ code = 5 }, {})", &out);
  assert_int_equal(mp_transfer_unpack(L, mp_buf_slice(&out), NULL), 1);
  lua_getfield(L, -1, "code");
  assert_int_equal(lua_tointeger(L, -1), 5);
  mp_buf_free(&out);
  pack_error(w->from.L, "return { co = coroutine.create(print) }", &out);
  assert_int_equal(mp_transfer_unpack(L, mp_buf_slice(&out), NULL), 1);
  assert_non_null(strstr(lua_tostring(L, -1), "an error that holds such values cannot leave its thread"));
  mp_buf_free(&out);
}

static void text_is_packed_without_a_state(void **state) {
  struct world *w = *state;
  struct mp_buf out = {0};
  struct mp_slice text;
  assert_int_equal(mp_transfer_put_text(&out, MP_SLICE("some text")), 0);
  assert_int_equal(mp_transfer_unpack(w->to.L, mp_buf_slice(&out), NULL), 1);
  assert_string_equal(lua_tostring(w->to.L, -1), "some text");
  assert_true(mp_transfer_is_text(mp_buf_slice(&out), &text));
  assert_true(mp_slice_is(text, MP_SLICE("some text")));
  mp_buf_free(&out);
  assert_false(mp_transfer_is_text(mp_slice("", 0), &text));
}

/* Each allocation in turn fails: an error comes out, and nothing is lost or freed twice. */
static void memory_may_run_out_on_either_side(void **state) {
  static const char lua[] = "local n, t = 5, { 1, { 'x' } } return { t, t, function() return n, t end, string.format }";
  struct world *w = *state;
  bool packed = false, unpacked = false;
  struct mp_buf bytes = {0};
  for (long n = 0; n < 400 && !packed; n++) {
    lua_settop(w->from.L, 0);
    lua_pushcfunction(w->from.L, p_pack);
    mp_buf_free(&bytes);
    lua_pushlightuserdata(w->from.L, &bytes);
    assert_int_equal(luaL_dostring(w->from.L, lua), 0);
    w->from.left = n;
    packed = lua_pcall(w->from.L, 2, 0, 0) == LUA_OK;
    w->from.left = -1;
  }
  assert_true(packed);
  for (long n = 0; n < 400 && !unpacked; n++) {
    lua_settop(w->to.L, 0);
    lua_pushcfunction(w->to.L, p_unpack);
    lua_pushlightuserdata(w->to.L, &bytes);
    w->to.left = n;
    unpacked = lua_pcall(w->to.L, 1, LUA_MULTRET, 0) == LUA_OK;
    w->to.left = -1;
  }
  assert_true(unpacked);
  mp_buf_free(&bytes);
}

#define SPEC(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
  const struct CMUnitTest tests[] = {
      SPEC(plain_values_cross),
      SPEC(tables_cross_with_what_they_share),
      SPEC(functions_cross_with_their_upvalues),
      SPEC(the_rest_is_refused_by_name),
      SPEC(modules_cross_by_name),
      SPEC(errors_always_cross),
      SPEC(text_is_packed_without_a_state),
      SPEC(memory_may_run_out_on_either_side),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
