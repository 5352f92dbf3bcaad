/* A scheduler on a clock that the test turns by hand, and enough verbs in Lua to write whole programs for it:
 *
 *   spawn(f, ...)  background(f, ...)  sleep(s)  wait(t[, s])  wait_any(l[, s])  wait_all(l[, s])  cancel(t)
 *   status(t)  trace(t)  self()  now()  say(...)  scoped(f, ...)  cancel_scope()  c_yield()  c_resume(co) own([cancel])
 *
 * What a program says, and what the scheduler tells, is kept as one line of words. Everything that can be collected is,
 * at every turn, so that what C forgets to hold is missed at once. */
#include "sched/coro.h"
#include "sched/state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lualib.h>

struct toy {
  struct mp_loop loop; /* its timers and its posted work alone: no libuv in it */
  struct mp_log log;
  uint64_t now_ms;
  struct mp_sched sched;
  lua_State *L;            /* owned */
  struct mp_scope forever; /* of background tasks: errors are told at once */
  struct mp_list scopes;   /* that are not over */
  char said[4096];
  size_t len;
  long fail_after; /* allocations until one fails; negative: never */
  bool no_memory;  /* every further one fails too */
  unsigned n_over;
};

struct toy_scope {
  struct mp_scope scope;
  struct mp_list node;
  struct toy *toy;
};

static struct toy *toy_of_timers(const struct mp_timers *timers) {
  return MP_CONTAINER(MP_CONTAINER(timers, struct mp_loop, timers), struct toy, loop);
}

static uint64_t toy_now(const struct mp_timers *timers) {
  return toy_of_timers(timers)->now_ms;
}

static void on_sooner(struct mp_timers *timers) {
  (void)timers;
}

static const struct mp_timers_clock toy_clock = {toy_now, on_sooner, NULL};

static struct toy *toy_of(lua_State *L) {
  return mp_sched_of(L)->ctx;
}

/* ---- what was said ---- */

static void toy_say(struct toy *toy, const char *word) {
  size_t room = sizeof toy->said - toy->len;
  int n = snprintf(toy->said + toy->len, room, "%s%s", toy->len ? " " : "", word);
  assert_true(n >= 0 && (size_t)n < room);
  toy->len += (size_t)n;
}

static int l_say(lua_State *L) {
  for (int i = 1; i <= lua_gettop(L); i++) {
    toy_say(toy_of(L), luaL_tolstring(L, i, NULL));
    lua_pop(L, 1);
  }
  return 0;
}

static const char *plain(lua_State *L, int index) {
  return lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index)
         : mp_is_cancelled(L, index)       ? "cancelled"
                                           : luaL_typename(L, index);
}

static void on_unhandled(struct mp_sched *sched, lua_State *L, struct mp_scope *scope) {
  char text[256];
  int top = lua_gettop(L);
  (void)scope;
  lua_getiuservalue(L, top, MP_TASK_VALUE);
  snprintf(text, sizeof text, "untaken(%s)", plain(L, -1));
  toy_say(sched->ctx, text);
  lua_settop(L, top);
}

/* ---- scopes ---- */

static void on_over(struct mp_scope *scope) {
  struct toy_scope *s = MP_CONTAINER(scope, struct toy_scope, scope);
  mp_report_failed(scope);
  s->toy->n_over++;
  mp_list_unlink(&s->node);
  free(s);
}

static struct toy_scope *new_scope(struct toy *toy) {
  struct toy_scope *s = calloc(1, sizeof *s);
  s->toy = toy;
  mp_scope_init(&s->scope, on_over);
  mp_list_append(&toy->scopes, &s->node);
  return s;
}

/* ---- verbs ---- */

static int spawn_in(lua_State *L, struct mp_scope *scope) {
  int n = lua_gettop(L);
  struct mp_task *task = mp_task_new(mp_sched_of(L), scope);
  if (!task) return luaL_error(L, "not enough memory");
  mp_task_queue(task, 0);
  mp_task_push(L, task);
  luaL_where(L, 1);
  lua_setiuservalue(L, -2, MP_TASK_SPAWNED_AT);
  if (!lua_checkstack(task->co, n + 1)) return luaL_error(L, "not enough memory");
  lua_pushcfunction(task->co, mp_task_body);
  for (int i = 1; i <= n; i++) lua_pushvalue(L, i);
  lua_xmove(L, task->co, n);
  task->n_args = n;
  return 1;
}

