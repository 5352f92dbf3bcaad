/* Random programs on a clock turned by hand: tasks, scopes, waits for one and for several, timeouts, cancels, errors,
 * the script's own coroutines, wakes that come late or twice. After each step what must always hold is checked, and at
 * the end of each round that nothing is left and that every error was taken, or told once.
 *
 *   unit_sched_simulation [seed [steps]] */
#include "sched_toy.h"
#include <inttypes.h>

enum { MOST_TASKS = 120, MOST_EVENTS = 64, ROUNDS_A_STATE = 40 };

static uint64_t first_seed = 1, n_steps = 200000;

struct event {
  struct mp_wake wake;
  bool parked, fired;
};

struct sim {
  struct toy *toy;
  uint64_t seed, random;
  int n_tasks;                /* spawned in this round */
  unsigned n_scopes, n_owned; /* begun; of things owned, alive */
  unsigned char taken[MOST_TASKS + 1], told[MOST_TASKS + 1];
  struct event events[MOST_EVENTS];
  struct mp_wake stale[MOST_EVENTS]; /* copies of wakes that are over */
  unsigned n_stale;
};

static struct sim sim;

static unsigned chance(unsigned n) {
  sim.random ^= sim.random << 13;
  sim.random ^= sim.random >> 7;
  sim.random ^= sim.random << 17;
  return (unsigned)((sim.random >> 11) % n);
}

#define HOLDS(truth)                                                                                                   \
  do {                                                                                                                 \
    if (!(truth)) fail_msg("seed %" PRIu64 ": not so: %s", sim.seed, #truth);                                          \
  } while (0)

/* ---- verbs ---- */

static int l_rnd(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)chance((unsigned)luaL_checkinteger(L, 1)) + 1);
  return 1;
}

static int id_of(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_getiuservalue(L, index, MP_TASK_NAME);
  int id = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return id;
}

static int l_me(lua_State *L) {
  mp_task_push(L, mp_sched_of(L)->current);
  lua_pushinteger(L, id_of(L, -1));
  return 1;
}

static int l_asked(lua_State *L) {
  lua_pushboolean(L, mp_sched_of(L)->current->cancel != MP_CANCEL_NONE);
  return 1;
}

static int l_took(lua_State *L) {
  sim.taken[luaL_checkinteger(L, 1)] = 1;
  return 0;
}

/* start(kind, f): kind 1 in the caller's scope, 2 in the background, 3 in a scope of its own; nil: enough of them. */
static int l_start(lua_State *L) {
  int kind = (int)luaL_checkinteger(L, 1), id = sim.n_tasks + 1;
  if (id > MOST_TASKS) return 0;
  sim.n_tasks++;
  sim.n_scopes += kind == 3;
  lua_remove(L, 1);
  lua_pushinteger(L, id);
  kind == 1 ? l_spawn(L) : kind == 2 ? l_background(L) : l_scoped(L);
  lua_pushinteger(L, id);
  lua_setiuservalue(L, -2, MP_TASK_NAME);
  return 1;
}

static int l_ok(lua_State *L) {
  if (!lua_toboolean(L, 1)) fail_msg("seed %" PRIu64 ": %s", sim.seed, luaL_tolstring(L, 2, NULL));
  return 0;
}

static int after_event(lua_State *L, int status, lua_KContext ctx) {
  struct event *event = &sim.events[ctx];
  bool fired = event->fired;
  (void)status;
  sim.stale[sim.n_stale++ % MOST_EVENTS] = event->wake;
  event->parked = false;
  enum mp_woken why = mp_sched_of(L)->current->woken;
  HOLDS(fired == (why == MP_WOKEN_DONE));
  mp_unpark(L);
  return 0;
}

