#include "io_fixture.h"

#include "io/child.h"
#include "io/signal.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/utsname.h>

/* One child, and what was told of it. */
struct run {
  struct mp_child child;
  struct mp_buf output[3]; /* of what was read, not collected */
  int ends[3], inputs, input_err, settles;
  bool settled, closed, input, eof;
  bool read_at_settle;
};

static void on_settled(struct mp_child *child) {
  struct run *run = child->ctx;
  run->settled = true;
  run->settles++;
}

static void on_output(struct mp_child *child, enum mp_child_pipe which, const char *bytes, size_t n) {
  struct run *run = child->ctx;
  if (n == 0) {
    run->ends[which]++;
    run->eof = true;
  }
  mp_buf_add(&run->output[which], bytes, n);
}

static void on_input(struct mp_child *child, int err) {
  struct run *run = child->ctx;
  run->inputs++;
  run->input_err = err;
  run->input = true;
}

static void on_closed(struct mp_child *child) {
  ((struct run *)child->ctx)->closed = true;
}

static const struct mp_child_ops ops = {on_settled, on_output, on_input, on_closed};

extern char **environ;

static struct mp_child_spec spec_of(char *const *argv) {
  struct mp_child_spec spec = {.grace_ms = 2000, .linger_ms = 500, .max_output = 16 << 20};
  spec.exec.argv = argv;
  spec.exec.envp = environ;
  spec.exec.stdio[0] = spec.exec.stdio[1] = spec.exec.stdio[2] = -1;
  spec.exec.own_group = spec.exec.dies_with_us = true;
  return spec;
}

static struct mp_child_spec collecting(char *const *argv) {
  struct mp_child_spec spec = spec_of(argv);
  spec.pipe[1] = spec.pipe[2] = spec.collect[1] = spec.collect[2] = true;
  return spec;
}

#define SH(script) ((char *[]){"/bin/sh", "-c", (script), NULL})

static void start(struct fixture *f, struct run *run, const struct mp_child_spec *spec) {
  enum mp_exec_step step;
  memset(run, 0, sizeof *run);
  run->child.ctx = run;
  assert_int_equal(mp_child_start(&run->child, &f->loop, spec, &ops, &step), 0);
  assert_false(run->settled);
}

static void settle(struct fixture *f, struct run *run) {
  assert_true(turn_until(&f->loop, &run->settled, 20000));
  assert_int_equal(run->settles, 1);
}

static void finish(struct fixture *f, struct run *run) {
  mp_child_close(&run->child);
  mp_child_close(&run->child);
  assert_false(run->closed); /* never from within a call */
  assert_true(turn_until(&f->loop, &run->closed, 20000));
  for (int i = 0; i < 3; i++) mp_buf_free(&run->output[i]);
}

static void run_whole(struct fixture *f, struct run *run, const struct mp_child_spec *spec) {
  start(f, run, spec);
  settle(f, run);
}

static const char *text_of(struct mp_buf *buf) {
  mp_buf_add(buf, "", 1);
  return mp_buf_at(buf);
}

static const char *collected(struct run *run, int which) {
  return text_of(&run->child.pipes[which]->collected);
}

static void assert_exit(const struct run *run, int code) {
  assert_int_equal(run->child.status.end, MP_END_EXIT);
  assert_int_equal(run->child.status.code, code);
}

static void assert_killed(const struct run *run, int signo) {
  assert_int_equal(run->child.status.end, MP_END_SIGNAL);
  assert_int_equal(run->child.status.signal, signo);
}

static void tells_every_exit_code(void **state) {
  char script[32];
  for (int code = 0; code < 256; code += code < 32 ? 1 : 13) {
    struct run run;
    snprintf(script, sizeof script, "exit %d", code);
    struct mp_child_spec spec = spec_of(SH(script));
    run_whole(*state, &run, &spec);
    assert_exit(&run, code);
    finish(*state, &run);
  }
  assert_no_child();
}