static int l_spawn(lua_State *L) {
  struct mp_task *current = mp_sched_of(L)->current;
  return spawn_in(L, current ? current->scope : &toy_of(L)->forever);
}

static int l_background(lua_State *L) {
  return spawn_in(L, &toy_of(L)->forever);
}

/* A scope of its own; it is closed for all but its own members when its first task has been queued. */
static int l_scoped(lua_State *L) {
  struct toy_scope *s = new_scope(toy_of(L));
  int n = spawn_in(L, &s->scope);
  mp_scope_close(&s->scope);
  return n;
}

static int l_cancel_scope(lua_State *L) {
  mp_scope_cancel(mp_sched_of(L)->current->scope);
  return 0;
}

static int l_wait(lua_State *L) {
  double timeout_s = mp_check_timeout(L, 2);
  return mp_wait_for(L, 1, timeout_s);
}

static int after_sleep(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  mp_unpark(L);
  return 0;
}

static int l_sleep(lua_State *L) {
  double s = luaL_checknumber(L, 1);
  mp_wait_check(L, "sleep");
  return mp_park(L, s, after_sleep, 0);
}

static int l_cancel(lua_State *L) {
  struct mp_task_object *object = mp_task_check(L, 1);
  if (object->task) mp_task_cancel(object->task);
  return 0;
}

static int l_status(lua_State *L) {
  static const char *const names[] = {"running", "done", "failed", "cancelled"};
  lua_pushstring(L, names[mp_task_check(L, 1)->outcome]);
  return 1;
}

static int l_trace(lua_State *L) {
  mp_task_check(L, 1);
  lua_getiuservalue(L, 1, MP_TASK_TRACEBACK);
  return 1;
}

static int l_self(lua_State *L) {
  mp_task_push(L, mp_sched_of(L)->current);
  return 1;
}

static int l_now(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)toy_of(L)->now_ms);
  return 1;
}

/* What a module written in C might do. */
static int l_c_yield(lua_State *L) {
  return lua_yield(L, lua_gettop(L));
}

static int l_c_resume(lua_State *L) {
  int n;
  lua_State *co = lua_tothread(L, 1);
  int status = lua_resume(co, L, 0, &n);
  lua_pushinteger(L, status);
  if (status <= LUA_YIELD) return 1;
  lua_xmove(co, L, 1);
  return 2;
}

struct owned_word {
  struct mp_owned owned;
  struct toy *toy;
};

static void owned_cancel(struct mp_owned *owned) {
  toy_say(MP_CONTAINER(owned, struct owned_word, owned)->toy, "owned-cancel");
}

static void owned_ended(struct mp_owned *owned) {
  struct owned_word *word = MP_CONTAINER(owned, struct owned_word, owned);
  toy_say(word->toy, "owned-ended");
  free(word);
}

static int l_own(lua_State *L) {
  struct owned_word *word = calloc(1, sizeof *word);
  word->toy = toy_of(L);
  word->owned.cancel = owned_cancel;
  word->owned.ended = owned_ended;
  mp_list_append(&mp_sched_of(L)->current->owned, &word->owned.node);
  return 0;
}

static const luaL_Reg verbs[] = {{"spawn", l_spawn},
                                 {"background", l_background},
                                 {"scoped", l_scoped},
                                 {"cancel_scope", l_cancel_scope},
                                 {"wait", l_wait},
                                 {"wait_any", mp_wait_any},
                                 {"wait_all", mp_wait_all},
                                 {"sleep", l_sleep},
                                 {"cancel", l_cancel},
                                 {"status", l_status},
                                 {"trace", l_trace},
                                 {"self", l_self},
                                 {"now", l_now},
                                 {"say", l_say},
                                 {"c_yield", l_c_yield},
                                 {"c_resume", l_c_resume},
                                 {"own", l_own},
                                 {NULL, NULL}};

/* ---- opening and closing ---- */

static void *allocate(void *ud, void *block, size_t before, size_t after) {
  struct toy *toy = ud;
  if (after == 0) {
    free(block);
    return NULL;
  }
  if (toy->fail_after >= 0 && (!block || after > before)) {
    if (toy->fail_after == 0 && !toy->no_memory) toy->fail_after = -1;
    if (toy->fail_after <= 0) return NULL;
    toy->fail_after--;
  }
  return realloc(block, after);
}

