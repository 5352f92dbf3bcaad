#include "api/channel_far.h"
#include "api/job.h"
#include "api/process.h"
#include "sched/coro.h"
#include "sched/trace.h"
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

/* The Lua state of a thread: made for its first job, kept for the next, and thrown away when a job had to be stopped,
 * for then nobody knows in which state its modules are. */
struct mp_lua_thread {
  lua_State *L;          /* owned */
  struct mp_sched sched; /* without a loop: it knows which coroutine runs, and nothing in it can wait */
  struct mp_job *job;    /* borrowed while it runs */
  struct mp_far far;
  struct mp_log log;
  size_t used, most; /* bytes; most 0: no limit */
  int module_ref;    /* of a service: its table */
  bool counts;       /* no signal comes: the hook is there from the start, and looks now and then */
  bool unwinding;    /* the job is over, its <close> variables run */
  bool failed;       /* the module could not be loaded: the reason is in the registry under the key `failed` */
};

enum { SLACK = 256 * 1024, MUCH = 16 * 1024 * 1024, LOOK_AT = 10000 /* instructions */ };

struct mp_lua_thread *mp_lua_thread_of(lua_State *L) {
  return mp_sched_of(L)->ctx;
}

struct mp_job *mp_lua_thread_job(lua_State *L) {
  struct mp_lua_thread *t = mp_lua_thread_of(L);
  if (!t->job) luaL_error(L, "no job runs on this thread");
  return t->job;
}

struct mp_far *mp_lua_thread_far(lua_State *L) {
  return &mp_lua_thread_of(L)->far;
}

/* ---- memory ---- */

static void *allocate(void *ud, void *at, size_t old, size_t size) {
  struct mp_lua_thread *t = ud;
  if (!at) old = 0; /* it is the kind of object then */
  if (size == 0) {
    free(at);
    t->used -= old;
    return NULL;
  }
  if (size > old && t->most && t->used + (size - old) > t->most) return NULL;
  void *moved = realloc(at, size);
  if (moved) t->used += size - old;
  return moved;
}

/* ---- opening ---- */

static int on_panic(lua_State *L) {
  fprintf(stderr, "moonpool: an error outside every protected call of a thread: %s\n", lua_tostring(L, -1));
  return 0; /* Lua aborts */
}

static void set_paths(lua_State *L, const struct mp_crew *crew) {
  lua_getglobal(L, "package");
  lua_pushstring(L, crew->path);
  lua_setfield(L, -2, "path");
  lua_pushstring(L, crew->cpath);
  lua_setfield(L, -2, "cpath");
  lua_pop(L, 1);
}

static void open_core(lua_State *L, struct mp_lua_thread *t, const struct mp_crew *crew) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_newtable(L);
  mp_core_open_shared(L, &crew->setup, &t->log);
  mp_thread_core_open(L);
  lua_setfield(L, -2, "moonpool.core");
  lua_pop(L, 1);
  mp_result_open(L);
}

/* stack: thread crew */
static int p_open(lua_State *L) {
  struct mp_lua_thread *t = lua_touserdata(L, 1);
  const struct mp_crew *crew = lua_touserdata(L, 2);
  luaL_openlibs(L);
  mp_coro_open(L);
  mp_searcher_open(L, &crew->setup);
  set_paths(L, crew);
  open_core(L, t, crew);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonpool.thread");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "install");
  lua_call(L, 0, 0);
  return 0;
}

void mp_lua_thread_close(void *place) {
  struct mp_lua_thread *t = place;
  t->most = 0;
  t->far.closing = true;
  lua_close(t->L);
  mp_sched_deinit(&t->sched);
  free(t);
}