/* event([timeout]): until somebody outside fires. */
static int l_event(lua_State *L) {
  double timeout_s = mp_check_timeout(L, 1);
  struct mp_task *task = mp_sched_of(L)->current;
  int i = 0;
  mp_wait_check(L, "event");
  while (i < MOST_EVENTS && sim.events[i].parked) i++;
  if (i == MOST_EVENTS) return 0;
  sim.events[i] = (struct event){.parked = true};
  mp_wake_arm(&sim.events[i].wake, task);
  return mp_park(L, timeout_s, after_event, i);
}

static void thing_ended(struct mp_owned *owned) {
  sim.n_owned--;
  free(owned);
}

static int l_thing(lua_State *L) {
  struct mp_owned *owned = calloc(1, sizeof *owned);
  owned->ended = thing_ended;
  sim.n_owned++;
  mp_list_append(&mp_sched_of(L)->current->owned, &owned->node);
  return 0;
}

static void on_untaken(struct mp_sched *sched, lua_State *L, struct mp_scope *scope) {
  int id = id_of(L, -1);
  (void)sched, (void)scope;
  HOLDS(!sim.taken[id]);
  HOLDS(!sim.told[id]);
  sim.told[id] = 1;
}

static const char program[] =
    "local tasks, pool = {}, {} "
    "local work "
    "local function some() return tasks[rnd(#tasks)] end "
    "local function maybe(s) if rnd(2) == 1 then return s end end "
    "local function moment() return (rnd(8) - 1) / 4 end "
    "local function list() local l = {} for i = 1, rnd(5) do l[i] = some() end return l end "
    /* An error that arrived: noted as taken, then swallowed, or passed on under this task's own name. */
    "local function arrived(ok, err, ...) "
    "  if ok then return err, ... end "
    "  if err == cancelled and asked() then "
    "    if rnd(3) == 1 then return end "
    "    error(err, 0) "
    "  end "
    "  if type(err) == 'table' then "
    "    if err.of == me() then error(err, 0) end "
    "    took(err.of) "
    "  end "
    "  if rnd(4) == 1 then error({ of = me(), cause = err }, 0) end "
    "end "
    "local function check(t, timeout, ok, ...) "
    "  local first = ... "
    "  if ok then "
    "    if first == nil and select(2, ...) == 'timeout' then ok_(timeout, 'a timeout where none was asked for') "
    "    else ok_(status(t) == 'done' and first == id(t) and select('#', ...) == 3, 'wrong values') end "
    "  elseif first == cancelled then ok_(asked() or status(t) == 'cancelled', 'cancelled from nowhere') "
    "  elseif type(first) == 'table' then ok_(status(t) == 'failed' and first.of == id(t), 'the error of another') "
    "  else ok_(first:find 'cycle' or first:find 'itself', first) end "
    "  arrived(ok, ...) "
    "end "
    "local function closing(f) return setmetatable({}, { __close = f }) end "
    "local ops = { "
    "  function() arrived(pcall(sleep, moment())) end, "
    "  function() arrived(pcall(sleep, 0)) end, "
    "  function() arrived(pcall(event, maybe(moment()))) end, "
    "  function() tasks[#tasks + 1] = start(rnd(3), body) end, "
    "  function() tasks[#tasks + 1] = start(1, body) end, "
    "  function() local t, s = some(), maybe(moment()) check(t, s, pcall(wait, t, s)) end, "
    "  function() local t, s = some(), maybe(moment()) check(t, s, pcall(wait, t, s)) end, "
    "  function() "
    "    local l, s = list(), maybe(moment()) "
    "    local r = table.pack(pcall(wait_any, l, s)) "
    "    if r[1] and r[2] then ok_(r[3] == id(l[r[2]]) and r.n == 5, 'the values of another') end "
    "    arrived(r[1], r[2]) "
    "  end, "
    "  function() "
    "    local l, s = list(), maybe(moment()) "
    "    local ok, r, why = pcall(wait_all, l, s) "
    "    if ok and r then for i, t in ipairs(l) do ok_(r[i] == id(t), 'not in order') end end "
    "    if not ok and type(r) == 'table' then "
    "      local found "
    "      for _, t in ipairs(l) do found = found or status(t) == 'failed' and id(t) == r.of "
    "        ok_(asked() or status(t) ~= 'running', 'not joined') end "
    "      ok_(found, 'the error of none') "
    "    end "
    "    arrived(ok, r) "
    "  end, "
    "  function() if rnd(3) == 1 then cancel(some()) end end, "
    "  function() if rnd(12) == 1 then cancel_scope() end end, "
    "  function() if rnd(4) == 1 then error({ of = me() }, 0) end end, "
    "  function() thing() end, "
    "  function(n) arrived(pcall(coroutine.wrap(work), n)) end, "
    "  function(n) "
    "    local co = coroutine.create(function() work(n) coroutine.yield() work(n) end) "
    "    arrived(coroutine.resume(co)) "
    "    if rnd(2) == 1 then arrived(coroutine.resume(co)) else pool[rnd(4)] = co end "
    "  end, "
    "  function() local co = pool[rnd(4)] if co then arrived(coroutine.resume(co)) end end, "
    "  function() local co = pool[rnd(4)] if co and rnd(3) == 1 then arrived(pcall(coroutine.close, co)) end end, "
    "  function(n) "
    "    local x <close> = closing(function() pcall(sleep, moment()) if rnd(9) == 1 then error({ of = me() }, 0) end "
    "end) "
    "    work(n) "
    "  end, "
    "} "
    "function work(n) for _ = 1, rnd(3) do if n > 0 then ops[rnd(#ops)](n - 1) end end end "
    "function body(me_) "
    "  for _ = 1, rnd(6) do ops[rnd(#ops)](3) end "
    "  return me_, nil, 'last' "
    "end "
    "function settle_all() each_ended(tasks) end "
    "function forget() tasks, pool = {}, {} end "
    "function root() tasks[#tasks + 1] = start(3, body) end ";

