/* res:file, and what app:static is made of. Both find a file, waiting where a disk has to be asked, and let the room
 * web answer with it. */
#include "api/api.h"
#include "base/err.h"
#include "http/bytes.h"
#include "web/static.h"
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#define FINDING_NAME "moonpool._finding"

/* A file that is being found on a thread. A userdata, so that nothing is left when the task is cancelled. */
struct finding {
  struct mp_files_job *job; /* borrowed: on_found comes, unless it is dropped; NULL afterwards */
  struct mp_asset *asset;   /* owned reference, once found */
  int err;
  struct mp_wake wake;
};

static void on_found(struct mp_files_job *job) {
  struct finding *finding = job->ctx;
  finding->job = NULL;
  finding->err = job->err;
  if (job->err == 0) {
    finding->asset = job->asset;
    job->asset = NULL;
  }
  mp_wake_fire(&finding->wake);
}

static int l_finding_gc(lua_State *L) {
  struct finding *finding = lua_touserdata(L, 1);
  if (finding->job) mp_files_drop(finding->job);
  mp_asset_release(finding->asset);
  finding->job = NULL;
  finding->asset = NULL;
  return 0;
}

/* Parks the task until a thread has found the file; `k` is told where on the stack the finding stands. */
static int find_slowly(lua_State *L, struct mp_files *files, const struct mp_files_ask *ask, const char *what,
                       lua_KFunction k) {
  mp_wait_check(L, what);
  struct finding *finding = lua_newuserdatauv(L, sizeof *finding, 0);
  *finding = (struct finding){0};
  luaL_setmetatable(L, FINDING_NAME);
  finding->job = mp_files_fetch(files, ask, on_found, finding);
  if (!finding->job) return luaL_error(L, "%s: not enough memory", what);
  mp_wake_arm(&finding->wake, mp_sched_of(L)->current);
  return mp_park(L, -1, k, lua_gettop(L));
}

/* What it came to; takes the reference out of it, so nothing may raise afterwards. */
static int take_found(lua_State *L, int index, struct mp_asset **asset) {
  struct finding *finding = lua_touserdata(L, index);
  *asset = finding->asset;
  finding->asset = NULL;
  return finding->err;
}

/* ---- answering ---- */

static int p_before_head(lua_State *L) {
  mp_call_before_head(L, lua_touserdata(L, 1));
  return 0;
}

/* on_head functions may raise, and the plan must not be lost by that. */
static void run_on_head(lua_State *L, struct mp_call *call, struct mp_static *plan) {
  if (call->on_head_ref == LUA_NOREF) return;
  lua_pushcfunction(L, p_before_head);
  lua_pushlightuserdata(L, call);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
  mp_static_drop(plan);
  lua_error(L);
}

/* A reason that is the server's own goes to its log, and not to the client. */
static void log_failure(struct mp_call *call, const char *path, int err) {
  char quoted[256], text[128];
  mp_log_quote(mp_slice(path, strlen(path)), quoted, sizeof quoted);
  mp_log(call->api->log, MP_LOG_ERROR, "app", "cannot send a file path=%s reason=\"%s\"", quoted,
         mp_err_text(err, text, sizeof text));
}

/* Takes the reference over. 0: answered (or the client is gone); else the status to answer with, and for 416 the size
 * in `*size`. */
static int answer_with(lua_State *L, struct mp_call *call, struct mp_asset *asset, const struct mp_static_options *o,
                       const char *what, uint64_t *size) {
  struct mp_static plan;
  int status = mp_static_prepare(&plan, call->ex, asset, o);
  *size = plan.size;
  if (status > 0) return status;
  if (status < 0) return luaL_error(L, "%s: a field cannot be set: %s", what, mp_err_name(status));
  run_on_head(L, call, &plan);
  if (call->ex->reply.head_sent || mp_exchange_is_over(call->ex)) { /* by one of them */
    mp_static_drop(&plan);
    return luaL_error(L, "%s: the answer has ended already", what);
  }
  int err = mp_static_send(&plan, call->ex);
  if (err < 0 && err != -EPIPE) return luaL_error(L, "%s: cannot be sent: %s", what, mp_err_name(err));
  return 0;
}