/* NULL: `why` says why not. */
static struct mp_lua_thread *open_thread(const struct mp_job *job, struct mp_buf *why) {
  const struct mp_crew *crew = job->crew;
  struct mp_lua_thread *t = calloc(1, sizeof *t);
  if (!t) goto no_memory;
  t->log = crew->log;
  t->counts = crew->api->setup.guest && !crew->api->setup.guest->interrupts;
  t->far = (struct mp_far){.api = crew->api, .threads = job->work.threads};
  t->module_ref = LUA_NOREF;
  t->L = lua_newstate(allocate, t);
  if (!t->L) goto no_memory;
  lua_atpanic(t->L, on_panic);
  if (mp_sched_init(&t->sched, t->L, NULL) < 0) goto no_memory;
  t->sched.ctx = t;
  lua_pushcfunction(t->L, p_open);
  lua_pushlightuserdata(t->L, t);
  lua_pushlightuserdata(t->L, (void *)(uintptr_t)crew);
  if (lua_pcall(t->L, 2, 0, 0) == LUA_OK) return t;
  mp_buf_addf(why, "%s: cannot open a Lua state: %s", crew->kind, lua_tostring(t->L, -1));
  mp_lua_thread_close(t);
  return NULL;
no_memory:
  if (t && t->L) lua_close(t->L);
  free(t);
  mp_buf_addf(why, "%s: cannot open a Lua state: not enough memory", crew->kind);
  return NULL;
}

/* ---- being stopped ---- */

static void keep_text(lua_State *L, struct mp_buf *to) {
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  mp_buf_add(to, text, len); /* without memory there is no traceback */
}

/* Where Lua is, through all coroutines that are being resumed. */
static void keep_place(lua_State *L, struct mp_lua_thread *t, lua_Debug *ar) {
  struct mp_job *job = t->job;
  lua_getinfo(L, "Sl", ar);
  snprintf(job->at, sizeof job->at, "%s:%d", ar->short_src, ar->currentline);
  mp_traceback(L, L, NULL, 0);
  keep_text(L, &job->trace);
  lua_pop(L, 1);
  for (struct mp_frame *frame = t->sched.frames; frame; frame = frame->outer) {
    mp_traceback(L, frame->from, "\nin a coroutine that was resumed by", 0);
    keep_text(L, &job->trace);
    lua_pop(L, 1);
  }
}

/* Once set it stays: each instruction of the script ends here again, and pcall cannot catch it for good. A yield goes
 * past every pcall; it comes out at whoever resumed, where the hook is set too. */
static void on_stop(lua_State *L, lua_Debug *ar) {
  struct mp_lua_thread *t = mp_lua_thread_of(L);
  int stop = t->job ? atomic_load_explicit(&t->job->work.stop, memory_order_relaxed) : 0;
  if (!stop && t->counts) return;
  if (!stop || (t->unwinding && stop < MP_STOP_INSISTED)) {
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  for (struct mp_frame *frame = t->sched.frames; frame; frame = frame->outer)
    lua_sethook(frame->from, on_stop, LUA_MASKCOUNT, 1);
  if (!t->job->at[0]) keep_place(L, t, ar);
  if (!t->unwinding && lua_isyieldable(L)) {
    lua_yield(L, 0);
    return;
  }
  mp_push_cancelled(L);
  lua_error(L);
}

/* In a signal handler, on the thread itself: lua_sethook is made for that. */
static void interrupt(struct mp_work *work) {
  struct mp_job *job = MP_CONTAINER(work, struct mp_job, work);
  struct mp_lua_thread *t = atomic_load_explicit(&job->lua, memory_order_relaxed);
  if (t) lua_sethook(t->sched.running, on_stop, LUA_MASKCOUNT, 1);
}

static bool was_stopped(const struct mp_job *job) {
  return atomic_load_explicit(&job->work.stop, memory_order_acquire) != 0;
}

/* ---- running: in the job's own coroutine ---- */

static int with_traceback(lua_State *L) {
  struct mp_job *job = mp_lua_thread_of(L)->job;
  mp_traceback(L, L, NULL, 1);
  if (mp_buf_len(&job->trace) == 0) keep_text(L, &job->trace);
  lua_settop(L, 1);
  return 1;
}

/* stack: name; the service's module: a table of functions. */
static int p_load(lua_State *L) {
  struct mp_lua_thread *t = mp_lua_thread_of(L);
  lua_getglobal(L, "require");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  if (!lua_istable(L, -1))
    return luaL_error(L, "the module must return a table of functions, not %s", luaL_typename(L, -1));
  t->module_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static int fail_to_load(lua_State *L, struct mp_lua_thread *t) {
  const char *text = luaL_tolstring(L, -1, NULL);
  lua_pushfstring(L, "service '%s' failed to load: %s", t->job->crew->module, text);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, "moonpool.failed");
  t->failed = t->job->load_failed = true;
  return lua_error(L);
}

static void load_module(lua_State *L, struct mp_lua_thread *t) {
  if (t->module_ref != LUA_NOREF) return;
  if (t->failed) {
    lua_getfield(L, LUA_REGISTRYINDEX, "moonpool.failed");
    lua_error(L);
  }
  lua_pushcfunction(L, with_traceback);
  lua_pushcfunction(L, p_load);
  lua_pushstring(L, t->job->crew->module);
  if (lua_pcall(L, 1, 0, -3) != LUA_OK) {
    if (was_stopped(t->job)) lua_error(L);
    fail_to_load(L, t);
  }
  lua_pop(L, 1);
}

/* The function named at `index` takes the name's place. */
static void find_in_service(lua_State *L, struct mp_lua_thread *t, int index) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, t->module_ref);
  lua_pushvalue(L, index);
  if (lua_gettable(L, -2) == LUA_TNIL)
    luaL_error(L, "service '%s' has no function '%s'", t->job->crew->module, lua_tostring(L, index));
  lua_replace(L, index);
  lua_pop(L, 1);
}