static int on_panic(lua_State *L) {
  fprintf(stderr, "an error outside every protected call: %s\n", lua_tostring(L, -1));
  abort();
}

static int p_open(lua_State *L) {
  luaL_openlibs(L);
  mp_coro_open(L);
  mp_task_open(L);
  lua_pop(L, 1);
  lua_pushglobaltable(L);
  luaL_setfuncs(L, verbs, 0);
  mp_push_cancelled(L);
  lua_setfield(L, -2, "cancelled");
  return 0;
}

static struct toy *toy_open(void) {
  struct toy *toy = calloc(1, sizeof *toy);
  toy->fail_after = -1;
  toy->log = (struct mp_log){.fd = 2, .least = MP_LOG_ERROR};
  toy->loop.log = &toy->log;
  mp_timers_init(&toy->loop.timers, &toy_clock);
  mp_list_init(&toy->loop.soon);
  mp_list_init(&toy->scopes);
  toy->L = lua_newstate(allocate, toy);
  lua_atpanic(toy->L, on_panic);
  assert_int_equal(mp_sched_init(&toy->sched, toy->L, &toy->loop), 0);
  toy->sched.ctx = toy;
  toy->sched.on_unhandled = on_unhandled;
  mp_scope_init(&toy->forever, NULL);
  toy->forever.at_once = true;
  lua_pushcfunction(toy->L, p_open);
  assert_int_equal(lua_pcall(toy->L, 0, 0, 0), LUA_OK);
  return toy;
}

static void toy_close(struct toy *toy) {
  assert_int_equal(toy->sched.n_tasks, 0);
  assert_true(mp_list_empty(&toy->scopes));
  assert_true(mp_list_empty(&toy->forever.members));
  assert_true(mp_list_empty(&toy->forever.failed));
  assert_int_equal(toy->loop.timers.len, 0);
  assert_int_equal(lua_gettop(toy->L), 0);
  lua_close(toy->L);
  mp_sched_deinit(&toy->sched);
  mp_timers_deinit(&toy->loop.timers);
  free(toy);
}

/* ---- time ---- */

/* What was posted up to now. */
static void toy_turn(struct toy *toy) {
  struct mp_list batch, *node;
  mp_list_init(&batch);
  mp_list_splice(&batch, &toy->loop.soon);
  while ((node = mp_list_pop(&batch))) {
    struct mp_soon *soon = MP_CONTAINER(node, struct mp_soon, node);
    soon->run(soon);
  }
}

/* One turn, or a leap to the next timer. False: nothing will ever happen again. */
static bool toy_step(struct toy *toy) {
  if (!mp_list_empty(&toy->loop.soon)) {
    toy_turn(toy);
    return true;
  }
  uint64_t left = mp_timers_next(&toy->loop.timers);
  if (left == UINT64_MAX) return false;
  toy->now_ms += left;
  mp_timers_fire(&toy->loop.timers);
  return true;
}

static void toy_run(struct toy *toy) {
  int most = 100000;
  do {
    if (toy->fail_after < 0) lua_gc(toy->L, LUA_GCCOLLECT);
    assert_true(most-- > 0);
  } while (toy_step(toy));
}

/* ---- programs ---- */

static void load(lua_State *L, const char *program) {
  if (luaL_loadbufferx(L, program, strlen(program), "=program", "t") == LUA_OK) return;
  fail_msg("%s", lua_tostring(L, -1));
}

/* The program as the only task of a scope of its own. */
static struct mp_task *toy_start(struct toy *toy, const char *program) {
  struct toy_scope *s = new_scope(toy);
  struct mp_task *task = mp_task_new(&toy->sched, &s->scope);
  assert_non_null(task);
  lua_pushcfunction(task->co, mp_task_body);
  load(task->co, program);
  mp_scope_close(&s->scope);
  mp_task_queue(task, 1);
  return task;
}

static void toy_hears(struct toy *toy, const char *words) {
  assert_string_equal(toy->said, words);
  toy->len = 0;
  toy->said[0] = '\0';
}

/* Runs it to the end, in a state of its own; it has said `words`, and nothing is left. */
__attribute__((unused)) static void says(const char *program, const char *words) {
  struct toy *toy = toy_open();
  toy_start(toy, program);
  toy_run(toy);
  toy_hears(toy, words);
  toy_close(toy);
}
