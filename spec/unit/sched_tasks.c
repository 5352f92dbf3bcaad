/* What a task is to scripts: it runs, waits, ends once; its values and its error are kept for whoever asks. */
#include "sched_toy.h"

#define SENTENCE(name, program, words)                                                                                 \
  static void name(void **state) {                                                                                     \
    (void)state;                                                                                                       \
    says(program, words);                                                                                              \
  }

/* ---- values and errors ---- */

SENTENCE(keeps_its_coroutine_while_somebody_holds_the_task,
         "local t = spawn(function()\n"
         "  for i = 1, 3 do sleep(0.1) end\n"
         "  return 'still there'\n"
         "end)\n"
         "say(wait(t))\n",
         "still there")

SENTENCE(is_given_its_arguments_nils_kept,
         "wait(spawn(function(...) say(select('#', ...), ...) end, 1, nil, 3, nil))\n"
         "wait(spawn(function(...) say(select('#', ...)) end))\n",
         "4 1 nil 3 nil 0")

SENTENCE(returns_all_its_values_as_often_as_it_is_asked,
         "local t = spawn(function() sleep(1) return nil, 2, nil end)\n"
         "for _ = 1, 3 do local r = table.pack(wait(t)) say(r.n, r[1], r[2], r[3]) end\n"
         "say(status(t))\n",
         "3 nil 2 nil 3 nil 2 nil 3 nil 2 nil done")

SENTENCE(returns_very_many_values,
         "local t = spawn(function() return table.unpack({}, 1, 100000) end)\n"
         "say(select('#', wait(t)))\n",
         "100000")

SENTENCE(raises_the_same_value_in_everybody_who_waits,
         "local value = {}\n"
         "local t = spawn(function() sleep(1) error(value) end)\n"
         "local one = spawn(function() local ok, err = pcall(wait, t) say(ok, err == value) end)\n"
         "local two = spawn(function() local ok, err = pcall(wait, t) say(ok, err == value) end)\n"
         "wait_all{one, two}\n"
         "say(select(2, pcall(wait, t)) == value, status(t))\n",
         "false true false true true failed")

SENTENCE(gives_a_text_one_position_only,
         "local t = spawn(function() error 'text' end)\n"
         "say(select(2, pcall(wait, t)))\n",
         "program:1: text")

SENTENCE(may_fail_with_nil,
         "local t = spawn(function() error() end)\n"
         "say(pcall(wait, t))\n"
         "say(status(t))\n",
         "false nil failed")

SENTENCE(has_the_traceback_of_where_it_failed,
         "local function deep() error 'down' end\n"
         "local t = spawn(function() sleep(1) deep() end)\n"
         "pcall(wait, t)\n"
         "say(trace(t):find('deep', 1, true) ~= nil, trace(t):match '^stack traceback:' ~= nil)\n",
         "true true")

SENTENCE(that_fails_with_anothers_error_shows_both_stacks,
         "local function inner() error('x', 0) end\n"
         "local function outer(t) wait(t) end\n"
         "local one = spawn(function() sleep(1) inner() end)\n"
         "local two = spawn(function() outer(one) end)\n"
         "pcall(wait, two)\n"
         "local text = trace(two)\n"
         "say(text:find 'outer' < text:find 'error of the task spawned at', text:match 'spawned at (%S+)',\n"
         "    text:find(\"in upvalue 'inner'\", 1, true) ~= nil or text:find(\"inner\", 1, true) ~= nil)\n",
         "true program:3: true")

SENTENCE(does_not_blame_another_for_an_error_of_its_own,
         "local one = spawn(function() error 'first' end)\n"
         "local two = spawn(function() pcall(wait, one) error 'second' end)\n"
         "pcall(wait, two)\n"
         "say(trace(two):find 'spawned at')\n",
         "nil")

SENTENCE(that_fails_and_nobody_waits_for_is_told_at_the_end_of_its_scope,
         "spawn(function() error 'unheard' end)\n"
         "sleep(1)\n"
         "say 'end'\n",
         "end untaken(program:1: unheard)")

SENTENCE(that_fails_is_not_told_when_somebody_waited_late,
         "local t = spawn(function() error 'heard' end)\n"
         "sleep(1)\n"
         "say(pcall(wait, t))\n",
         "false program:1: heard")

SENTENCE(that_fails_is_told_though_nobody_ever_held_it, "error({})\n", "untaken(table)")

SENTENCE(that_raises_cancelled_by_itself_has_failed,
         "local t = spawn(function() error(cancelled) end)\n"
         "sleep(0)\n"
         "say(status(t))\n",
         "failed untaken(cancelled)")

SENTENCE(may_overflow_its_stack,
         "local function f() return 1 + f() end\n"
         "local t = spawn(f)\n"
         "local ok, err = pcall(wait, t)\n"
         "say(ok, err:match 'stack overflow', trace(t) ~= nil)\n"
         "say(wait(spawn(function() return 'well' end)))\n",
         "false stack overflow true well")

SENTENCE(that_failed_in_the_background_is_told_at_once,
         "local t = background(function() error('now', 0) end)\n"
         "sleep(1)\n"
         "say 'later'\n"
         "say(pcall(wait, t))\n",
         "untaken(now) later false now")

SENTENCE(that_failed_in_the_background_is_not_told_if_somebody_waits,
         "local t = background(function() sleep(1) error('one', 0) end)\n"
         "local u = background(function() sleep(1) error('two', 0) end)\n"
         "say(pcall(wait, t))\n"
         "sleep(1)\n",
         "untaken(two) false one")

SENTENCE(that_somebody_of_another_scope_waits_for_is_not_told,
         "local t = scoped(function() sleep(1) error('mine', 0) end)\n"
         "say(pcall(wait, t))\n",
         "false mine")

SENTENCE(is_told_when_who_waited_gave_up_before,
         "local t = background(function() sleep(2) error('late', 0) end)\n"
         "say(wait(t, 1))\n"
         "sleep(2)\n",
         "nil timeout timeout untaken(late)")

/* ---- waiting ---- */

