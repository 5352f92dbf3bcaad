#include "api/process.h"
#include "api/account.h"
#include "api/gate.h"
#include "api/places.h"
#include "api/trial.h"
#include "base/err.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define PROCESS_NAME "moonpool.process"

static struct mp_process *process_of(struct mp_child *child) {
  return MP_CONTAINER(child, struct mp_process, child);
}

/* ---- the result ---- */

static void set_output(lua_State *L, struct mp_process *p, int which, const char *name) {
  struct mp_child_stream *stream = p->child.pipes[which];
  if (p->pipes[which].kind != MP_STDIO_COLLECT) return;
  struct mp_slice bytes = stream ? mp_buf_slice(&stream->collected) : mp_slice("", 0);
  lua_pushlstring(L, bytes.at ? bytes.at : "", bytes.len);
  lua_setfield(L, -2, name);
}

static double elapsed_of(const struct mp_process *p) {
  return (double)(p->child.ended_ms - p->child.started_ms) / 1000.0;
}

/* stack: process; the same table for every wait. */
static int p_make_result(lua_State *L) {
  struct mp_process *p = lua_touserdata(L, 1);
  mp_anchor_push(L, p);
  struct mp_result_facts facts = {.status = p->child.status,
                                  .held = p->child.held,
                                  .timed_out = p->child.timed_out,
                                  .cancelled = p->cancelled,
                                  .discarded = p->child.discarded,
                                  .elapsed_s = elapsed_of(p),
                                  .timeout_s = p->timeout_s,
                                  .pid = p->child.proc.pid};
  for (int i = 1; i < 3; i++) facts.truncated[i] = p->child.pipes[i] && p->child.pipes[i]->truncated;
  mp_result_push(L, &facts);
  set_output(L, p, 1, "stdout");
  set_output(L, p, 2, "stderr");
  lua_setiuservalue(L, -2, MP_PROCESS_RESULT);
  return 0;
}

/* ---- what waits see ---- */

static int push_end(lua_State *L, struct mp_waitable *waitable, int index) {
  struct mp_process *p = (struct mp_process *)(void *)waitable;
  mp_account_taken(p);
  if (lua_getiuservalue(L, index, MP_PROCESS_RESULT) != LUA_TTABLE)
    return luaL_error(L, "wait: the result was lost: out of memory");
  return p->check ? mp_result_check(L, lua_gettop(L), p->name) : 1;
}

static void log_cancel(struct mp_process *p) {
  char request[256] = "";
  bool live = p->call && p->call->gen == p->gen && p->call->ex;
  if (live) mp_call_line(p->call, request, sizeof request);
  mp_log(p->api->log, MP_LOG_INFO, "process", "process %d (%s) is cancelled%s%s", (int)p->child.proc.pid, p->name,
         live ? " request=" : "", request);
}

static void stop_as_cancelled(struct mp_process *p) {
  if (p->child.settled || p->cancelled) return;
  p->cancelled = true;
  log_cancel(p);
  mp_child_stop(&p->child, p->child.grace_ms);
}

static void begin_wait(struct mp_waitable *waitable, struct mp_task *waiting) {
  struct mp_process *p = (struct mp_process *)(void *)waitable;
  p->waited = true;
  mp_pipes_discard(p, waiting);
}

static bool is_ending(const struct mp_waitable *waitable) {
  return ((const struct mp_process *)(const void *)waitable)->cancelled;
}

static void cancel_end(struct mp_waitable *waitable) {
  stop_as_cancelled((struct mp_process *)(void *)waitable);
}

static void cancel_member(struct mp_member *member) {
  stop_as_cancelled(MP_CONTAINER(member, struct mp_process, member));
}

/* The handler and the tasks of its scope have ended: nobody will read it, or write to it, any more. */
static void left_alone(struct mp_member *member) {
  struct mp_process *p = MP_CONTAINER(member, struct mp_process, member);
  if (p->child.settled) return;
  mp_pipes_discard(p, NULL);
  if (p->pipes[0].kind == MP_STDIO_PIPE && !p->pipes[0].closed) {
    p->pipes[0].closed = true;
    mp_child_close_stdin(&p->child);
  }
}

