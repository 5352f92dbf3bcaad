#include "api/process.h"
#include "base/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PIPE_NAME "moonpool.pipe"

enum { HELD_MOST = 65536, LOG_LINE_MOST = 8192 };

/* A stream object: which pipe of the process in its user value. */
struct pipe_box {
  struct mp_process *p; /* borrowed: anchored by the user value */
  uint8_t which;
};

static struct mp_process_pipe *pipe_of(struct mp_process *p, enum mp_child_pipe which) {
  return &p->pipes[which];
}

/* ---- what the child writes ---- */

/* Whole lines go to the log; an unfinished one waits, unless it grows too long or the stream ends. */
static void log_lines(struct mp_process *p, enum mp_child_pipe which, bool at_end) {
  struct mp_process_pipe *pipe = pipe_of(p, which);
  for (;;) {
    struct mp_slice held = mp_buf_slice(&pipe->held);
    const char *nl = held.len ? memchr(held.at, '\n', held.len) : NULL;
    if (!nl && held.len < LOG_LINE_MOST && !(at_end && held.len > 0)) return;
    struct mp_slice line = mp_slice(held.at, nl ? (size_t)(nl - held.at) : held.len);
    char who[96];
    snprintf(who, sizeof who, "%s[%d] %s: ", p->name, (int)p->child.proc.pid,
             which == MP_CHILD_STDOUT ? "stdout" : "stderr");
    struct mp_buf text = {0};
    if (mp_buf_add(&text, who, strlen(who)) == 0 && mp_buf_add_slice(&text, line) == 0)
      mp_log_detail(p->api->log, MP_LOG_INFO, "process", mp_buf_slice(&text), mp_slice("", 0));
    mp_buf_free(&text);
    mp_buf_take(&pipe->held, line.len + (nl ? 1 : 0));
    if (mp_buf_len(&pipe->held) == 0 && !nl) return;
  }
}

static void keep_bytes(struct mp_process *p, enum mp_child_pipe which, const char *bytes, size_t n) {
  struct mp_process_pipe *pipe = pipe_of(p, which);
  if (mp_buf_add(&pipe->held, bytes, n) < 0) {
    pipe->broken = true;
    mp_child_close_pipe(&p->child, which);
    return;
  }
  bool awaited = pipe->wants_more && mp_wake_armed(&pipe->waiter);
  if (mp_buf_len(&pipe->held) >= HELD_MOST && !awaited && !p->child.settled) mp_child_read_stop(&p->child, which);
}

void mp_pipe_on_output(struct mp_process *p, enum mp_child_pipe which, const char *bytes, size_t n) {
  struct mp_process_pipe *pipe = pipe_of(p, which);
  if (n == 0) pipe->eof = true;
  if (pipe->kind == MP_STDIO_LOG) {
    if (n > 0) keep_bytes(p, which, bytes, n);
    log_lines(p, which, n == 0);
    return;
  }
  if (pipe->discards)
    p->child.discarded += n;
  else if (n > 0)
    keep_bytes(p, which, bytes, n);
  mp_wake_fire(&pipe->waiter);
}

/* Was anything there that the script never took? Reading goes on only to throw it away. */
static void discard(struct mp_process *p, enum mp_child_pipe which) {
  struct mp_process_pipe *pipe = pipe_of(p, which);
  if (pipe->kind != MP_STDIO_PIPE || pipe->eof || pipe->closed || pipe->discards) return;
  pipe->discards = true;
  mp_child_read(&p->child, which);
}

void mp_pipes_discard(struct mp_process *p, const struct mp_task *waiting) {
  if (p->end.settled) return;
  for (int i = MP_CHILD_STDOUT; i <= MP_CHILD_STDERR; i++) {
    struct mp_process_pipe *pipe = &p->pipes[i];
    if (!pipe->reading_task || pipe->reading_task == waiting) discard(p, (enum mp_child_pipe)i);
  }
}

void mp_pipes_take_rest(struct mp_process *p) {
  for (int i = MP_CHILD_STDOUT; i <= MP_CHILD_STDERR; i++)
    if (!p->pipes[i].closed) mp_child_take_rest(&p->child, (enum mp_child_pipe)i);
}

void mp_pipes_settle(struct mp_process *p) {
  for (int i = 0; i < 3; i++) {
    struct mp_process_pipe *pipe = &p->pipes[i];
    if (pipe->kind == MP_STDIO_LOG && !pipe->eof) log_lines(p, (enum mp_child_pipe)i, true);
    pipe->eof = true;
    pipe->reading_task = NULL;
    mp_list_unlink(&pipe->reader.node);
    mp_wake_fire(&pipe->waiter);
  }
}