SENTENCE(goes_on_when_a_wait_gives_up,
         "local t = spawn(function() sleep(2) return 'done' end)\n"
         "local a, b, c, d = wait(t, 0.5)\n"
         "say(a, b, c, d, now(), status(t))\n"
         "say(wait(t), now())\n"
         "say(wait(t, 0))\n",
         "nil timeout timeout nil 500 running done 2000 done")

SENTENCE(can_be_asked_without_waiting,
         "local t = spawn(function() sleep(1) end)\n"
         "say((select(2, wait(t, 0))), now())\n",
         "timeout 0")

SENTENCE(refuses_a_timeout_that_is_none,
         "local t = spawn(function() end)\n"
         "for _, s in ipairs { -1, 0/0, 'soon', {} } do say((pcall(wait, t, s))) end\n"
         "say(select('#', wait(t, math.huge)), (pcall(wait, {})), (pcall(wait)))\n",
         "false false false false 0 false false")

SENTENCE(cannot_wait_for_itself,
         "local ok, err = pcall(wait, self())\n"
         "say(err)\n",
         "wait: a task cannot wait for itself")

SENTENCE(names_a_cycle,
         "local a, b, c\n"
         "a = spawn(function() sleep(0.1) wait(b) end)\n"
         "b = spawn(function() sleep(0.2) wait(c) end)\n"
         "c = spawn(function() sleep(0.3) wait(a) end)\n"
         "say((select(2, pcall(wait, c)):gsub('spawned at.*', '')))\n"
         "pcall(wait, a)\n"
         "pcall(wait, b)\n",
         "program:4: wait: a cycle of 3 tasks that wait for each other; this one was ")

SENTENCE(finds_a_cycle_through_all_of_several,
         "local a, b\n"
         "a = spawn(function() sleep(0.1) wait_all { spawn(sleep, 1), b } end)\n"
         "b = spawn(function() sleep(0.2) wait(a) end)\n"
         "say(select(2, pcall(wait, b)):match 'cycle of 2')\n"
         "pcall(wait, a)\n"
         "local e, f\n"
         "e = spawn(function() sleep(0.1) wait(f) end)\n"
         "f = spawn(function() sleep(0.2) wait_all { e } end)\n"
         "say(select(2, pcall(wait, f)):match 'wait_all: a cycle of 2')\n"
         "pcall(wait, e)\n",
         "cycle of 2 wait_all: a cycle of 2")

SENTENCE(may_wait_for_the_first_of_several_though_one_waits_for_it,
         "local a, b\n"
         "a = spawn(function() sleep(0.1) return wait_any { b, spawn(function() sleep(1) return 'out' end) } end)\n"
         "b = spawn(function() sleep(0.2) return select(2, wait(a)) end)\n"
         "say(wait(b))\n",
         "out")

SENTENCE(that_has_been_woken_is_part_of_no_cycle,
         "local a, b\n"
         "a = spawn(function() say((select(2, wait(b, 0.5)))) sleep(1) return 'a' end)\n"
         "b = spawn(function() sleep(0.5) return wait(a) end)\n"
         "say(wait(b))\n",
         "timeout a")

SENTENCE(waits_inside_pcall_metamethods_and_iterators,
         "local v = setmetatable({}, { __add = function(_, n) sleep(1) return n + 1 end,\n"
         "  __index = function(_, k) sleep(1) return k end, __lt = function() sleep(1) return true end,\n"
         "  __concat = function() sleep(1) return 'joined' end, __call = function() sleep(1) return 'called' end,\n"
         "  __newindex = function(t, k, x) sleep(1) rawset(t, k, x) end })\n"
         "say(v.key, v + 1, v < v, v .. 'x', v())\n"
         "v.new = 5\n"
         "say(rawget(v, 'new'), now())\n"
         "local n = 0\n"
         "for i in function(_, i) sleep(1) i = (i or 0) + 1 return i <= 3 and i or nil end do n = n + i end\n"
         "say(n)\n"
         "say(pcall(function() sleep(1) return pcall(function() sleep(1) error('e', 0) end) end))\n"
         "say(xpcall(function() sleep(1) error('x', 0) end, function(m) return m .. '!' end))\n",
         "key 2 true joined called 5 6000 6 true false e false x!")

SENTENCE(cannot_wait_where_lua_itself_calls_and_is_told_so,
         "local function why(f, ...)\n"
         "  local ok, err = pcall(f, ...)\n"
         "  say(ok, err:match 'cannot wait inside a function that Lua' and 'said' or err)\n"
         "end\n"
         "why(table.sort, { 2, 1, 3 }, function(a, b) sleep(1) return a < b end)\n"
         "why(string.gsub, 'abc', '.', function() sleep(1) end)\n"
         "why(tostring, setmetatable({}, { __tostring = function() sleep(1) end }))\n"
         "why(table.sort, { 2, 1 }, coroutine.wrap(function() sleep(1) end))\n"
         "local t = spawn(function() end)\n"
         "why(table.sort, { 2, 1 }, function() wait(t) end)\n"
         "why(table.sort, { 2, 1 }, function() wait_any { t } end)\n"
         "why(table.sort, { 2, 1 }, function() wait_all { t } end)\n",
         "false said false said false said false said false said false said false said")

SENTENCE(
    can_take_what_has_ended_where_it_cannot_wait,
    "local t = spawn(function() return 3 end)\n"
    "sleep(1)\n"
    "local got\n"
    "table.sort({ 2, 1 }, function() got = wait(t) + wait_all({ t })[1] + select(2, wait_any { t }) return true end)\n"
    "say(got)\n",
    "9")

/* ---- several at once ---- */

SENTENCE(may_be_the_first_of_several_and_the_others_go_on,
         "local function after(s, ...) local r = table.pack(...) return spawn(function() sleep(s) return "
         "table.unpack(r, 1, r.n) end) end\n"
         "local slow, quick = after(3, 'slow'), after(1, 'quick', nil, 'x')\n"
         "say(wait_any { slow, quick })\n"
         "say(wait_any { slow, quick })\n"
         "say(wait_any({ slow }, 0.5))\n"
         "say(wait(slow), now())\n",
         "2 quick nil x 2 quick nil x nil timeout timeout slow 3000")

