#include "api/channel_far.h"
#include "api/job.h"
#include <errno.h>
#include <math.h>

/* moonpool.core of a thread's state: what needs no loop, and `ask`, which has the loop do what only it may. The thread
 * waits, and nothing else does. */

static int raise_cancelled(lua_State *L) {
  mp_push_cancelled(L);
  return lua_error(L);
}

static void check_going_on(lua_State *L, struct mp_job *job) {
  if (atomic_load_explicit(&job->work.stop, memory_order_acquire)) raise_cancelled(L);
}

/* core.ask(what, …): has the job's task call moonpool.served[what](…), gives what that gives, raises what it raises. */
static int l_ask(lua_State *L) {
  struct mp_job *job = mp_lua_thread_job(L);
  struct mp_transfer_words words = {.what = luaL_checkstring(L, 1), .item = "argument", .carrier = &job->far_carrier};
  check_going_on(L, job);
  mp_buf_reset(&job->ask, 4096);
  mp_transfer_pack(L, 1, lua_gettop(L), &words, &job->ask);
  job->answered = job->answer_is_error = false;
  job->asked.run = mp_job_on_asked;
  mp_list_init(&job->asked.node);
  if (!mp_threads_post(job->work.threads, &job->asked)) raise_cancelled(L);
  if (mp_work_wait(&job->work, &job->answered, -1) < 0) raise_cancelled(L);
  int n = mp_transfer_unpack(L, mp_buf_slice(&job->answer), &job->far_carrier);
  return job->answer_is_error ? lua_error(L) : n;
}

static int l_sleep(lua_State *L) {
  struct mp_job *job = mp_lua_thread_job(L);
  double s = luaL_checknumber(L, 1);
  luaL_argcheck(L, s >= 0, 1, "a number of seconds from 0");
  check_going_on(L, job);
  if (mp_work_wait(&job->work, NULL, isinf(s) ? -1 : s) == -EINTR) raise_cancelled(L);
  return 0;
}

static int l_running(lua_State *L) {
  (void)L;
  return 0;
}

/* Waiting blocks the thread: it can be done anywhere. */
static int l_yieldable(lua_State *L) {
  lua_pushboolean(L, 1);
  return 1;
}

void mp_thread_core_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"ask", l_ask},      {"sleep", l_sleep},     {"now", mp_l_now},
                                       {"time", mp_l_time}, {"running", l_running}, {"yieldable", l_yieldable},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  mp_far_open(L);
}