static void tells_every_signal(void **state) {
  char script[64];
  for (int signo = 1; signo < 32; signo++) {
    if (signo == SIGCHLD || signo == SIGCONT || signo == SIGURG || signo == SIGWINCH) continue; /* end nothing */
    if (signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU) continue; /* stop */
    struct run run;
    snprintf(script, sizeof script, "ulimit -c 0; kill -%d $$", signo);
    struct mp_child_spec spec = spec_of(SH(script));
    run_whole(*state, &run, &spec);
    assert_killed(&run, signo);
    assert_false(run.child.status.core);
    finish(*state, &run);
  }
}

static void collects_both_streams_exactly(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("printf 'a\\0b'; printf err >&2; exit 27"));
  run_whole(*state, &run, &spec);
  assert_exit(&run, 27);
  assert_int_equal(mp_buf_len(&run.child.pipes[1]->collected), 3);
  assert_memory_equal(mp_buf_at(&run.child.pipes[1]->collected), "a\0b", 3);
  assert_string_equal(collected(&run, 2), "err");
  assert_false(run.child.held);
  finish(*state, &run);
}

static void collects_megabytes(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2"));
  run_whole(*state, &run, &spec);
  assert_exit(&run, 0);
  assert_int_equal(mp_buf_len(&run.child.pipes[1]->collected), 3000000);
  assert_int_equal(mp_buf_len(&run.child.pipes[2]->collected), 2000000);
  finish(*state, &run);
}

static void merges_stderr_into_stdout(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("echo one; echo two >&2; echo three"));
  spec.pipe[2] = spec.collect[2] = false;
  spec.merge_stderr = true;
  run_whole(*state, &run, &spec);
  assert_string_equal(collected(&run, 1), "one\ntwo\nthree\n");
  finish(*state, &run);
}

static void keeps_the_first_bytes_and_the_status(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("printf 0123456789; head -c 500000 /dev/zero; exit 5"));
  spec.max_output = 10;
  run_whole(*state, &run, &spec);
  assert_exit(&run, 5);
  assert_true(run.child.pipes[1]->truncated);
  assert_false(run.child.pipes[2]->truncated);
  assert_string_equal(collected(&run, 1), "0123456789");
  finish(*state, &run);
}

static void kills_at_the_limit_when_asked_to(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("yes"));
  spec.max_output = 1000;
  spec.kill_on_limit = true;
  run_whole(*state, &run, &spec);
  assert_killed(&run, SIGKILL);
  assert_true(run.child.pipes[1]->truncated);
  assert_int_equal(mp_buf_len(&run.child.pipes[1]->collected), 1000);
  finish(*state, &run);
}

static void feeds_input_while_output_is_read(void **state) {
  struct run run;
  size_t n = 1 << 20;
  char *bytes = malloc(n);
  for (size_t i = 0; i < n; i++) bytes[i] = (char)(i * 7 + i / 251);
  struct mp_child_spec spec = collecting((char *[]){"cat", NULL});
  spec.pipe[0] = spec.has_input = true;
  spec.input = mp_slice(bytes, n);
  run_whole(*state, &run, &spec);
  assert_exit(&run, 0);
  assert_int_equal(mp_buf_len(&run.child.pipes[1]->collected), n);
  assert_memory_equal(mp_buf_at(&run.child.pipes[1]->collected), bytes, n);
  assert_int_equal(run.inputs, 0);
  finish(*state, &run);
  free(bytes);
}

static void shrugs_when_input_is_not_read(void **state) {
  struct run run;
  char *bytes = calloc(1, 1 << 20);
  struct mp_child_spec spec = collecting(SH("exec <&-; sleep 0.05; echo done; exit 4"));
  spec.pipe[0] = spec.has_input = true;
  spec.input = mp_slice(bytes, 1 << 20);
  run_whole(*state, &run, &spec);
  assert_exit(&run, 4);
  assert_string_equal(collected(&run, 1), "done\n");
  assert_int_equal(run.inputs, 0);
  finish(*state, &run);
  free(bytes);
}

static void gives_an_empty_input_an_end(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting((char *[]){"cat", NULL});
  spec.pipe[0] = spec.has_input = true;
  run_whole(*state, &run, &spec);
  assert_exit(&run, 0);
  finish(*state, &run);
}