SENTENCE(first_of_several_may_fail,
         "local good = spawn(function() sleep(2) return 'good' end)\n"
         "local bad = spawn(function() sleep(1) error('bad', 0) end)\n"
         "say(pcall(wait_any, { good, bad }))\n"
         "say(wait(good))\n",
         "false bad good")

SENTENCE(is_one_of_all_in_the_order_of_the_list,
         "local list = {}\n"
         "for i = 1, 4 do list[i] = spawn(function() sleep(5 - i) if i ~= 3 then return i, 'second' end end) end\n"
         "list[5] = list[1]\n"
         "local r = wait_all(list)\n"
         "say(r.n, r[1], r[2], r[3], r[4], r[5], now())\n",
         "5 1 2 nil 4 1 4000")

SENTENCE(lists_may_be_empty_or_none,
         "say(wait_all({}).n, #wait_all {})\n"
         "say((pcall(wait_any, {})), (pcall(wait_any, 5)), (pcall(wait_all, { 1 })), (pcall(wait_all)))\n"
         "say((pcall(wait_all, setmetatable({}, { __len = function() return -1 end }))))\n"
         "say((pcall(wait_any, setmetatable({}, { __len = function() return 1 << 32 end }))))\n"
         "say((pcall(wait_any, { self() })), (pcall(wait_all, { self() })))\n",
         "0 0 false false false false false false false false")

SENTENCE(list_may_change_while_it_is_waited_for,
         "local list = { spawn(function() sleep(1) return 1 end), spawn(function() sleep(2) return 2 end) }\n"
         "spawn(function() list[1], list[2] = nil end)\n"
         "local r = wait_all(list)\n"
         "say(r[1], r[2])\n",
         "1 2")

SENTENCE(all_time_out_and_go_on,
         "local a, b = spawn(function() sleep(1) return 'a' end), spawn(function() sleep(3) return 'b' end)\n"
         "say(wait_all({ a, b }, 2))\n"
         "say(status(a), status(b), table.concat(wait_all { a, b }))\n",
         "nil timeout timeout done running ab")

SENTENCE(first_failure_cancels_the_others_joins_them_and_is_raised,
         "local slow = spawn(function()\n"
         "  local x <close> = setmetatable({}, { __close = function() sleep(1) say 'closed' end })\n"
         "  sleep(60)\n"
         "end)\n"
         "local bad = spawn(function() sleep(1) error('bad', 0) end)\n"
         "say(pcall(wait_all, { slow, bad }))\n"
         "say(status(slow), now())\n",
         "closed false bad cancelled 2000")

SENTENCE(failure_is_raised_though_another_waits_for_who_waits,
         "local me = self()\n"
         "local bad = spawn(function() sleep(1) error('bad', 0) end)\n"
         "local back = spawn(function() pcall(sleep, 9) sleep(0.5) pcall(wait, me) end)\n"
         "sleep(0.5)\n"
         "cancel(back)\n"
         "say(pcall(wait_all, { bad, back }))\n"
         "say(now())\n",
         "false bad 2500")

SENTENCE(further_failures_are_told,
         "local a = spawn(function() pcall(sleep, 60) error('second', 0) end)\n"
         "local b = spawn(function() sleep(1) error('first', 0) end)\n"
         "say(pcall(wait_all, { a, b }))\n",
         "false first untaken(second)")

SENTENCE(failure_before_the_wait_is_found,
         "local a = spawn(function() sleep(60) end)\n"
         "local b = spawn(function() error('early', 0) end)\n"
         "sleep(1)\n"
         "say(pcall(wait_all, { a, b }))\n"
         "say(status(a), now())\n",
         "false early cancelled 1000")

SENTENCE(cancel_does_not_take_the_place_of_a_failure_that_was_given,
         "local t = spawn(function()\n"
         "  local deaf = spawn(function() pcall(sleep, 60) sleep(1) end)\n"
         "  local bad = spawn(function() sleep(1) error('bad', 0) end)\n"
         "  local ok, err = pcall(wait_all, { deaf, bad })\n"
         "  say(ok, err)\n"
         "  say(pcall(sleep, 1))\n"
         "end)\n"
         "sleep(1.5)\n"
         "cancel(t)\n"
         "say(pcall(wait, t))\n"
         "say(status(t))\n",
         "false bad false cancelled true done")

SENTENCE(many_may_wait_for_many,
         "local done, n = 0, 40\n"
         "local list = {}\n"
         "for i = 1, n do list[i] = spawn(function() sleep(i % 7) return i end) end\n"
         "for i = 1, n do spawn(function() local k = #wait_all(list) done = done + k end) end\n"
         "for i = 1, n do spawn(function() wait_any(list) done = done + 1 end) end\n"
         "sleep(10)\n"
         "say(done)\n",
         "1640")

/* ---- cancelling ---- */

SENTENCE(hears_of_its_cancel_at_its_yield,
         "local t = spawn(function()\n"
         "  local ok, err = pcall(sleep, 60)\n"
         "  say(ok, err == cancelled, tostring(err))\n"
         "  error(err)\n"
         "end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "cancel(t)\n"
         "say(pcall(wait, t))\n"
         "say(status(t), now())\n"
         "cancel(t)\n",
         "false true cancelled false cancelled cancelled 1000")

SENTENCE(hears_of_its_cancel_at_its_next_yield_when_it_runs,
         "say(pcall(function() cancel(self()) say 'goes on' sleep(1) end))\n"
         "sleep(1)\n",
         "goes on false cancelled")

SENTENCE(may_end_well_though_it_was_cancelled,
         "local t = spawn(function() pcall(sleep, 60) return 'well' end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "say(wait(t), status(t))\n",
         "well done")

SENTENCE(may_be_cancelled_before_it_begins,
         "local t = spawn(function() say 'begun' sleep(60) end)\n"
         "cancel(t)\n"
         "say(pcall(wait, t))\n"
         "say(status(t), now())\n",
         "begun false cancelled cancelled 0")

