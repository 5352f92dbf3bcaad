/* Fake children: a real process of our own executable (cli/puppet.c) stands in for the one that was asked for, and says
 * and does what the test tells it over a socket. So its pipes, its end, timeouts and signals are real. */
#include "api/args.h"
#include "api/trial.h"
#include "api/wire.h"
#include "base/err.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the faker may answer. */
enum answer { REAL, PLAY, SCRIPT, FAILURE };

static enum answer ask(lua_State *L, int faker_ref, int options, bool blocking) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, faker_ref);
  lua_pushvalue(L, options);
  lua_pushboolean(L, blocking);
  lua_call(L, 2, 2); /* stack: … answer code */
  switch (lua_type(L, -2)) {
  case LUA_TFUNCTION:
    return PLAY;
  case LUA_TSTRING:
    return SCRIPT;
  case LUA_TBOOLEAN:
    return FAILURE;
  default:
    return REAL;
  }
}

/* From now on the process to be started is the puppet; argv[0] stays, for it is what the process is called. */
static void become_puppet(struct mp_args *args, const struct mp_trial *trial, int fd) {
  struct mp_exec *exec = &args->spec.exec;
  args->puppet_fd = fd;
  snprintf(args->puppet_text, sizeof args->puppet_text, "%d", fd);
  args->puppet_argv[0] = exec->argv[0];
  args->puppet_argv[1] = (char *)(uintptr_t) "puppet";
  args->puppet_argv[2] = args->puppet_text;
  args->puppet_argv[3] = NULL;
  exec->argv = args->puppet_argv;
  exec->program = trial->program;
  exec->keep = &args->puppet_fd;
  exec->n_keep = 1;
}

/* stack: … play code; it is given the wire to the puppet. */
static void start_play(lua_State *L, struct mp_args *args, const struct mp_trial *trial) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) luaL_error(L, "puppet: %s", mp_err_name(-errno));
  become_puppet(args, trial, ends[1]);
  lua_pop(L, 1);
  mp_wire_push(L, ends[0]);
  lua_call(L, 1, 0);
}

/* The loop stands still: all is said beforehand. */
static void start_script(lua_State *L, struct mp_args *args, const struct mp_trial *trial) {
  size_t len;
  const char *script = lua_tolstring(L, -2, &len);
  int fd = memfd_create("moonpool-puppet", MFD_CLOEXEC);
  if (fd < 0) luaL_error(L, "puppet: %s", mp_err_name(-errno));
  become_puppet(args, trial, fd);
  while (len > 0) {
    ssize_t n = write(fd, script, len);
    if (n < 0) luaL_error(L, "puppet: %s", mp_err_name(-errno));
    script += n;
    len -= (size_t)n;
  }
  lseek(fd, 0, SEEK_SET);
  lua_pop(L, 2);
}

static int push_failure(lua_State *L, const struct mp_args *args) {
  const char *name = lua_tostring(L, -1);
  int err = name ? mp_err_number(name) : 0;
  if (err == 0) luaL_error(L, "puppet: %s is no name of an error", name ? name : "nothing");
  return mp_args_push_failure(L, args, err, MP_EXEC_PROGRAM);
}

int mp_puppet_ask(lua_State *L, int options, struct mp_args *args, bool blocking) {
  const struct mp_trial *trial = args->api->setup.trial;
  if (!trial || trial->faker_ref == LUA_NOREF) return 0;
  switch (ask(L, trial->faker_ref, options, blocking)) {
  case PLAY:
    start_play(L, args, trial);
    return 0;
  case SCRIPT:
    start_script(L, args, trial);
    return 0;
  case FAILURE:
    return push_failure(L, args);
  default:
    lua_pop(L, 2);
    return 0;
  }
}

/* trial.set_faker(function(options, blocking) or nil): asked at each start. It answers nil: let it be; a function, to
 * be called with the wire; a string, where the loop stands still; false and the name of an error. */
static int l_set_faker(lua_State *L) {
  struct mp_trial *trial = mp_api_of(L)->setup.trial;
  lua_settop(L, 1);
  luaL_unref(L, LUA_REGISTRYINDEX, trial->faker_ref);
  trial->faker_ref = LUA_NOREF;
  if (!lua_isnil(L, 1)) trial->faker_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

void mp_puppet_open(lua_State *L, struct mp_trial *trial) {
  trial->faker_ref = LUA_NOREF;
  lua_pushcfunction(L, l_set_faker);
  lua_setfield(L, -2, "set_faker");
}
