#include "api/text.h"
#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
/* after the above, which it needs */
#include <cmocka.h>

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
  mp_text_open(w->L);
  lua_setglobal(w->L, "text");
  *state = w;
  return 0;
}

static int close_world(void **state) {
  struct world *w = *state;
  lua_close(w->L);
  free(w);
  return 0;
}

static void run(void **state, const char *lua) {
  lua_State *L = ((struct world *)*state)->L;
  if (luaL_dostring(L, lua)) fail_msg("%s\nin: %s", lua_tostring(L, -1), lua);
  lua_settop(L, 0);
}

static void html_is_escaped_for_text_and_attributes(void **state) {
  run(state, "assert(text.escape('<a href=\"x\">\\'R&D\\'</a>') == "
             "'&lt;a href=&quot;x&quot;&gt;&#39;R&amp;D&#39;&lt;/a&gt;')");
  run(state,
      "assert(text.escape('') == '' and text.escape('plain') == 'plain' and text.escape('a\\0<') == 'a\\0&lt;')");
  run(state, "assert(text.escape(42) == '42' and text.escape('&') == '&amp;')");
  run(state, "assert(text.escape(('<'):rep(5000)) == ('&lt;'):rep(5000))");
  run(state, "assert(not pcall(text.escape) and not pcall(text.escape, {}))");
}

static void urls_are_encoded_and_decoded(void **state) {
  run(state, "assert(text.url_encode('a b/ü?&=+~-._') == 'a%20b%2F%C3%BC%3F%26%3D%2B~-._')");
  run(state, "assert(text.url_encode('') == '' and text.url_decode('') == '')");
  run(state, "assert(text.url_decode('a%20b%2f+') == 'a b/+' and text.url_decode('a+b', true) == 'a b')");
  run(state, "local all = {} for i = 1, 255 do all[i] = string.char(i) end all = table.concat(all):rep(20) "
             "assert(text.url_decode(text.url_encode(all)) == all)");
}

static void broken_escapes_are_nil_and_a_message(void **state) {
  run(state, "for _, s in ipairs { '%', '%a', 'x%zz', '%0g', '%00' } do "
             "local v, why, code = text.url_decode(s) "
             "assert(v == nil and why == 'a broken escape, or %00' and code == 'EINVAL', s) end");
}

static void random_bytes_are_as_many_as_asked_for_and_differ(void **state) {
  run(state, "for _, n in ipairs { 1, 16, 255, 256, 257, 1024 } do local s = text.random(n) "
             "assert(#s == 2 * n and not s:find '[^0-9a-f]') end");
  run(state, "local seen = {} for _ = 1, 1000 do local s = text.random(16) assert(not seen[s]) seen[s] = true end");
  run(state, "for _, n in ipairs { 0, -1, 1025, 1.5, math.maxinteger } do assert(not pcall(text.random, n)) end");
}

static void want_of_memory_raises_and_leaks_nothing(void **state) {
  struct world *w = *state;
  lua_State *L = w->L;
  static const char *calls[] = {"return text.escape(s)", "return text.url_encode(s)", "return text.url_decode(s)",
                                "return text.random(1000)"};
  run(state, "s = ('<a b>'):rep(1000)");
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    int status = LUA_ERRMEM;
    for (long k = 0; status; k++) {
      assert_int_equal(luaL_loadstring(L, calls[i]), LUA_OK);
      w->ration.left = k;
      status = lua_pcall(L, 0, 1, 0);
      w->ration.left = -1;
      assert_true(status == LUA_OK || status == LUA_ERRMEM);
      assert_true(k < 1000);
      lua_settop(L, 0);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(html_is_escaped_for_text_and_attributes),
      cmocka_unit_test(urls_are_encoded_and_decoded),
      cmocka_unit_test(broken_escapes_are_nil_and_a_message),
      cmocka_unit_test(random_bytes_are_as_many_as_asked_for_and_differ),
      cmocka_unit_test(want_of_memory_raises_and_leaks_nothing),
  };
  return cmocka_run_group_tests(tests, open_world, close_world);
}
