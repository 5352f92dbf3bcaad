/* thief.c - a library as handlers may load one: it takes exit statuses that are not its own.
 * thief.reap(): a thread that calls waitpid(-1) without end. thief.ignore(): SIGCHLD is ignored, so that the kernel
 * reaps. thief.stop() ends both, and returns how many statuses the thread took. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

int luaopen_thief(lua_State *L);

/* One thief a process: the module is loaded by one Lua state. */
static pthread_t thread;
static bool reaping;
static atomic_bool leave;
static atomic_long taken;

static void *take_all(void *unused) {
  const struct timespec pause = {0, 50000};
  (void)unused;
  while (!atomic_load(&leave)) {
    if (waitpid(-1, NULL, WNOHANG) > 0)
      atomic_fetch_add(&taken, 1);
    else
      nanosleep(&pause, NULL);
  }
  return NULL;
}

static int l_reap(lua_State *L) {
  if (reaping) return 0;
  atomic_store(&leave, false);
  int err = pthread_create(&thread, NULL, take_all, NULL);
  if (err) return luaL_error(L, "thief: %s", strerror(err));
  reaping = true;
  return 0;
}

static int l_ignore(lua_State *L) {
  if (signal(SIGCHLD, SIG_IGN) == SIG_ERR) return luaL_error(L, "thief: %s", strerror(errno));
  return 0;
}

static int l_stop(lua_State *L) {
  if (reaping) {
    atomic_store(&leave, true);
    pthread_join(thread, NULL);
    reaping = false;
  }
  if (signal(SIGCHLD, SIG_DFL) == SIG_ERR) return luaL_error(L, "thief: %s", strerror(errno));
  lua_pushinteger(L, atomic_load(&taken));
  return 1;
}

int luaopen_thief(lua_State *L) {
  static const luaL_Reg verbs[] = {{"reap", l_reap}, {"ignore", l_ignore}, {"stop", l_stop}, {NULL, NULL}};
  luaL_newlib(L, verbs);
  return 1;
}