/* "process 4711 (sleep) of spec/a_spec.lua:12" */
static void push_name(lua_State *L, struct mp_member *member) {
  struct mp_process *p = MP_CONTAINER(member, struct mp_process, member);
  mp_anchor_push(L, p);
  lua_getiuservalue(L, -1, MP_PROCESS_SPAWNED_AT);
  const char *where = lua_tostring(L, -1);
  lua_pushfstring(L, "process %d (%s) of %s", (int)p->child.proc.pid, p->name, where ? where : "?");
  lua_replace(L, -3);
  lua_pop(L, 1);
}

static void cancel_owned(struct mp_owned *owned) {
  stop_as_cancelled(MP_CONTAINER(owned, struct mp_process, owned));
}

static const struct mp_waitable_ops process_ops = {
    .kind = "process", .push = push_end, .begin = begin_wait, .cancel = cancel_end, .ending = is_ending};

/* ---- what the child tells ---- */

static void release_permit(struct mp_process *p) {
  lua_State *L = p->api->L;
  mp_anchor_push(L, p);
  lua_getiuservalue(L, -1, MP_PROCESS_PERMIT);
  mp_permit_release(L, -1);
  lua_pop(L, 2);
}

static enum mp_view_end end_of(const struct mp_process *p) {
  const struct mp_status *status = &p->child.status;
  if (status->end == MP_END_EXIT && status->code == 0) return MP_VIEW_OK;
  if (p->child.timed_out) return MP_VIEW_TIMED_OUT;
  if (p->cancelled) return MP_VIEW_CANCELLED;
  if (status->end == MP_END_EXIT) return MP_VIEW_FAILED;
  return status->end == MP_END_SIGNAL ? MP_VIEW_SIGNALLED : MP_VIEW_LOST;
}

