#include "sched/coro.h"
#include "sched/state.h"
#include <stdlib.h>

/* A script coroutine through which a parked wait passes. Set aside before the task parks, because nothing may fail on
 * the way down to the loop. */
struct mp_nested {
  struct mp_list node;    /* of task->nested */
  struct mp_nested *next; /* of the spare ones; owned */
  lua_State *co;          /* borrowed: anchored on the resumer's stack */
  bool wraps;
};

bool mp_coro_reserve(struct mp_sched *sched) {
  unsigned needed = 0;
  for (struct mp_frame *frame = sched->frames; frame; frame = frame->outer) needed++;
  for (; sched->n_spare < needed; sched->n_spare++) {
    struct mp_nested *nested = malloc(sizeof *nested);
    if (!nested) return false;
    mp_list_init(&nested->node);
    nested->next = sched->spare;
    sched->spare = nested;
  }
  return true;
}

static void put_back(struct mp_sched *sched, struct mp_nested *nested) {
  mp_list_unlink(&nested->node);
  nested->next = sched->spare;
  sched->spare = nested;
  sched->n_spare++;
}

void mp_coro_free(struct mp_sched *sched) {
  while (sched->spare) {
    struct mp_nested *nested = sched->spare;
    sched->spare = nested->next;
    free(nested);
  }
  sched->n_spare = 0;
}

static bool is_busy(lua_State *co) {
  return *(uintptr_t *)lua_getextraspace(co) & 1;
}

static void set_busy(lua_State *co, bool busy) {
  uintptr_t *word = lua_getextraspace(co);
  *word = busy ? *word | 1 : *word & ~(uintptr_t)1;
}

void mp_coro_claim(lua_State *co) {
  set_busy(co, true);
}

static lua_State *check_co(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  return co;
}

enum co_status { CO_RUNNING, CO_DEAD, CO_SUSPENDED, CO_NORMAL };
static const char *const status_names[] = {"running", "dead", "suspended", "normal"};

static enum co_status status_of(lua_State *L, lua_State *co) {
  lua_Debug ar;
  if (L == co) return CO_RUNNING;
  if (is_busy(co) || co == mp_sched_of(L)->L) return CO_NORMAL;
  switch (lua_status(co)) {
  case LUA_YIELD:
    return CO_SUSPENDED;
  case LUA_OK:
    if (lua_getstack(co, 0, &ar)) return CO_NORMAL;
    return lua_gettop(co) == 0 ? CO_DEAD : CO_SUSPENDED;
  default:
    return CO_DEAD;
  }
}

static int resume_on(lua_State *L, int status, lua_KContext ctx);

/* The innermost wrapper gets here first: the list ends up outermost first. */
static int pass_through(lua_State *L, lua_State *co, bool wraps) {
  struct mp_sched *sched = mp_sched_of(L);
  struct mp_nested *nested = sched->spare;
  sched->spare = nested->next;
  sched->n_spare--;
  nested->co = co;
  nested->wraps = wraps;
  mp_list_append(sched->current->nested.next, &nested->node);
  set_busy(co, true);
  return lua_yieldk(L, 0, (lua_KContext)(uintptr_t)nested, resume_on);
}

/* Runs `co` with n arguments on its stack until it ends, yields a value of its own, or the task parks in it. */
static int go_on(lua_State *L, lua_State *co, int n_args, int *n_results) {
  struct mp_sched *sched = mp_sched_of(L);
  struct mp_frame frame = {.from = L, .outer = sched->frames, .foreign = sched->running != L};
  lua_State *before = sched->running;
  sched->frames = &frame;
  sched->running = co;
  if (sched->held.asked) mp_held_follow(sched, co);
  int status = lua_resume(co, L, n_args, n_results);
  sched->running = before;
  sched->frames = frame.outer;
  if (sched->held.asked) mp_held_follow(sched, before);
  return status;
}

/* Its <close> variables run on its own stack. */
static int close_co(struct mp_sched *sched, lua_State *co) {
  lua_State *before = sched->running;
  sched->running = co;
  if (sched->held.asked) mp_held_follow(sched, co);
  int status = lua_resetthread(co);
  sched->running = before;
  if (sched->held.asked) mp_held_follow(sched, before);
  return status;
}