static int status_of(struct mp_call *call, const char *path, int err) {
  int status = mp_static_status(err);
  if (status >= 500) log_failure(call, path, err);
  return status;
}

/* A table for 416: what there is (RFC 9110 15.5.17). */
static void push_headers(lua_State *L, uint64_t size) {
  lua_createtable(L, 0, 1);
  lua_pushfstring(L, "bytes */%I", (LUAI_UACINT)size);
  lua_setfield(L, -2, "Content-Range");
}

/* ---- res:file(path[, options]) ---- */

static int raise_status(lua_State *L, int status, uint64_t size) {
  lua_createtable(L, 0, 2);
  lua_pushinteger(L, status);
  lua_setfield(L, -2, "status");
  if (status == 416) {
    push_headers(L, size);
    lua_setfield(L, -2, "headers");
  }
  return lua_error(L);
}

/* The options' names are upvalues 1 … of l_file. */
enum { O_ROOT = 1, O_TYPE, O_DOWNLOAD, O_MAX_AGE, N_OPTIONS = O_MAX_AGE };
static const char *const option_names[] = {"root", "type", "download", "max_age"};

/* Their values are put there, nil where there is none; so they stay for as long as they are borrowed. */
enum { RES = 1, PATH, OPTIONS, VALUES };

static int option_at(lua_State *L, int key) {
  for (int i = O_ROOT; i <= N_OPTIONS; i++)
    if (lua_rawequal(L, key, lua_upvalueindex(i))) return i;
  const char *name = lua_type(L, key) == LUA_TSTRING ? lua_tostring(L, key) : "?";
  return luaL_error(L, "res:file: unknown option \"%s\" (there are root, type, download, max_age)", name);
}

static void gather_options(lua_State *L) {
  lua_settop(L, VALUES - 1 + N_OPTIONS);
  if (lua_isnil(L, OPTIONS)) return;
  lua_pushnil(L); /* stack: res path options values… key */
  while (lua_next(L, OPTIONS)) lua_replace(L, VALUES - 1 + option_at(L, -2));
}

/* at is NULL where there is none. */
static struct mp_slice string_option(lua_State *L, int option) {
  int index = VALUES - 1 + option;
  struct mp_slice s = {NULL, 0};
  if (lua_type(L, index) == LUA_TSTRING)
    s.at = lua_tolstring(L, index, &s.len);
  else if (!lua_isnil(L, index))
    luaL_error(L, "res:file: %s must be a string, got %s", option_names[option - 1], luaL_typename(L, index));
  return s;
}

static struct mp_slice last_name(struct mp_slice path) {
  const char *slash = memrchr(path.at, '/', path.len);
  size_t skip = slash ? (size_t)(slash + 1 - path.at) : 0;
  return mp_slice(path.at + skip, path.len - skip);
}

/* true: under its own name. */
static struct mp_slice download_option(lua_State *L, struct mp_slice path) {
  int index = VALUES - 1 + O_DOWNLOAD;
  if (lua_isboolean(L, index)) return lua_toboolean(L, index) ? last_name(path) : mp_slice(NULL, 0);
  return string_option(L, O_DOWNLOAD);
}

static int64_t max_age_option(lua_State *L) {
  int index = VALUES - 1 + O_MAX_AGE;
  if (lua_isnil(L, index)) return -1;
  lua_Number s = lua_isnumber(L, index) ? lua_tonumber(L, index) : -1;
  if (!(s >= 0 && s <= 1e10))
    luaL_error(L, "res:file: max_age must be a number of seconds, got %s", luaL_tolstring(L, index, NULL));
  return (int64_t)s;
}

static void check_no_nul(lua_State *L, struct mp_slice s, const char *name) {
  if (s.at && memchr(s.at, '\0', s.len)) luaL_error(L, "res:file: %s holds a NUL", name);
}