SENTENCE(cannot_swallow_a_cancel_for_good,
         "local t = spawn(function() while true do pcall(sleep, 0.5) end end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "pcall(wait, t)\n"
         "say(status(t), now())\n",
         "cancelled 3000")

SENTENCE(waits_in_its_close_variables_after_an_error,
         "local t = spawn(function()\n"
         "  local a <close> = setmetatable({}, { __close = function(_, e) sleep(1) say('a', e) end })\n"
         "  local b <close> = setmetatable({}, { __close = function(_, e) sleep(1) say('b', e) end })\n"
         "  error('broke', 0)\n"
         "end)\n"
         "say(pcall(wait, t))\n"
         "say(now())\n",
         "b broke a broke false broke 2000")

SENTENCE(waits_in_its_close_variables_after_a_cancel,
         "local t = spawn(function()\n"
         "  local a <close> = setmetatable({}, { __close = function(_, e) sleep(1) say('a', e == cancelled) end })\n"
         "  sleep(60)\n"
         "end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "pcall(wait, t)\n"
         "say(status(t), now())\n",
         "a true cancelled 2000")

SENTENCE(has_what_is_left_of_its_close_variables_run_when_its_grace_is_over,
         "local t = spawn(function()\n"
         "  local a <close> = setmetatable({}, { __close = function() say(pcall(sleep, 1)) end })\n"
         "  local b <close> = setmetatable({}, { __close = function() sleep(60) say 'never' end })\n"
         "  sleep(60)\n"
         "end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "pcall(wait, t)\n"
         "say(status(t), now())\n",
         "false sleep: cannot wait inside a function that Lua's own C code calls (a sort or gsub callback, "
         "__tostring, __gc, __close at a forced end, a load reader, a message handler) cancelled 3000")

SENTENCE(raises_the_error_it_was_given_before_it_is_ended_by_force,
         "local t = spawn(function()\n"
         "  pcall(sleep, 9)\n"
         "  local deaf = spawn(function() while true do pcall(sleep, 9) end end)\n"
         "  local bad = spawn(function() sleep(0.5) error('bad', 0) end)\n"
         "  say(pcall(wait_all, { deaf, bad }))\n"
         "  say(now())\n"
         "  sleep(1)\n"
         "  say 'never'\n"
         "end)\n"
         "sleep(0.5)\n"
         "cancel(t)\n"
         "pcall(wait, t)\n"
         "say(status(t), now())\n",
         "false bad 2500 cancelled 2501")

SENTENCE(that_fails_while_it_is_closed_by_force_is_told,
         "local t = spawn(function()\n"
         "  local a <close> = setmetatable({}, { __close = function() error('in close', 0) end })\n"
         "  while true do pcall(sleep, 60) end\n"
         "end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "sleep(3)\n"
         "say(status(t))\n",
         "failed untaken(in close)")

SENTENCE(that_fails_in_a_close_after_a_cancel_is_told,
         "local t = spawn(function()\n"
         "  local a <close> = setmetatable({}, { __close = function() sleep(1) error('in close', 0) end })\n"
         "  sleep(60)\n"
         "end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "sleep(3)\n"
         "say(status(t))\n",
         "failed untaken(in close)")

SENTENCE(closes_its_own_coroutines_innermost_first_when_it_is_ended_by_force,
         "local function closing(word) return setmetatable({}, { __close = function() say(word) end }) end\n"
         "local t = spawn(function()\n"
         "  local a <close> = closing 'task'\n"
         "  coroutine.wrap(function()\n"
         "    local b <close> = closing 'outer'\n"
         "    coroutine.wrap(function()\n"
         "      local c <close> = closing 'inner'\n"
         "      while true do pcall(sleep, 60) end\n"
         "    end)()\n"
         "  end)()\n"
         "end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "pcall(wait, t)\n"
         "say(status(t))\n",
         "inner outer task cancelled")

SENTENCE(takes_along_what_it_owns,
         "local t = spawn(function() own() own() sleep(60) end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "pcall(wait, t)\n"
         "wait(spawn(function() own() end))\n",
         "owned-cancel owned-cancel owned-ended owned-ended owned-ended")

SENTENCE(of_a_scope_that_is_cancelled_ends_and_so_do_those_that_join_later,
         "local a = spawn(sleep, 60)\n"
         "local b = spawn(function()\n"
         "  pcall(sleep, 60)\n"
         "  local c = spawn(function() say(pcall(sleep, 60)) end)\n"
         "  say(pcall(wait, c))\n"
         "end)\n"
         "sleep(1)\n"
         "cancel_scope()\n"
         "say(pcall(sleep, 1))\n"
         "say(pcall(wait, b))\n"
         "say(status(a), now())\n",
         "false cancelled false cancelled true true cancelled 1000")

/* ---- coroutines of the script ---- */

SENTENCE(waits_inside_its_own_coroutines,
         "local co = coroutine.wrap(function(x)\n"
         "  sleep(1)\n"
         "  local y = coroutine.yield(x .. 'a')\n"
         "  sleep(1)\n"
         "  return y .. 'b'\n"
         "end)\n"
         "say(co '1', co '2', now())\n"
         "local deep = coroutine.create(function(x)\n"
         "  local inner = coroutine.wrap(function() sleep(1) return coroutine.yield(x) end)\n"
         "  local first = inner()\n"
         "  return first, inner 'back'\n"
         "end)\n"
         "say(coroutine.resume(deep, 'down'))\n"
         "say(coroutine.status(deep), now())\n"
         "for i in coroutine.wrap(function() for i = 1, 3 do sleep(1) coroutine.yield(i) end end) do say(i) end\n",
         "1a 2b 2000 true down back dead 3000 1 2 3")

SENTENCE(has_errors_of_its_coroutines_after_a_wait,
         "local co = coroutine.create(function() sleep(1) error 'x' end)\n"
         "say(coroutine.resume(co))\n"
         "say(coroutine.status(co), (pcall(coroutine.wrap(function() sleep(1) error({}) end))))\n"
         "say(select(2, pcall(coroutine.wrap(function() sleep(1) error 'y' end))))\n",
         "false program:1: x dead false program:4: y")

