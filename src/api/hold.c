#include "api/hold.h"
#include "api/api.h"
#include <stdio.h>

enum { RESERVE = 8 * 1024 * 1024 };

/* ---- time ---- */

static const struct mp_call *call_of_now(const struct mp_api *api) {
  const struct mp_task *task = api->sched.current;
  return task ? mp_call_of_scope(api, task->scope) : NULL;
}

static unsigned long long held_ms(const struct mp_api *api) {
  uint64_t since = atomic_load_explicit(&api->sched.held.hold.since_ms, memory_order_relaxed), now = mp_coarse_ms();
  return since && now > since ? now - since : 0;
}

/* In a hook: L goes on afterwards, or is ended. */
void mp_api_on_held(struct mp_sched *sched, lua_State *L, bool over) {
  struct mp_api *api = sched->ctx;
  const struct mp_call *call = call_of_now(api);
  char line[512], request[256], id[MP_CALL_ID];
  if (over) mp_api_count(api, MP_COUNT_HELD, 0);
  int n = snprintf(line, sizeof line, "%s held_ms=%llu",
                   over ? "Lua held the worker for too long, it is ended" : "Lua holds the worker", held_ms(api));
  if (call && call->ex)
    n += snprintf(line + n, sizeof line - (size_t)n, " request=%s id=%s", mp_call_line(call, request, sizeof request),
                  mp_call_id(call, id, sizeof id));
  mp_held_push_trace(sched, L);
  mp_log_detail(api->log, over ? MP_LOG_ERROR : MP_LOG_WARN, "app", mp_slice(line, (size_t)n),
                mp_slice(lua_tostring(L, -1), lua_rawlen(L, -1)));
  lua_pop(L, 1);
}

static void note_request(struct mp_shm_stuck *out, const struct mp_call *call) {
  struct mp_shm_request *request = &out->request[out->n];
  const struct mp_head *head = &call->ex->head;
  request->started_ms = call->ex->started_ms;
  snprintf(request->line, sizeof request->line, "%.*s %.*s", (int)head->method.len, head->method.at,
           (int)head->target.len, head->target.at);
  out->n++;
}

/* No lock, no memory: the thread may have been interrupted anywhere. */
static void note_stuck(const struct mp_api *api, struct mp_shm_stuck *out) {
  const struct mp_call *own = call_of_now(api);
  atomic_store_explicit(&out->filled, 0, memory_order_relaxed);
  out->n = 0;
  out->named = own && own->ex;
  out->held_ms = held_ms(api);
  if (out->named) note_request(out, own);
  MP_LIST_EACH(node, &api->calls) {
    if (out->n == MP_SHM_REQUESTS) break;
    const struct mp_call *call = MP_CONTAINER(node, struct mp_call, node);
    if (call != own && call->ex) note_request(out, call);
  }
  mp_held_trace(api->sched.running, out->trace, sizeof out->trace);
  atomic_store_explicit(&out->filled, 1, memory_order_release);
}

void mp_api_interrupt(struct mp_api *api, enum mp_watch_step step, struct mp_shm_stuck *out) {
  if (step == MP_WATCH_STUCK)
    note_stuck(api, out);
  else
    mp_held_interrupt(&api->sched, step);
}

struct mp_hold *mp_api_hold(struct mp_api *api) {
  return &api->sched.held.hold;
}

/* ---- memory ---- */

/* Tasks keep to the limit. What the loop does for them between their turns (an error told, a slot made) may draw on a
 * reserve: some of it is outside every protected call, where Lua could only abort. */
static bool beyond_limit(void *ctx, size_t used) {
  struct mp_api *api = ctx;
  struct mp_sched *sched = &api->sched;
  lua_Debug ar;
  if (!sched->current) return used - api->memory.limit <= RESERVE;
  if (lua_getstack(sched->running, 1, &ar)) /* else it is unwound already, and the last note says more */
    mp_held_trace(sched->running, sched->starved, sizeof sched->starved);
  return false;
}

void mp_api_limit_memory(struct mp_api *api) {
  const struct mp_guest *guest = api->setup.guest;
  if (guest && guest->allocate) {
    api->memory.source = guest->allocate;
    api->memory.source_ctx = guest->ctx;
  }
  uint64_t limit = api->setup.config->max_memory;
  mp_memory_limit(&api->memory, limit < SIZE_MAX ? (size_t)limit : 0, beyond_limit, api);
}
