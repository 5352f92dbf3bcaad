#include "api/job.h"
#include "api/channel_far.h"
#include "api/channel_link.h"
#include "base/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BOX_NAME "moonpool.job"

enum { RUNG_NONE, RUNG_GRACE, RUNG_ASKED, RUNG_INSISTED, RUNG_BEHIND };
enum { LADDER_MS = 500, RETRY_MS = 20 };

struct box {
  struct mp_job *job; /* owned until mp_job_start */
};

/* ---- lifetime ---- */

void mp_job_free(struct mp_job *job) {
  struct mp_crew *crew = job->crew;
  if (job->box) *job->box = NULL;
  mp_timer_deinit(&job->patience);
  mp_list_unlink(&job->owned.node);
  mp_list_unlink(&job->room.node);
  mp_list_unlink(&job->node);
  mp_links_drop(job);
  mp_buf_free(&job->in);
  mp_buf_free(&job->out);
  mp_buf_free(&job->trace);
  mp_buf_free(&job->ask);
  mp_buf_free(&job->answer);
  free(job);
  mp_crew_free_when_unused(crew);
}

static void free_when_unused(struct mp_job *job) {
  if (job->finished && job->released) mp_job_free(job);
}

static int l_box_gc(lua_State *L) {
  struct box *box = lua_touserdata(L, 1);
  if (box->job) mp_job_free(box->job);
  return 0;
}

static void on_cancel(struct mp_owned *owned);
static void on_task_end(struct mp_owned *owned);
static void on_patience(struct mp_timer *timer);

static struct mp_job *new_job(struct mp_crew *crew) {
  struct mp_job *job = calloc(1, sizeof *job);
  if (!job) return NULL;
  if (mp_timer_init(&job->patience, &crew->api->loop->timers, on_patience) < 0) {
    free(job);
    return NULL;
  }
  job->crew = crew;
  job->work.ops = &mp_job_ops;
  mp_links_init(job);
  mp_far_init(job);
  job->owned.cancel = on_cancel;
  job->owned.ended = on_task_end;
  job->max_memory = crew->api->setup.config->max_memory;
  mp_list_init(&job->work.node);
  mp_list_init(&job->owned.node);
  mp_list_init(&job->room.node);
  mp_list_init(&job->asked.node);
  mp_list_append(&crew->jobs, &job->node);
  return job;
}

