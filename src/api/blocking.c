#include "api/process.h"
#include "api/trial.h"
#include "base/err.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

/* core.blocking_run{…}: the same start and the same status, for places where Lua cannot yield (the app file's body, a
 * sort callback). It holds the loop; --slow-callback names it. */

struct blocking {
  struct mp_started proc;
  bool ended;            /* its descriptor stays readable: it is not polled any more */
  int fds[3];            /* owned: our ends; -1 */
  struct mp_buf out[3];  /* owned */
  struct mp_slice input; /* borrowed */
  bool truncated[3];
  size_t most;
};

static int make_pipes(struct mp_args *args, int *theirs, int *ours) {
  for (int i = 0; i < 3; i++) {
    int ends[2];
    if (!args->spec.pipe[i]) continue;
    if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
    theirs[i] = ends[i == 0 ? 0 : 1];
    ours[i] = ends[i == 0 ? 1 : 0];
    fcntl(ours[i], F_SETFL, O_NONBLOCK);
    args->spec.exec.stdio[i] = theirs[i];
  }
  if (args->spec.merge_stderr) args->spec.exec.stdio[2] = args->spec.exec.stdio[1];
  return 0;
}

static void close_all(int *fds) {
  for (int i = 0; i < 3; i++) {
    if (fds[i] >= 0) close(fds[i]);
    fds[i] = -1;
  }
}

static void feed(struct blocking *b) {
  ssize_t n = write(b->fds[0], b->input.at, b->input.len);
  if (n > 0) {
    b->input.at += n;
    b->input.len -= (size_t)n;
  }
  if (b->input.len > 0 && (n >= 0 || errno == EAGAIN || errno == EINTR)) return;
  close(b->fds[0]); /* all is written, or nobody reads it */
  b->fds[0] = -1;
}

static void keep(struct blocking *b, int which, const char *bytes, size_t n) {
  size_t room = b->most - mp_buf_len(&b->out[which]);
  if (n > room) b->truncated[which] = true;
  if (mp_buf_add(&b->out[which], bytes, n < room ? n : room) < 0) b->truncated[which] = true;
}

static void collect(struct blocking *b, int which) {
  char bytes[16384];
  ssize_t n = read(b->fds[which], bytes, sizeof bytes);
  if (n > 0) keep(b, which, bytes, (size_t)n);
  if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) return;
  close(b->fds[which]);
  b->fds[which] = -1;
}

/* One turn of poll(2) over the pipes and the child. True: the child has ended. */
static bool turn(struct blocking *b, int timeout_ms) {
  struct pollfd fds[4];
  for (int i = 0; i < 3; i++) fds[i] = (struct pollfd){.fd = b->fds[i], .events = i == 0 ? POLLOUT : POLLIN};
  fds[3] = (struct pollfd){.fd = b->ended ? -1 : b->proc.pidfd, .events = POLLIN};
  if (b->proc.pidfd < 0 && (timeout_ms < 0 || timeout_ms > 10)) timeout_ms = 10; /* old kernels: look again soon */
  if (poll(fds, 4, timeout_ms) < 0) return false;
  if (b->fds[0] >= 0 && fds[0].revents) feed(b);
  for (int i = 1; i < 3; i++)
    if (b->fds[i] >= 0 && fds[i].revents) collect(b, i);
  if (!b->ended) b->ended = mp_pidfd_peek(&b->proc) != 0;
  return b->ended;
}

static uint64_t now_ms(void) {
  return uv_hrtime() / 1000000;
}

/* Until it ended; what does not end in time gets the ladder. True: timed out. */
static bool run_to_end(struct blocking *b, const struct mp_child_spec *spec) {
  uint64_t deadline = spec->timeout_ms ? now_ms() + spec->timeout_ms : UINT64_MAX;
  int rung = 0;
  for (;;) {
    uint64_t now = now_ms();
    uint64_t left = deadline == UINT64_MAX ? 1000 : deadline > now ? deadline - now : 0;
    if (turn(b, left > 1000 ? 1000 : (int)left)) return rung > 0;
    if (now_ms() < deadline) continue;
    mp_pidfd_signal_group(&b->proc, rung == 0 ? SIGTERM : SIGKILL);
    if (rung == 0) mp_pidfd_signal_group(&b->proc, SIGCONT);
    deadline = rung++ == 0 ? now_ms() + spec->grace_ms : UINT64_MAX;
  }
}