static void writes_and_closes_stdin(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting((char *[]){"cat", NULL});
  spec.pipe[0] = true;
  start(*state, &run, &spec);
  for (int i = 0; i < 3; i++) {
    run.input = false;
    assert_int_equal(mp_child_write(&run.child, MP_SLICE("line\n")), 0);
    assert_false(run.input);
    assert_true(turn_until(&((struct fixture *)*state)->loop, &run.input, 5000));
    assert_int_equal(run.input_err, 0);
  }
  mp_child_close_stdin(&run.child);
  assert_int_equal(mp_child_write(&run.child, MP_SLICE("x")), -EPIPE);
  settle(*state, &run);
  assert_string_equal(collected(&run, 1), "line\nline\nline\n");
  assert_int_equal(run.inputs, 3);
  finish(*state, &run);
}

static void says_epipe_to_a_writer(void **state) {
  struct run run;
  char *bytes = calloc(1, 200000);
  struct mp_child_spec spec = spec_of(SH("exec <&-; sleep 0.1"));
  spec.pipe[0] = true;
  start(*state, &run, &spec);
  assert_int_equal(mp_child_write(&run.child, mp_slice(bytes, 200000)), 0);
  assert_true(turn_until(&((struct fixture *)*state)->loop, &run.input, 5000));
  assert_int_equal(run.input_err, -EPIPE);
  assert_int_equal(mp_child_write(&run.child, MP_SLICE("x")), -EPIPE);
  settle(*state, &run);
  assert_exit(&run, 0);
  finish(*state, &run);
  free(bytes);
}

static void holds_back_a_child_that_nobody_reads(void **state) {
  struct fixture *f = *state;
  struct run run;
  struct mp_child_spec spec = spec_of(SH("head -c 1000000 /dev/zero"));
  spec.pipe[1] = true;
  start(f, &run, &spec);
  turn_for(&f->loop, 150);
  assert_false(run.settled);
  assert_int_equal(run.child.state, 0);
  mp_child_drain(&run.child);
  settle(f, &run);
  assert_exit(&run, 0);
  assert_int_equal(run.child.discarded, 1000000);
  finish(f, &run);
}

static void leaves_what_somebody_reads_alone_when_draining(void **state) {
  struct fixture *f = *state;
  struct run run;
  struct mp_child_spec spec = spec_of(SH("echo mine; exit 3"));
  spec.pipe[1] = true;
  start(f, &run, &spec);
  assert_int_equal(mp_child_read(&run.child, MP_CHILD_STDOUT), 0);
  mp_child_read_stop(&run.child, MP_CHILD_STDOUT);
  mp_child_drain(&run.child);
  settle(f, &run);
  assert_exit(&run, 3);
  assert_int_equal(run.child.discarded, 0);
  assert_int_equal(mp_child_read(&run.child, MP_CHILD_STDOUT), 0); /* after the end, what was written is there */
  assert_true(turn_until(&f->loop, &run.eof, 5000));
  assert_string_equal(text_of(&run.output[1]), "mine\n");
  run.eof = false;
  assert_int_equal(mp_child_read(&run.child, MP_CHILD_STDOUT), 0); /* and the end is told again */
  assert_true(turn_until(&f->loop, &run.eof, 5000));
  assert_int_equal(run.ends[1], 2);
  finish(f, &run);
}

static void reads_on_demand(void **state) {
  struct fixture *f = *state;
  struct run run;
  struct mp_child_spec spec = spec_of(SH("head -c 300000 /dev/zero"));
  spec.pipe[1] = true;
  start(f, &run, &spec);
  while (!run.eof) {
    size_t before = mp_buf_len(&run.output[1]);
    assert_int_equal(mp_child_read(&run.child, MP_CHILD_STDOUT), 0);
    while (!run.eof && mp_buf_len(&run.output[1]) == before) uv_run(&f->loop.uv, UV_RUN_ONCE);
    mp_child_read_stop(&run.child, MP_CHILD_STDOUT);
    turn_for(&f->loop, 5);
  }
  assert_int_equal(mp_buf_len(&run.output[1]), 300000);
  settle(f, &run);
  assert_false(run.child.held);
  finish(f, &run);
}