static int l_id(lua_State *L) {
  lua_pushinteger(L, id_of(L, 1));
  return 1;
}

static void open_state(void) {
  static const luaL_Reg more[] = {{"rnd", l_rnd},     {"me", l_me},  {"asked", l_asked}, {"took", l_took},
                                  {"start", l_start}, {"ok_", l_ok}, {"event", l_event}, {"thing", l_thing},
                                  {"id", l_id},       {NULL, NULL}};
  sim.toy = toy_open();
  sim.toy->sched.on_unhandled = on_untaken;
  lua_State *L = sim.toy->L;
  lua_pushglobaltable(L);
  luaL_setfuncs(L, more, 0);
  lua_pop(L, 1);
  load(L, program);
  lua_call(L, 0, 0);
}

/* ---- what must always hold ---- */

static bool has_event(const struct mp_task *task) {
  for (int i = 0; i < MOST_EVENTS; i++)
    if (sim.events[i].parked && sim.events[i].wake.task == task && sim.events[i].wake.ticket == task->ticket)
      return true;
  return false;
}

/* Something will wake it, and nothing should have done so already. */
static void check_parked(const struct mp_task *task) {
  bool waits = false;
  HOLDS(task->cancel != MP_CANCEL_ASKED);
  if (task->waits_for) {
    HOLDS(!task->waits_for->settled);
    HOLDS(!mp_list_empty(&task->waiter.node));
    waits = true;
  }
  if (task->group) {
    unsigned pending = 0;
    for (int i = 0; i < task->group->n; i++) pending += !task->group->waiters[i].on->settled;
    HOLDS(pending > 0 && pending == task->group->pending);
    waits = true;
  }
  HOLDS(waits || mp_timer_started(&task->timer) || has_event(task));
}