SENTENCE(may_catch_its_cancel_in_its_coroutine,
         "local t = spawn(function()\n"
         "  say(coroutine.resume(coroutine.create(function() sleep(60) end)))\n"
         "  say(pcall(coroutine.wrap(function() sleep(1) return 'goes on' end)))\n"
         "end)\n"
         "sleep(1)\n"
         "cancel(t)\n"
         "wait(t)\n",
         "false cancelled true goes on")

SENTENCE(coroutine_in_which_another_waits_is_normal,
         "local co = coroutine.create(function() sleep(2) return 'own' end)\n"
         "local t = spawn(function() return coroutine.resume(co) end)\n"
         "sleep(1)\n"
         "say(coroutine.status(co), coroutine.resume(co))\n"
         "say((pcall(coroutine.close, co)))\n"
         "say(wait(t))\n"
         "say(coroutine.status(co), coroutine.close(co))\n",
         "normal false cannot resume non-suspended coroutine false true own dead true")

SENTENCE(coroutine_itself_belongs_to_the_scheduler,
         "local co\n"
         "local t = spawn(function() co = coroutine.running() sleep(2) return 'mine' end)\n"
         "sleep(1)\n"
         "say(coroutine.status(co), coroutine.resume(co))\n"
         "say((pcall(coroutine.close, co)))\n"
         "say(wait(t))\n"
         "say((coroutine.resume(co)), (pcall(coroutine.close, co)))\n"
         "local me, is_main = coroutine.running()\n"
         "say(is_main, coroutine.isyieldable(), coroutine.status(me), (coroutine.resume(me)))\n"
         "say(coroutine.wrap(function() return coroutine.status(me), (coroutine.resume(me)), coroutine.isyieldable() "
         "end)())\n",
         "normal false cannot resume non-suspended coroutine false mine false false true false running false "
         "normal false true")

SENTENCE(may_hand_a_suspended_coroutine_to_another,
         "local co = coroutine.wrap(function() sleep(1) coroutine.yield 'one' sleep(1) return 'two' end)\n"
         "say(wait(spawn(co)), wait(spawn(co)), now())\n",
         "one two 2000")

SENTENCE(cannot_yield_outside_every_coroutine,
         "say(select(2, pcall(coroutine.yield, 1)))\n"
         "say(pcall(sleep, 1))\n"
         "say(coroutine.wrap(function() return select(2, pcall(table.sort, { 2, 1 }, coroutine.yield)) end)())\n",
         "attempt to yield from outside a coroutine true attempt to yield across a C-call boundary")

SENTENCE(that_c_code_makes_yield_fails,
         "local t = spawn(function() local x <close> = setmetatable({}, { __close = function() say 'closed' end }) "
         "c_yield(1) end)\n"
         "say(pcall(wait, t))\n"
         "say(wait(spawn(function() sleep(1) return 'well' end)))\n",
         "closed false attempt to yield from outside a coroutine well")

SENTENCE(
    cannot_wait_in_what_c_code_resumes,
    "say(c_resume(coroutine.create(function() say(pcall(sleep, 1)) end)))\n"
    "say(c_resume(coroutine.create(function() say(pcall(coroutine.wrap(function() sleep(1) end))) end)))\n"
    "say(c_resume(coroutine.create(function() say(coroutine.wrap(function() coroutine.yield 'fine' end)()) end)))\n"
    "sleep(1)\n"
    "say(now())\n",
    "false sleep: cannot wait inside a coroutine that a module written in C resumed 0 "
    "false program:2: sleep: cannot wait inside a coroutine that a module written in C resumed 0 fine 0 1000")

SENTENCE(
    coroutines_do_what_luas_own_do,
    "local co = coroutine.create(function(...) local a = coroutine.yield(...) return a end)\n"
    "say(coroutine.resume(co, 1, nil, 3))\n"
    "say(coroutine.status(co), coroutine.resume(co, 'r'))\n"
    "say(coroutine.status(co), coroutine.resume(co))\n"
    "say((pcall(coroutine.wrap(function() end))), (pcall(coroutine.create, 1)), (pcall(coroutine.resume, 1)))\n"
    "local gen = coroutine.wrap(function() coroutine.yield(1) end)\n"
    "gen() gen()\n"
    "say(select(2, pcall(gen)))\n"
    "local c = coroutine.create(function()\n"
    "  local x <close> = setmetatable({}, { __close = function(_, e) say('closed', e) error('in close', 0) end })\n"
    "  coroutine.yield()\n"
    "end)\n"
    "coroutine.resume(c)\n"
    "say(coroutine.close(c))\n"
    "say(coroutine.status(c), coroutine.close(c))\n"
    "local w = coroutine.wrap(function()\n"
    "  local x <close> = setmetatable({}, { __close = function(_, e) say('wrap', e) end })\n"
    "  error('e', 0)\n"
    "end)\n"
    "say(pcall(w))\n"
    "say(coroutine.isyieldable(coroutine.create(function() end)))\n",
    "true 1 nil 3 suspended true r dead false cannot resume dead coroutine true false false cannot "
    "resume dead coroutine closed nil false in close dead true wrap e false e true")

SENTENCE(nests_coroutines_as_deep_as_lua_does,
         "local function nest(n) if n == 0 then sleep(1) return 'bottom' end return coroutine.wrap(nest)(n - 1) end\n"
         "say(nest(100))\n"
         "say(nest(100), now())\n"
         "say((pcall(nest, 300)))\n",
         "bottom bottom 2000 false")

/* ---- slots ---- */

static void cancel_own_scope(struct mp_task *task, enum mp_outcome outcome, int n_values) {
  (void)outcome, (void)n_values;
  mp_scope_cancel(task->scope);
}

static void may_have_its_scope_cancelled_by_its_own_end(void **state) {
  (void)state;
  struct toy *toy = toy_open();
  struct mp_task *task = toy_start(toy, "say 'one'");
  task->on_end = cancel_own_scope;
  toy_step(toy);
  assert_ptr_equal(toy_start(toy, "sleep(60) say(now())"), task);
  toy_run(toy);
  toy_hears(toy, "one 60000");
  assert_int_equal(toy->sched.n_free, 1);
  toy_close(toy);
}

