/* A program that embeds the server, told what to do on stdin, which tells what it sees on stdout.
 *   host MODE APP NAME=VALUE...        MODE: thread, run, attach, step, workers (on a thread), workers-attach
 * Commands: set NAME=VALUE, unset NAME, settings JSON, reload, stop, halt, port, child, second APP NAME=VALUE..., quit.
 */
#include <errno.h>
#include <moonpool.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

static pthread_mutex_t out_lock = PTHREAD_MUTEX_INITIALIZER;

static void say(const char *what, const char *text) {
  pthread_mutex_lock(&out_lock);
  printf("%s %s\n", what, text);
  fflush(stdout);
  pthread_mutex_unlock(&out_lock);
}

/* ---- functions for Lua ---- */

static atomic_int n_cancelled, n_completed;

static void kinds(struct mp_call *call, void *ctx) {
  static const char *const names[] = {"none", "nil", "boolean", "integer", "number", "string", "other"};
  (void)ctx;
  for (unsigned i = 1; i <= mp_call_count(call) + 1; i++) mp_call_put_string(call, names[mp_call_type(call, i)]);
}

static void add(struct mp_call *call, void *ctx) {
  int64_t a, b;
  double x, y;
  (void)ctx;
  if (mp_call_integer(call, 1, &a) && mp_call_integer(call, 2, &b))
    mp_call_put_integer(call, a + b);
  else if (mp_call_number(call, 1, &x) && mp_call_number(call, 2, &y))
    mp_call_put_number(call, x + y);
  else
    mp_call_raise(call, "add: two numbers are wanted");
}

static void bytes(struct mp_call *call, void *ctx) {
  size_t len;
  const char *s = mp_call_string(call, 1, &len);
  (void)ctx;
  if (!s) mp_call_fail(call, "no such string", "ENOENT");
  if (s) mp_call_put_bytes(call, s, len);
  if (s) mp_call_put_boolean(call, mp_call_boolean(call, 2));
}

static void table(struct mp_call *call, void *ctx) {
  (void)ctx;
  mp_call_put_table(call);
  mp_call_put_key(call, "name");
  mp_call_put_string(call, "sensor");
  mp_call_put_key(call, "values");
  mp_call_put_table(call);
  mp_call_put_number(call, 1.5);
  mp_call_put_nil(call);
  mp_call_put_integer(call, INT64_MIN);
  mp_call_put_end(call);
  mp_call_put_end(call);
  mp_call_put_boolean(call, true);
}

static void broken(struct mp_call *call, void *ctx) {
  (void)ctx;
  mp_call_put_table(call);
}

static void quick_hold(struct mp_call *call, void *ctx) {
  (void)ctx;
  mp_call_put_integer(call, mp_call_hold(call, NULL, NULL));
}

struct later {
  struct mp_call *call;
  int64_t ms, value;
};

static void *complete_later(void *arg) {
  struct later l = *(struct later *)arg;
  free(arg);
  nanosleep(&(struct timespec){l.ms / 1000, l.ms % 1000 * 1000000}, NULL);
  mp_call_put_integer(l.call, l.value);
  mp_call_put_string(l.call, "later");
  mp_call_complete(l.call);
  atomic_fetch_add(&n_completed, 1);
  return NULL;
}

static void later(struct mp_call *call, void *ctx) {
  struct later *l = calloc(1, sizeof *l);
  pthread_t thread;
  (void)ctx;
  l->call = call;
  mp_call_integer(call, 1, &l->value);
  mp_call_integer(call, 2, &l->ms);
  if (mp_call_hold(call, NULL, NULL) < 0) abort();
  pthread_create(&thread, NULL, complete_later, l);
  pthread_detach(thread);
}

static void at_once(struct mp_call *call, void *ctx) {
  (void)ctx;
  mp_call_hold(call, NULL, NULL);
  mp_call_put_string(call, "at once");
  mp_call_complete(call);
}

static void on_never_cancelled(struct mp_call *call, void *ctx) {
  (void)ctx;
  atomic_fetch_add(&n_cancelled, mp_call_cancelled(call));
  say("cancelled", "never");
  mp_call_complete(call);
}

static void never(struct mp_call *call, void *ctx) {
  (void)ctx;
  if (mp_call_hold(call, on_never_cancelled, NULL) < 0) abort();
  if (mp_call_hold(call, NULL, NULL) != -EALREADY) abort();
  say("held", "never");
}

static void counts(struct mp_call *call, void *ctx) {
  mp_call_put_integer(call, atomic_load(&n_cancelled));
  mp_call_put_integer(call, atomic_load(&n_completed));
  mp_call_put_integer(call, ctx ? *(int *)ctx : 0);
  mp_call_put_integer(call, getpid());
}

