/* What tasks wait for in turn (channels, semaphores, limits), and scopes: on a clock turned by hand. */
#include "sched_toy.h"

#include "api/api.h"
#include "api/channel.h"
#include "api/gate.h"

static int p_open_lines(lua_State *L) {
  lua_pushglobaltable(L);
  mp_channel_open(L);
  mp_gate_open(L);
  mp_scopes_open(L);
  return 0;
}

static struct toy *open_lines(void) {
  struct toy *toy = toy_open();
  lua_pushcfunction(toy->L, p_open_lines);
  assert_int_equal(lua_pcall(toy->L, 0, 0, 0), LUA_OK);
  return toy;
}

static void hears(const char *program, const char *words) {
  struct toy *toy = open_lines();
  toy_start(toy, program);
  toy_run(toy);
  toy_hears(toy, words);
  toy_close(toy);
}

#define SENTENCE(name, program, words)                                                                                 \
  static void name(void **state) {                                                                                     \
    (void)state;                                                                                                       \
    hears(program, words);                                                                                             \
  }

/* ---- channels ---- */

SENTENCE(a_send_goes_on_when_somebody_has_received,
         "local ch = channel() "
         "spawn(function() ch:send 'v' say 'sent' end) "
         "sleep(1) say 'now' say(ch:receive()) sleep(1)",
         "now v sent")

SENTENCE(a_value_given_to_a_task_that_is_cancelled_in_the_same_turn_is_the_next_ones,
         "local ch = channel(1) "
         "local a = spawn(function() say('a', ch:receive()) end) "
         "local b = spawn(function() say('b', ch:receive()) end) "
         "sleep(1) ch:send(1, 0) cancel(a) sleep(1) say(status(a), status(b))",
         "b 1 cancelled done")

SENTENCE(a_value_given_back_keeps_its_place,
         "local ch = channel(3) "
         "local a = spawn(function() ch:receive() end) "
         "local b = spawn(function() ch:receive() end) "
         "sleep(1) ch:send(1, 0) ch:send(2, 0) ch:send(3, 0) cancel(a) cancel(b) sleep(1) "
         "say(#ch, ch:receive(), ch:receive(), ch:receive())",
         "3 1 2 3")

SENTENCE(a_value_given_to_a_task_whose_timeout_came_first_is_the_next_ones,
         "local ch = channel() "
         "spawn(function() say('a', (ch:receive(1))) end) "
         "spawn(function() sleep(1) say(ch:send('v', 5)) end) "
         "sleep(2) say('late', ch:receive(5))",
         "a nil late v true")

SENTENCE(a_task_that_is_not_resumed_any_more_is_passed_over,
         "local ch = channel() "
         "local deaf = spawn(function() while true do pcall(ch.receive, ch) end end) "
         "sleep(1) cancel(deaf) "
         "sleep(2) say(status(deaf), ch:send('v', 0))",
         "cancelled nil timeout timeout")

SENTENCE(a_channel_may_be_collected_under_those_who_wait,
         "local a = spawn(function() channel():receive() end) "
         "local b = spawn(function() channel():send(1) end) "
         "sleep(1) cancel(a) cancel(b) sleep(5) say(status(a), status(b))",
         "cancelled cancelled")

SENTENCE(a_send_that_gave_up_is_never_received, "local ch = channel() say(ch:send('v', 1)) say(ch:receive(0)) say(#ch)",
         "nil timeout timeout nil timeout timeout 0")

SENTENCE(a_close_wakes_everybody,
         "local ch, out = channel(), channel() "
         "for i = 1, 3 do spawn(function() say((select(2, ch:receive()))) end) end "
         "for i = 1, 2 do spawn(function() say((select(2, out:send(i)))) end) end "
         "sleep(1) ch:close() out:close() sleep(1) say(out:receive())",
         "closed closed closed closed closed nil closed closed")

/* ---- semaphores and limits ---- */