/* Who writes the app wants to see what was saved, however long others may keep it. */
static int64_t age_of(lua_State *L, int64_t max_age_s) {
  return mp_api_of(L)->setup.config->dev ? 0 : max_age_s;
}

static void read_options(lua_State *L, struct mp_slice path, struct mp_files_ask *ask, struct mp_static_options *o) {
  struct mp_slice root = string_option(L, O_ROOT);
  check_no_nul(L, root, "root");
  *ask = (struct mp_files_ask){.path = path.at, .root = root.at};
  *o = (struct mp_static_options){.type = string_option(L, O_TYPE),
                                  .download = download_option(L, path),
                                  .max_age_s = age_of(L, max_age_option(L))};
  if (o->type.at && !mp_is_value(o->type)) luaL_error(L, "res:file: type is no value for a field");
}

/* stack: res path … */
static int file_found(lua_State *L, struct mp_call *call, int err, struct mp_asset *asset,
                      const struct mp_static_options *options) {
  const char *path = lua_tostring(L, 2);
  uint64_t size = 0;
  int answer = err < 0 ? status_of(call, path, err) : answer_with(L, call, asset, options, "res:file", &size);
  if (answer) return raise_status(L, answer, size);
  lua_settop(L, 1);
  return 1;
}

static bool client_is_gone(lua_State *L) {
  struct mp_call_box *box = lua_touserdata(L, 1);
  return box->gen != box->call->gen || !box->call->ex || box->call->gone;
}

static int push_closed(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "the client has gone away");
  lua_pushliteral(L, "closed");
  return 3;
}

static int after_found(lua_State *L, int status, lua_KContext ctx) {
  struct mp_files_ask ask;
  struct mp_static_options options;
  struct mp_asset *asset;
  struct mp_slice path;
  (void)status;
  mp_unpark(L);
  if (client_is_gone(L)) return push_closed(L);
  struct mp_call *call = mp_response_unsent(L, "res:file"); /* it may have been answered meanwhile */
  path.at = lua_tolstring(L, 2, &path.len);
  read_options(L, path, &ask, &options);
  int err = take_found(L, (int)ctx, &asset);
  return file_found(L, call, err, asset, &options);
}

static int l_file(lua_State *L) {
  struct mp_call *call = mp_response_unsent(L, "res:file");
  struct mp_files_ask ask;
  struct mp_static_options options;
  struct mp_asset *asset = NULL;
  struct mp_slice path;
  path.at = luaL_checklstring(L, 2, &path.len);
  if (!lua_isnoneornil(L, OPTIONS)) luaL_checktype(L, OPTIONS, LUA_TTABLE);
  gather_options(L);
  read_options(L, path, &ask, &options);
  if (call->gone) return push_closed(L);
  if (!mp_static_is_straight(path)) return raise_status(L, 404, 0);
  int err = mp_files_get(&call->ex->server->files, &ask, &asset);
  if (err == -EAGAIN) return find_slowly(L, &call->ex->server->files, &ask, "res:file", after_found);
  return file_found(L, call, err, asset, &options);
}

/* ---- core.serve(res, folder, skip or path, index, max_age, dotfiles) ----
 *
 * Answers with a file below `folder`. `skip`: the file is what the target's path names behind that many segments; a
 * string is a path of its own, decoded. `index`: the file of a folder, or false. Returns nothing once it has answered;
 * else the status to answer with, and headers for it. */

enum { FOLDER = 2, WHICH, INDEX, MAX_AGE, DOTFILES, FOUND };

/* "/a/b/c" without its first `n` segments: "c" for 2; empty where nothing follows them, not even a "/". */
static struct mp_slice behind_segments(struct mp_slice path, lua_Integer n, bool *slash) {
  *slash = true;
  for (lua_Integer i = 0; i <= n; i++) {
    const char *at = path.len ? memchr(path.at, '/', path.len) : NULL;
    *slash = at != NULL;
    if (!at) return mp_slice("", 0);
    path = mp_slice(at + 1, path.len - (size_t)(at + 1 - path.at));
  }
  return path;
}

