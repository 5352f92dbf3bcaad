/* What the worker shows of its Lua side to those outside: see base/view.h. */
#include "api/api.h"
#include "api/job.h"
#include <errno.h>
#include <stdlib.h>

int mp_api_show_open(struct mp_api *api) {
  api->view = api->setup.view;
  if (api->view) return 0;
  api->view = api->own_view = calloc(1, sizeof *api->own_view);
  return api->view ? 0 : -ENOMEM;
}

void mp_api_count_error(struct mp_api *api, const char *kind) {
  for (unsigned i = 0; i < MP_VIEW_ERRORS; i++)
    if (strcmp(kind, mp_view_error_name[i]) == 0) mp_api_count(api, MP_COUNT_ERRORS, i);
}

/* A queue is behind a lock, which is taken only where there are threads. */
static void show_offloads(struct mp_api *api) {
  struct mp_threads_facts facts;
  mp_crews_stats(api, &facts);
  mp_counter_set(&api->view->offloads, facts.running);
  mp_counter_set(&api->view->offloads_queued, facts.queued);
  mp_counter_set(&api->view->offload_since_ms, facts.queued ? facts.oldest_ms : 0);
}

void mp_api_show(struct mp_api *api) {
  struct mp_view *view = api->view;
  mp_counter_set(&view->tasks, api->sched.n_tasks);
  mp_counter_set(&view->processes, api->places.n_taken);
  mp_counter_set(&view->processes_queued, api->places.n_waiting);
  mp_counter_set(&view->lua_bytes, api->memory.used);
  if (api->offload) show_offloads(api);
}

void mp_api_on_resume(struct mp_sched *sched, const struct mp_task *task) {
  struct mp_api *api = sched->ctx;
  const struct mp_call *call = task ? mp_call_of_scope(api, task->scope) : NULL;
  atomic_store_explicit(&api->view->running, call ? call->id : 0, memory_order_relaxed);
}

const uint64_t *mp_api_last_number(const struct mp_api *api) {
  return &api->next_id;
}

const char *mp_api_id_prefix(const struct mp_api *api) {
  return api->id_prefix;
}