void mp_pipes_free(struct mp_process *p) {
  for (int i = 0; i < 3; i++) mp_buf_free(&p->pipes[i].held);
}

/* ---- reading ---- */

static struct mp_process_pipe *check_pipe(lua_State *L, struct mp_process **p, enum mp_child_pipe *which) {
  struct pipe_box *box = luaL_checkudata(L, 1, PIPE_NAME);
  *p = box->p;
  *which = (enum mp_child_pipe)box->which;
  return pipe_of(box->p, *which);
}

/* The task that read last has ended: if somebody waits for the process, what is left would hold it for ever. */
static void reader_ended(struct mp_owned *owned) {
  struct mp_process_pipe *pipe = MP_CONTAINER(owned, struct mp_process_pipe, reader);
  pipe->reading_task = NULL;
  struct mp_process *p = pipe->process;
  if (p->waited) discard(p, (enum mp_child_pipe)(pipe - p->pipes));
}

static void note_reader(lua_State *L, struct mp_process *p, struct mp_process_pipe *pipe) {
  struct mp_task *task = mp_sched_of(L)->current;
  if (!task || pipe->reading_task == task || p->end.settled) return;
  mp_list_unlink(&pipe->reader.node);
  pipe->reader.ended = reader_ended;
  pipe->reading_task = task;
  mp_list_append(&task->owned, &pipe->reader.node);
}

/* What a read asks for: some bytes, a line, or all the rest. The context of its continuation. */
enum wants { WANTS_REST = -1, WANTS_LINE = -2 }; /* else: at most that many bytes */

static int read_on(lua_State *L, lua_Integer wants);

static int after_read(lua_State *L, int status, lua_KContext wants) {
  struct pipe_box *box = lua_touserdata(L, 1);
  (void)status;
  pipe_of(box->p, (enum mp_child_pipe)box->which)->waiter.task = NULL;
  mp_unpark(L);
  return read_on(L, (lua_Integer)wants);
}

static int wait_for_bytes(lua_State *L, lua_Integer wants) {
  struct mp_process *p;
  enum mp_child_pipe which;
  struct mp_process_pipe *pipe = check_pipe(L, &p, &which);
  if (mp_wake_armed(&pipe->waiter)) return luaL_error(L, "read: another task is reading this stream");
  mp_wait_check(L, "read");
  pipe->wants_more = wants < 0;
  mp_child_read(&p->child, which);
  mp_wake_arm(&pipe->waiter, mp_sched_of(L)->current);
  return mp_park(L, -1, after_read, (lua_KContext)wants);
}

static int push_held(lua_State *L, struct mp_process_pipe *pipe, size_t n, size_t skip) {
  lua_pushlstring(L, mp_buf_at(&pipe->held), n);
  mp_buf_take(&pipe->held, n + skip);
  if (mp_buf_len(&pipe->held) == 0) mp_buf_reset(&pipe->held, HELD_MOST);
  return 1;
}

static int push_line(lua_State *L, struct mp_process_pipe *pipe, bool over) {
  struct mp_slice held = mp_buf_slice(&pipe->held);
  const char *nl = held.len ? memchr(held.at, '\n', held.len) : NULL;
  if (nl) return push_held(L, pipe, (size_t)(nl - held.at), 1);
  if (over && held.len > 0) return push_held(L, pipe, held.len, 0);
  return 0;
}

static int read_on(lua_State *L, lua_Integer wants) {
  struct mp_process *p;
  enum mp_child_pipe which;
  struct mp_process_pipe *pipe = check_pipe(L, &p, &which);
  size_t len = mp_buf_len(&pipe->held);
  bool over = pipe->eof || pipe->closed;
  if (pipe->broken) return luaL_error(L, "read: not enough memory for the stream");
  if (wants == WANTS_LINE && push_line(L, pipe, over)) return 1;
  if (wants == WANTS_REST && over) {
    if (len > 0) return push_held(L, pipe, len, 0);
    lua_pushliteral(L, "");
    return 1;
  }
  if (wants >= 0 && len > 0) return push_held(L, pipe, len < (size_t)wants ? len : (size_t)wants, 0);
  if (!over) return wait_for_bytes(L, wants);
  lua_pushnil(L);
  return 1;
}

static int start_read(lua_State *L, lua_Integer wants) {
  struct mp_process *p;
  enum mp_child_pipe which;
  struct mp_process_pipe *pipe = check_pipe(L, &p, &which);
  if (which == MP_CHILD_STDIN) return luaL_error(L, "read: stdin is for writing");
  note_reader(L, p, pipe);
  return read_on(L, wants);
}