SENTENCE(a_permit_given_to_a_task_that_is_cancelled_in_the_same_turn_is_the_next_ones,
         "local s = semaphore(1) local p = s:acquire() "
         "local a = spawn(function() local q <close> = s:acquire() say 'a' end) "
         "local b = spawn(function() local q <close> = s:acquire() say 'b' end) "
         "sleep(1) p:release() cancel(a) sleep(1) say(status(a), tostring(s))",
         "b cancelled semaphore (0 of 1 taken, 0 waiting)")

SENTENCE(a_permit_is_given_back_by_a_task_whose_grace_is_over,
         "local s = semaphore(1) "
         "local deaf = spawn(function() local p <close> = s:acquire() while true do pcall(sleep, 10) end end) "
         "sleep(1) cancel(deaf) say(tostring(s:acquire(30)), now())",
         "permit 3000")

SENTENCE(nobody_overtakes_in_a_line,
         "local s = semaphore(1) local p = s:acquire() "
         "spawn(function() local q <close> = s:acquire() say 'first' end) "
         "sleep(1) p:release() say((select(2, s:acquire(0)))) sleep(1) say(tostring(s:acquire(0)))",
         "timeout first permit")

SENTENCE(a_limited_task_gives_its_place_back_however_it_ends,
         "local g = gate(1, 9) "
         "gate_spawn(g, function() say(1) error('x', 0) end) "
         "local t = gate_spawn(g, function() say(2) sleep(100) end) "
         "gate_spawn(g, function(...) say(3, ...) end, 'args') "
         "sleep(1) cancel(t) sleep(1) say(tostring(gate_enter(g, 0)))",
         "1 2 3 args permit untaken(x)")

SENTENCE(a_limited_task_cancelled_before_it_began_never_begins,
         "local g = gate(1, 9) local p = gate_enter(g) "
         "local t = gate_spawn(g, function() say 'began' end) "
         "sleep(1) cancel(t) p:release() sleep(1) say(status(t), tostring(gate_enter(g, 0)))",
         "cancelled permit")

SENTENCE(a_full_queue_is_told,
         "local g = gate(1, 1) local p = gate_enter(g) "
         "local a = gate_spawn(g, say, 'a') say(select('#', gate_spawn(g, say)), select(3, gate_spawn(g, say))) "
         "cancel(a) sleep(1) say(status(gate_spawn(g, say, 'b'))) p:release()",
         "3 EAGAIN running b")

/* ---- scopes ---- */

SENTENCE(a_scope_returns_when_all_have_ended,
         "say(scope(function(s) s:spawn(function() sleep(2) say 'child' end) return 1, nil end)) say(now())",
         "child 1 nil 2000")

SENTENCE(
    the_first_error_cancels_the_rest_and_is_raised,
    "say(pcall(scope, function(s) s:spawn(sleep, 90) s:spawn(function() sleep(1) error('e', 0) end) sleep(90) end))"
    "say(now())",
    "false e 1000")

SENTENCE(
    an_error_beside_the_deadline_is_told,
    "say(pcall(scope, function(s) "
    "  s:spawn(function() local x <close> = setmetatable({}, {__close = function() error('late', 0) end}) sleep(90) "
    "  end) sleep(90) end, {timeout = 1}))",
    "untaken(late) false timeout")

SENTENCE(a_cancelled_caller_goes_on_after_its_scope,
         "local t = spawn(function() local ok, e = pcall(scope, function() pcall(sleep, 9) sleep(1) say 'body' end) "
         "  say(ok, e == cancelled) error(e) end) "
         "sleep(1) cancel(t) pcall(wait, t) say(status(t), now())",
         "body false true cancelled 2000")

SENTENCE(an_error_in_a_scope_reaches_a_caller_that_is_cancelled_as_it_ends,
         "local t = spawn(function() say(pcall(scope, function() sleep(1) error('kept', 0) end)) sleep(9) end) "
         "sleep(0.5) sleep(0.5) cancel(t) pcall(wait, t) say(status(t))",
         "false kept cancelled")

SENTENCE(a_scope_whose_caller_is_not_resumed_any_more_ends_all_the_same,
         "local t = spawn(function() "
         "  pcall(sleep, 99) "
         "  scope(function(s) s:spawn(function() "
         "    local x <close> = setmetatable({}, {__close = function() sleep(0.1) say 'closed' end}) sleep(99) end) "
         "    sleep(99) end) end) "
         "sleep(1) cancel(t) pcall(wait, t) say(status(t)) sleep(9)",
         "cancelled closed")