static pid_t pid_in(struct mp_buf *buf) {
  pid_t pid = atoi(text_of(buf));
  assert_true(pid > 1);
  return pid;
}

static void does_not_wait_for_a_grandchild_on_the_pipe(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("sleep 100 & echo $!; exit 7"));
  int64_t before = clock_ms();
  spec.linger_ms = 200;
  run_whole(*state, &run, &spec);
  assert_exit(&run, 7);
  assert_true(run.child.held);
  assert_in_range(clock_ms() - before, 190, 1500);
  assert_true(is_gone(pid_in(&run.child.pipes[1]->collected), 1000)); /* what is left of the group is ended */
  finish(*state, &run);
}

static void does_not_wait_for_one_that_left_by_setsid(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("setsid sh -c 'echo $$; exec sleep 100' & sleep 0.1; exit 8"));
  spec.linger_ms = 100;
  run_whole(*state, &run, &spec);
  assert_exit(&run, 8);
  assert_true(run.child.held);
  pid_t pid = pid_in(&run.child.pipes[1]->collected);
  assert_int_equal(kill(pid, 0), 0);
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_true(is_gone(pid, 1000));
  finish(*state, &run);
}

static void cuts_a_held_pipe_after_what_is_in_it(void **state) {
  struct fixture *f = *state;
  struct run run;
  struct mp_child_spec spec = spec_of(SH("sleep 100 & printf $!; exit 9"));
  spec.pipe[1] = true;
  spec.linger_ms = 100;
  run_whole(f, &run, &spec);
  assert_exit(&run, 9);
  assert_true(run.child.held);
  assert_int_equal(mp_child_read(&run.child, MP_CHILD_STDOUT), 0);
  assert_true(turn_until(&f->loop, &run.eof, 5000));
  assert_true(is_gone(pid_in(&run.output[1]), 1000));
  finish(f, &run);
}

static void ends_the_leftovers_of_the_group_at_once_when_no_pipe_is_held(void **state) {
  struct run run;
  int report[2];
  char digits[32] = "";
  assert_int_equal(pipe2(report, O_CLOEXEC), 0);
  struct mp_child_spec spec = spec_of(SH("sleep 100 >/dev/null & echo $!; exit 0"));
  spec.exec.stdio[1] = report[1];
  run_whole(*state, &run, &spec);
  assert_true(read(report[0], digits, sizeof digits - 1) > 0);
  assert_true(is_gone(atoi(digits), 1000));
  assert_false(run.child.held);
  finish(*state, &run);
  close(report[0]);
  close(report[1]);
}

static void leaves_the_group_when_asked_to(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("sleep 100 >/dev/null 2>&1 & echo $!"));
  spec.leave = true;
  run_whole(*state, &run, &spec);
  pid_t pid = pid_in(&run.child.pipes[1]->collected);
  finish(*state, &run);
  assert_int_equal(kill(pid, 0), 0);
  kill(pid, SIGKILL);
  assert_true(is_gone(pid, 1000));
}

static void ends_at_the_timeout(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("echo partial; sleep 100"));
  spec.timeout_ms = 1000; /* a shell says its first word within it, also where each start is a slow fork */
  run_whole(*state, &run, &spec);
  assert_killed(&run, SIGTERM);
  assert_true(run.child.timed_out);
  assert_string_equal(collected(&run, 1), "partial\n");
  finish(*state, &run);
}

static void tells_the_code_of_one_that_used_its_grace_well(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("trap 'exit 42' TERM; while :; do sleep 0.02; done"));
  spec.timeout_ms = 100;
  run_whole(*state, &run, &spec);
  assert_exit(&run, 42);
  assert_true(run.child.timed_out);
  finish(*state, &run);
}