static void check_slots(void) {
  struct mp_sched *sched = &sim.toy->sched;
  unsigned n_free = 0, n_warm = 0, n_timers = 0, n_ready = 0;
  for (unsigned i = 0; i < sched->n_slots; i++) {
    struct mp_task *task = sched->slots[i];
    n_timers += mp_timer_started(&task->timer) + mp_timer_started(&task->grace);
    n_free += task->state == MP_TASK_FREE;
    n_warm += task->state == MP_TASK_FREE && task->co;
    n_ready += task->state == MP_TASK_READY;
    if (task->state == MP_TASK_PARKED) check_parked(task);
    if (task->state == MP_TASK_FREE) HOLDS(!mp_timer_started(&task->timer) && !mp_timer_started(&task->grace));
    if (task->state == MP_TASK_FREE) HOLDS(mp_list_empty(&task->nested) && mp_list_empty(&task->owned));
    HOLDS(task->state == MP_TASK_FREE || task->state == MP_TASK_READY || task->state == MP_TASK_PARKED);
    HOLDS(!task->on_walk);
  }
  HOLDS(n_free == sched->n_free && n_warm == sched->n_warm);
  HOLDS(sched->n_tasks == sched->n_slots - n_free);
  HOLDS(n_timers == sim.toy->loop.timers.len);
  HOLDS(mp_list_empty(&sched->ready) == (n_ready == 0));
  HOLDS(n_ready == 0 || !mp_list_empty(&sched->soon.node));
  HOLDS(!sched->current && !sched->frames && !sched->parking && sched->running == sched->L);
  HOLDS(lua_gettop(sched->L) == 0);
}

static unsigned held_by_c(lua_State *L) {
  unsigned n = 0;
  mp_anchor_push(L, &sim); /* nil */
  lua_pop(L, 1);
  for (unsigned i = 0; i < sim.toy->sched.n_slots; i++) {
    mp_anchor_push(L, &sim.toy->sched.slots[i]->object);
    n += !lua_isnil(L, -1);
    lua_pop(L, 1);
  }
  return n;
}

static void check_round_is_over(void) {
  struct mp_sched *sched = &sim.toy->sched;
  HOLDS(sched->n_tasks == 0 && sched->n_free == sched->n_slots);
  HOLDS(mp_list_empty(&sim.toy->scopes) && sim.toy->n_over == sim.n_scopes);
  HOLDS(sim.n_owned == 0);
  HOLDS(mp_list_empty(&sim.toy->forever.failed) && mp_list_empty(&sim.toy->forever.members));
  HOLDS(sim.toy->loop.timers.len == 0);
  HOLDS(held_by_c(sched->L) == 0);
}

/* ---- the world outside ---- */

static void fire_event(struct event *event) {
  struct mp_wake twice = event->wake;
  if (!event->parked || event->fired || !mp_wake_armed(&event->wake)) return;
  event->fired = mp_wake_fire(&event->wake);
  HOLDS(!mp_wake_fire(&twice));
  HOLDS(!mp_wake_fire(&event->wake));
  sim.stale[sim.n_stale++ % MOST_EVENTS] = twice;
}

static void fire_stale(void) {
  struct mp_wake wake = sim.stale[chance(MOST_EVENTS)];
  HOLDS(!mp_wake_fire(&wake));
}

static void disturb(void) {
  struct mp_sched *sched = &sim.toy->sched;
  if (chance(3) == 0) fire_event(&sim.events[chance(MOST_EVENTS)]);
  if (chance(3) == 0) fire_stale();
  if (chance(60) == 0 && sched->n_slots) mp_task_cancel(sched->slots[chance(sched->n_slots)]);
  if (chance(40) == 0) lua_gc(sched->L, LUA_GCCOLLECT);
}

/* Events whose task was ended by force never come back by themselves. */
static void forget_dead_events(void) {
  for (int i = 0; i < MOST_EVENTS; i++) {
    struct event *event = &sim.events[i];
    if (event->parked && event->wake.task && event->wake.task->ticket != event->wake.ticket &&
        event->wake.task->state == MP_TASK_FREE)
      event->parked = false;
  }
}