static int push_refusal(lua_State *L, int status, uint64_t size) {
  lua_pushinteger(L, status);
  if (status != 416) return 1;
  push_headers(L, size);
  return 2;
}

static int redirect(lua_State *L, struct mp_call *call) {
  if (call->on_head_ref != LUA_NOREF) mp_call_before_head(L, call);
  int err = mp_static_redirect(call->ex);
  if (err < 0 && err != -EPIPE) return luaL_error(L, "static: cannot redirect: %s", mp_err_name(err));
  return 0;
}

/* stack: … path (at FOUND) */
static int folder_found(lua_State *L, struct mp_call *call, int err, struct mp_asset *asset) {
  const char *path = lua_tostring(L, FOUND);
  uint64_t size = 0;
  if (err == -EISDIR && lua_isnumber(L, WHICH) && lua_toboolean(L, INDEX)) return redirect(L, call);
  struct mp_static_options options = {.max_age_s = age_of(L, lua_tointeger(L, MAX_AGE))};
  int answer = err < 0 ? status_of(call, path, err) : answer_with(L, call, asset, &options, "static", &size);
  return answer ? push_refusal(L, answer, size) : 0;
}

static int after_serve(lua_State *L, int status, lua_KContext ctx) {
  struct mp_asset *asset;
  (void)status;
  mp_unpark(L);
  if (client_is_gone(L)) return 0;
  struct mp_call *call = mp_response_unsent(L, "static");
  int err = take_found(L, (int)ctx, &asset);
  return folder_found(L, call, err, asset);
}

/* Pushes the path below the folder. 0; -ENOENT and the like; -EISDIR: the folder's own, without a "/" behind it. */
static int push_path(lua_State *L, struct mp_call *call) {
  char path[PATH_MAX];
  bool slash;
  if (lua_type(L, WHICH) == LUA_TSTRING) {
    lua_pushvalue(L, WHICH);
    return 0;
  }
  struct mp_slice sent = behind_segments(call->ex->head.path, lua_tointeger(L, WHICH), &slash);
  int err = slash ? mp_static_path(sent, lua_toboolean(L, DOTFILES), path, sizeof path) : -EISDIR;
  lua_pushstring(L, err == 0 ? path : "");
  if (err < 0 || (sent.len > 0 && sent.at[sent.len - 1] != '/')) return err;
  if (!lua_toboolean(L, INDEX)) return -ENOENT;
  lua_pushvalue(L, INDEX);
  lua_concat(L, 2);
  return 0;
}

static int l_serve_file(lua_State *L) {
  struct mp_call *call = mp_response_unsent(L, "static");
  struct mp_asset *asset = NULL;
  lua_settop(L, DOTFILES);
  if (call->gone) return 0;
  struct mp_files_ask ask = {.root = luaL_checkstring(L, FOLDER), .siblings = true};
  int err = push_path(L, call);
  ask.path = lua_tostring(L, FOUND);
  if (err == 0) err = mp_files_get(&call->ex->server->files, &ask, &asset);
  if (err == -EAGAIN) return find_slowly(L, &call->ex->server->files, &ask, "static", after_serve);
  return folder_found(L, call, err, asset);
}

/* core.is_folder(path) */
static int l_is_folder(lua_State *L) {
  struct stat st;
  lua_pushboolean(L, stat(luaL_checkstring(L, 1), &st) == 0 && S_ISDIR(st.st_mode));
  return 1;
}

void mp_serve_open(lua_State *L) {
  luaL_newmetatable(L, FINDING_NAME);
  lua_pushcfunction(L, l_finding_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_getfield(L, -1, "response"); /* stack: core methods */
  for (int i = 0; i < N_OPTIONS; i++) lua_pushstring(L, option_names[i]);
  lua_pushcclosure(L, l_file, N_OPTIONS);
  lua_setfield(L, -2, "file");
  lua_pop(L, 1);
  lua_pushcfunction(L, l_serve_file);
  lua_setfield(L, -2, "serve");
  lua_pushcfunction(L, l_is_folder);
  lua_setfield(L, -2, "is_folder");
}
