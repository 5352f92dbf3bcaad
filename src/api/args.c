#include "api/args.h"
#include "api/places.h"
#include "api/reading.h"
#include "base/err.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <math.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#define ARGS_NAME "moonpool._args"

static double check_seconds(lua_State *L, const struct mp_reading *r, const char *name) {
  double s = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
  if (!(s >= 0)) luaL_error(L, "%s: %s must be a number of seconds from 0", r->args->what, name);
  return s > 1e9 ? 1e9 : s;
}

static uint64_t check_ms(lua_State *L, const struct mp_reading *r, const char *name) {
  return (uint64_t)ceil(check_seconds(L, r, name) * 1000);
}

static bool check_boolean(lua_State *L, const struct mp_reading *r, const char *name) {
  if (!lua_isboolean(L, -1)) luaL_error(L, "%s: %s must be true or false", r->args->what, name);
  return lua_toboolean(L, -1);
}

/* ---- the options; the value is at the top of the stack ---- */

static void read_input(lua_State *L, struct mp_reading *r, const char *name) {
  size_t len;
  if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "%s: %s must be a string", r->args->what, name);
  lua_pushvalue(L, -1);
  r->args->spec.input.at = lua_tolstring(L, -1, &len);
  r->args->spec.input.len = len;
  r->args->spec.has_input = true;
  mp_reading_anchor(L, r->scratch);
}

static void read_file_option(lua_State *L, struct mp_reading *r, const char *name, int which) {
  if (lua_getfield(L, -1, "file") == LUA_TNIL) luaL_error(L, "%s: %s: a table needs a `file`", r->args->what, name);
  r->args->path[which] = mp_reading_string(L, r, -1, name);
  lua_pop(L, 1);
  lua_getfield(L, -1, "append");
  r->args->append[which] = lua_toboolean(L, -1);
  lua_pop(L, 1);
  r->args->stdio[which] = MP_STDIO_FILE;
}

static void read_stdio(lua_State *L, struct mp_reading *r, const char *name, int which) {
  static const struct {
    const char *word;
    enum mp_stdio kind;
    unsigned places; /* bit 0: stdin, 1: stdout, 2: stderr */
  } words[] = {{"null", MP_STDIO_NULL, 7},
               {"pipe", MP_STDIO_PIPE, 7},
               {"inherit", MP_STDIO_INHERIT, 7},
               {"log", MP_STDIO_LOG, 6},
               {"stdout", MP_STDIO_STDOUT, 4}};
  if (lua_istable(L, -1) && which > 0) {
    read_file_option(L, r, name, which);
    return;
  }
  const char *given = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(words[i].word, given) == 0 && (words[i].places >> which & 1)) {
      r->args->stdio[which] = (uint8_t)words[i].kind;
      return;
    }
  luaL_error(L, "%s: %s cannot be %s", r->args->what, name, luaL_tolstring(L, -1, NULL));
}

static void read_stdin(lua_State *L, struct mp_reading *r, const char *name) {
  read_stdio(L, r, name, 0);
}

static void read_stdout(lua_State *L, struct mp_reading *r, const char *name) {
  read_stdio(L, r, name, 1);
}

static void read_stderr(lua_State *L, struct mp_reading *r, const char *name) {
  read_stdio(L, r, name, 2);
}

static void read_cwd(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->spec.exec.cwd = mp_reading_string(L, r, -1, name);
}

static void read_timeout(lua_State *L, struct mp_reading *r, const char *name) {
  uint64_t ms = check_ms(L, r, name);
  r->args->spec.timeout_ms = ms ? ms : 1;
}

static void read_grace(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->spec.grace_ms = check_ms(L, r, name);
}

static void read_linger(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->spec.linger_ms = check_ms(L, r, name);
}

static void read_queue_timeout(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->queue_timeout_s = check_seconds(L, r, name);
}

static lua_Integer check_count(lua_State *L, const struct mp_reading *r, const char *name, lua_Integer least,
                               lua_Integer most) {
  int is = 0;
  lua_Integer n = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is) : 0;
  if (!is || n < least || n > most) luaL_error(L, "%s: %s must be an integer from %d", r->args->what, name, (int)least);
  return n;
}

static void read_max_output(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->spec.max_output = (size_t)check_count(L, r, name, 0, 0xffffffff);
}

static void read_on_limit(lua_State *L, struct mp_reading *r, const char *name) {
  const char *word = mp_reading_string(L, r, -1, name);
  if (strcmp(word, "kill") != 0 && strcmp(word, "truncate") != 0)
    luaL_error(L, "%s: %s must be \"truncate\" or \"kill\"", r->args->what, name);
  r->args->spec.kill_on_limit = strcmp(word, "kill") == 0;
}

static void read_leave(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->spec.leave = check_boolean(L, r, name);
}

static void read_session(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->spec.exec.session = check_boolean(L, r, name);
}

static void read_detach(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->detach = check_boolean(L, r, name);
}

static void read_check(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->check = check_boolean(L, r, name);
}

