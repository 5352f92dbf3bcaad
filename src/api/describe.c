/* What runs in this worker, for those who ask from outside. Nothing here raises, and no Lua runs. */
#include "api/api.h"
#include "api/process.h"
#include "base/emit.h"
#include "sched/coro.h"
#include <errno.h>

enum { MOST = 1000 /* of one list */, TRACE = 4096 };

static void emit_request(struct mp_emit *e, const struct mp_call *call) {
  char id[MP_CALL_ID];
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
static size_t stacks_of(const struct mp_task *task, char *out, size_t size) {
  lua_State *inner = mp_coro_innermost(task);
  size_t n = inner ? mp_held_trace(inner, out, size / 2) : 0;
  if (n > 0) out[n++] = '\n';
  return task->co ? n + mp_held_trace(task->co, out + n, size - n) : n;
}

static void emit_trace(struct mp_emit *e, const struct mp_task *task) {
  char trace[TRACE];
  mp_emit_text(e, "traceback", mp_slice(trace, stacks_of(task, trace, sizeof trace)));
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

/* ---- requests that wait for long ---- */

static void add_stacks(struct mp_api *api, const struct mp_call *call, struct mp_buf *out) {
  enum { STACKS = 8 };
  char trace[TRACE];
  unsigned n = 0;
  for (unsigned i = 0; i < api->sched.n_slots && n < STACKS; i++) {
    const struct mp_task *task = api->sched.slots[i];
    if (task->state != MP_TASK_PARKED || mp_call_of_scope(api, task->scope) != call) continue;
    size_t len = stacks_of(task, trace, sizeof trace);
    if (mp_buf_addf(out, "%s%.*s", n ? "\nand another task of it:\n" : "stack traceback:\n", (int)len, trace) < 0)
      return;
    n++;
  }
}

static void tell_slow(struct mp_api *api, struct mp_call *call, uint64_t age_ms) {
  char request[256], id[MP_CALL_ID], line[400];
  struct mp_buf detail = {0};
  call->told_slow = true;
  add_stacks(api, call, &detail);
  int n =
      snprintf(line, sizeof line, "a request waits for long age_ms=%llu request=%s id=%s", (unsigned long long)age_ms,
               mp_call_line(call, request, sizeof request), mp_call_id(call, id, sizeof id));
  mp_log_detail(api->log, MP_LOG_WARN, "http", mp_slice(line, (size_t)n), mp_buf_slice(&detail));
  mp_buf_free(&detail);
}

/* The oldest stands first. */
uint64_t mp_api_tell_slow(struct mp_api *api, uint64_t slow_ms) {
  uint64_t now = mp_loop_now(api->loop);
  MP_LIST_EACH(node, &api->calls) {
    struct mp_call *call = MP_CONTAINER(node, struct mp_call, node);
    if (call->told_slow || !call->ex || call->handler_over) continue;
    uint64_t due = call->ex->started_ms + slow_ms;
    if (due > now) return due - now;
    tell_slow(api, call, now - call->ex->started_ms);
  }
  return 0;
}