/* ---- slots, wakes and scopes ---- */

static void reuses_its_coroutine_however_the_last_one_ended(void **state) {
  static const char *const programs[] = {"return 1, 2, 3",
                                         "error 'x'",
                                         "sleep(1)",
                                         "cancel(self()) sleep(1)",
                                         "pcall(error) debug.sethook(function() say 'hook' end, 'l')",
                                         "local x <close> = setmetatable({}, {__close = function() error 'y' end})"};
  (void)state;
  struct toy *toy = toy_open();
  lua_State *co = toy_start(toy, "sleep(1)")->co;
  toy_run(toy);
  for (unsigned i = 0; i < sizeof programs / sizeof *programs; i++) {
    assert_ptr_equal(toy_start(toy, programs[i])->co, co);
    toy_run(toy);
    assert_null(lua_gethook(co));
    assert_int_equal(lua_gettop(co), 0);
  }
  assert_int_equal(toy->sched.n_slots, 1);
  assert_int_equal(toy->sched.n_errors, 2);
  toy_close(toy);
}

static void does_not_reuse_a_coroutine_that_was_ended_by_force(void **state) {
  (void)state;
  struct toy *toy = toy_open();
  struct mp_task *task = toy_start(toy, "while true do pcall(sleep, 60) end");
  toy_step(toy);
  mp_task_cancel(task);
  toy_run(toy);
  assert_null(task->co);
  assert_int_equal(toy->sched.n_warm, 0);
  assert_ptr_equal(toy_start(toy, "error 'x'"), task);
  toy_run(toy);
  toy_hears(toy, "untaken(program:1: x)");
  assert_non_null(task->co);
  toy_close(toy);
}

static void keeps_some_coroutines_after_a_storm_and_uses_them(void **state) {
  (void)state;
  struct toy *toy = toy_open();
  for (int i = 0; i < 2000; i++) toy_start(toy, "sleep(1)");
  toy_run(toy);
  assert_int_equal(toy->sched.n_free, 2000);
  assert_int_equal(toy->sched.n_warm, 1024);
  for (int i = 0; i < 3; i++) {
    struct mp_task *task = toy_start(toy, "sleep(1)");
    assert_int_equal(toy->sched.n_warm, 1023);
    assert_int_equal(toy->sched.n_free, 1999);
    lua_State *co = task->co;
    toy_run(toy);
    assert_ptr_equal(task->co, co);
  }
  toy_close(toy);
}

static void that_was_given_no_function_just_ends(void **state) {
  (void)state;
  struct toy *toy = toy_open();
  struct toy_scope *s = new_scope(toy);
  mp_task_queue(mp_task_new(&toy->sched, &s->scope), 0);
  mp_scope_close(&s->scope);
  toy_run(toy);
  assert_int_equal(toy->n_over, 1);
  toy_close(toy);
}

static void is_not_woken_by_what_it_waited_for_before(void **state) {
  struct mp_wake first = {0}, second = {0};
  (void)state;
  struct toy *toy = toy_open();
  struct mp_task *task = toy_start(toy, "sleep(1) sleep(1) say(now())");
  toy_step(toy);
  mp_wake_arm(&first, task);
  mp_wake_arm(&second, task);
  assert_true(mp_wake_fire(&first));
  assert_false(mp_wake_armed(&first));
  assert_false(mp_wake_fire(&second));
  mp_wake_arm(&first, task);
  toy_step(toy);
  assert_false(mp_wake_fire(&first));
  mp_wake_arm(&first, task);
  toy_run(toy);
  assert_false(mp_wake_armed(&first)); /* its task has ended without having been woken by it */
  assert_false(mp_wake_fire(&first));
  toy_hears(toy, "1000");
  toy_start(toy, "sleep(1) say(now())"); /* in the same slot */
  toy_step(toy);
  mp_wake_arm(&second, task);
  second.ticket--;
  assert_false(mp_wake_fire(&second));
  assert_false(mp_wake_fire(&second));
  toy_run(toy);
  toy_hears(toy, "2000");
  toy_close(toy);
}

static struct mp_task *task_of_end;
static char end_words[64];

static void note_end(struct mp_task *task, enum mp_outcome outcome, int n_values) {
  assert_ptr_equal(task, task_of_end);
  assert_string_equal(end_words, "");
  snprintf(end_words, sizeof end_words, "%d %d %s", outcome, n_values,
           outcome == MP_TASK_CANCELLED ? "-" : lua_tostring(task->co, 1));
}

static void run_with_end(struct toy *toy, const char *program, const char *words) {
  struct mp_task *task = toy_start(toy, program);
  task->on_end = note_end;
  task_of_end = task;
  end_words[0] = '\0';
  toy_run(toy);
  assert_string_equal(end_words, words);
}

static void tells_its_maker_how_it_ended_once_and_nobody_else(void **state) {
  (void)state;
  struct toy *toy = toy_open();
  run_with_end(toy, "return 'a', 'b'", "1 2 a");
  run_with_end(toy, "self() error('x', 0)", "2 2 x");
  run_with_end(toy, "error('y', 0)", "2 2 y");
  run_with_end(toy, "cancel(self()) sleep(1)", "3 2 -");
  toy_hears(toy, "");
  toy_close(toy);
}

/* ---- scopes alone ---- */

struct part {
  struct mp_member member;
  bool leaves; /* as soon as it is told anything */
  int cancels, alones;
  struct part *takes_along; /* leaves too */
};

static void part_told(struct part *part) {
  if (part->takes_along) mp_scope_leave(&part->takes_along->member);
  if (part->leaves) mp_scope_leave(&part->member);
}

static void on_part_cancel(struct mp_member *member) {
  struct part *part = MP_CONTAINER(member, struct part, member);
  part->cancels++;
  part_told(part);
}

