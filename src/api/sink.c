/* core.sink(req[, folder]): a file that is written off the loop and belongs to the request: what was not placed is gone
 * with it. In what it returns, the world's failures are nil, message, code. */
#include "io/sink.h"
#include "api/api.h"
#include "base/err.h"
#include <errno.h>
#include <stdlib.h>

#define SINK_NAME "moonpool._sink"

enum { AHEAD_MOST = 256 * 1024 /* bytes that a script may be ahead of the disk */ };

struct box {
  struct mp_file *file; /* borrowed: NULL once it is closed */
};

struct mp_file {
  struct mp_sink sink;
  struct mp_list node; /* of the call's sinks */
  struct box *box;     /* borrowed: emptied when the file is closed; NULL: collected */
  struct mp_wake waiter;
};

static void on_idle(struct mp_sink *sink) {
  mp_wake_fire(&MP_CONTAINER(sink, struct mp_file, sink)->waiter);
}

static void on_closed(struct mp_sink *sink) {
  free(MP_CONTAINER(sink, struct mp_file, sink));
}

static void close_file(struct mp_file *file) {
  if (file->box) file->box->file = NULL;
  file->box = NULL;
  mp_list_unlink(&file->node);
  mp_wake_fire(&file->waiter);
  mp_sink_close(&file->sink);
}

void mp_call_drop_sinks(struct mp_call *call) {
  MP_LIST_EACH(node, &call->sinks) close_file(MP_CONTAINER(node, struct mp_file, node));
}

/* ---- waiting ---- */

enum want { WANT_ROOM, WANT_DONE };

static int push_result(lua_State *L, int err) {
  char text[128];
  if (err < 0) return mp_push_failure(L, err, "%s", mp_err_text(err, text, sizeof text));
  lua_pushboolean(L, 1);
  return 1;
}

static int push_closed(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "the file is closed");
  lua_pushliteral(L, "closed");
  return 3;
}

static int wait_until(lua_State *L, struct mp_file *file, enum want want);

static int after_wait(lua_State *L, int status, lua_KContext want) {
  struct box *box = lua_touserdata(L, 1);
  (void)status;
  if (box->file) box->file->waiter.task = NULL;
  mp_unpark(L);
  return box->file ? wait_until(L, box->file, (enum want)want) : push_closed(L);
}

static bool is_there(const struct mp_sink *sink, enum want want) {
  return want == WANT_ROOM ? sink->err < 0 || mp_sink_pending(sink) <= AHEAD_MOST : mp_sink_is_idle(sink);
}

static int wait_until(lua_State *L, struct mp_file *file, enum want want) {
  if (is_there(&file->sink, want)) return push_result(L, file->sink.err);
  if (mp_wake_armed(&file->waiter)) return luaL_error(L, "sink: another task waits for this file");
  mp_wait_check(L, "sink");
  mp_wake_arm(&file->waiter, mp_sched_of(L)->current);
  return mp_park(L, -1, after_wait, want);
}

/* ---- methods ---- */

static struct mp_file *check_file(lua_State *L) {
  struct box *box = luaL_checkudata(L, 1, SINK_NAME);
  if (!box->file) luaL_error(L, "sink: the file was closed, or its request has ended");
  return box->file;
}

/* sink:write(s): true; waits while the disk is far behind. */
static int l_write(lua_State *L) {
  struct mp_file *file = check_file(L);
  struct mp_slice bytes;
  bytes.at = luaL_checklstring(L, 2, &bytes.len);
  int err = mp_sink_write(&file->sink, bytes);
  if (err < 0) return push_result(L, err);
  return wait_until(L, file, WANT_ROOM);
}

/* sink:finish(): true once all of it is written. */
static int l_finish(lua_State *L) {
  return wait_until(L, check_file(L), WANT_DONE);
}

/* sink:place(path): true once it is there. */
static int l_place(lua_State *L) {
  struct mp_file *file = check_file(L);
  size_t len;
  const char *path = luaL_checklstring(L, 2, &len);
  luaL_argcheck(L, len > 0 && strlen(path) == len, 2, "a path is not empty and holds no NUL");
  int err = mp_sink_place(&file->sink, path);
  if (err < 0) return push_result(L, err);
  return wait_until(L, file, WANT_DONE);
}

/* sink:path(): a name by which others can open it, after finish. */
static int l_path(lua_State *L) {
  const char *path;
  int err = mp_sink_name(&check_file(L)->sink, &path);
  if (err < 0) return push_result(L, err);
  lua_pushstring(L, path);
  return 1;
}

static int l_close(lua_State *L) {
  struct box *box = luaL_checkudata(L, 1, SINK_NAME);
  if (box->file) close_file(box->file);
  return 0;
}

/* A path may be all that a script has kept: the file stays until the request ends. */
static int l_box_gc(lua_State *L) {
  struct box *box = luaL_checkudata(L, 1, SINK_NAME);
  if (box->file) box->file->box = NULL;
  return 0;
}

/* ---- making one ---- */

static const char *temporary_folder(void) {
  const char *folder = getenv("TMPDIR");
  return folder && *folder ? folder : "/tmp";
}

static struct mp_file *open_file(struct mp_call *call, const char *folder) {
  struct mp_file *file = calloc(1, sizeof *file);
  if (!file) return NULL;
  if (mp_sink_open(&file->sink, call->api->loop, folder, on_idle, on_closed) < 0) {
    free(file);
    return NULL;
  }
  mp_list_append(&call->sinks, &file->node);
  return file;
}

static int l_sink(lua_State *L) {
  struct mp_call *call = mp_call_check(L);
  const char *folder = luaL_optstring(L, 2, NULL);
  struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
  box->file = NULL;
  luaL_setmetatable(L, SINK_NAME);
  box->file = open_file(call, folder ? folder : temporary_folder());
  if (!box->file) return luaL_error(L, "sink: not enough memory");
  box->file->box = box;
  return 1;
}

void mp_sinks_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"write", l_write}, {"finish", l_finish}, {"place", l_place}, {"path", l_path},
                                     {"close", l_close}, {"__close", l_close}, {"__gc", l_box_gc}, {NULL, NULL}};
  luaL_newmetatable(L, SINK_NAME);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushcfunction(L, l_sink);
  lua_setfield(L, -2, "sink");
}
