/* moonpool.read_file and moonpool.write_file */
#include "api/api.h"
#include "api/bundled.h"
#include "api/push.h"
#include "base/err.h"
#include "io/whole.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* One call that waits; on the heap, held by its task. */
struct call {
  struct mp_owned owned;
  struct mp_wake wake;
  struct mp_whole *whole; /* owned until let go; NULL before it was started */
};

static void on_done(struct mp_whole *whole) {
  struct call *call = whole->ctx;
  mp_wake_fire(&call->wake);
}

static void drop(struct call *call) {
  mp_list_unlink(&call->owned.node);
  if (call->whole) mp_whole_let_go(call->whole);
  free(call);
}

/* The file's thread is told; the task goes on at once. */
static void task_is_cancelled(struct mp_owned *owned) {
  struct call *call = MP_CONTAINER(owned, struct call, owned);
  if (call->whole) mp_whole_let_go(call->whole);
  call->whole = NULL;
}

static void task_has_ended(struct mp_owned *owned) {
  drop(MP_CONTAINER(owned, struct call, owned));
}

static struct call *new_call(lua_State *L, const char *what) {
  mp_wait_check(L, what);
  struct call *call = calloc(1, sizeof *call);
  if (!call) {
    luaL_error(L, "%s: not enough memory", what);
    return NULL;
  }
  struct mp_task *task = mp_sched_of(L)->current;
  call->owned.cancel = task_is_cancelled;
  call->owned.ended = task_has_ended;
  mp_list_append(&task->owned, &call->owned.node);
  mp_wake_arm(&call->wake, task);
  return call;
}

static int park(lua_State *L, struct call *call, const char *what, lua_KFunction k) {
  if (call->whole) return mp_park(L, -1, k, (lua_KContext)call);
  drop(call);
  return luaL_error(L, "%s: not enough memory", what);
}

/* stack: path …; raises the cancellation with the call still held by the task, whose end frees it. */
static int push_result(lua_State *L, struct call *call, const char *what) {
  char text[128];
  mp_unpark(L);
  struct mp_whole *whole = call->whole;
  int err = whole->err, failed = 0;
  if (err < 0)
    mp_push_failure(L, err, "%s: %s: %s", what, lua_tostring(L, 1), mp_err_text(err, text, sizeof text));
  else if (whole->writes)
    lua_pushboolean(L, 1);
  else
    failed = mp_push_slice(L, mp_slice(whole->bytes ? whole->bytes : "", whole->len));
  drop(call);
  if (failed) return lua_error(L);
  return err < 0 ? 3 : 1;
}

static int after_read(lua_State *L, int status, lua_KContext call) {
  (void)status;
  return push_result(L, (struct call *)call, "read_file");
}

static int after_write(lua_State *L, int status, lua_KContext call) {
  (void)status;
  return push_result(L, (struct call *)call, "write_file");
}

static const char *check_path(lua_State *L) {
  size_t len;
  const char *path = luaL_checklstring(L, 1, &len);
  luaL_argcheck(L, strlen(path) == len, 1, "a path holds no NUL");
  return path;
}

/* read_file(path) → its bytes, or nil, message, code */
static int l_read_file(lua_State *L) {
  const char *path = check_path(L);
  const struct mp_bundle *bundle = mp_api_of(L)->setup.bundle;
  if (bundle && mp_bundled_push(L, bundle, path)) return 1;
  lua_settop(L, 1);
  struct call *call = new_call(L, "read_file");
  call->whole = mp_whole_read(mp_api_of(L)->loop, path, on_done, call);
  return park(L, call, "read_file", after_read);
}

/* write_file(path, s) → true, or nil, message, code */
static int l_write_file(lua_State *L) {
  const char *path = check_path(L);
  struct mp_slice bytes;
  bytes.at = luaL_checklstring(L, 2, &bytes.len);
  lua_settop(L, 2);
  struct call *call = new_call(L, "write_file");
  call->whole = mp_whole_write(mp_api_of(L)->loop, path, bytes, on_done, call);
  return park(L, call, "write_file", after_write);
}

/* file_stamp(path): what changes when the file does; nil: it is not there. Blocks for as long as stat does. */
static int l_file_stamp(lua_State *L) {
  struct stat st;
  char text[96];
  if (stat(check_path(L), &st) < 0) return 0;
  snprintf(text, sizeof text, "%lld.%09ld %lld %llu", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
           (long long)st.st_size, (unsigned long long)st.st_ino);
  lua_pushstring(L, text);
  return 1;
}

void mp_files_open(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"read_file", l_read_file}, {"write_file", l_write_file}, {"file_stamp", l_file_stamp}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