/* read([n or "a"]) */
static int l_read(lua_State *L) {
  lua_Integer wants = HELD_MOST;
  if (lua_type(L, 2) == LUA_TSTRING) {
    const char *format = lua_tostring(L, 2);
    if (strcmp(format, "a") != 0 && strcmp(format, "*a") != 0)
      return luaL_argerror(L, 2, "a number of bytes, or \"a\" for the rest");
    wants = WANTS_REST;
  } else if (!lua_isnoneornil(L, 2)) {
    wants = luaL_checkinteger(L, 2);
    luaL_argcheck(L, wants >= 1, 2, "at least 1 byte");
  }
  lua_settop(L, 1);
  return start_read(L, wants);
}

/* A line without its "\n"; the last one may lack it. */
static int l_next_line(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(1));
  return start_read(L, WANTS_LINE);
}

static int l_lines(lua_State *L) {
  luaL_checkudata(L, 1, PIPE_NAME);
  lua_settop(L, 1);
  lua_pushcclosure(L, l_next_line, 1);
  return 1;
}

/* ---- writing ---- */

void mp_pipe_on_input(struct mp_process *p, int err) {
  struct mp_process_pipe *pipe = &p->pipes[MP_CHILD_STDIN];
  if (err < 0) pipe->broken = true;
  mp_wake_fire(&pipe->waiter);
}

static int push_epipe(lua_State *L) {
  return mp_push_failure(L, EPIPE, "write: broken pipe");
}

static int after_write(lua_State *L, int status, lua_KContext ctx) {
  struct pipe_box *box = lua_touserdata(L, 1);
  struct mp_process_pipe *pipe = pipe_of(box->p, MP_CHILD_STDIN);
  (void)status, (void)ctx;
  pipe->waiter.task = NULL;
  mp_unpark(L);
  if (pipe->broken || pipe->eof) return push_epipe(L);
  lua_settop(L, 1);
  return 1;
}

/* write(s): returns when the pipe has taken all of it. */
static int l_write(lua_State *L) {
  struct mp_process *p;
  enum mp_child_pipe which;
  struct mp_process_pipe *pipe = check_pipe(L, &p, &which);
  struct mp_slice bytes;
  if (which != MP_CHILD_STDIN) return luaL_error(L, "write: only stdin can be written to");
  bytes.at = luaL_checklstring(L, 2, &bytes.len);
  if (pipe->closed) return luaL_error(L, "write: stdin was closed");
  if (pipe->broken || pipe->eof) return push_epipe(L);
  if (mp_wake_armed(&pipe->waiter)) return luaL_error(L, "write: another task is writing to this stdin");
  lua_settop(L, 2);
  if (bytes.len == 0) {
    lua_settop(L, 1);
    return 1;
  }
  mp_wait_check(L, "write");
  int err = mp_child_write(&p->child, bytes);
  if (err == -EPIPE) return push_epipe(L);
  if (err < 0) return luaL_error(L, "write: not enough memory");
  mp_wake_arm(&pipe->waiter, mp_sched_of(L)->current);
  return mp_park(L, -1, after_write, 0);
}

/* ---- the object ---- */

static int l_close(lua_State *L) {
  struct mp_process *p;
  enum mp_child_pipe which;
  struct mp_process_pipe *pipe = check_pipe(L, &p, &which);
  if (pipe->closed) return 0;
  pipe->closed = true;
  mp_buf_free(&pipe->held);
  if (!p->end.settled && which == MP_CHILD_STDIN)
    mp_child_close_stdin(&p->child);
  else if (!p->end.settled)
    mp_child_close_pipe(&p->child, which);
  mp_wake_fire(&pipe->waiter);
  return 0;
}

static int l_tostring(lua_State *L) {
  static const char *const names[] = {"stdin", "stdout", "stderr"};
  struct mp_process *p;
  enum mp_child_pipe which;
  check_pipe(L, &p, &which);
  lua_pushfstring(L, "%s of process %d", names[which], (int)p->child.proc.pid);
  return 1;
}

void mp_pipe_push(lua_State *L, int process, enum mp_child_pipe which) {
  struct mp_process *p = lua_touserdata(L, process);
  if (p->pipes[which].kind != MP_STDIO_PIPE) {
    lua_pushnil(L);
    return;
  }
  if (lua_getiuservalue(L, process, MP_PROCESS_STDIN + (int)which) != LUA_TNIL) return;
  lua_pop(L, 1);
  struct pipe_box *box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = (struct pipe_box){p, (uint8_t)which};
  luaL_setmetatable(L, PIPE_NAME);
  lua_pushvalue(L, process);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, process, MP_PROCESS_STDIN + (int)which);
}

void mp_pipes_open(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"read", l_read}, {"lines", l_lines}, {"write", l_write}, {"close", l_close}, {NULL, NULL}};
  luaL_newmetatable(L, PIPE_NAME);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
}