static void read_uid(lua_State *L, struct mp_reading *r, const char *name) {
  if (lua_type(L, -1) == LUA_TSTRING) {
    const struct passwd *user = getpwnam(lua_tostring(L, -1));
    if (!user) luaL_error(L, "%s: %s: no user \"%s\"", r->args->what, name, lua_tostring(L, -1));
    r->args->spec.exec.uid = user->pw_uid;
  } else {
    r->args->spec.exec.uid = (uid_t)check_count(L, r, name, 0, 0xfffffffe);
  }
  r->args->spec.exec.set_uid = true;
}

static void read_gid(lua_State *L, struct mp_reading *r, const char *name) {
  if (lua_type(L, -1) == LUA_TSTRING) {
    const struct group *group = getgrnam(lua_tostring(L, -1));
    if (!group) luaL_error(L, "%s: %s: no group \"%s\"", r->args->what, name, lua_tostring(L, -1));
    r->args->spec.exec.gid = group->gr_gid;
  } else {
    r->args->spec.exec.gid = (gid_t)check_count(L, r, name, 0, 0xfffffffe);
  }
  r->args->spec.exec.set_gid = true;
}

static void read_nice(lua_State *L, struct mp_reading *r, const char *name) {
  r->args->spec.exec.nice = (int)check_count(L, r, name, -20, 19);
  r->args->spec.exec.set_nice = true;
}

static void read_rlimit(lua_State *L, struct mp_reading *r, const char *name) {
  static const struct {
    const char *word;
    int resource;
  } words[] = {{"cpu", RLIMIT_CPU},   {"as", RLIMIT_AS},       {"nofile", RLIMIT_NOFILE}, {"core", RLIMIT_CORE},
               {"data", RLIMIT_DATA}, {"fsize", RLIMIT_FSIZE}, {"stack", RLIMIT_STACK},   {"nproc", RLIMIT_NPROC}};
  struct mp_exec *exec = &r->args->spec.exec;
  if (!lua_istable(L, -1)) luaL_error(L, "%s: %s must be a table", r->args->what, name);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    unsigned i = 0;
    while (i < sizeof words / sizeof *words && strcmp(words[i].word, key) != 0) i++;
    if (i == sizeof words / sizeof *words) luaL_error(L, "%s: %s: no limit \"%s\"", r->args->what, name, key);
    lua_Integer value = check_count(L, r, key, 0, LUA_MAXINTEGER);
    r->args->rlimits[exec->n_rlimits++] = (struct mp_exec_rlimit){words[i].resource, (rlim_t)value};
    lua_pop(L, 1);
  }
  exec->rlimits = r->args->rlimits;
}

static const struct option {
  const char *name;
  void (*read)(lua_State *L, struct mp_reading *r, const char *name);
} options[] = {{"input", read_input},
               {"stdin", read_stdin},
               {"stdout", read_stdout},
               {"stderr", read_stderr},
               {"cwd", read_cwd},
               {"env", mp_environment_read},
               {"setenv", mp_environment_read},
               {"timeout", read_timeout},
               {"grace", read_grace},
               {"linger", read_linger},
               {"queue_timeout", read_queue_timeout},
               {"max_output", read_max_output},
               {"on_limit", read_on_limit},
               {"leave", read_leave},
               {"session", read_session},
               {"detach", read_detach},
               {"check", read_check},
               {"uid", read_uid},
               {"gid", read_gid},
               {"nice", read_nice},
               {"rlimit", read_rlimit}};

/* ---- the table ---- */

static void read_option(lua_State *L, struct mp_reading *r) {
  const char *name = lua_tostring(L, -2);
  for (unsigned i = 0; i < sizeof options / sizeof *options; i++)
    if (strcmp(options[i].name, name) == 0) {
      options[i].read(L, r, name);
      return;
    }
  luaL_error(L, "%s: unknown option \"%s\"", r->args->what, name);
}

/* Every key is an option's name or one of 1…n; returns n. */
static size_t read_keys(lua_State *L, struct mp_reading *r) {
  size_t n = 0;
  lua_pushnil(L);
  while (lua_next(L, r->table)) {
    if (lua_type(L, -2) == LUA_TSTRING)
      read_option(L, r);
    else if (lua_isinteger(L, -2))
      n++;
    else
      luaL_error(L, "%s: a key of type %s is no option", r->args->what, luaL_typename(L, -2));
    lua_pop(L, 1);
  }
  return n;
}

static void read_argv(lua_State *L, struct mp_reading *r, size_t n) {
  if (n == 0) luaL_error(L, "%s: no command: the table needs a program at 1", r->args->what);
  char **argv = mp_reading_array(L, r, n);
  for (size_t i = 0; i < n; i++) {
    char name[40];
    snprintf(name, sizeof name, "argument %zu", i + 1);
    if (lua_rawgeti(L, r->table, (lua_Integer)i + 1) == LUA_TNIL)
      luaL_error(L, "%s: %s is missing: the list has a hole", r->args->what, name);
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "%s: %s must be a string, not %s", r->args->what, name, luaL_typename(L, -1));
    argv[i] = (char *)(uintptr_t)mp_reading_string(L, r, -1, name);
    lua_pop(L, 1);
  }
  if (!argv[0][0]) luaL_error(L, "%s: argument 1, the program, is empty", r->args->what);
  r->args->spec.exec.argv = argv;
}