struct mp_job *mp_job_push(lua_State *L, struct mp_crew *crew) {
  struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
  box->job = NULL;
  if (luaL_newmetatable(L, BOX_NAME)) {
    lua_pushcfunction(L, l_box_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  box->job = new_job(crew);
  if (!box->job) luaL_error(L, "%s: not enough memory", crew->kind);
  box->job->box = &box->job;
  return box->job;
}

/* ---- the ladder: asked, insisted, left behind ---- */

static unsigned ran_ms(const struct mp_job *job) {
  return (unsigned)(mp_loop_now(job->crew->api->loop) - job->submitted_ms);
}

static const char *name_of(const struct mp_job *job) {
  return job->crew->module ? job->crew->module : job->crew->kind;
}

static void leave_behind(struct mp_job *job) {
  job->rung = RUNG_BEHIND;
  job->behind = true;
  mp_work_leave_behind(&job->work);
  mp_log(job->crew->api->log, MP_LOG_WARN, job->crew->kind,
         "%s does not come back from C: its thread is replaced spawned_at=%s after_ms=%u", name_of(job),
         job->spawned_at, ran_ms(job));
}

/* A signal that finds no room in the kernel is sent again. */
static void interrupt(struct mp_job *job, int stop) {
  int err = mp_work_interrupt(&job->work, stop);
  if (err == -EAGAIN) job->rung--;
  mp_timer_start(&job->patience, err == -EAGAIN ? RETRY_MS : LADDER_MS);
}

static void climb(struct mp_job *job) {
  switch (job->rung) {
  case RUNG_NONE:
  case RUNG_GRACE:
    job->rung = RUNG_ASKED;
    interrupt(job, MP_STOP_ASKED);
    return;
  case RUNG_ASKED:
    job->rung = RUNG_INSISTED;
    interrupt(job, MP_STOP_INSISTED);
    return;
  case RUNG_INSISTED:
    leave_behind(job);
    return;
  default:
    return;
  }
}

static void on_patience(struct mp_timer *timer) {
  struct mp_job *job = MP_CONTAINER(timer, struct mp_job, patience);
  if (!job->finished) climb(job);
}

void mp_job_stop(struct mp_job *job) {
  if (job->finished || job->rung != RUNG_NONE) return;
  if (mp_work_take_back(&job->work)) {
    job->finished = true;
    mp_wake_fire(&job->wake);
    return;
  }
  if (job->crew->grace_ms == 0) {
    climb(job);
    return;
  }
  job->rung = RUNG_GRACE;
  mp_timer_start(&job->patience, job->crew->grace_ms);
}

static void on_cancel(struct mp_owned *owned) {
  mp_job_stop(MP_CONTAINER(owned, struct mp_job, owned));
}

static void on_task_end(struct mp_owned *owned) {
  struct mp_job *job = MP_CONTAINER(owned, struct mp_job, owned);
  job->released = true;
  mp_job_stop(job);
  mp_links_abandon(job);
  free_when_unused(job);
}

/* ---- the end ---- */

static void log_stop(const struct mp_job *job) {
  char text[256];
  snprintf(text, sizeof text, "%s stopped at %s spawned_at=%s after_ms=%u", name_of(job),
           job->at[0] ? job->at : "an unknown place", job->spawned_at, ran_ms(job));
  mp_log_detail(job->crew->api->log, MP_LOG_WARN, job->crew->kind, mp_slice(text, strlen(text)),
                mp_buf_slice(&job->trace));
}

void mp_job_on_done(struct mp_work *work) {
  struct mp_job *job = MP_CONTAINER(work, struct mp_job, work);
  struct mp_crew *crew = job->crew;
  job->finished = true;
  mp_timer_stop(&job->patience);
  mp_links_settle(job);
  if (job->behind)
    mp_log(crew->api->log, MP_LOG_WARN, crew->kind, "%s came back after all, its thread ends spawned_at=%s after_ms=%u",
           name_of(job), job->spawned_at, ran_ms(job));
  if (job->outcome == MP_JOB_STOPPED && !job->behind) log_stop(job);
  mp_wake_fire(&job->wake);
  if (crew->on_done) crew->on_done(crew, job);
  free_when_unused(job);
}

void mp_job_fail(struct mp_job *job, const char *message) {
  job->finished = true;
  job->outcome = MP_JOB_FAILED;
  mp_buf_free(&job->out);
  mp_transfer_put_text(&job->out, mp_slice(message, strlen(message))); /* without memory an empty one, which says so */
  mp_wake_fire(&job->wake);
}

/* ---- the task ---- */

static int wait_for_job(lua_State *L, struct mp_job *job);

static void push_buf(lua_State *L, const struct mp_buf *buf, const char *otherwise) {
  if (mp_buf_len(buf) > 0)
    lua_pushlstring(L, mp_buf_at(buf), mp_buf_len(buf));
  else
    lua_pushstring(L, otherwise);
}

/* The error is at the top. It was raised on the thread's stack: that is this task's traceback. */
static int raise_from_thread(lua_State *L, struct mp_job *job) {
  struct mp_task *task = mp_sched_of(L)->current;
  lua_newuserdatauv(L, sizeof(struct mp_list), MP_TASK_USER_VALUES); /* stack: error cause */
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, -2, MP_TASK_VALUE);
  push_buf(L, &job->trace, "(no traceback)"); /* not spawned anywhere: it stands for the task's own */
  lua_setiuservalue(L, -2, MP_TASK_TRACEBACK);
  mp_cause_set(L, task);
  return lua_error(L);
}

static int deliver(lua_State *L, struct mp_job *job) {
  lua_settop(L, 0);
  if (job->outcome == MP_JOB_DONE) return mp_transfer_unpack(L, mp_buf_slice(&job->out), &job->carrier);
  if (job->outcome == MP_JOB_STOPPED)
    lua_pushfstring(L, "%s was stopped", name_of(job));
  else if (mp_buf_len(&job->out) > 0)
    mp_transfer_unpack(L, mp_buf_slice(&job->out), &job->carrier);
  else if (mp_buf_len(&job->trace) > 0)
    push_buf(L, &job->trace, "");
  else
    lua_pushfstring(L, "%s: not enough memory", job->crew->kind);
  return raise_from_thread(L, job);
}

static int after_serving(lua_State *L, int status, lua_KContext ctx) {
  struct mp_job *job = lua_touserdata(L, 1);
  struct mp_transfer_words words = {
      .what = "the loop's answer", .item = "result", .number = 1, .carrier = &job->carrier};
  (void)status, (void)ctx;
  mp_transfer_pack(L, 2, lua_gettop(L) - 1, &words, &job->answer);
  return 0;
}

/* stack: job held; calls served[what](held, …). */
static int l_serve(lua_State *L) {
  struct mp_job *job = lua_touserdata(L, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonpool.served");
  lua_call(L, 1, 1);
  int n = mp_transfer_unpack(L, mp_buf_slice(&job->ask), &job->carrier); /* stack: job held served what … */
  lua_pushvalue(L, 4);
  lua_gettable(L, 3);
  lua_replace(L, 3);
  lua_pushvalue(L, 2);
  lua_replace(L, 4); /* stack: job held function held … */
  lua_remove(L, 2);
  lua_callk(L, n, LUA_MULTRET, 0, after_serving);
  return after_serving(L, LUA_OK, 0);
}

/* stack: job held [error]; the thread goes on with the answer, the task waits again. */
static int after_serve(lua_State *L, int status, lua_KContext ctx) {
  struct mp_job *job = lua_touserdata(L, 1);
  (void)ctx;
  job->answer_is_error = status != LUA_OK && status != LUA_YIELD;
  if (job->answer_is_error) {
    if (mp_is_cancelled(L, -1) && mp_sched_of(L)->current->cancel != MP_CANCEL_NONE) return lua_error(L);
    mp_buf_reset(&job->answer, 4096);
    mp_transfer_pack_error(L, -1, &job->answer);
  }
  mp_work_answer(&job->work, &job->answered);
  lua_settop(L, 2);
  return wait_for_job(L, job);
}

static int serve(lua_State *L, struct mp_job *job) {
  job->asking = false;
  mp_buf_reset(&job->answer, 4096);
  lua_settop(L, 2);
  lua_pushcfunction(L, l_serve);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  return after_serve(L, lua_pcallk(L, 2, 0, 0, 0, after_serve), 0);
}

void mp_job_on_asked(struct mp_post *post) {
  struct mp_job *job = MP_CONTAINER(post, struct mp_job, asked);
  job->asking = true;
  mp_wake_fire(&job->wake);
}

static int after_park(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  mp_unpark(L);
  return wait_for_job(L, lua_touserdata(L, 1));
}

/* stack: job held */
static int wait_for_job(lua_State *L, struct mp_job *job) {
  mp_wait_check(L, job->crew->kind); /* a cancel comes first: its job may have been dropped */
  if (job->finished) return deliver(L, job);
  if (job->asking) return serve(L, job);
  mp_wake_arm(&job->wake, mp_sched_of(L)->current);
  return mp_park(L, -1, after_park, 0);
}

/* stack: job; the table holds what the job has had the loop start. */
static int l_body(lua_State *L) {
  lua_newtable(L);
  return wait_for_job(L, lua_touserdata(L, 1));
}

/* ---- starting ---- */

static void submit(struct mp_job *job) {
  char text[128], message[192];
  struct mp_crew *crew = job->crew;
  job->submitted_ms = mp_loop_now(crew->api->loop);
  int err = crew->retired ? -ESHUTDOWN : mp_work_submit(crew->threads, &job->work);
  if (err == 0) return;
  snprintf(message, sizeof message, "%s: no thread could be started: %s", crew->kind,
           mp_err_text(err, text, sizeof text));
  mp_job_fail(job, message);
}

/* The task is queued before anything can raise: with an empty coroutine it would simply end. */
static int start(lua_State *L, struct box *box, struct mp_scope *scope) {
  struct mp_job *job = box->job;
  struct mp_task *task = mp_task_new(mp_sched_of(L), scope);
  if (!task) return luaL_error(L, "%s: not enough memory", job->crew->kind);
  mp_task_queue(task, 0);
  mp_task_push(L, task);
  lua_pushstring(L, job->spawned_at);
  lua_setiuservalue(L, -2, MP_TASK_SPAWNED_AT);
  if (!lua_checkstack(task->co, 4)) return luaL_error(L, "%s: not enough memory", job->crew->kind);
  task->object->kind = job->crew->kind;
  lua_pushcfunction(task->co, mp_task_body);
  lua_pushcfunction(task->co, l_body);
  lua_pushlightuserdata(task->co, job);
  task->n_args = 2;
  mp_list_append(&task->owned, &job->owned.node);
  box->job = NULL;
  job->box = NULL;
  if (!job->finished) submit(job);
  return 1;
}

static bool has_room(struct mp_job *job) {
  struct mp_crew *crew = job->crew;
  return job->finished || crew->retired || (mp_list_empty(&crew->waiting) && mp_threads_has_room(crew->threads));
}

static int wait_for_room(lua_State *L, struct mp_job *job, bool again);

/* There is one room for each wake: a cancelled waiter hands it on. */
static int after_room(lua_State *L, int status, lua_KContext place) {
  struct box *box = lua_touserdata(L, (int)place);
  struct mp_crew *crew = box->job->crew;
  (void)status;
  mp_list_unlink(&box->job->room.node);
  if (mp_sched_of(L)->current->cancel == MP_CANCEL_ASKED) mp_crew_wake_next(crew);
  mp_unpark(L);
  if (!crew->retired && !mp_threads_has_room(crew->threads)) return wait_for_room(L, box->job, true);
  start(L, box, lua_touserdata(L, (int)place + 1));
  mp_crew_wake_next(crew);
  return 1;
}

/* stack: … box scope */
static int wait_for_room(lua_State *L, struct mp_job *job, bool again) {
  struct mp_crew *crew = job->crew;
  struct mp_waiter *waiter = &job->room;
  mp_wait_check(L, crew->kind);
  mp_wake_arm(&waiter->wake, mp_sched_of(L)->current);
  if (again) { /* it keeps its place at the front */
    waiter->node.next = crew->waiting.next;
    waiter->node.prev = &crew->waiting;
    waiter->node.next->prev = &waiter->node;
    crew->waiting.next = &waiter->node;
  } else {
    mp_list_append(&crew->waiting, &waiter->node);
  }
  return mp_park(L, -1, after_room, lua_gettop(L) - 1);
}

int mp_job_start(lua_State *L, int place, struct mp_scope *scope) {
  struct box *box = lua_touserdata(L, place);
  struct mp_job *job = box->job;
  if (!job->spawned_at[0]) {
    mp_push_caller(L);
    snprintf(job->spawned_at, sizeof job->spawned_at, "%s", lua_tostring(L, -1));
  }
  lua_settop(L, place);
  if (has_room(job)) return start(L, box, scope);
  lua_pushlightuserdata(L, scope);
  return wait_for_room(L, job, false);
}