SENTENCE(a_member_that_waits_for_the_scopes_caller_is_refused,
         "local t = spawn(function() scope(function(s) s:spawn(function() wait(me) end) end) end) me = t "
         "say((select(2, pcall(wait, t)):gsub(';.*', '')))",
         "program:1: wait: a cycle of 2 tasks that wait for each other")

SENTENCE(
    inner_scopes_end_before_outer_ones,
    "say(pcall(scope, function(a) a:spawn(function() "
    "  local x <close> = setmetatable({}, {__close = function() say 'middle' end}) "
    "  scope(function(b) b:spawn(function() "
    "    local y <close> = setmetatable({}, {__close = function() sleep(1) say 'inner' end}) sleep(90) end) end) end) "
    "  sleep(1) error('o', 0) end))",
    "inner middle false o")

SENTENCE(a_cancelled_scope_cancels_who_joins_later,
         "say(scope(function(s) s:cancel('why') local t = s:spawn(function() sleep(9) say 'no' end) "
         "  return s.cancelled, s.reason, tostring(s) end))",
         "true why scope (cancelled)")

/* ---- everything at once ---- */

/* What is in a channel plus what was received is what was sent; every permit comes back; every scope ends. */
static const char storm[] =
    "math.randomseed(seed) local random = math.random "
    "local chs, sems, gates = {channel(), channel(2), channel(5)}, {semaphore(1), semaphore(3)}, {gate(2, 5)} "
    "local sent, got, most, inside, tasks = {}, {}, {3}, 0, {} "
    "local serial = 0 "
    "local function maybe() return random(3) == 1 and nil or random(0, 3) end "
    "local acts "
    "local function act(n) for _ = 1, n do acts[random(#acts)]() end end "
    "acts = { "
    "  function() serial = serial + 1 local v, ch = serial, chs[random(3)] sent[v] = 'offered' "
    "    if ch:send(v, maybe()) then sent[v] = 'sent' else sent[v] = nil end end, "
    "  function() local v = chs[random(3)]:receive(maybe()) "
    "    if v then assert(not got[v], 'twice') got[v] = true end end, "
    "  function() local i = random(2) local p <close> = sems[i]:acquire(maybe()) if p then sleep(random(0, 2)) end "
    "end, "
    "  function() sleep(random(0, 2)) end, "
    "  function() pcall(scope, function(s) for _ = 1, random(3) do s:spawn(act, random(2)) end "
    "    if random(4) == 1 then error 'e' end if random(5) == 1 then s:cancel() end act(1) end, "
    "    {timeout = random(2) == 1 and random(1, 4) or nil}) end, "
    "  function() local t = gate_spawn(gates[1], act, 1) if t then pcall(wait, t, maybe()) end end, "
    "  function() local t = tasks[random(#tasks)] if random(4) == 1 then cancel(t) end end, "
    "} "
    "for i = 1, 12 do tasks[i] = spawn(function() pcall(act, 12) end) end "
    "for i = 1, 12 do pcall(wait, tasks[i]) end "
    "sleep(60) for i = 1, 12 do cancel(tasks[i]) end sleep(60) "
    "local lost = 0 "
    "for _, ch in ipairs(chs) do ch:close() for v in ch:values() do assert(not got[v], 'twice') got[v] = true end end "
    "for v, how in pairs(sent) do if how == 'sent' and not got[v] then lost = lost + 1 end end "
    "say(lost, tostring(sems[1]), tostring(sems[2]), tostring(gate_enter(gates[1], 0)), "
    "  tostring(gate_enter(gates[1], 0)))";

static void run_storm(lua_Integer seed) {
  struct toy *toy = open_lines();
  lua_pushinteger(toy->L, seed);
  lua_setglobal(toy->L, "seed");
  toy_start(toy, storm);
  toy_run(toy);
  const char *end = strstr(toy->said, "semaphore");
  if (!end || strcmp(end, "semaphore (0 of 1 taken, 0 waiting) semaphore (0 of 3 taken, 0 waiting) permit permit") != 0)
    fail_msg("seed %lld: %s", (long long)seed, toy->said);
  toy->len = 0;
  toy_close(toy);
}