/* Nothing more happens by itself: what still hangs is fired, or else cancelled. False: nothing does. */
static bool stir(void) {
  if (sim.toy->sched.n_tasks == 0) return false;
  for (int i = 0; i < MOST_EVENTS; i++) fire_event(&sim.events[i]);
  if (!mp_list_empty(&sim.toy->loop.soon)) return true;
  MP_LIST_EACH(node, &sim.toy->scopes) {
    mp_scope_cancel(&MP_CONTAINER(node, struct toy_scope, node)->scope);
  }
  MP_LIST_EACH(node, &sim.toy->forever.members) {
    struct mp_member *member = MP_CONTAINER(node, struct mp_member, node);
    member->cancel(member);
  }
  HOLDS(!mp_list_empty(&sim.toy->loop.soon));
  return true;
}

static int p_call(lua_State *L) {
  lua_getglobal(L, lua_touserdata(L, 1));
  lua_call(L, 0, 0);
  return 0;
}

static void call(const char *name) {
  lua_pushcfunction(sim.toy->L, p_call);
  lua_pushlightuserdata(sim.toy->L, (void *)(uintptr_t)name);
  HOLDS(lua_pcall(sim.toy->L, 1, 0, 0) == LUA_OK);
}

static void begin_round(uint64_t seed) {
  sim.seed = seed;
  sim.random = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
  sim.n_tasks = 0;
  sim.n_scopes = 0;
  sim.toy->n_over = 0;
  memset(sim.taken, 0, sizeof sim.taken);
  memset(sim.told, 0, sizeof sim.told);
  memset(sim.events, 0, sizeof sim.events);
  memset(sim.stale, 0, sizeof sim.stale);
  for (unsigned i = 0, n = 2 + chance(6); i < n; i++) call("root");
}

/* Which tasks have failed is asked of their objects, before they are forgotten. */
static int l_each_ended(lua_State *L) {
  for (lua_Integer i = 1; lua_rawgeti(L, 1, i) != LUA_TNIL; i++) {
    const struct mp_task_object *object = mp_task_check(L, -1);
    int id = id_of(L, -1);
    HOLDS(object->outcome != MP_TASK_RUNS);
    if (object->outcome == MP_TASK_FAILED ? !sim.taken[id] && !sim.told[id] : sim.taken[id] || sim.told[id])
      fail_msg("seed %" PRIu64 ": task %d: outcome %d, taken %d, told %d: %s", sim.seed, id, object->outcome,
               sim.taken[id], sim.told[id], (lua_getiuservalue(L, -1, MP_TASK_VALUE), luaL_tolstring(L, -1, NULL)));
    lua_pop(L, 1);
  }
  return 0;
}

static uint64_t run_round(uint64_t seed) {
  uint64_t steps = 0;
  begin_round(seed);
  do {
    while (toy_step(sim.toy)) {
      check_slots();
      disturb();
      forget_dead_events();
      HOLDS(++steps < 100000);
    }
  } while (stir());
  call("settle_all");
  call("forget");
  check_round_is_over();
  return steps;
}

static void any_program_keeps_the_laws(void **state) {
  uint64_t steps = 0, seed = first_seed;
  unsigned n_errors = 0;
  (void)state;
  while (steps < n_steps) {
    open_state();
    lua_register(sim.toy->L, "each_ended", l_each_ended);
    for (int i = 0; i < ROUNDS_A_STATE && steps < n_steps; i++) steps += run_round(seed++) + 1;
    n_errors += (unsigned)sim.toy->sched.n_errors;
    toy_close(sim.toy);
  }
  assert_true(n_errors > 0);
  print_message("%" PRIu64 " steps, seeds %" PRIu64 " to %" PRIu64 ", %u errors told\n", steps, first_seed, seed - 1,
                n_errors);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(any_program_keeps_the_laws)};
  if (argc > 1) first_seed = strtoull(argv[1], NULL, 10);
  if (argc > 2) n_steps = strtoull(argv[2], NULL, 10);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
