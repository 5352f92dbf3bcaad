#include "sched/claim.h"
#include "sched/inside.h"

#define CLAIM_NAME "moonpool.claim"

static const char source_key; /* marks the metatables of sources */

struct mp_claim {
  struct mp_waitable end; /* first: what waits find in a userdata */
  const struct mp_source_ops *ops;
  void *source;         /* borrowed: anchored by the user value */
  struct mp_turn *turn; /* owned; its task's once it stands in the line; NULL: over */
};

void mp_source_mark(lua_State *L, const struct mp_source_ops *ops) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)ops);
  lua_rawsetp(L, -2, &source_key);
}

const struct mp_source_ops *mp_source_at(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return NULL;
  lua_rawgetp(L, -1, &source_key);
  const struct mp_source_ops *ops = lua_touserdata(L, -1);
  lua_pop(L, 2);
  return ops;
}

static struct mp_claim *claim_of(struct mp_waitable *waitable) {
  return (struct mp_claim *)(void *)waitable;
}

/* ---- what the line tells ---- */

static void on_called(struct mp_turn *turn) {
  struct mp_claim *claim = MP_CONTAINER(turn->holder, struct mp_claim, turn);
  mp_waitable_settle(&claim->end, false);
}

/* ---- what waits see ---- */

/* stack: … source */
static bool look(lua_State *L, struct mp_waitable *waitable, int index) {
  struct mp_claim *claim = claim_of(waitable);
  struct mp_task *task = mp_sched_of(L)->current;
  void *item = NULL;
  if (!claim->turn) return false;
  lua_getiuservalue(L, index, 1);
  enum mp_turn_state state = claim->ops->take(L, lua_gettop(L), &item);
  lua_pop(L, 1);
  if (state == MP_TURN_WAITING) return false;
  if (task)
    mp_line_enter(claim->ops->line(claim->source), claim->turn, task, item, true);
  else
    claim->turn->item = item; /* the app file's body: it is taken at once */
  claim->turn->state = (uint8_t)state;
  claim->end.settled = true;
  return true;
}

static void begin(struct mp_waitable *waitable, struct mp_task *waiting) {
  struct mp_claim *claim = claim_of(waitable);
  if (!claim->turn) return;
  mp_line_enter(claim->ops->line(claim->source), claim->turn, waiting, NULL, false);
  mp_wake_arm(&claim->turn->wake, waiting);
}

void *mp_claim_take(struct mp_claim *claim) {
  void *item = claim->turn ? claim->turn->item : NULL;
  if (claim->turn) claim->turn->item = NULL;
  return item;
}

static void drop(struct mp_waitable *waitable) {
  struct mp_claim *claim = claim_of(waitable);
  if (claim->turn) mp_turn_drop(claim->turn);
}

static int push_end(lua_State *L, struct mp_waitable *waitable, int index) {
  struct mp_claim *claim = claim_of(waitable);
  enum mp_turn_state state = claim->turn ? (enum mp_turn_state)claim->turn->state : MP_TURN_MISSED;
  lua_getiuservalue(L, index, 1);
  int n = claim->ops->push(L, lua_gettop(L), claim, state);
  drop(waitable);
  return n;
}

/* Another of the list has failed. */
static void cancel(struct mp_waitable *waitable) {
  drop(waitable);
  mp_waitable_settle(waitable, false);
}

static const struct mp_waitable_ops claim_ops = {
    .kind = "claim", .push = push_end, .begin = begin, .cancel = cancel, .look = look, .drop = drop};

/* ---- the object ---- */

/* It may go before the list of the wait that it was made for. */
static int l_gc(lua_State *L) {
  struct mp_claim *claim = lua_touserdata(L, 1);
  drop(&claim->end);
  while (mp_list_pop(&claim->end.waiters)) continue;
  return 0;
}

void mp_claim_push(lua_State *L, int index, const struct mp_source_ops *ops) {
  index = lua_absindex(L, index);
  struct mp_claim *claim = lua_newuserdatauv(L, sizeof *claim, 1);
  *claim = (struct mp_claim){.ops = ops, .source = lua_touserdata(L, index)};
  mp_waitable_init(&claim->end, &claim_ops);
  lua_pushvalue(L, index);
  lua_setiuservalue(L, -2, 1);
  if (luaL_newmetatable(L, CLAIM_NAME)) {
    mp_waitable_mark(L);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  claim->turn = mp_turn_new();
  if (!claim->turn) luaL_error(L, "wait: not enough memory");
  claim->turn->holder = &claim->turn;
  claim->turn->on_called = on_called;
}
