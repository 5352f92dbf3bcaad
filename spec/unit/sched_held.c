/* Lua that is interrupted: ended whatever it does against it, named once, and nothing else disturbed. The watchdog's
 * signal is a call here: interrupt() is over time, slow() only slow. */
#include "sched_toy.h"

static int l_interrupt(lua_State *L) {
  mp_held_interrupt(mp_sched_of(L), MP_WATCH_OVER);
  return 0;
}

static int l_slow(lua_State *L) {
  mp_held_interrupt(mp_sched_of(L), MP_WATCH_SLOW);
  return 0;
}

static void on_held(struct mp_sched *sched, lua_State *L, bool over) {
  char text[512];
  mp_held_push_trace(sched, L);
  assert_non_null(strstr(lua_tostring(L, -1), "program:"));
  lua_pop(L, 1);
  assert_true(mp_held_trace(L, text, sizeof text) > 0);
  assert_non_null(strstr(text, "program:"));
  toy_say(sched->ctx, over ? "over" : "slow");
}

static void held(const char *program, const char *words) {
  struct toy *toy = toy_open();
  toy->sched.on_held = on_held;
  lua_register(toy->L, "interrupt", l_interrupt);
  lua_register(toy->L, "slow", l_slow);
  toy_start(toy, program);
  toy_run(toy);
  toy_hears(toy, words);
  toy_close(toy);
}

#define LOOP "local function forever() interrupt() while true do end end\n"
#define ENDED "over false"
#define SENTENCE(name, body)                                                                                           \
  static void name(void **state) {                                                                                     \
    (void)state;                                                                                                       \
    held(LOOP "local t = spawn(function() " body " say 'never' end)\n"                                                 \
              "local ok, err = pcall(wait, t)\n"                                                                       \
              "say(ok)\n"                                                                                              \
              "assert(err:find 'held the worker', err)\n"                                                              \
              "assert(trace(t):find 'program:1', trace(t))\n",                                                         \
         ENDED);                                                                                                       \
  }

SENTENCE(ends_a_plain_loop, "forever()")
SENTENCE(ends_a_loop_that_catches_errors, "while true do pcall(forever) end")
SENTENCE(ends_a_loop_in_a_coroutine, "coroutine.wrap(function() coroutine.wrap(forever)() end)()")
SENTENCE(ends_a_loop_in_a_gsub_callback, "(('x'):rep(3)):gsub('x', forever)")
SENTENCE(ends_a_loop_in_a_sort_callback, "table.sort({1, 2, 3}, forever)")
SENTENCE(ends_a_loop_behind_a_caught_callback, "pcall(string.gsub, 'x', 'x', forever) while true do end")
SENTENCE(ends_a_loop_of_coroutines_that_are_resumed,
         "local co = coroutine.create(function() while true do pcall(forever) end end)\n"
         "while true do coroutine.resume(co) end")
SENTENCE(ends_a_loop_that_makes_coroutines, "while true do pcall(coroutine.wrap(forever)) end")
SENTENCE(ends_a_callback_in_a_coroutine_in_a_callback,
         "(('x'):rep(3)):gsub('x', function() pcall(coroutine.wrap(function() table.sort({1, 2}, forever) end)) while "
         "true do end end)")
SENTENCE(ends_a_metamethod, "local x = setmetatable({}, {__index = forever}).x")
SENTENCE(ends_a_loop_after_a_wait, "coroutine.wrap(function() sleep(1) forever() end)()")

static void runs_its_close_variables_once(void **state) {
  (void)state;
  held(LOOP "local t = spawn(function()\n"
            "  local c <close> = setmetatable({}, {__close = function() say 'closed' end})\n"
            "  coroutine.wrap(function()\n"
            "    local c <close> = setmetatable({}, {__close = function() say 'inner' end})\n"
            "    while true do pcall(forever) end\n"
            "  end)()\n"
            "end)\n"
            "say((pcall(wait, t)))\n",
       "over inner closed false");
}

static void ends_a_close_that_loops(void **state) {
  (void)state;
  held(LOOP "local t = spawn(function()\n"
            "  local a <close> = setmetatable({}, {__close = function() say 'outer' end})\n"
            "  local c <close> = setmetatable({}, {__close = function() pcall(forever) say 'never' end})\n"
            "  forever()\n"
            "end)\n"
            "local ok, err = pcall(wait, t)\n"
            "say(ok, err:find 'held the worker' ~= nil)\n",
       "over over false true");
}

static void is_told_once_to_nobody_else(void **state) {
  (void)state;
  held(LOOP "background(forever)\n", "over untaken(it held the worker for longer than --timeout allows)");
}

static void leaves_other_tasks_alone(void **state) {
  (void)state;
  held(LOOP "local other = spawn(function() for i = 1, 3 do sleep(0.1) end return 'well' end)\n"
            "local t = spawn(forever)\n"
            "say((pcall(wait, t)))\n"
            "say(wait(other))\n"
            "say(wait(spawn(function() for i = 1, 1000 do end return 'next' end)))\n",
       "over false well next");
}

static void names_what_is_slow_and_lets_it_go_on(void **state) {
  (void)state;
  held("local t = spawn(function() slow() for i = 1, 1000 do end return 'done' end)\n"
       "say(wait(t))\n",
       "slow done");
}

static void gives_a_script_its_hook_back(void **state) {
  (void)state;
  held("local t = spawn(function()\n"
       "  local n = 0\n"
       "  debug.sethook(function() n = n + 1 end, 'l')\n"
       "  slow()\n"
       "  local before = n\n"
       "  local x = 1\n"
       "  x = 2\n"
       "  return n > before\n"
       "end)\n"
       "say(wait(t))\n",
       "slow true");
}

/* Interrupted, but it gives the loop back by itself before another instruction of it runs. */
static void that_comes_to_its_end_is_not_ended(void **state) {
  (void)state;
  held("local t = spawn(interrupt)\n"
       "say(wait(t), status(t))\n"
       "say(wait(spawn(function() for i = 1, 1000 do end return 'next' end)))\n",
       "nil done next");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ends_a_plain_loop),
      cmocka_unit_test(ends_a_loop_that_catches_errors),
      cmocka_unit_test(ends_a_loop_in_a_coroutine),
      cmocka_unit_test(ends_a_loop_in_a_gsub_callback),
      cmocka_unit_test(ends_a_loop_in_a_sort_callback),
      cmocka_unit_test(ends_a_loop_behind_a_caught_callback),
      cmocka_unit_test(ends_a_loop_of_coroutines_that_are_resumed),
      cmocka_unit_test(ends_a_loop_that_makes_coroutines),
      cmocka_unit_test(ends_a_callback_in_a_coroutine_in_a_callback),
      cmocka_unit_test(ends_a_metamethod),
      cmocka_unit_test(ends_a_loop_after_a_wait),
      cmocka_unit_test(runs_its_close_variables_once),
      cmocka_unit_test(ends_a_close_that_loops),
      cmocka_unit_test(is_told_once_to_nobody_else),
      cmocka_unit_test(leaves_other_tasks_alone),
      cmocka_unit_test(names_what_is_slow_and_lets_it_go_on),
      cmocka_unit_test(gives_a_script_its_hook_back),
      cmocka_unit_test(that_comes_to_its_end_is_not_ended),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
