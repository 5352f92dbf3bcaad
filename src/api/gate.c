#include "api/gate.h"
#include "api/process.h"
#include "sched/claim.h"
#include <errno.h>

#define SEMAPHORE_NAME "moonpool.semaphore"
#define GATE_NAME "moonpool._gate"
#define PERMIT_NAME "moonpool.permit"

enum { MOST_PLACES = 1 << 30 };

struct gate {
  struct mp_line line;    /* an item in a turn: the gate itself, for the place that was handed over */
  lua_Integer max, taken; /* places */
  lua_Integer queue;      /* how many may wait; negative: any number */
};

/* User value 1: the gate. */
struct permit {
  struct gate *gate;     /* borrowed: anchored by the user value */
  struct mp_turn *turn;  /* borrowed from the task that is to begin; NULL: none, or over */
  struct mp_owned owned; /* of the task that holds it; linked to none for a script's own */
  bool held, of_process;
};

/* ---- places ---- */

static bool take_place(struct gate *gate) {
  if (gate->taken >= gate->max || mp_line_waits(&gate->line)) return false;
  gate->taken++;
  return true;
}

/* Handed over, so that nobody overtakes. */
static void give_place(struct gate *gate) {
  struct mp_turn *next = mp_line_next(&gate->line);
  if (next)
    next->item = gate;
  else
    gate->taken--;
}

static void undo_turn(struct mp_line *line, void *item) {
  (void)line;
  give_place(item);
}

static bool is_full(struct gate *gate) {
  return gate->queue >= 0 && gate->line.n_waiting >= gate->queue;
}

static int push_full(lua_State *L, const struct gate *gate) {
  return mp_push_failure(L, EAGAIN, "limit: %lld at once, and %u wait already", (long long)gate->max,
                         gate->line.n_waiting);
}

static struct gate *check_gate(lua_State *L, int arg) {
  struct gate *gate = luaL_testudata(L, arg, GATE_NAME);
  return gate ? gate : luaL_checkudata(L, arg, SEMAPHORE_NAME);
}

/* ---- permits ---- */

static void release(struct permit *permit) {
  mp_list_unlink(&permit->owned.node);
  permit->turn = NULL;
  if (!permit->held) return;
  permit->held = false;
  give_place(permit->gate);
}

static void holder_has_ended(struct mp_owned *owned) {
  release(MP_CONTAINER(owned, struct permit, owned));
}

void mp_permit_release(lua_State *L, int index) {
  struct permit *permit = luaL_testudata(L, index, PERMIT_NAME);
  if (permit) release(permit);
}

static int l_permit_release(lua_State *L) {
  release(luaL_checkudata(L, 1, PERMIT_NAME));
  return 0;
}

/* The end of its block; a process that holds it goes on. */
static int l_permit_close(lua_State *L) {
  struct permit *permit = luaL_checkudata(L, 1, PERMIT_NAME);
  if (!permit->of_process) release(permit);
  return 0;
}

static int l_permit_tostring(lua_State *L) {
  struct permit *permit = luaL_checkudata(L, 1, PERMIT_NAME);
  lua_pushstring(L, permit->held ? "permit" : "permit (released)");
  return 1;
}

/* Made before the place is taken: what takes a place cannot fail any more. */
static struct permit *new_permit(lua_State *L, int gate) {
  struct permit *permit = lua_newuserdatauv(L, sizeof *permit, 1);
  *permit = (struct permit){.gate = lua_touserdata(L, gate)};
  mp_list_init(&permit->owned.node);
  lua_pushvalue(L, gate);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, PERMIT_NAME);
  return permit;
}

/* ---- entering ---- */

enum { GATE = 1, PERMIT }; /* stack places while it waits */

static int after_turn(lua_State *L, int status, lua_KContext turn) {
  void *place;
  (void)status;
  struct permit *permit = lua_touserdata(L, PERMIT);
  if (mp_turn_over(L, (struct mp_turn *)turn, "acquire", &place) != MP_TURN_CALLED) return mp_push_timeout(L);
  permit->held = true;
  lua_settop(L, PERMIT);
  return 1;
}

/* stack: gate */
static int enter(lua_State *L, struct gate *gate, double timeout_s) {
  struct permit *permit = new_permit(L, GATE);
  if (take_place(gate)) {
    permit->held = true;
    return 1;
  }
  if (is_full(gate)) return push_full(L, gate);
  if (timeout_s == 0) return mp_push_timeout(L);
  mp_wait_check(L, "acquire");
  struct mp_turn *turn = mp_line_join(&gate->line, mp_sched_of(L)->current, NULL);
  if (!turn) return luaL_error(L, "acquire: not enough memory");
  return mp_turn_park(L, turn, timeout_s, after_turn);
}

static int l_enter(lua_State *L) {
  struct gate *gate = check_gate(L, 1);
  double timeout_s = mp_check_timeout(L, 2);
  lua_settop(L, 1);
  return enter(L, gate, timeout_s);
}

/* ---- among others ---- */

static int wait_alone(lua_State *L, double timeout_s) {
  return enter(L, check_gate(L, GATE), timeout_s);
}

static struct mp_line *line_of(void *source) {
  return &((struct gate *)source)->line;
}

static enum mp_turn_state take(lua_State *L, int index, void **item) {
  struct gate *gate = lua_touserdata(L, index);
  *item = gate;
  return take_place(gate) ? MP_TURN_CALLED : MP_TURN_WAITING;
}