static void kills_after_the_grace(void **state) {
  struct run run;
  struct mp_child_spec spec = spec_of(SH("trap '' TERM; while :; do sleep 0.02; done"));
  spec.timeout_ms = 60;
  spec.grace_ms = 100;
  int64_t before = clock_ms();
  run_whole(*state, &run, &spec);
  assert_killed(&run, SIGKILL);
  assert_in_range(clock_ms() - before, 155, 2000);
  finish(*state, &run);
}

static void ends_a_stopped_child(void **state) {
  struct run run;
  struct mp_child_spec spec = spec_of(SH("kill -STOP $$; sleep 100"));
  spec.timeout_ms = 100;
  run_whole(*state, &run, &spec);
  assert_killed(&run, SIGTERM);
  finish(*state, &run);
}

static void stops_the_whole_group(void **state) {
  struct fixture *f = *state;
  struct run run;
  struct mp_child_spec spec = spec_of(SH("sleep 100 & echo $!; wait"));
  spec.pipe[1] = true;
  start(f, &run, &spec);
  mp_child_read(&run.child, MP_CHILD_STDOUT);
  while (mp_buf_len(&run.output[1]) == 0) uv_run(&f->loop.uv, UV_RUN_ONCE);
  mp_child_stop(&run.child, 1000);
  mp_child_stop(&run.child, 1000);
  settle(f, &run);
  assert_killed(&run, SIGTERM);
  assert_false(run.child.timed_out);
  assert_true(is_gone(pid_in(&run.output[1]), 1000));
  assert_int_equal(mp_child_signal(&run.child, SIGTERM, false), -ESRCH);
  assert_int_equal(mp_child_signal(&run.child, SIGTERM, true), -ESRCH);
  finish(f, &run);
}

static void passes_a_signal(void **state) {
  struct run run;
  struct mp_child_spec spec = spec_of(SH("sleep 100"));
  start(*state, &run, &spec);
  assert_int_equal(mp_child_signal(&run.child, SIGUSR1, false), 0);
  assert_int_equal(mp_child_signal(&run.child, 4711, false), -EINVAL);
  settle(*state, &run);
  assert_killed(&run, SIGUSR1);
  finish(*state, &run);
}

static void closing_a_running_child_ends_it(void **state) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("trap '' TERM; sleep 100"));
  spec.pipe[0] = true;
  start(*state, &run, &spec);
  finish(*state, &run);
  assert_false(run.settled);
  assert_no_child();
}

static void says_why_it_could_not_start(void **state) {
  struct fixture *f = *state;
  struct run run;
  enum mp_exec_step step;
  struct mp_child_spec spec = collecting((char *[]){"no-such-program", NULL});
  spec.pipe[0] = spec.has_input = true;
  spec.input = MP_SLICE("unread");
  for (int i = 0; i < 50; i++) {
    assert_int_equal(mp_child_start(&run.child, &f->loop, &spec, &ops, &step), -ENOENT);
    assert_int_equal(step, MP_EXEC_PROGRAM);
    uv_run(&f->loop.uv, UV_RUN_NOWAIT);
  }
  turn_for(&f->loop, 5);
  assert_no_child();
}

/* libuv opens a reserve descriptor with a loop's first stream. */
static void warm_up(struct fixture *f) {
  struct run run;
  struct mp_child_spec spec = collecting(SH("exit 0"));
  run_whole(f, &run, &spec);
  finish(f, &run);
}

static void holds_nothing_when_descriptors_run_out(void **state) {
  struct fixture *f = *state;
  struct run run;
  struct rlimit before, low;
  enum mp_exec_step step;
  struct mp_child_spec spec = collecting(SH("exit 6"));
  spec.pipe[0] = true;
  warm_up(f);
  getrlimit(RLIMIT_NOFILE, &before);
  int fds = open_fds(), top = dup(0), refused = 0;
  close(top);
  for (int more = 0; more < 12; more++) {
    low = (struct rlimit){(rlim_t)(top + more), before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &low);
    int err = mp_child_start(&run.child, &f->loop, &spec, &ops, &step);
    setrlimit(RLIMIT_NOFILE, &before);
    if (err == 0) {
      memset(run.ends, 0, sizeof run.ends);
      run.child.ctx = &run;
      run.closed = false;
      mp_child_close(&run.child);
      assert_true(turn_until(&f->loop, &run.closed, 5000));
    } else {
      assert_int_equal(err, -EMFILE);
      refused++;
    }
    turn_for(&f->loop, 5);
    assert_int_equal(open_fds(), fds);
  }
  assert_in_range(refused, 4, 11);
  assert_no_child();
}