static int l_args_gc(lua_State *L) {
  struct mp_args *args = lua_touserdata(L, 1);
  mp_args_close_files(args);
  mp_place_give_back(args);
  return 0;
}

static struct mp_args *new_args(lua_State *L, const char *what, bool collects) {
  struct mp_args *args = lua_newuserdatauv(L, sizeof *args, 1);
  *args = (struct mp_args){
      .api = mp_api_of(L), .what = what, .opened = {-1, -1, -1}, .puppet_fd = -1, .queue_timeout_s = -1};
  mp_entrant_init(&args->entrant);
  args->stdio[1] = args->stdio[2] = collects ? MP_STDIO_COLLECT : MP_STDIO_LOG;
  args->spec.grace_ms = 2000;
  args->spec.linger_ms = 500;
  args->spec.max_output = (size_t)16 << 20;
  args->spec.exec.own_group = args->spec.exec.dies_with_us = true;
  if (luaL_newmetatable(L, ARGS_NAME)) {
    lua_pushcfunction(L, l_args_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  return args;
}

/* From the words to what io/child wants. */
static void settle_stdio(lua_State *L, struct mp_args *args) {
  struct mp_child_spec *spec = &args->spec;
  if (spec->has_input && args->stdio[0] != MP_STDIO_NULL)
    luaL_error(L, "%s: input and stdin exclude each other", args->what);
  spec->pipe[0] = spec->has_input || args->stdio[0] == MP_STDIO_PIPE;
  for (int i = 0; i < 3; i++) {
    spec->exec.stdio[i] = args->stdio[i] == MP_STDIO_INHERIT ? i : -1;
    if (i == 0) continue;
    spec->collect[i] = args->stdio[i] == MP_STDIO_COLLECT;
    spec->pipe[i] = spec->collect[i] || args->stdio[i] == MP_STDIO_PIPE || args->stdio[i] == MP_STDIO_LOG;
  }
  spec->merge_stderr = args->stdio[2] == MP_STDIO_STDOUT;
}

struct mp_args *mp_args_read(lua_State *L, int index, const char *what, bool collects) {
  index = lua_absindex(L, index);
  if (!lua_istable(L, index)) luaL_error(L, "%s: a table is needed, not %s", what, luaL_typename(L, index));
  luaL_checkstack(L, 16, NULL);
  struct mp_reading r = {.table = index};
  r.args = new_args(L, what, collects);
  r.scratch = lua_gettop(L);
  read_argv(L, &r, read_keys(L, &r));
  mp_environment_make(L, &r);
  settle_stdio(L, r.args);
  return r.args;
}

/* ---- files ---- */

/* O_NONBLOCK while opening: a FIFO without a reader must not hold the loop. */
static int open_output(const char *path, bool append) {
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (append ? O_APPEND : O_TRUNC), 0666);
  if (fd < 0) return -errno;
  fcntl(fd, F_SETFL, append ? O_APPEND : 0);
  return fd;
}

static int take_environment(struct mp_args *args) {
  struct mp_heritage *heritage = &args->api->heritage;
  if (args->spec.exec.envp) return 0;
  int err = mp_heritage_look(heritage);
  args->spec.exec.envp = heritage->kept;
  args->spec.exec.path = heritage->path;
  return err;
}

int mp_args_prepare(struct mp_args *args, int *which) {
  int err = take_environment(args);
  if (err < 0) return err;
  for (int i = 1; i < 3; i++) {
    if (args->stdio[i] != MP_STDIO_FILE) continue;
    int fd = open_output(args->path[i], args->append[i]);
    if (fd < 0) {
      *which = i;
      return fd;
    }
    args->opened[i] = args->spec.exec.stdio[i] = fd;
  }
  return 0;
}

void mp_args_close_files(struct mp_args *args) {
  for (int i = 0; i < 3; i++) {
    if (args->opened[i] >= 0) close(args->opened[i]);
    args->opened[i] = -1;
  }
  if (args->puppet_fd >= 0) close(args->puppet_fd);
  args->puppet_fd = -1;
}

int mp_args_push_failure(lua_State *L, const struct mp_args *args, int err, enum mp_exec_step step) {
  char text[128];
  const struct mp_exec *exec = &args->spec.exec;
  mp_err_text(err, text, sizeof text);
  switch (step) {
  case MP_EXEC_PROGRAM:
    return mp_push_failure(L, err, "%s: %s: %s", args->what, exec->argv[0], text);
  case MP_EXEC_CHDIR:
    return mp_push_failure(L, err, "%s: chdir %s: %s", args->what, exec->cwd, text);
  case MP_EXEC_LIMIT:
    return mp_push_failure(L, err, "%s: rlimit: %s", args->what, text);
  case MP_EXEC_USER:
    return mp_push_failure(L, err, "%s: changing user: %s", args->what, text);
  case MP_EXEC_NICE:
    return mp_push_failure(L, err, "%s: nice: %s", args->what, text);
  default:
    return mp_push_failure(L, err, "%s: %s", args->what, text);
  }
}