static int push_permit(lua_State *L, int index, struct mp_claim *claim, enum mp_turn_state state) {
  struct permit *permit = new_permit(L, index);
  (void)state;
  permit->held = mp_claim_take(claim) != NULL;
  return 1;
}

static const struct mp_source_ops source_ops = {
    .kind = "semaphore", .wait = wait_alone, .line = line_of, .take = take, .push = push_permit};

/* ---- tasks that begin in their turn ---- */

static int after_function(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  return lua_gettop(L) - 1;
}

/* stack: permit function arguments. The place is given back at the end of the task, whatever ends it. */
static int begin(lua_State *L) {
  lua_callk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, after_function);
  return after_function(L, LUA_OK, 0);
}

static int after_queue(lua_State *L, int status, lua_KContext turn) {
  void *place;
  (void)status;
  struct permit *permit = lua_touserdata(L, 1);
  permit->turn = NULL;
  mp_turn_over(L, (struct mp_turn *)turn, "limit", &place); /* without a timeout it is called, or it raises */
  permit->held = true;
  return begin(L);
}

/* The task's own function; stack: permit function arguments */
static int l_limited(lua_State *L) {
  struct permit *permit = lua_touserdata(L, 1);
  if (permit->held) return begin(L);
  mp_wait_check(L, "limit");
  struct mp_turn *turn = permit->turn;
  if (!turn) return luaL_error(L, "limit: not enough memory");
  if (turn->state == MP_TURN_WAITING) return mp_turn_park(L, turn, -1, after_queue);
  permit->turn = NULL;
  permit->held = mp_turn_take(turn) != NULL;
  return begin(L);
}

static int l_spawn(lua_State *L) {
  struct gate *gate = check_gate(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  if ((gate->taken >= gate->max || mp_line_waits(&gate->line)) && is_full(gate)) return push_full(L, gate);
  struct permit *permit = new_permit(L, 1);
  lua_replace(L, 1);
  lua_pushcfunction(L, l_limited);
  lua_insert(L, 1); /* stack: l_limited permit function arguments */
  struct mp_task *task = mp_spawn_task(L, 1, mp_api_scope(L), "limit");
  permit->owned.ended = holder_has_ended;
  mp_list_append(&task->owned, &permit->owned.node);
  if (take_place(gate)) {
    permit->held = true;
    return 1;
  }
  permit->turn = mp_line_join(&gate->line, task, NULL);
  if (permit->turn) return 1;
  mp_task_cancel(task);
  return luaL_error(L, "limit: not enough memory");
}

/* ---- processes ---- */

static int l_hold(lua_State *L) {
  struct permit *permit = luaL_checkudata(L, 1, PERMIT_NAME);
  struct mp_process *p = mp_process_check(L, 2);
  if (p->end.settled) {
    release(permit);
    return 0;
  }
  permit->of_process = true;
  lua_settop(L, 2);
  lua_insert(L, 1);
  lua_setiuservalue(L, 1, MP_PROCESS_PERMIT);
  return 0;
}

/* ---- the objects ---- */

static struct gate *new_gate(lua_State *L, const char *name, lua_Integer max, lua_Integer queue) {
  struct gate *gate = lua_newuserdatauv(L, sizeof *gate, 0);
  *gate = (struct gate){.max = max, .queue = queue};
  mp_line_init(&gate->line, undo_turn);
  luaL_setmetatable(L, name);
  return gate;
}

static lua_Integer check_places(lua_State *L, int arg) {
  lua_Integer n = luaL_checkinteger(L, arg);
  luaL_argcheck(L, n >= 1 && n <= MOST_PLACES, arg, "a number of places, from 1");
  return n;
}

static int l_semaphore(lua_State *L) {
  new_gate(L, SEMAPHORE_NAME, check_places(L, 1), -1);
  return 1;
}

static int l_gate(lua_State *L) {
  lua_Integer queue = luaL_checkinteger(L, 2);
  luaL_argcheck(L, queue >= 0, 2, "how many may wait, from 0");
  new_gate(L, GATE_NAME, check_places(L, 1), queue);
  return 1;
}

static int l_gate_gc(lua_State *L) {
  mp_line_deinit(&check_gate(L, 1)->line);
  return 0;
}

static int l_semaphore_tostring(lua_State *L) {
  struct gate *gate = check_gate(L, 1);
  lua_pushfstring(L, "semaphore (%I of %I taken, %I waiting)", gate->taken, gate->max,
                  (lua_Integer)gate->line.n_waiting);
  return 1;
}

static void open_permit(lua_State *L) {
  static const luaL_Reg methods[] = {{"release", l_permit_release}, {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__close", l_permit_close}, {"__gc", l_permit_release}, {"__tostring", l_permit_tostring}, {NULL, NULL}};
  luaL_newmetatable(L, PERMIT_NAME);
  luaL_setfuncs(L, meta, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

static void open_gates(lua_State *L) {
  static const luaL_Reg methods[] = {{"acquire", l_enter}, {NULL, NULL}};
  luaL_newmetatable(L, GATE_NAME);
  lua_pushcfunction(L, l_gate_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_newmetatable(L, SEMAPHORE_NAME);
  mp_source_mark(L, &source_ops);
  lua_pushcfunction(L, l_gate_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, l_semaphore_tostring);
  lua_setfield(L, -2, "__tostring");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void mp_gate_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"semaphore", l_semaphore}, {"gate", l_gate},      {"gate_enter", l_enter},
                                       {"gate_spawn", l_spawn},    {"gate_hold", l_hold}, {NULL, NULL}};
  open_permit(L);
  open_gates(L);
  luaL_setfuncs(L, functions, 0);
}
