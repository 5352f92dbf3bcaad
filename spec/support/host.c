/* host.c - what the specs need of the system and Lua lacks: processes, signals, a clock.
 * The spec's own process becomes a subreaper, so that whatever a server leaves behind turns up as its child. */
#include "oldkernel.h"
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

int luaopen_host(lua_State *L);

static int failed(lua_State *L, int err) {
  lua_pushnil(L);
  lua_pushstring(L, strerror(err));
  lua_pushinteger(L, err);
  return 3;
}

/* The list at `index` as a NULL-ended vector in memory that Lua owns; leaves one value on the stack. */
static char **list_to_vector(lua_State *L, int index) {
  lua_Integer n = luaL_len(L, index);
  char **vector = lua_newuserdatauv(L, sizeof *vector * (size_t)(n + 1), 1);
  lua_createtable(L, (int)n, 0); /* stack: vector anchors */
  for (lua_Integer i = 1; i <= n; i++) {
    lua_geti(L, index, i);
    vector[i - 1] = (char *)(uintptr_t)luaL_checkstring(L, -1); /* borrowed: anchored below */
    lua_seti(L, -2, i);
  }
  vector[n] = NULL;
  lua_setiuservalue(L, -2, 1);
  return vector;
}

struct start {
  char **argv, **env;    /* borrowed from the Lua stack; env NULL: inherited */
  const char *out, *err; /* borrowed; files to append to, NULL: inherited */
  const char *cwd;       /* borrowed; NULL: ours */
  int fds[8];            /* become 3 and so on */
  int n_fds;
  lua_Integer nofile; /* 0: as it is */
  unsigned lacks;     /* bits: what the kernel does not know for it */
};

static int redirect(const char *path, int flags, int to) {
  int fd = open(path, flags | O_CLOEXEC, 0600);
  return fd < 0 || dup2(fd, to) < 0 ? -1 : 0;
}

/* By way of higher numbers, for they may stand in each other's place. */
static int hand_down(const struct start *s) {
  int moved[8];
  for (int i = 0; i < s->n_fds; i++)
    if ((moved[i] = fcntl(s->fds[i], F_DUPFD_CLOEXEC, 64)) < 0) return -1;
  for (int i = 0; i < s->n_fds; i++)
    if (dup2(moved[i], 3 + i) < 0) return -1;
  return 0;
}

static int prepare_child(const struct start *s) {
  if (setsid() < 0) return -1;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return -1; /* a spec that is killed leaves no server */
  if (redirect("/dev/null", O_RDONLY, 0) < 0) return -1;
  if (s->out && redirect(s->out, O_WRONLY | O_CREAT | O_APPEND, 1) < 0) return -1;
  if (s->err && redirect(s->err, O_WRONLY | O_CREAT | O_APPEND, 2) < 0) return -1;
  if (s->cwd && chdir(s->cwd) < 0) return -1;
  if (hand_down(s) < 0) return -1;
  if (s->nofile) {
    struct rlimit most = {(rlim_t)s->nofile, (rlim_t)s->nofile};
    if (setrlimit(RLIMIT_NOFILE, &most) < 0) return -1;
  }
  if (s->lacks && become_old(s->lacks) < 0) return -1;
  return 0;
}

static int start_child(const struct start *s, pid_t *pid) {
  int report[2], err = 0;
  if (pipe2(report, O_CLOEXEC) < 0) return errno;
  if ((*pid = fork()) == 0) {
    if (prepare_child(s) == 0) execve(s->argv[0], s->argv, s->env ? s->env : environ);
    err = errno;
    if (write(report[1], &err, sizeof err) < 0) _exit(126);
    _exit(127);
  }
  err = *pid < 0 ? errno : 0;
  close(report[1]);
  if (*pid > 0 && read(report[0], &err, sizeof err) == (ssize_t)sizeof err) waitpid(*pid, NULL, 0);
  close(report[0]);
  return err;
}

static const char *text_field(lua_State *L, const char *name) {
  lua_getfield(L, 1, name);
  return luaL_optstring(L, -1, NULL); /* stays on the stack, so the text stays too */
}