static atomic_bool stealing;

static void *steal(void *arg) {
  (void)arg;
  while (stealing)
    if (waitpid(-1, NULL, 0) < 0) usleep(200);
  return NULL;
}

/* The true status, or none: never one made up. */
static int count_true(struct fixture *f, int runs, const char *what) {
  int known = 0;
  for (int i = 0; i < runs; i++) {
    struct run run;
    struct mp_child_spec spec = collecting(SH("exit 27"));
    run_whole(f, &run, &spec);
    if (run.child.status.end != MP_END_LOST) {
      assert_exit(&run, 27);
      known++;
    }
    finish(f, &run);
  }
  print_message("%s: %d of %d known, the others lost\n", what, known, runs);
  return known;
}

static int with_a_thief(struct fixture *f, int runs) {
  pthread_t thief;
  stealing = true;
  pthread_create(&thief, NULL, steal, NULL);
  int known = count_true(f, runs, "stolen by a thread");
  stealing = false;
  pthread_join(thief, NULL);
  return known;
}

static int with_sigchld_ignored(struct fixture *f, int runs) {
  struct run run;
  enum mp_exec_step step;
  struct mp_child_spec spec = collecting((char *[]){"/nope", NULL});
  signal(SIGCHLD, SIG_IGN);
  int known = count_true(f, runs, "sigchld ignored");
  assert_int_equal(mp_child_start(&run.child, &f->loop, &spec, &ops, &step), -ENOENT);
  signal(SIGCHLD, SIG_DFL);
  turn_for(&f->loop, 5);
  return known;
}

/* Linux 6.15 and later know every status, whoever reaped. */
static bool kernel_keeps_statuses(void) {
  int major = 0, minor = 0;
  struct utsname name;
  uname(&name);
  sscanf(name.release, "%d.%d", &major, &minor);
  return major > 6 || (major == 6 && minor >= 15);
}

static void tells_the_truth_when_a_thread_steals_every_status(void **state) {
  int known = with_a_thief(*state, 200);
  if (kernel_keeps_statuses()) assert_int_equal(known, 200);
}

static void tells_the_truth_when_sigchld_is_ignored(void **state) {
  int known = with_sigchld_ignored(*state, 50);
  if (kernel_keeps_statuses()) assert_int_equal(known, 50);
}

static void works_on_old_kernels(void **state) {
  for (unsigned bits = 1; bits <= 3; bits++) {
    mp_exec_pretend_old(bits);
    collects_both_streams_exactly(state);
    feeds_input_while_output_is_read(state);
    does_not_wait_for_a_grandchild_on_the_pipe(state);
    ends_at_the_timeout(state);
    kills_after_the_grace(state);
    stops_the_whole_group(state);
    closing_a_running_child_ends_it(state);
    says_why_it_could_not_start(state);
    with_sigchld_ignored(*state, 10);
    with_a_thief(*state, 20);
  }
  mp_exec_pretend_old(0);
}

static void two_thousand_leave_nothing_behind(void **state) {
  struct fixture *f = *state;
  warm_up(f);
  int fds = open_fds();
  for (int i = 0; i < 2000; i++) {
    struct run run;
    struct mp_child_spec spec = collecting((char *[]){"/bin/true", NULL});
    if (i % 3 == 1) spec = spec_of(spec.exec.argv);
    start(f, &run, &spec);
    if (i % 3 != 2) settle(f, &run);
    finish(f, &run);
  }
  assert_int_equal(open_fds(), fds);
  assert_no_child();
}