static void nothing_is_lost_in_a_storm(void **state) {
  (void)state;
  for (lua_Integer seed = 1; seed <= 40; seed++) run_storm(seed);
}

static void run_short_of_memory(long after, bool all) {
  struct toy *toy = open_lines();
  toy->log.least = MP_LOG_ERROR + 1;
  toy_start(toy, "local ch, s, g = channel(1), semaphore(1), gate(1, 3) "
                 "spawn(function() local p <close> = s:acquire() sleep(1) for v in ch:values() do end end) "
                 "spawn(function() local p <close> = s:acquire() error {} end) "
                 "spawn(function() for i = 1, 3 do ch:send({i}, 2) end ch:close() end) "
                 "for i = 1, 3 do gate_spawn(g, function() sleep(1) end) end "
                 "pcall(scope, function(x) x:spawn(sleep, 1) x:spawn(error, 'e') sleep(1) end, {timeout = 5})");
  toy->fail_after = after;
  toy->no_memory = all;
  for (int i = 0; i < 40 && toy_step(toy);) i++;
  toy->fail_after = -1;
  for (struct mp_list *at = toy->scopes.next; at != &toy->scopes;) { /* who waits for what never came */
    struct toy_scope *scope = MP_CONTAINER(at, struct toy_scope, node);
    at = at->next;
    mp_scope_cancel(&scope->scope);
  }
  toy_run(toy);
  toy->len = 0;
  toy_start(toy,
            "say(scope(function() local c = channel() spawn(function() c:send 'well' end) return c:receive() end))");
  toy_run(toy);
  toy_hears(toy, "well");
  toy_close(toy);
}

static void survives_any_allocation_that_fails(void **state) {
  (void)state;
  for (long after = 0; after < 250; after++) {
    run_short_of_memory(after, false);
    run_short_of_memory(after, true);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_send_goes_on_when_somebody_has_received),
      cmocka_unit_test(a_value_given_to_a_task_that_is_cancelled_in_the_same_turn_is_the_next_ones),
      cmocka_unit_test(a_value_given_back_keeps_its_place),
      cmocka_unit_test(a_value_given_to_a_task_whose_timeout_came_first_is_the_next_ones),
      cmocka_unit_test(a_task_that_is_not_resumed_any_more_is_passed_over),
      cmocka_unit_test(a_channel_may_be_collected_under_those_who_wait),
      cmocka_unit_test(a_send_that_gave_up_is_never_received),
      cmocka_unit_test(a_close_wakes_everybody),
      cmocka_unit_test(a_permit_given_to_a_task_that_is_cancelled_in_the_same_turn_is_the_next_ones),
      cmocka_unit_test(a_permit_is_given_back_by_a_task_whose_grace_is_over),
      cmocka_unit_test(nobody_overtakes_in_a_line),
      cmocka_unit_test(a_limited_task_gives_its_place_back_however_it_ends),
      cmocka_unit_test(a_limited_task_cancelled_before_it_began_never_begins),
      cmocka_unit_test(a_full_queue_is_told),
      cmocka_unit_test(a_scope_returns_when_all_have_ended),
      cmocka_unit_test(the_first_error_cancels_the_rest_and_is_raised),
      cmocka_unit_test(an_error_beside_the_deadline_is_told),
      cmocka_unit_test(a_cancelled_caller_goes_on_after_its_scope),
      cmocka_unit_test(an_error_in_a_scope_reaches_a_caller_that_is_cancelled_as_it_ends),
      cmocka_unit_test(a_scope_whose_caller_is_not_resumed_any_more_ends_all_the_same),
      cmocka_unit_test(a_member_that_waits_for_the_scopes_caller_is_refused),
      cmocka_unit_test(inner_scopes_end_before_outer_ones),
      cmocka_unit_test(a_cancelled_scope_cancels_who_joins_later),
      cmocka_unit_test(nothing_is_lost_in_a_storm),
      cmocka_unit_test(survives_any_allocation_that_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
