#include "sched/coro.h"
#include "sched/inside.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Keys of registry tables: their addresses. */
static const char anchors_key, cancelled_key, causes_key;

static int l_cancelled_tostring(lua_State *L) {
  lua_pushliteral(L, "cancelled");
  return 1;
}

static int p_open_registry(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &anchors_key);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_newuserdatauv(L, 0, 0); /* equal to itself alone, and nothing can be stored in it */
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "moonpool.cancelled");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, l_cancelled_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &cancelled_key);
  return 0;
}

static void run_ready(struct mp_soon *soon);

int mp_sched_init(struct mp_sched *sched, lua_State *L, struct mp_loop *loop) {
  memset(sched, 0, sizeof *sched);
  sched->L = L;
  sched->loop = loop;
  sched->running = L;
  mp_list_init(&sched->ready);
  mp_list_init(&sched->free);
  mp_soon_init(&sched->soon, run_ready);
  *(struct mp_sched **)lua_getextraspace(L) = sched;
  lua_pushcfunction(L, p_open_registry);
  if (lua_pcall(L, 0, 0, 0) == LUA_OK) return 0;
  lua_pop(L, 1);
  return -ENOMEM;
}

void mp_sched_deinit(struct mp_sched *sched) {
  mp_soon_cancel(&sched->soon);
  for (unsigned i = 0; i < sched->n_slots; i++) {
    mp_timer_deinit(&sched->slots[i]->timer);
    mp_timer_deinit(&sched->slots[i]->grace);
    free(sched->slots[i]);
  }
  free(sched->slots);
  mp_coro_free(sched);
}

/* What becomes ready meanwhile waits for the next turn: a task that only yields must not starve the sockets. */
static void run_ready(struct mp_soon *soon) {
  struct mp_sched *sched = MP_CONTAINER(soon, struct mp_sched, soon);
  struct mp_list batch, *node;
  mp_list_init(&batch);
  mp_list_splice(&batch, &sched->ready);
  while ((node = mp_list_pop(&batch))) {
    struct mp_task *task = MP_CONTAINER(node, struct mp_task, node);
    if (sched->on_resume) sched->on_resume(sched, task);
    mp_task_run(task, task->n_args);
  }
  if (sched->on_resume) sched->on_resume(sched, NULL);
}

void mp_anchor(lua_State *L, const void *key) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, key);
  lua_pop(L, 1);
}

void mp_anchor_push(lua_State *L, const void *key) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
  lua_rawgetp(L, -1, key);
  lua_remove(L, -2);
}

void mp_anchor_drop(lua_State *L, const void *key) {
  lua_pushnil(L);
  mp_anchor(L, key);
}

void mp_push_cancelled(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &cancelled_key);
}

bool mp_is_cancelled(lua_State *L, int index) {
  index = lua_absindex(L, index);
  mp_push_cancelled(L);
  bool is = lua_rawequal(L, index, -1);
  lua_pop(L, 1);
  return is;
}

void mp_cause_set(lua_State *L, struct mp_task *task) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, task);
  lua_pop(L, 1);
  task->has_cause = true;
}

void mp_cause_take(lua_State *L, struct mp_task *task) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_rawgetp(L, -1, task);
  lua_pushnil(L);
  lua_rawsetp(L, -3, task);
  lua_remove(L, -2);
  task->has_cause = false;
}

void mp_report(struct mp_sched *sched, struct mp_task_object *object, struct mp_scope *scope) {
  if (object->taken) return;
  object->taken = true;
  sched->n_errors++;
  if (sched->on_unhandled) sched->on_unhandled(sched, sched->L, scope);
}

void mp_report_failed(struct mp_scope *scope) {
  struct mp_list *node;
  while ((node = mp_list_pop(&scope->failed))) {
    struct mp_untaken *untaken = MP_CONTAINER(node, struct mp_untaken, node);
    untaken->tell(untaken, scope);
  }
}