static int answer = 42;

static struct mp_modules *modules_of_host(void) {
  struct mp_modules *m = mp_modules_new();
  int err = mp_modules_function(m, "host", "kinds", broken, NULL, 0); /* replaced by the next */
  err |= mp_modules_function(m, "host", "kinds", kinds, NULL, 0);
  err |= mp_modules_function(m, "host", "add", add, NULL, 0);
  err |= mp_modules_function(m, "host", "bytes", bytes, NULL, 0);
  err |= mp_modules_function(m, "host", "table", table, NULL, 0);
  err |= mp_modules_function(m, "host", "broken", broken, NULL, 0);
  err |= mp_modules_function(m, "host", "quick_hold", quick_hold, NULL, 0);
  err |= mp_modules_function(m, "host", "later", later, NULL, MP_FUNCTION_WAITS);
  err |= mp_modules_function(m, "host", "at_once", at_once, NULL, MP_FUNCTION_WAITS);
  err |= mp_modules_function(m, "host", "never", never, NULL, MP_FUNCTION_WAITS);
  err |= mp_modules_function(m, "host", "counts", counts, &answer, 0);
  if (err || mp_modules_function(m, "", "x", add, NULL, 0) != -EINVAL) abort();
  if (mp_modules_function(m, "host", "x", add, NULL, 8) != -EINVAL) abort();
  return m;
}

/* ---- what the server says ---- */

static void on_log(void *ctx, enum mp_level level, const char *room, const char *message, const char *detail) {
  (void)ctx;
  fprintf(stderr, "log %d %s %s%s%s\n", level, room, message, *detail ? "\n\t" : "", detail);
}

static void on_event(void *ctx, enum mp_server_event event, const char *text) {
  static const char *const names[] = {"ready", "reloaded", "failed", "stopped"};
  char line[1024];
  snprintf(line, sizeof line, "%s%s", (const char *)ctx, text);
  say(names[event], line);
}

/* ---- memory of Lua ---- */

static atomic_llong held;

static void *allocate(void *ctx, void *block, size_t old_size, size_t new_size) {
  (void)ctx;
  atomic_fetch_add(&held, (long long)new_size - (long long)old_size);
  if (new_size > 0) return realloc(block, new_size);
  free(block);
  return NULL;
}

/* ---- a child of the host's own, and its signals ---- */

static atomic_int n_sigchld;
static struct sigaction pipe_before;
static pid_t child;

static void on_sigchld(int signo) {
  (void)signo;
  atomic_fetch_add(&n_sigchld, 1);
}

static void start_child(void) {
  struct sigaction action = {.sa_handler = on_sigchld, .sa_flags = SA_RESTART};
  sigaction(SIGCHLD, &action, NULL);
  sigaction(SIGPIPE, NULL, &pipe_before);
  child = fork();
  if (child > 0) return;
  setsid(); /* in a group of its own, as what a worker would reap */
  execl("/bin/sh", "sh", "-c", "sleep 0.2; exit 7", (char *)NULL);
  _exit(127);
}

/* The child as it was; the handlers as they were. */
static void tell_child(void) {
  int status;
  char line[200];
  struct sigaction chld, pipe_action, term;
  pid_t got = waitpid(child, &status, 0);
  sigaction(SIGCHLD, NULL, &chld);
  sigaction(SIGPIPE, NULL, &pipe_action);
  sigaction(SIGTERM, NULL, &term);
  snprintf(line, sizeof line, "%d exit=%d handler=%d pipe_same=%d term_default=%d", got == child,
           got == child ? WEXITSTATUS(status) : -1, chld.sa_handler == on_sigchld,
           pipe_action.sa_handler == pipe_before.sa_handler, term.sa_handler == SIG_DFL);
  say("child", line);
}

/* ---- commands ---- */

static struct mp_server *server, *second;
static uv_loop_t loop;

static int set_word(struct mp_server *s, char *word) {
  char *value = strchr(word, '=');
  if (value) *value++ = '\0';
  return mp_server_set(s, word, value);
}

static struct mp_server *new_server(const char *mode, const char *app, struct mp_modules *modules, const char *name) {
  struct mp_server *s = mp_server_new(app, modules, strncmp(mode, "workers", 7) == 0 ? MP_SERVER_WORKERS : 0);
  mp_server_on_log(s, on_log, NULL);
  mp_server_on_event(s, on_event, (void *)name);
  mp_server_allocator(s, allocate, NULL);
  if (getenv("HOST_SIGNALS")) mp_server_allow_signals(s);
  return s;
}