/* Output that is still to come, at most `linger`: then whoever holds the pipe is left behind. */
static bool read_rest(struct blocking *b, uint64_t linger_ms) {
  uint64_t deadline = now_ms() + linger_ms;
  if (b->fds[0] >= 0) close(b->fds[0]);
  b->fds[0] = -1;
  while ((b->fds[1] >= 0 || b->fds[2] >= 0) && now_ms() < deadline) turn(b, 10);
  return b->fds[1] >= 0 || b->fds[2] >= 0;
}

static void set_stream(lua_State *L, struct blocking *b, const struct mp_args *args, int which, const char *name) {
  if (args->spec.pipe[which]) {
    struct mp_slice bytes = mp_buf_slice(&b->out[which]);
    lua_pushlstring(L, bytes.at ? bytes.at : "", bytes.len);
    lua_setfield(L, -2, name);
  }
}

struct outcome {
  struct blocking *b;
  const struct mp_args *args;
  struct mp_result_facts facts;
};

/* Protected, because the output must be freed even when there is no memory for the strings. */
static int p_push_result(lua_State *L) {
  struct outcome *outcome = lua_touserdata(L, 1);
  struct blocking *b = outcome->b;
  const struct mp_args *args = outcome->args;
  mp_result_push(L, &outcome->facts);
  set_stream(L, b, args, 1, "stdout");
  set_stream(L, b, args, 2, "stderr");
  return 1;
}

static int push_result(lua_State *L, struct outcome *outcome) {
  lua_pushcfunction(L, p_push_result);
  lua_pushlightuserdata(L, outcome);
  int status = lua_pcall(L, 1, 1, 0);
  mp_buf_free(&outcome->b->out[1]);
  mp_buf_free(&outcome->b->out[2]);
  return status == LUA_OK ? 1 : lua_error(L);
}

static int l_blocking_run(lua_State *L) {
  struct mp_args *args = mp_args_read(L, 1, "run", true);
  struct mp_started proc = {.pidfd = -1};
  enum mp_exec_step step = MP_EXEC_START;
  int theirs[3] = {-1, -1, -1}, which = 0;
  struct blocking b = {.fds = {-1, -1, -1}, .input = args->spec.input, .most = args->spec.max_output};
  if (mp_puppet_ask(L, 1, args, true)) return 3;
  int err = mp_args_prepare(args, &which);
  if (err == 0) err = make_pipes(args, theirs, b.fds);
  if (err == 0) err = mp_exec(&args->spec.exec, &proc, &step);
  close_all(theirs);
  mp_args_close_files(args);
  if (err < 0) {
    close_all(b.fds);
    return mp_args_push_failure(L, args, err, step);
  }
  uint64_t started = now_ms();
  struct outcome outcome = {.b = &b, .args = args};
  struct mp_result_facts *facts = &outcome.facts;
  facts->pid = proc.pid;
  facts->timeout_s = (double)args->spec.timeout_ms / 1000;
  b.proc = proc;
  facts->timed_out = run_to_end(&b, &args->spec);
  facts->held = read_rest(&b, args->spec.linger_ms);
  if (!args->spec.leave) mp_pidfd_signal_group(&b.proc, SIGKILL); /* its number is held: it has not been reaped yet */
  mp_pidfd_wait(&b.proc, -1, &facts->status);
  mp_pidfd_close(&b.proc);
  close_all(b.fds);
  facts->elapsed_s = (double)(now_ms() - started) / 1000;
  facts->truncated[1] = b.truncated[1];
  facts->truncated[2] = b.truncated[2];
  return push_result(L, &outcome);
}

void mp_blocking_open(lua_State *L) {
  lua_pushcfunction(L, l_blocking_run);
  lua_setfield(L, -2, "blocking_run");
}