/* The field `lacks`: a list of names, see oldkernel.h. */
static unsigned lacks_field(lua_State *L) {
  unsigned bits = 0;
  if (lua_getfield(L, 1, "lacks") == LUA_TTABLE) {
    for (lua_Integer i = 1; lua_geti(L, -1, i) == LUA_TSTRING; i++, lua_pop(L, 1)) {
      int lack = lack_named(lua_tostring(L, -1));
      luaL_argcheck(L, lack >= 0, 1, lua_tostring(L, -1));
      bits |= 1u << lack;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return bits;
}

static void read_fds(lua_State *L, struct start *s) {
  if (lua_getfield(L, 1, "fds") == LUA_TTABLE) {
    s->n_fds = (int)luaL_len(L, -1);
    luaL_argcheck(L, s->n_fds <= 8, 1, "at most 8 fds");
    for (int i = 0; i < s->n_fds; i++) {
      lua_geti(L, -1, i + 1);
      s->fds[i] = (int)luaL_checkinteger(L, -1);
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

/* start{ argv = {path, …}, env = {"K=v", …}, out = file, err = file, cwd = folder, nofile = n, fds = {n, …},
 * lacks = {name, …} } -> pid
 * In a session of its own. */
static int l_start(lua_State *L) {
  struct start s = {0};
  pid_t pid = -1;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  s.out = text_field(L, "out");
  s.err = text_field(L, "err");
  s.cwd = text_field(L, "cwd");
  lua_getfield(L, 1, "nofile");
  s.nofile = luaL_optinteger(L, -1, 0);
  s.lacks = lacks_field(L);
  read_fds(L, &s);
  lua_getfield(L, 1, "argv");
  s.argv = list_to_vector(L, lua_gettop(L));
  if (lua_getfield(L, 1, "env") != LUA_TNIL) s.env = list_to_vector(L, lua_gettop(L));
  int err = start_child(&s, &pid);
  if (err) return failed(L, err);
  lua_pushinteger(L, pid);
  return 1;
}

/* wait(pid) -> "exit" or "signal", number; "running"; nil, message, errno. Never blocks. */
static int l_wait(lua_State *L) {
  int status;
  pid_t pid = (pid_t)luaL_checkinteger(L, 1);
  luaL_argcheck(L, pid > 0, 1, "one process, by its number");
  pid_t got = waitpid(pid, &status, WNOHANG);
  if (got < 0) return failed(L, errno);
  if (got == 0) {
    lua_pushliteral(L, "running");
    return 1;
  }
  lua_pushstring(L, WIFEXITED(status) ? "exit" : "signal");
  lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
  return 2;
}

static int l_kill(lua_State *L) {
  static const char *const names[] = {"TERM", "KILL", "INT",  "QUIT",  "HUP",  "USR1", "USR2", "STOP",
                                      "CONT", "TTIN", "TTOU", "WINCH", "SEGV", "PIPE", "ABRT", NULL};
  static const int numbers[] = {SIGTERM, SIGKILL, SIGINT,  SIGQUIT,  SIGHUP,  SIGUSR1, SIGUSR2, SIGSTOP,
                                SIGCONT, SIGTTIN, SIGTTOU, SIGWINCH, SIGSEGV, SIGPIPE, SIGABRT};
  pid_t pid = (pid_t)luaL_checkinteger(L, 1);
  int signo = numbers[luaL_checkoption(L, 2, "TERM", names)];
  luaL_argcheck(L, pid > 1, 1, "one process, by its number");
  if (kill(pid, signo) < 0) return failed(L, errno);
  lua_pushboolean(L, 1);
  return 1;
}

static int l_now(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
  return 1;
}

static int l_sleep(lua_State *L) {
  lua_Number s = luaL_checknumber(L, 1);
  struct timespec left = {(time_t)s, (long)((s - (lua_Number)(time_t)s) * 1e9)};
  while (nanosleep(&left, &left) < 0 && errno == EINTR) continue;
  return 0;
}

static int l_pid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

static int l_subreaper(lua_State *L) {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return failed(L, errno);
  lua_pushboolean(L, 1);
  return 1;
}

/* A new folder under $TMPDIR or /tmp. */
static int l_tempdir(lua_State *L) {
  const char *root = getenv("TMPDIR");
  lua_pushfstring(L, "%s/moonpool-spec-XXXXXX", root && *root ? root : "/tmp");
  char *path = strdup(lua_tostring(L, -1));
  if (!path) return failed(L, ENOMEM);
  if (mkdtemp(path)) {
    lua_pushstring(L, path);
    free(path);
    return 1;
  }
  free(path);
  return failed(L, errno);
}

static int l_readlink(lua_State *L) {
  char target[4096];
  ssize_t n = readlink(luaL_checkstring(L, 1), target, sizeof target);
  if (n < 0) return failed(L, errno);
  lua_pushlstring(L, target, (size_t)n);
  return 1;
}

/* The environment as a list of "NAME=value". */
static int l_environ(lua_State *L) {
  lua_newtable(L);
  for (lua_Integer i = 0; environ[i]; i++) {
    lua_pushstring(L, environ[i]);
    lua_seti(L, -2, i + 1);
  }
  return 1;
}

/* setxattr(path, name, value) */
static int l_setxattr(lua_State *L) {
  size_t len;
  const char *value = luaL_checklstring(L, 3, &len);
  if (setxattr(luaL_checkstring(L, 1), luaL_checkstring(L, 2), value, len, 0) < 0) return failed(L, errno);
  lua_pushboolean(L, 1);
  return 1;
}

int luaopen_host(lua_State *L) {
  static const luaL_Reg verbs[] = {
      {"start", l_start},       {"wait", l_wait},       {"kill", l_kill},           {"now", l_now},
      {"sleep", l_sleep},       {"pid", l_pid},         {"subreaper", l_subreaper}, {"tempdir", l_tempdir},
      {"readlink", l_readlink}, {"environ", l_environ}, {"setxattr", l_setxattr},   {NULL, NULL}};
  luaL_newlib(L, verbs);
  return 1;
}
