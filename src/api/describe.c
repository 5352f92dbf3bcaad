/* What runs in this worker, for those who ask from outside. Nothing here raises, and no Lua runs. */
#include "api/api.h"
#include "api/process.h"
#include "base/emit.h"
#include "sched/coro.h"
#include <errno.h>

enum { MOST = 1000 /* of one list */, TRACE = 4096 };

static void emit_request(struct mp_emit *e, const struct mp_call *call) {
  char id[80];
  if (!call) return;
  if (call->ex) {
    const struct mp_head *head = &call->ex->head;
    char line[200];
    int n = snprintf(line, sizeof line, "%.*s %.*s", (int)head->method.len, head->method.at, (int)head->target.len,
                     head->target.at);
    mp_emit_text(e, "request", mp_slice(line, n < (int)sizeof line ? (size_t)n : sizeof line - 1));
  }
  mp_emit_word(e, "id", mp_call_id(call, id, sizeof id));
}

/* ---- tasks ---- */

static const char *state_of(const struct mp_task *task) {
  static const char *const names[] = {"free", "new", "ready", "running", "parked", "ending"};
  return names[task->state];
}

/* What it is parked for, as far as that has a name. */
static const char *wait_of(const struct mp_task *task) {
  if (task->state != MP_TASK_PARKED) return NULL;
  if (task->waits_for) return task->waits_for->ops->kind;
  if (task->group) return "several";
  return mp_timer_started(&task->timer) ? "time" : "event";
}

/* Its name, and where it was spawned: kept with its object, where it has one. */
static void emit_object(struct mp_emit *e, struct mp_api *api, struct mp_task *task) {
  lua_State *L = api->L;
  int top = lua_gettop(L);
  if (!task->object || !lua_checkstack(L, 6)) return;
  mp_task_push(L, task);
  lua_getiuservalue(L, top + 1, MP_TASK_NAME);
  lua_getiuservalue(L, top + 1, MP_TASK_SPAWNED_AT);
  if (lua_type(L, top + 2) == LUA_TSTRING) mp_emit_word(e, "name", lua_tostring(L, top + 2));
  if (lua_type(L, top + 3) == LUA_TSTRING) mp_emit_word(e, "spawned_at", lua_tostring(L, top + 3));
  lua_settop(L, top);
}

/* The innermost coroutine first. */
static void emit_trace(struct mp_emit *e, const struct mp_task *task) {
  char trace[TRACE];
  lua_State *inner = mp_coro_innermost(task);
  size_t n = inner ? mp_held_trace(inner, trace, sizeof trace / 2) : 0;
  if (n > 0) trace[n++] = '\n';
  if (task->co) n += mp_held_trace(task->co, trace + n, sizeof trace - n);
  mp_emit_text(e, "traceback", mp_slice(trace, n));
}

static void emit_task(struct mp_emit *e, struct mp_api *api, struct mp_task *task, bool with_trace) {
  const char *wait = wait_of(task);
  mp_emit_begin(e, NULL, '{');
  mp_emit_word(e, "state", state_of(task));
  if (wait) mp_emit_word(e, "waits_for", wait);
  mp_emit_flag(e, "cancelled", task->cancel != MP_CANCEL_NONE);
  emit_object(e, api, task);
  emit_request(e, mp_call_of_scope(api, task->scope));
  if (with_trace) emit_trace(e, task);
  mp_emit_end(e, '}');
}

static void emit_tasks(struct mp_emit *e, struct mp_api *api, bool with_trace) {
  unsigned n = 0;
  for (unsigned i = 0; i < api->sched.n_slots && n < MOST && e->err == 0; i++) {
    struct mp_task *task = api->sched.slots[i];
    if (task->state == MP_TASK_FREE || task->state == MP_TASK_ENDING) continue;
    emit_task(e, api, task, with_trace);
    n++;
  }
}

/* ---- processes ---- */

static void emit_process(struct mp_emit *e, struct mp_api *api, const struct mp_process *p) {
  uint64_t now = mp_loop_now(api->loop), began = p->child.started_ms;
  mp_emit_begin(e, NULL, '{');
  mp_emit_count(e, "pid", (uint64_t)p->child.proc.pid);
  mp_emit_word(e, "name", p->name);
  mp_emit_number(e, "age", now > began ? (double)(now - began) / 1000 : 0);
  mp_emit_flag(e, "cancelled", p->cancelled);
  mp_emit_flag(e, "stopping", p->child.stopping);
  if (p->call && p->call->gen == p->gen) emit_request(e, p->call);
  mp_emit_end(e, '}');
}

static void emit_processes(struct mp_emit *e, struct mp_api *api) {
  unsigned n = 0;
  MP_LIST_EACH(node, &api->live) {
    if (n++ == MOST || e->err < 0) return;
    emit_process(e, api, MP_CONTAINER(node, struct mp_process, live));
  }
}

int mp_api_describe(struct mp_api *api, const char *what, struct mp_buf *out) {
  struct mp_emit e = {.out = out};
  bool dump = strcmp(what, "dump") == 0, processes = strcmp(what, "processes") == 0;
  if (!dump && !processes && strcmp(what, "tasks") != 0) return -EINVAL;
  mp_emit_begin(&e, NULL, '[');
  if (processes)
    emit_processes(&e, api);
  else
    emit_tasks(&e, api, dump);
  mp_emit_end(&e, ']');
  return e.err;
}