static void on_settled(struct mp_child *child) {
  struct mp_process *p = process_of(child);
  lua_State *L = p->api->L;
  mp_api_count(p->api, MP_COUNT_PROCESSES, end_of(p));
  mp_pipes_take_rest(p);
  lua_pushcfunction(L, p_make_result);
  lua_pushlightuserdata(L, p);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    mp_log(p->api->log, MP_LOG_ERROR, "process", "the result of process %d cannot be kept: %s", (int)child->proc.pid,
           lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  mp_account_settled(p);
  mp_pipes_settle(p);
  mp_list_unlink(&p->owned.node);
  mp_list_unlink(&p->live);
  mp_strays_look(p->api);
  mp_waitable_settle(&p->end, false);
  if (p->has_place) mp_place_release(p->api, &p->young);
  p->has_place = false;
  release_permit(p);
  mp_child_close(child);
  mp_scope_leave(&p->member);
}

static void on_output(struct mp_child *child, enum mp_child_pipe which, const char *bytes, size_t n) {
  mp_pipe_on_output(process_of(child), which, bytes, n);
}

static void on_input(struct mp_child *child, int err) {
  mp_pipe_on_input(process_of(child), err);
}

/* The last handle is gone: the object lives on as long as somebody holds it. */
static void on_closed(struct mp_child *child) {
  struct mp_process *p = process_of(child);
  mp_anchor_drop(p->api->L, p);
}

static const struct mp_child_ops child_ops = {on_settled, on_output, on_input, on_closed};

/* ---- starting ---- */

static void take_name(struct mp_process *p, const char *argv0) {
  const char *slash = strrchr(argv0, '/');
  snprintf(p->name, sizeof p->name, "%s", slash && slash[1] ? slash + 1 : argv0);
  snprintf(p->argv0, sizeof p->argv0, "%s", argv0);
}

/* The object before its child: from here to mp_child_start nothing raises. Stack: … object. */
static struct mp_process *new_process(lua_State *L, struct mp_args *args) {
  struct mp_process *p = lua_newuserdatauv(L, sizeof *p, MP_PROCESS_USER_VALUES);
  memset(p, 0, sizeof *p);
  mp_waitable_init(&p->end, &process_ops);
  mp_list_init(&p->member.node);
  mp_list_init(&p->owned.node);
  mp_list_init(&p->live);
  mp_list_init(&p->young.node);
  p->member.cancel = cancel_member;
  p->member.left_alone = left_alone;
  p->member.push_name = push_name;
  p->owned.cancel = cancel_owned;
  p->api = args->api;
  p->check = args->check;
  p->timeout_s = (double)args->spec.timeout_ms / 1000.0;
  for (int i = 0; i < 3; i++) {
    p->pipes[i].kind = args->stdio[i];
    p->pipes[i].process = p;
    mp_list_init(&p->pipes[i].reader.node);
  }
  take_name(p, args->spec.exec.argv[0]);
  mp_account_init(p);
  luaL_setmetatable(L, PROCESS_NAME);
  mp_push_caller(L);
  lua_setiuservalue(L, -2, MP_PROCESS_SPAWNED_AT);
  lua_pushvalue(L, -1);
  mp_anchor(L, p); /* dropped again should the start fail */
  return p;
}

static void join(lua_State *L, struct mp_process *p, const struct mp_args *args) {
  struct mp_api *api = args->api;
  struct mp_task *task = mp_sched_of(L)->current;
  struct mp_scope *scope = args->detach ? mp_api_background(L) : mp_api_scope(L);
  p->realm = mp_realm_of_scope(scope);
  p->call = mp_call_of_scope(api, scope);
  if (p->call) p->gen = p->call->gen;
  if (task && !args->detach) mp_list_append(&task->owned, &p->owned.node);
  mp_scope_join(scope, &p->member);
}

/* stack: … nil message code */
static int give_failure(lua_State *L, const struct mp_args *args) {
  if (!args->check) return 3;
  lua_pushvalue(L, -2);
  return mp_result_raise(L, 0, lua_tostring(L, -2));
}

static int fail_to_open(lua_State *L, struct mp_args *args, int err, int which) {
  char text[128];
  mp_args_close_files(args);
  mp_place_give_back(args);
  mp_api_count(args->api, MP_COUNT_PROCESSES, MP_VIEW_NOT_STARTED);
  mp_push_failure(L, err, "%s: %s: %s", args->what, args->path[which], mp_err_text(err, text, sizeof text));
  return give_failure(L, args);
}

static int fail_to_start(lua_State *L, struct mp_args *args, int err, enum mp_exec_step step) {
  mp_place_give_back(args);
  mp_api_count(args->api, MP_COUNT_PROCESSES, MP_VIEW_NOT_STARTED);
  mp_args_push_failure(L, args, err, step);
  return give_failure(L, args);
}

/* stack: … args; pushes the process, or nil, message, code (-3 results then). */
static int start(lua_State *L, int scratch) {
  struct mp_args *args = lua_touserdata(L, scratch);
  enum mp_exec_step step = MP_EXEC_START;
  mp_place_take_turn(args);
  int which = 0, err = mp_args_prepare(args, &which);
  if (err < 0) return which ? fail_to_open(L, args, err, which) : fail_to_start(L, args, err, step);
  struct mp_process *p = new_process(L, args);
  err = mp_child_start(&p->child, args->api->loop, &args->spec, &child_ops, &step);
  mp_args_close_files(args);
  if (err < 0) {
    mp_anchor_drop(L, p);
    p->end.settled = true;
    return fail_to_start(L, args, err, step);
  }
  p->has_place = true;
  mp_place_started(args, &p->young);
  mp_list_append(&args->api->live, &p->live);
  join(L, p, args);
  for (int i = 1; i < 3; i++)
    if (p->pipes[i].kind == MP_STDIO_LOG) mp_child_read(&p->child, (enum mp_child_pipe)i);
  return 1;
}

static int go_spawn(lua_State *L, int status, lua_KContext scratch) {
  (void)status;
  return start(L, (int)scratch);
}

int mp_process_spawn(lua_State *L, int index) {
  struct mp_args *args = mp_args_read(L, index, "spawn", false);
  int scratch = lua_gettop(L);
  if (mp_puppet_ask(L, index, args, false)) return give_failure(L, args);
  return mp_place_enter(L, scratch, go_spawn);
}

/* ---- run ---- */

static int go_run(lua_State *L, int status, lua_KContext scratch) {
  (void)status;
  int n = start(L, (int)scratch);
  return n == 1 ? mp_wait_for(L, lua_gettop(L), -1) : n;
}

int mp_process_run(lua_State *L) {
  lua_settop(L, 1);
  mp_wait_check(L, "run"); /* before anything is started */
  struct mp_args *args = mp_args_read(L, 1, "run", true);
  int scratch = lua_gettop(L);
  if (mp_puppet_ask(L, 1, args, false)) return give_failure(L, args);
  return mp_place_enter(L, scratch, go_run);
}

/* ---- methods ---- */

struct mp_process *mp_process_check(lua_State *L, int arg) {
  return luaL_checkudata(L, arg, PROCESS_NAME);
}

static int l_wait(lua_State *L) {
  mp_process_check(L, 1);
  double timeout_s = mp_check_timeout(L, 2);
  return mp_wait_for(L, 1, timeout_s);
}

static int check_signal(lua_State *L, int arg) {
  lua_Integer signo =
      lua_isinteger(L, arg) ? lua_tointeger(L, arg) : mp_signal_number(luaL_optstring(L, arg, "SIGTERM"));
  luaL_argcheck(L, signo > 0 && signo <= SIGRTMAX, arg, "no such signal");
  return (int)signo;
}

static int l_kill(lua_State *L) {
  char text[128];
  struct mp_process *p = mp_process_check(L, 1);
  int signo = check_signal(L, 2);
  bool group = !lua_isnoneornil(L, 3);
  if (group && strcmp(luaL_checkstring(L, 3), "group") != 0) return luaL_argerror(L, 3, "\"group\" or nothing");
  int err = p->end.settled ? -ESRCH : mp_child_signal(&p->child, signo, group);
  if (err == -ESRCH) return mp_push_failure(L, err, "process has exited");
  if (err < 0) return mp_push_failure(L, err, "kill: %s", mp_err_text(err, text, sizeof text));
  p->killed = signo;
  lua_pushboolean(L, 1);
  return 1;
}

enum { LONGEST_GRACE_S = 1000000 };

static int l_stop(lua_State *L) {
  struct mp_process *p = mp_process_check(L, 1);
  double grace_s = lua_isnoneornil(L, 2) ? (double)p->child.grace_ms / 1000.0 : mp_check_timeout(L, 2);
  p->waited = true;
  if (grace_s < 0 || grace_s > LONGEST_GRACE_S) grace_s = LONGEST_GRACE_S;
  if (!p->end.settled) mp_child_stop(&p->child, (uint64_t)ceil(grace_s * 1000));
  lua_settop(L, 1);
  return mp_wait_for(L, 1, -1);
}

/* p <close>: what still runs is stopped and waited for; where nothing can wait it is stopped all the same. */
static int l_close(lua_State *L) {
  struct mp_process *p = mp_process_check(L, 1);
  mp_account_taken(p);
  p->check = false;
  if (p->end.settled) return 0;
  mp_child_stop(&p->child, p->child.grace_ms);
  lua_settop(L, 1);
  mp_pipes_discard(p, NULL);
  return mp_may_wait(L) ? mp_wait_for(L, 1, -1) : 0;
}

static int l_index(lua_State *L) {
  static const char *const streams[] = {"stdin", "stdout", "stderr"};
  struct mp_process *p = mp_process_check(L, 1);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(name, "pid") == 0) {
    lua_pushinteger(L, p->child.proc.pid);
    return 1;
  }
  for (int i = 0; i < 3; i++)
    if (strcmp(name, streams[i]) == 0) {
      mp_pipe_push(L, 1, (enum mp_child_pipe)i);
      return 1;
    }
  return 0;
}

static int l_tostring(lua_State *L) {
  struct mp_process *p = mp_process_check(L, 1);
  lua_pushfstring(L, "process %d (%s)", (int)p->child.proc.pid, p->name);
  return 1;
}

/* Never before on_closed while the state lives; at its end the loop has closed everything already. */
static int l_gc(lua_State *L) {
  mp_pipes_free(mp_process_check(L, 1));
  return 0;
}

void mp_process_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"wait", l_wait}, {"kill", l_kill}, {"stop", l_stop}, {NULL, NULL}};
  mp_result_open(L);
  luaL_newmetatable(L, PROCESS_NAME); /* stack: core meta */
  mp_waitable_mark(L);
  luaL_newlib(L, methods);
  lua_pushcclosure(L, l_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__close");
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_pushcfunction(L, mp_process_run);
  lua_setfield(L, -2, "run");
}