static void on_part_alone(struct mp_member *member) {
  struct part *part = MP_CONTAINER(member, struct part, member);
  part->alones++;
  part_told(part);
}

static struct part part_of(bool tended) {
  struct part part = {.member = {.cancel = on_part_cancel, .left_alone = tended ? on_part_alone : NULL}};
  return part;
}

static int n_over;

static void count_over(struct mp_scope *scope) {
  assert_true(mp_list_empty(&scope->members));
  n_over++;
}

static struct mp_scope begin_scope(void) {
  struct mp_scope scope;
  n_over = 0;
  mp_scope_init(&scope, count_over);
  return scope;
}

#define SCOPE(scope)                                                                                                   \
  struct mp_scope scope = begin_scope();                                                                               \
  mp_list_init(&(scope).members);                                                                                      \
  mp_list_init(&(scope).failed)

static void scope_is_over_once_when_it_is_closed_and_empty(void **state) {
  struct part a = part_of(false), b = part_of(true);
  (void)state;
  SCOPE(scope);
  mp_scope_join(&scope, &a.member);
  mp_scope_join(&scope, &b.member);
  mp_scope_leave(&b.member);
  mp_scope_leave(&b.member);
  mp_scope_leave(&a.member);
  assert_int_equal(n_over, 0);
  mp_scope_close(&scope);
  assert_int_equal(n_over, 1);
  mp_scope_close(&scope);
  mp_scope_cancel(&scope);
  assert_int_equal(n_over, 1);
}

static void scope_tells_those_who_are_left_alone(void **state) {
  struct part active = part_of(false), a = part_of(true), b = part_of(true);
  (void)state;
  SCOPE(scope);
  mp_scope_join(&scope, &a.member);
  mp_scope_join(&scope, &active.member);
  mp_scope_join(&scope, &b.member);
  mp_scope_close(&scope);
  assert_int_equal(a.alones + b.alones, 0);
  mp_scope_leave(&active.member);
  assert_int_equal(a.alones, 1);
  assert_int_equal(b.alones, 1);
  mp_scope_leave(&a.member);
  assert_int_equal(n_over, 0);
  mp_scope_leave(&b.member);
  assert_int_equal(n_over, 1);
}

static void scope_may_lose_members_while_it_tells_them(void **state) {
  struct part a = part_of(true), b = part_of(true), c = part_of(true), active = part_of(false);
  (void)state;
  SCOPE(scope);
  a.leaves = true;
  a.takes_along = &b;
  c.leaves = true;
  mp_scope_join(&scope, &a.member);
  mp_scope_join(&scope, &b.member);
  mp_scope_join(&scope, &c.member);
  mp_scope_join(&scope, &active.member);
  mp_scope_close(&scope);
  mp_scope_leave(&active.member);
  assert_int_equal(a.alones + b.alones + c.alones, 2);
  assert_int_equal(n_over, 1);
}

static void scope_cancels_each_member_once_and_each_that_joins_later(void **state) {
  struct part a = part_of(false), b = part_of(true), c = part_of(false), late = part_of(false);
  (void)state;
  SCOPE(scope);
  a.leaves = true;
  a.takes_along = &c;
  mp_scope_join(&scope, &a.member);
  mp_scope_join(&scope, &b.member);
  mp_scope_join(&scope, &c.member);
  mp_scope_cancel(&scope);
  mp_scope_cancel(&scope);
  assert_int_equal(a.cancels, 1);
  assert_int_equal(b.cancels, 1);
  assert_int_equal(c.cancels, 0);
  mp_scope_join(&scope, &late.member);
  assert_int_equal(late.cancels, 1);
  mp_scope_leave(&late.member);
  mp_scope_close(&scope);
  assert_int_equal(b.alones, 1);
  mp_scope_leave(&b.member);
  assert_int_equal(n_over, 1);
}

static struct mp_scope *closes_within;

static void close_within(struct mp_member *member) {
  mp_scope_close(closes_within);
  mp_scope_leave(member);
}

static void scope_may_be_closed_by_a_member_that_it_cancels(void **state) {
  struct part a = part_of(false);
  (void)state;
  SCOPE(scope);
  closes_within = &scope;
  a.member.cancel = close_within;
  mp_scope_join(&scope, &a.member);
  mp_scope_cancel(&scope);
  assert_int_equal(n_over, 1);
}

/* ---- memory ---- */

/* Every allocation of a whole program fails once, alone or with all that follow until memory is back: nothing panics,
 * all ends, and the next program runs as ever. */
static void run_short_of_memory(long after, bool all) {
  struct toy *toy = toy_open();
  toy->log.least = MP_LOG_ERROR + 1;
  toy_start(toy,
            "local v = {}"
            "local function work(n) sleep(n) if n % 2 == 0 then error({n}) end return n, ('x'):rep(100 + n) end "
            "local list = {}"
            "for i = 1, 4 do list[i] = spawn(work, i) end "
            "list[5] = spawn(coroutine.wrap(function() coroutine.wrap(function() sleep(1) end)() error 'text' end))"
            "pcall(wait, list[2]) pcall(wait_any, list, 0.5) pcall(wait_all, list) "
            "local deaf = spawn(function() while true do coroutine.wrap(function() pcall(sleep, 1) end)() end end)"
            "cancel(deaf) background(function() error 'z' end) pcall(wait, deaf)");
  toy->fail_after = after;
  toy->no_memory = all;
  for (int i = 0; i < 40 && toy_step(toy);) i++;
  toy->fail_after = -1;
  toy_run(toy);
  toy->len = 0;
  toy_start(toy, "say 'well' say(wait(spawn(function() sleep(1) return 'again' end)))");
  toy_run(toy);
  toy_hears(toy, "well again");
  toy_close(toy);
}