static void start_second(struct mp_modules *modules, char *words) {
  char *app = strtok(words, " "), *word;
  second = new_server("thread", app, modules, "second ");
  while ((word = strtok(NULL, " "))) set_word(second, word);
  if (mp_server_start(second) < 0) say("error", mp_server_error(second));
}

static void obey(struct mp_modules *modules, char *line) {
  char text[64];
  char *rest = strchr(line, ' ');
  int err = 0;
  if (rest) *rest++ = '\0';
  if (strcmp(line, "set") == 0) err = set_word(server, rest);
  if (strcmp(line, "unset") == 0) err = mp_server_unset(server, rest);
  if (strcmp(line, "settings") == 0) err = mp_server_settings(server, rest);
  if (strcmp(line, "reload") == 0) err = mp_server_reload(server);
  if (strcmp(line, "stop") == 0) err = mp_server_stop(server, MP_STOP_DRAIN);
  if (strcmp(line, "halt") == 0) err = mp_server_stop(server, MP_STOP_NOW);
  if (strcmp(line, "second") == 0) start_second(modules, rest);
  if (strcmp(line, "child") == 0) tell_child();
  snprintf(text, sizeof text, "%d", mp_server_port(server));
  if (strcmp(line, "port") == 0) say("port", text);
  if (err < 0) say("error", mp_server_error(server));
}

static void *read_commands(void *arg) {
  char line[4096];
  const char *path = getenv("HOST_COMMANDS");
  FILE *from = path ? fopen(path, "r") : stdin;
  while (from && fgets(line, sizeof line, from)) {
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, "quit") == 0) break;
    obey(arg, line);
  }
  mp_server_stop(server, MP_STOP_NOW);
  if (from && from != stdin) fclose(from);
  return NULL;
}

/* ---- ways to run ---- */

static int run_steps(void) {
  int err = mp_server_open(server);
  while (err == 0) {
    struct pollfd at = {.fd = mp_server_fd(server), .events = POLLIN};
    poll(&at, 1, mp_server_due_ms(server));
    if (!mp_server_step(server)) break;
  }
  return err;
}

static void on_tick(uv_timer_t *timer) {
  ++*(long *)timer->data;
}

/* The host's loop has work of its own, which goes on meanwhile; when only that is left, it is done. */
static int run_attached(void) {
  uv_timer_t tick;
  long ticks = 0;
  char text[32];
  uv_loop_init(&loop);
  loop.data = &ticks;
  uv_timer_init(&loop, &tick);
  tick.data = &ticks;
  uv_timer_start(&tick, on_tick, 10, 10);
  uv_unref((uv_handle_t *)&tick);
  int err = mp_server_attach(server, &loop);
  uv_run(&loop, UV_RUN_DEFAULT);
  snprintf(text, sizeof text, "%d", ticks > 0 && loop.data == &ticks);
  say("ticks", text);
  uv_close((uv_handle_t *)&tick, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  if (uv_loop_close(&loop) != 0) say("error", "the host's loop is not empty");
  return err;
}

static int run(const char *mode) {
  if (strcmp(mode, "run") == 0) return mp_server_run(server);
  if (strcmp(mode, "step") == 0) return run_steps();
  if (strstr(mode, "attach")) return run_attached();
  int err = mp_server_start(server);
  return err < 0 ? err : mp_server_wait(server);
}

int main(int argc, char **argv) {
  struct mp_modules *modules = modules_of_host();
  int code = mp_worker_main(argc, argv, modules), err = 0;
  char text[128];
  pthread_t commands;
  bool has_commands = false;
  if (code >= 0) {
    mp_modules_free(modules);
    return code;
  }
  say("version", mp_version());
  start_child();
  server = new_server(argv[1], argv[2], modules, "");
  for (int i = 3; i < argc && err == 0; i++) err = set_word(server, argv[i]);
  if (err == 0) {
    has_commands = pthread_create(&commands, NULL, read_commands, modules) == 0;
    err = run(argv[1]);
    if (err < 0) say("error", mp_server_error(server));
  } else {
    say("error", mp_server_error(server));
  }
  if (has_commands) pthread_join(commands, NULL); /* at "quit": no command comes any more */
  mp_server_free(server);
  mp_server_free(second);
  mp_modules_free(modules);
  waitpid(child, NULL, 0); /* told of or not: it is ours to wait for */
  snprintf(text, sizeof text, "%d lua_memory=%lld", err, atomic_load(&held));
  say("over", text);
  return 0;
}