/* "module.fn": what stands before the last dot is required. */
static void find_in_module(lua_State *L, int index) {
  const char *name = lua_tostring(L, index), *dot = strrchr(name, '.');
  lua_getglobal(L, "require");
  lua_pushlstring(L, name, (size_t)(dot - name));
  lua_call(L, 1, 1);
  if (!lua_istable(L, -1)) luaL_error(L, "offload: '%s': the module gives %s, not a table", name, luaL_typename(L, -1));
  if (lua_getfield(L, -1, dot + 1) == LUA_TNIL) luaL_error(L, "offload: no function '%s'", name);
  lua_replace(L, index);
  lua_pop(L, 1);
}

static int after_call(lua_State *L, int status, lua_KContext ctx) {
  struct mp_job *job = mp_lua_thread_of(L)->job;
  struct mp_transfer_words words = {
      .what = job->crew->kind, .item = "result", .number = 1, .carrier = &job->far_carrier};
  (void)status, (void)ctx;
  mp_transfer_pack(L, 1, lua_gettop(L), &words, &job->out);
  return 0;
}

/* stack: nothing; the job's function and arguments are unpacked here, where what goes wrong is the job's error. */
static int l_run(lua_State *L) {
  struct mp_lua_thread *t = mp_lua_thread_of(L);
  if (t->job->crew->module) load_module(L, t);
  int n = mp_transfer_unpack(L, mp_buf_slice(&t->job->in), &t->job->far_carrier);
  mp_buf_free(&t->job->in);
  if (n == 0) return after_call(L, LUA_OK, 0);
  if (t->job->crew->module)
    find_in_service(L, t, 1);
  else if (lua_type(L, 1) == LUA_TSTRING)
    find_in_module(L, 1);
  lua_callk(L, n - 1, LUA_MULTRET, 0, after_call);
  return after_call(L, LUA_OK, 0);
}

/* ---- around it ---- */

/* Pushes the error: of the function, or of a __close that came after it. */
static void push_error(lua_State *L, lua_State *co, int status, int closed, const struct mp_job *job) {
  if (status == LUA_ERRMEM && job->max_memory) {
    lua_pushfstring(L, "%s: not enough memory: max_memory is %I bytes", job->crew->kind, (lua_Integer)job->max_memory);
  } else if (closed != LUA_OK) {
    lua_pushvalue(co, -1);
    lua_xmove(co, L, 1);
  } else {
    lua_pushliteral(L, "attempt to yield from outside a coroutine");
  }
}