static void survives_any_allocation_that_fails(void **state) {
  (void)state;
  for (long after = 0; after < 200; after++) {
    run_short_of_memory(after, false);
    run_short_of_memory(after, true);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_its_coroutine_while_somebody_holds_the_task),
      cmocka_unit_test(is_given_its_arguments_nils_kept),
      cmocka_unit_test(returns_all_its_values_as_often_as_it_is_asked),
      cmocka_unit_test(returns_very_many_values),
      cmocka_unit_test(raises_the_same_value_in_everybody_who_waits),
      cmocka_unit_test(gives_a_text_one_position_only),
      cmocka_unit_test(may_fail_with_nil),
      cmocka_unit_test(has_the_traceback_of_where_it_failed),
      cmocka_unit_test(that_fails_with_anothers_error_shows_both_stacks),
      cmocka_unit_test(does_not_blame_another_for_an_error_of_its_own),
      cmocka_unit_test(that_fails_and_nobody_waits_for_is_told_at_the_end_of_its_scope),
      cmocka_unit_test(that_fails_is_not_told_when_somebody_waited_late),
      cmocka_unit_test(that_fails_is_told_though_nobody_ever_held_it),
      cmocka_unit_test(that_raises_cancelled_by_itself_has_failed),
      cmocka_unit_test(may_overflow_its_stack),
      cmocka_unit_test(that_failed_in_the_background_is_told_at_once),
      cmocka_unit_test(that_failed_in_the_background_is_not_told_if_somebody_waits),
      cmocka_unit_test(that_somebody_of_another_scope_waits_for_is_not_told),
      cmocka_unit_test(is_told_when_who_waited_gave_up_before),
      cmocka_unit_test(goes_on_when_a_wait_gives_up),
      cmocka_unit_test(can_be_asked_without_waiting),
      cmocka_unit_test(refuses_a_timeout_that_is_none),
      cmocka_unit_test(cannot_wait_for_itself),
      cmocka_unit_test(names_a_cycle),
      cmocka_unit_test(finds_a_cycle_through_all_of_several),
      cmocka_unit_test(may_wait_for_the_first_of_several_though_one_waits_for_it),
      cmocka_unit_test(that_has_been_woken_is_part_of_no_cycle),
      cmocka_unit_test(waits_inside_pcall_metamethods_and_iterators),
      cmocka_unit_test(cannot_wait_where_lua_itself_calls_and_is_told_so),
      cmocka_unit_test(can_take_what_has_ended_where_it_cannot_wait),
      cmocka_unit_test(may_be_the_first_of_several_and_the_others_go_on),
      cmocka_unit_test(first_of_several_may_fail),
      cmocka_unit_test(is_one_of_all_in_the_order_of_the_list),
      cmocka_unit_test(lists_may_be_empty_or_none),
      cmocka_unit_test(list_may_change_while_it_is_waited_for),
      cmocka_unit_test(all_time_out_and_go_on),
      cmocka_unit_test(first_failure_cancels_the_others_joins_them_and_is_raised),
      cmocka_unit_test(failure_is_raised_though_another_waits_for_who_waits),
      cmocka_unit_test(further_failures_are_told),
      cmocka_unit_test(failure_before_the_wait_is_found),
      cmocka_unit_test(cancel_does_not_take_the_place_of_a_failure_that_was_given),
      cmocka_unit_test(many_may_wait_for_many),
      cmocka_unit_test(hears_of_its_cancel_at_its_yield),
      cmocka_unit_test(hears_of_its_cancel_at_its_next_yield_when_it_runs),
      cmocka_unit_test(may_end_well_though_it_was_cancelled),
      cmocka_unit_test(may_be_cancelled_before_it_begins),
      cmocka_unit_test(cannot_swallow_a_cancel_for_good),
      cmocka_unit_test(waits_in_its_close_variables_after_an_error),
      cmocka_unit_test(waits_in_its_close_variables_after_a_cancel),
      cmocka_unit_test(has_what_is_left_of_its_close_variables_run_when_its_grace_is_over),
      cmocka_unit_test(raises_the_error_it_was_given_before_it_is_ended_by_force),
      cmocka_unit_test(that_fails_while_it_is_closed_by_force_is_told),
      cmocka_unit_test(that_fails_in_a_close_after_a_cancel_is_told),
      cmocka_unit_test(closes_its_own_coroutines_innermost_first_when_it_is_ended_by_force),
      cmocka_unit_test(takes_along_what_it_owns),
      cmocka_unit_test(of_a_scope_that_is_cancelled_ends_and_so_do_those_that_join_later),
      cmocka_unit_test(waits_inside_its_own_coroutines),
      cmocka_unit_test(has_errors_of_its_coroutines_after_a_wait),
      cmocka_unit_test(may_catch_its_cancel_in_its_coroutine),
      cmocka_unit_test(coroutine_in_which_another_waits_is_normal),
      cmocka_unit_test(coroutine_itself_belongs_to_the_scheduler),
      cmocka_unit_test(may_hand_a_suspended_coroutine_to_another),
      cmocka_unit_test(cannot_yield_outside_every_coroutine),
      cmocka_unit_test(that_c_code_makes_yield_fails),
      cmocka_unit_test(cannot_wait_in_what_c_code_resumes),
      cmocka_unit_test(coroutines_do_what_luas_own_do),
      cmocka_unit_test(nests_coroutines_as_deep_as_lua_does),
      cmocka_unit_test(may_have_its_scope_cancelled_by_its_own_end),
      cmocka_unit_test(reuses_its_coroutine_however_the_last_one_ended),
      cmocka_unit_test(does_not_reuse_a_coroutine_that_was_ended_by_force),
      cmocka_unit_test(keeps_some_coroutines_after_a_storm_and_uses_them),
      cmocka_unit_test(that_was_given_no_function_just_ends),
      cmocka_unit_test(is_not_woken_by_what_it_waited_for_before),
      cmocka_unit_test(tells_its_maker_how_it_ended_once_and_nobody_else),
      cmocka_unit_test(scope_is_over_once_when_it_is_closed_and_empty),
      cmocka_unit_test(scope_tells_those_who_are_left_alone),
      cmocka_unit_test(scope_may_lose_members_while_it_tells_them),
      cmocka_unit_test(scope_cancels_each_member_once_and_each_that_joins_later),
      cmocka_unit_test(scope_may_be_closed_by_a_member_that_it_cancels),
      cmocka_unit_test(survives_any_allocation_that_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
