#include "api/job.h"
#include <errno.h>
#include <stdlib.h>

enum { CLOSE_MS = 500 };

/* ---- opening ---- */

/* It unlinks itself when it runs. */
void mp_crew_wake_next(struct mp_crew *crew) {
  if (mp_list_empty(&crew->waiting)) return;
  if (!crew->retired && !mp_threads_has_room(crew->threads)) return;
  mp_wake_fire(&MP_CONTAINER(crew->waiting.next, struct mp_waiter, node)->wake);
}

static void on_room(void *ctx) {
  mp_crew_wake_next(ctx);
}

static void on_closed(void *ctx) {
  struct mp_crew *crew = ctx;
  crew->threads = NULL;
  mp_crew_free_when_unused(crew);
}

/* stack: package; a copy of its field, or "". */
static char *copy_field(lua_State *L, const char *name) {
  const char *text = lua_getfield(L, -1, name) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  char *copy = strdup(text);
  lua_pop(L, 1);
  return copy;
}

static void close_fields(struct mp_crew *crew) {
  free(crew->path);
  free(crew->cpath);
  crew->path = crew->cpath = NULL;
}

int mp_crew_open(lua_State *L, struct mp_crew *crew, const char *name, unsigned threads) {
  struct mp_api *api = mp_api_of(L);
  struct mp_threads_setup setup = {.loop = api->loop,
                                   .name = name,
                                   .most = threads,
                                   .bound = MP_CREW_BOUND,
                                   .no_signals = api->setup.guest && !api->setup.guest->interrupts,
                                   .leave = mp_lua_thread_close,
                                   .on_room = on_room,
                                   .on_closed = on_closed,
                                   .ctx = crew};
  crew->api = api;
  crew->log = *api->log;
  crew->setup = api->setup;
  mp_list_init(&crew->jobs);
  mp_list_init(&crew->waiting);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "package");
  crew->path = copy_field(L, "path");
  crew->cpath = copy_field(L, "cpath");
  lua_pop(L, 2);
  crew->threads = crew->path && crew->cpath ? mp_threads_open(&setup) : NULL;
  if (!crew->threads) {
    close_fields(crew);
    return -ENOMEM;
  }
  mp_list_append(&api->crews, &crew->node);
  return 0;
}

/* ---- ending ---- */

void mp_crew_free_when_unused(struct mp_crew *crew) {
  if (!crew->retired || crew->threads || !mp_list_empty(&crew->jobs)) return;
  mp_list_unlink(&crew->node);
  close_fields(crew);
  crew->free(crew);
}

void mp_crew_retire(struct mp_crew *crew, const char *why) {
  if (crew->retired) return;
  crew->retired = true;
  MP_LIST_EACH(node, &crew->jobs) {
    struct mp_job *job = MP_CONTAINER(node, struct mp_job, node);
    if (job->finished || job->box) continue;
    if (mp_work_take_back(&job->work))
      mp_job_fail(job, why);
    else
      mp_job_stop(job);
  }
  mp_crew_wake_next(crew);
  if (crew->threads) mp_threads_retire(crew->threads);
}

static void stop_job(struct mp_job *job) {
  if (job->finished) return;
  if (!job->work.threads || mp_work_take_back(&job->work))
    job->finished = true;
  else
    mp_work_interrupt(&job->work, MP_STOP_INSISTED);
}

/* Jobs that did not come back stay, with all that their threads may still look at. */
static bool close_crew(struct mp_crew *crew) {
  bool whole = true;
  MP_LIST_EACH(node, &crew->jobs) stop_job(MP_CONTAINER(node, struct mp_job, node));
  crew->on_done = NULL;
  if (crew->threads) whole = mp_threads_close(crew->threads, CLOSE_MS);
  crew->retired = false; /* it is freed below, not by its last job */
  for (struct mp_list *node = crew->jobs.next, *next; node != &crew->jobs; node = next) {
    next = node->next;
    struct mp_job *job = MP_CONTAINER(node, struct mp_job, node);
    if (job->finished) mp_job_free(job);
  }
  crew->threads = NULL;
  crew->retired = true;
  mp_crew_free_when_unused(crew);
  return whole;
}

bool mp_crews_close(struct mp_api *api) {
  struct mp_list *node;
  bool whole = true;
  while ((node = mp_list_pop(&api->crews))) whole &= close_crew(MP_CONTAINER(node, struct mp_crew, node));
  return whole;
}

void mp_crews_stats(struct mp_api *api, struct mp_threads_facts *facts) {
  *facts = (struct mp_threads_facts){0};
  if (api->offload) mp_threads_look(api->offload->threads, facts);
}