/* stack: coroutine status. It is dead, or will not be resumed: its traceback first, then its <close> variables. */
static int p_end(lua_State *L) {
  struct mp_lua_thread *t = mp_lua_thread_of(L);
  lua_State *co = lua_tothread(L, 1);
  if (mp_buf_len(&t->job->trace) == 0) {
    mp_traceback(L, co, NULL, 0);
    keep_text(L, &t->job->trace);
    lua_pop(L, 1);
  }
  t->unwinding = true;
  int closed = lua_resetthread(co);
  push_error(L, co, (int)lua_tointeger(L, 2), closed, t->job);
  mp_buf_reset(&t->job->out, 0);
  mp_transfer_pack_error(L, -1, &t->job->out);
  return 0;
}

static void end_badly(struct mp_lua_thread *t, int status) {
  lua_State *L = t->L;
  struct mp_job *job = t->job;
  job->outcome = was_stopped(job) ? MP_JOB_STOPPED : MP_JOB_FAILED;
  if (t->most) t->most += SLACK;
  lua_pushcfunction(L, p_end);
  lua_insert(L, 1);
  lua_pushinteger(L, status);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  lua_settop(L, 0);
  mp_buf_free(&job->out); /* an error without a value: the loop says so */
}

static int p_new_coroutine(lua_State *L) {
  lua_State *co = lua_newthread(L);
  lua_pushcfunction(co, l_run);
  return 1;
}

static int resume(struct mp_lua_thread *t) {
  lua_State *co = lua_tothread(t->L, 1);
  int n_results;
  t->unwinding = false;
  t->sched.running = co;
  atomic_store_explicit(&t->job->lua, t, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst);
  if (t->counts) lua_sethook(co, on_stop, LUA_MASKCOUNT, LOOK_AT);
  if (was_stopped(t->job)) lua_sethook(co, on_stop, LUA_MASKCOUNT, 1);
  return lua_resume(co, NULL, 0, &n_results);
}

static void execute(struct mp_lua_thread *t) {
  lua_State *L = t->L;
  lua_pushcfunction(L, p_new_coroutine);
  int status = lua_pcall(L, 0, 1, 0);
  if (status == LUA_OK) status = resume(t);
  if (status == LUA_OK)
    t->job->outcome = MP_JOB_DONE;
  else if (lua_isthread(L, 1))
    end_badly(t, status);
  else
    t->job->outcome = MP_JOB_FAILED;
  atomic_store_explicit(&t->job->lua, NULL, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst);
  t->sched.running = L;
  t->sched.frames = NULL;
  lua_settop(L, 0);
  if (t->used > MUCH) lua_gc(L, LUA_GCCOLLECT);
}

static void fail_without_state(struct mp_job *job) {
  job->outcome = MP_JOB_FAILED; /* the reason stands where the traceback would */
}

static void run(struct mp_work *work, void **place) {
  struct mp_job *job = MP_CONTAINER(work, struct mp_job, work);
  struct mp_lua_thread *t = *place;
  if (t && t->failed && job->loads) {
    mp_lua_thread_close(t);
    *place = t = NULL;
  }
  if (!t) {
    *place = t = open_thread(job, &job->trace);
    mp_work_runs(work); /* its lock: what was read of the worker's settings was read before the worker leaves */
  }
  if (!t) {
    fail_without_state(job);
    return;
  }
  t->job = job;
  t->most = job->max_memory;
  execute(t);
  t->job = NULL;
  if (job->outcome != MP_JOB_STOPPED) return;
  mp_lua_thread_close(t);
  *place = NULL;
}

const struct mp_work_ops mp_job_ops = {.run = run, .interrupt = interrupt, .done = mp_job_on_done};