static void many_at_once_are_all_right(void **state) {
  enum { MANY = 64 };
  struct fixture *f = *state;
  struct run *runs = calloc(MANY, sizeof *runs);
  char script[64];
  for (int i = 0; i < MANY; i++) {
    snprintf(script, sizeof script, "echo %d; exit %d", i, i);
    struct mp_child_spec spec = collecting(SH(script));
    start(f, &runs[i], &spec);
  }
  for (int i = 0; i < MANY; i++) {
    settle(f, &runs[i]);
    assert_exit(&runs[i], i);
    assert_int_equal(atoi(collected(&runs[i], 1)), i);
    finish(f, &runs[i]);
  }
  free(runs);
  assert_no_child();
}

#ifdef __SANITIZE_THREAD__
/* The fallback forks while a thread of the spec runs. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
  return "die_after_fork=0";
}
#endif

static void a_child_that_is_let_go_runs_on(void **state) {
  struct fixture *f = *state;
  struct run run = {.child.ctx = &run};
  enum mp_exec_step step;
  struct mp_child_spec spec = spec_of((char *[]){"/bin/sh", "-c", "echo said >&2; exec sleep 100", NULL});
  spec.pipe[2] = true;
  spec.timeout_ms = 200;
  assert_int_equal(mp_child_start(&run.child, &f->loop, &spec, &ops, &step), 0);
  pid_t pid = run.child.proc.pid;
  mp_child_read(&run.child, MP_CHILD_STDERR);
  while (mp_buf_len(&run.output[2]) == 0) turn_for(&f->loop, 5);
  mp_child_let_go(&run.child);
  mp_child_let_go(&run.child);
  assert_true(turn_until(&f->loop, &run.closed, 5000));
  assert_false(run.settled);
  turn_for(&f->loop, 400);
  assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
  kill(pid, SIGKILL);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  mp_buf_free(&run.output[2]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LOOP_TEST(tells_every_exit_code),
      LOOP_TEST(tells_every_signal),
      LOOP_TEST(collects_both_streams_exactly),
      LOOP_TEST(collects_megabytes),
      LOOP_TEST(merges_stderr_into_stdout),
      LOOP_TEST(keeps_the_first_bytes_and_the_status),
      LOOP_TEST(kills_at_the_limit_when_asked_to),
      LOOP_TEST(feeds_input_while_output_is_read),
      LOOP_TEST(shrugs_when_input_is_not_read),
      LOOP_TEST(gives_an_empty_input_an_end),
      LOOP_TEST(writes_and_closes_stdin),
      LOOP_TEST(says_epipe_to_a_writer),
      LOOP_TEST(holds_back_a_child_that_nobody_reads),
      LOOP_TEST(leaves_what_somebody_reads_alone_when_draining),
      LOOP_TEST(reads_on_demand),
      LOOP_TEST(does_not_wait_for_a_grandchild_on_the_pipe),
      LOOP_TEST(does_not_wait_for_one_that_left_by_setsid),
      LOOP_TEST(cuts_a_held_pipe_after_what_is_in_it),
      LOOP_TEST(ends_the_leftovers_of_the_group_at_once_when_no_pipe_is_held),
      LOOP_TEST(leaves_the_group_when_asked_to),
      LOOP_TEST(ends_at_the_timeout),
      LOOP_TEST(tells_the_code_of_one_that_used_its_grace_well),
      LOOP_TEST(kills_after_the_grace),
      LOOP_TEST(ends_a_stopped_child),
      LOOP_TEST(stops_the_whole_group),
      LOOP_TEST(passes_a_signal),
      LOOP_TEST(closing_a_running_child_ends_it),
      LOOP_TEST(a_child_that_is_let_go_runs_on),
      LOOP_TEST(says_why_it_could_not_start),
      LOOP_TEST(holds_nothing_when_descriptors_run_out),
      LOOP_TEST(tells_the_truth_when_a_thread_steals_every_status),
      LOOP_TEST(tells_the_truth_when_sigchld_is_ignored),
      LOOP_TEST(works_on_old_kernels),
      LOOP_TEST(two_thousand_leave_nothing_behind),
      LOOP_TEST(many_at_once_are_all_right),
  };
  mp_signal_begin();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