/* What wrap adds to an error: the coroutine is closed, and a message in text gets the position of the call. */
static int raise_wrapped(lua_State *L, lua_State *co) {
  int status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_pop(L, 1);
    close_co(mp_sched_of(L), co);
    lua_xmove(co, L, 1);
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int failed(lua_State *L, lua_State *co, bool wraps) {
  if (wraps) return raise_wrapped(L, co);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

/* The results, the yielded values or the error of `co` for whoever resumed it. */
static int settle(lua_State *L, lua_State *co, int status, int n_results, bool wraps) {
  struct mp_sched *sched = mp_sched_of(L);
  if (status == LUA_YIELD && sched->parking) return pass_through(L, co, wraps);
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return failed(L, co, wraps);
  }
  if (!lua_checkstack(L, n_results + 1)) {
    lua_pop(co, n_results);
    lua_pushliteral(L, "too many results to resume");
    return failed(L, co, wraps);
  }
  if (!wraps) lua_pushboolean(L, 1);
  lua_xmove(co, L, n_results);
  return n_results + !wraps;
}

/* The task goes on: so does the coroutine in which it was parked. */
static int resume_on(lua_State *L, int status, lua_KContext ctx) {
  struct mp_nested *nested = (struct mp_nested *)(uintptr_t)ctx;
  lua_State *co = nested->co;
  bool wraps = nested->wraps;
  int n_results;
  (void)status;
  put_back(mp_sched_of(L), nested);
  set_busy(co, false);
  /* `co` stays anchored: as resume's first argument, or as wrap's upvalue. */
  status = go_on(L, co, 0, &n_results);
  return settle(L, co, status, n_results, wraps);
}

static int refuse(lua_State *L, lua_State *co, const char *message, bool wraps) {
  lua_pushstring(L, message);
  return failed(L, co, wraps);
}

static int start(lua_State *L, lua_State *co, int n_args, bool wraps) {
  int n_results;
  enum co_status now = status_of(L, co);
  if (now == CO_DEAD) return refuse(L, co, "cannot resume dead coroutine", wraps);
  if (now != CO_SUSPENDED) return refuse(L, co, "cannot resume non-suspended coroutine", wraps);
  if (!lua_checkstack(co, n_args)) return refuse(L, co, "too many arguments to resume", wraps);
  lua_xmove(L, co, n_args);
  int status = go_on(L, co, n_args, &n_results);
  return settle(L, co, status, n_results, wraps);
}

static int l_resume(lua_State *L) {
  return start(L, check_co(L), lua_gettop(L) - 1, false);
}

static int l_wrapped(lua_State *L) {
  return start(L, lua_tothread(L, lua_upvalueindex(1)), lua_gettop(L), true);
}

static int l_create(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  return 1;
}

static int l_wrap(lua_State *L) {
  l_create(L);
  lua_pushcclosure(L, l_wrapped, 1);
  return 1;
}

static bool is_base(lua_State *L) {
  struct mp_sched *sched = mp_sched_of(L);
  return sched->current && sched->current->co == L;
}

static int l_yield(lua_State *L) {
  if (is_base(L)) return luaL_error(L, "attempt to yield from outside a coroutine");
  return lua_yield(L, lua_gettop(L));
}

static int l_status(lua_State *L) {
  lua_pushstring(L, status_names[status_of(L, check_co(L))]);
  return 1;
}

static int l_running(lua_State *L) {
  bool is_main = lua_pushthread(L);
  lua_pushboolean(L, is_main || is_base(L));
  return 2;
}

static int l_isyieldable(lua_State *L) {
  lua_State *co = lua_isnone(L, 1) ? L : check_co(L);
  lua_pushboolean(L, lua_isyieldable(co) && !is_base(co));
  return 1;
}

static int l_close(lua_State *L) {
  lua_State *co = check_co(L);
  enum co_status now = status_of(L, co);
  if (now != CO_DEAD && now != CO_SUSPENDED) return luaL_error(L, "cannot close a %s coroutine", status_names[now]);
  if (close_co(mp_sched_of(L), co) == LUA_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  return 2;
}

void mp_coro_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"create", l_create}, {"resume", l_resume},           {"wrap", l_wrap},
                                       {"yield", l_yield},   {"status", l_status},           {"running", l_running},
                                       {"close", l_close},   {"isyieldable", l_isyieldable}, {NULL, NULL}};
  lua_getglobal(L, "coroutine");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}

bool mp_coro_unwind(lua_State *L, struct mp_task *task) {
  bool any = false;
  while (!mp_list_empty(&task->nested)) {
    struct mp_nested *innermost = MP_CONTAINER(task->nested.prev, struct mp_nested, node);
    lua_State *co = innermost->co;
    put_back(task->sched, innermost);
    set_busy(co, false);
    if (close_co(task->sched, co) == LUA_OK) continue;
    if (any) lua_pop(L, 1);
    lua_xmove(co, L, 1);
    any = true;
  }
  return any;
}

lua_State *mp_coro_innermost(const struct mp_task *task) {
  if (mp_list_empty(&task->nested)) return NULL;
  return MP_CONTAINER(task->nested.prev, struct mp_nested, node)->co;
}
