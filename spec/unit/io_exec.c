#include "io_fixture.h"

#include "io/pidfd.h"
#include "io/signal.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

extern char **environ;

static struct mp_exec exec_of(char *const *argv) {
  return (struct mp_exec){
      .argv = argv, .envp = environ, .stdio = {-1, -1, -1}, .own_group = true, .dies_with_us = true};
}

#define SH(script) ((char *[]){"/bin/sh", "-c", (script), NULL})

static struct mp_status wait_for(struct mp_started *p) {
  struct mp_status status;
  assert_int_equal(mp_pidfd_wait(p, 20000, &status), 1);
  mp_pidfd_close(p);
  return status;
}

static struct mp_status run(const struct mp_exec *exec) {
  struct mp_started p;
  enum mp_exec_step step;
  assert_int_equal(mp_exec(exec, &p, &step), 0);
  return wait_for(&p);
}

static void assert_runs(const struct mp_exec *exec, int code) {
  struct mp_status status = run(exec);
  assert_int_equal(status.end, MP_END_EXIT);
  assert_int_equal(status.code, code);
}

/* What it writes to stdout, at most a pipe full. */
static const char *output_of(struct mp_exec exec, char *out, size_t size) {
  int ends[2];
  ssize_t n, len = 0;
  struct mp_started p;
  enum mp_exec_step step;
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  exec.stdio[1] = ends[1];
  assert_int_equal(mp_exec(&exec, &p, &step), 0);
  close(ends[1]);
  while ((n = read(ends[0], out + len, size - 1 - (size_t)len)) > 0) len += n;
  out[len] = '\0';
  close(ends[0]);
  wait_for(&p);
  return out;
}

static void assert_fails(const struct mp_exec *exec, int err, enum mp_exec_step at) {
  struct mp_started p;
  enum mp_exec_step step;
  int fds = open_fds();
  assert_int_equal(mp_exec(exec, &p, &step), err);
  assert_int_equal(step, at);
  assert_int_equal(p.pid, -1);
  assert_int_equal(p.pidfd, -1);
  assert_int_equal(open_fds(), fds);
  assert_no_child();
}

/* A folder with a script without a format, one that may not be run, and a file. */
static char folder[] = "/tmp/io_exec.XXXXXX";

static void make_file(const char *name, const char *text, mode_t mode) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), strlen(text));
  assert_int_equal(fchmod(fd, mode), 0);
  close(fd);
}

static int make_folder(void **state) {
  (void)state;
  if (!mkdtemp(folder)) return -1;
  make_file("formless", "echo hi\n", 0755);
  make_file("denied", "#!/bin/sh\n", 0644);
  make_file("good", "#!/bin/sh\nexit 12\n", 0755);
  make_file("orphan", "#!/no/such/interpreter\n", 0755);
  return 0;
}

static int remove_folder(void **state) {
  static const char *const names[] = {"formless", "denied", "good", "orphan"};
  char path[256];
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    unlink(path);
  }
  return rmdir(folder);
}

static void assert_path_fails(const char *name, int err) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  struct mp_exec exec = exec_of((char *[]){path, NULL});
  assert_fails(&exec, err, MP_EXEC_PROGRAM);
}

static void names_what_failed(void **state) {
  (void)state;
  struct mp_exec exec = exec_of((char *[]){"no-such-program", NULL});
  assert_fails(&exec, -ENOENT, MP_EXEC_PROGRAM);
  exec.argv = (char *[]){"", NULL};
  assert_fails(&exec, -ENOENT, MP_EXEC_PROGRAM);
  assert_path_fails("formless", -ENOEXEC);
  assert_path_fails("denied", -EACCES);
  assert_path_fails("orphan", -ENOENT);
  assert_path_fails("good/below", -ENOTDIR);
}

static void names_the_step(void **state) {
  (void)state;
  struct mp_exec exec = exec_of((char *[]){"true", NULL});
  exec.cwd = "/nope";
  assert_fails(&exec, -ENOENT, MP_EXEC_CHDIR);
  exec.cwd = NULL;
  exec.stdio[1] = 999;
  assert_fails(&exec, -EBADF, MP_EXEC_STDIO);
  exec.stdio[1] = -1;
  exec.keep = (int[]){998};
  exec.n_keep = 1;
  assert_fails(&exec, -EBADF, MP_EXEC_STDIO);
  exec.n_keep = 0;
  exec.rlimits = &(struct mp_exec_rlimit){12345, 1};
  exec.n_rlimits = 1;
  assert_fails(&exec, -EINVAL, MP_EXEC_LIMIT);
}

static void refuses_what_is_too_long(void **state) {
  enum { MANY = 64, LONG = 120000 };
  char *argv[MANY + 2] = {"true"}, *text = malloc(LONG);
  (void)state;
  memset(text, 'x', LONG - 1);
  text[LONG - 1] = '\0';
  for (int i = 1; i <= MANY; i++) argv[i] = text;
  struct mp_exec exec = exec_of(argv);
  assert_fails(&exec, -E2BIG, MP_EXEC_PROGRAM);
  free(text);
}

static void looks_along_the_childs_path(void **state) {
  char path[256];
  (void)state;
  struct mp_exec exec = exec_of((char *[]){"good", NULL});
  assert_fails(&exec, -ENOENT, MP_EXEC_PROGRAM);
  snprintf(path, sizeof path, "/nope:/etc/passwd:%s:/bin", folder);
  exec.path = path;
  assert_runs(&exec, 12);
  exec.argv = (char *[]){"denied", NULL};
  assert_fails(&exec, -EACCES, MP_EXEC_PROGRAM); /* remembered, though it is not in /bin */
  exec.argv = (char *[]){"formless", NULL};
  assert_fails(&exec, -ENOEXEC, MP_EXEC_PROGRAM);
  exec.path = "";
  exec.cwd = folder;
  exec.argv = (char *[]){"good", NULL};
  assert_runs(&exec, 12);
}

static void works_without_an_environment(void **state) {
  (void)state;
  char *path = strdup(getenv("PATH")), out[64];
  unsetenv("PATH");
  struct mp_exec exec = exec_of((char *[]){"env", NULL});
  exec.envp = (char *[]){NULL};
  assert_string_equal(output_of(exec, out, sizeof out), "");
  setenv("PATH", path, 1);
  free(path);
}

static void runs_a_program_under_another_name(void **state) {
  char out[64];
  (void)state;
  struct mp_exec exec = exec_of((char *[]){"other", "-c", "echo $0", NULL});
  exec.program = "/bin/sh";
  assert_string_equal(output_of(exec, out, sizeof out), "other\n");
}

static void ignore(int signo) {
  (void)signo;
}

static void gives_a_clean_mask_and_dispositions(void **state) {
  char out[4096];
  sigset_t all, before;
  struct sigaction caught = {.sa_handler = ignore};
  (void)state;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  signal(SIGHUP, SIG_IGN);
  signal(SIGRTMIN + 3, SIG_IGN);
  sigaction(SIGUSR1, &caught, NULL);
  struct mp_exec exec = exec_of((char *[]){"sed", "-n", "/^Sig[BIC]/p", "/proc/self/status", NULL});
  assert_string_equal(output_of(exec, out, sizeof out), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
                                                        "SigCgt:\t0000000000000000\n");
  sigset_t after;
  sigprocmask(SIG_SETMASK, &before, &after);
  assert_true(sigismember(&after, SIGUSR2)); /* ours is as it was */
  struct sigaction ours;
  sigaction(SIGUSR1, NULL, &ours);
  assert_ptr_equal(ours.sa_handler, ignore);
  signal(SIGHUP, SIG_DFL);
  signal(SIGRTMIN + 3, SIG_DFL);
  signal(SIGUSR1, SIG_DFL);
}

static void inherits_nothing_but_what_is_kept(void **state) {
  char out[4096];
  (void)state;
  int leaky = open("/dev/null", O_RDONLY), kept = open("/dev/zero", O_RDONLY | O_CLOEXEC), high;
  assert_int_equal(high = fcntl(leaky, F_DUPFD, 200), 200);
  struct mp_exec exec = exec_of(SH("cd /proc/$$/fd && for f in [0-9]*; do test $f -lt 3 || readlink $f; done"));
  exec.keep = &kept;
  exec.n_keep = 1;
  exec.program = "/bin/dash";
  assert_string_equal(output_of(exec, out, sizeof out), "/dev/zero\n");
  close(leaky);
  close(kept);
  close(high);
}

static void swaps_colliding_stdio(void **state) {
  char out[256];
  int saved[3];
  (void)state;
  fflush(NULL);
  for (int i = 0; i < 3; i++) saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
  int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  dup2(full, 0);
  dup2(zero, 2);
  struct mp_exec exec = exec_of(SH("readlink /proc/$$/fd/0 /proc/$$/fd/2"));
  exec.stdio[0] = 2;
  exec.stdio[2] = 0;
  output_of(exec, out, sizeof out);
  for (int i = 0; i < 3; i++) {
    dup2(saved[i], i);
    close(saved[i]);
  }
  close(zero);
  close(full);
  assert_string_equal(out, "/dev/zero\n/dev/full\n");
}

static void starts_with_our_stdio_closed(void **state) {
  int saved[3];
  (void)state;
  fflush(NULL);
  for (int i = 0; i < 3; i++) {
    saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
    close(i);
  }
  struct mp_exec exec = exec_of(SH("test -c /proc/self/fd/0 && echo x && echo y >&2 && exit 21"));
  struct mp_status status = run(&exec);
  mp_exec_pretend_old(1);
  struct mp_status forked = run(&exec);
  mp_exec_pretend_old(0);
  for (int i = 0; i < 3; i++) {
    dup2(saved[i], i);
    close(saved[i]);
  }
  assert_int_equal(status.code, 21);
  assert_int_equal(forked.code, 21);
}

static void has_a_group_or_a_session_of_its_own(void **state) {
  char out[256];
  int pid, group, session;
  (void)state;
  struct mp_exec exec = exec_of(SH("read p c s pp g sid rest </proc/self/stat; echo $$ $g $sid"));
  assert_int_equal(sscanf(output_of(exec, out, sizeof out), "%d %d %d", &pid, &group, &session), 3);
  assert_int_equal(group, pid);
  assert_int_equal(session, getsid(0));
  exec.session = true;
  assert_int_equal(sscanf(output_of(exec, out, sizeof out), "%d %d %d", &pid, &group, &session), 3);
  assert_int_equal(group, pid);
  assert_int_equal(session, pid);
}

static void sets_limits_nice_and_folder(void **state) {
  char out[256], expected[64];
  int ours = getpriority(PRIO_PROCESS, 0);
  (void)state;
  struct mp_exec exec = exec_of(SH("ulimit -n; ulimit -H -n; nice; pwd"));
  exec.rlimits = &(struct mp_exec_rlimit){RLIMIT_NOFILE, 77};
  exec.n_rlimits = 1;
  exec.set_nice = true;
  exec.nice = 3;
  exec.cwd = "/usr";
  snprintf(expected, sizeof expected, "77\n77\n%d\n/usr\n", ours + 3);
  assert_string_equal(output_of(exec, out, sizeof out), expected);
  assert_int_equal(getpriority(PRIO_PROCESS, 0), ours);
}

static void changes_the_user(void **state) {
  char out[256];
  (void)state;
  if (geteuid() != 0) skip();
  struct mp_exec exec = exec_of(SH("id -u; id -g; id -G"));
  exec.set_uid = exec.set_gid = true;
  exec.uid = 65534;
  exec.gid = 65533;
  int dumpable = prctl(PR_GET_DUMPABLE);
  assert_string_equal(output_of(exec, out, sizeof out), "65534\n65533\n65533\n");
  assert_int_equal(prctl(PR_GET_DUMPABLE), dumpable);
  assert_int_equal(geteuid(), 0);
}

static void refuses_another_user_without_the_right_to(void **state) {
  (void)state;
  if (geteuid() == 0 && seteuid(65534) < 0) skip();
  struct mp_exec exec = exec_of((char *[]){"true", NULL});
  exec.set_uid = true;
  exec.uid = geteuid(); /* no change needs no right */
  assert_runs(&exec, 0);
  exec.uid = 12345;
  assert_fails(&exec, -EPERM, MP_EXEC_USER);
  if (getuid() == 0) assert_int_equal(seteuid(0), 0);
}

/* The middle process dies by KILL while its child runs. */
static void a_child_dies_with_us(void **state) {
  int ends[2];
  pid_t pid = 0, middle;
  (void)state;
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  if ((middle = fork()) == 0) {
    struct mp_started p;
    enum mp_exec_step step;
    struct mp_exec exec = exec_of((char *[]){"sleep", "100", NULL});
    if (mp_exec(&exec, &p, &step) == 0 && write(ends[1], &p.pid, sizeof p.pid) > 0) raise(SIGKILL);
    _exit(1);
  }
  assert_int_equal(read(ends[0], &pid, sizeof pid), sizeof pid);
  waitpid(middle, NULL, 0);
  assert_true(is_gone(pid, 1000));
  close(ends[0]);
  close(ends[1]);
}

static void refuses_what_makes_no_sense(void **state) {
  (void)state;
  struct mp_exec exec = exec_of((char *[]){NULL});
  assert_fails(&exec, -EINVAL, MP_EXEC_START);
  exec = exec_of((char *[]){"true", NULL});
  exec.keep = (int[]){1};
  exec.n_keep = 1;
  assert_fails(&exec, -EINVAL, MP_EXEC_START);
}

static void waits_no_longer_than_asked(void **state) {
  struct mp_started p;
  enum mp_exec_step step;
  struct mp_status status;
  (void)state;
  struct mp_exec exec = exec_of((char *[]){"sleep", "100", NULL});
  assert_int_equal(mp_exec(&exec, &p, &step), 0);
  int64_t before = clock_ms();
  assert_int_equal(mp_pidfd_wait(&p, 50, &status), 0);
  assert_in_range(clock_ms() - before, 45, 1000);
  assert_int_equal(mp_pidfd_peek(&p), 0);
  assert_int_equal(mp_pidfd_reap(&p, &status), 0);
  assert_int_equal(mp_pidfd_signal_group(&p, SIGKILL), 0);
  assert_int_equal(mp_pidfd_wait(&p, 5000, &status), 1);
  assert_int_equal(status.end, MP_END_SIGNAL);
  assert_int_equal(status.signal, SIGKILL);
  assert_int_equal(mp_pidfd_signal(&p, SIGTERM), -ESRCH);
  assert_int_equal(mp_pidfd_signal_group(&p, SIGTERM), -ESRCH);
  mp_pidfd_close(&p);
}

static void peeks_without_reaping(void **state) {
  struct mp_started p;
  enum mp_exec_step step;
  struct mp_status status = {.end = MP_END_NONE};
  (void)state;
  struct mp_exec exec = exec_of(SH("exit 31"));
  assert_int_equal(mp_exec(&exec, &p, &step), 0);
  while (mp_pidfd_look(&p, &status) == 0) usleep(1000);
  assert_int_equal(status.code, 31);
  assert_int_equal(mp_pidfd_signal(&p, SIGTERM), -ESRCH); /* a zombie has ended */
  assert_int_equal(mp_pidfd_peek(&p), 1);
  status.end = MP_END_NONE;
  assert_int_equal(mp_pidfd_reap(&p, &status), 1);
  assert_int_equal(status.end, MP_END_EXIT);
  assert_int_equal(status.code, 31);
  assert_int_equal(mp_pidfd_peek(&p), -ECHILD);
  mp_pidfd_close(&p);
}

static void does_all_this_on_old_kernels_too(void **state) {
  for (unsigned bits = 1; bits <= 3; bits++) {
    mp_exec_pretend_old(bits);
    names_what_failed(state);
    names_the_step(state);
    refuses_what_is_too_long(state);
    looks_along_the_childs_path(state);
    gives_a_clean_mask_and_dispositions(state);
    inherits_nothing_but_what_is_kept(state);
    swaps_colliding_stdio(state);
    has_a_group_or_a_session_of_its_own(state);
    sets_limits_nice_and_folder(state);
    changes_the_user(state);
    a_child_dies_with_us(state);
    waits_no_longer_than_asked(state);
    peeks_without_reaping(state);
  }
  mp_exec_pretend_old(0);
}

static void keeps_errno_of_a_busy_program(void **state) {
  char path[256];
  (void)state;
  snprintf(path, sizeof path, "%s/good", folder);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  struct mp_exec exec = exec_of((char *[]){path, NULL});
  struct mp_started p;
  enum mp_exec_step step;
  int err = mp_exec(&exec, &p, &step);
  close(fd);
  if (err == 0) {
    wait_for(&p);
    skip(); /* Linux 6.11 let it run */
  }
  assert_int_equal(err, -ETXTBSY);
}

static void two_thousand_failures_leave_nothing(void **state) {
  (void)state;
  int fds = open_fds();
  struct mp_started p;
  enum mp_exec_step step;
  struct mp_exec exec = exec_of((char *[]){"no-such-program", NULL});
  for (int i = 0; i < 2000; i++) assert_int_equal(mp_exec(&exec, &p, &step), -ENOENT);
  assert_int_equal(open_fds(), fds);
  assert_no_child();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_what_failed),
      cmocka_unit_test(names_the_step),
      cmocka_unit_test(refuses_what_is_too_long),
      cmocka_unit_test(looks_along_the_childs_path),
      cmocka_unit_test(works_without_an_environment),
      cmocka_unit_test(runs_a_program_under_another_name),
      cmocka_unit_test(gives_a_clean_mask_and_dispositions),
      cmocka_unit_test(inherits_nothing_but_what_is_kept),
      cmocka_unit_test(swaps_colliding_stdio),
      cmocka_unit_test(starts_with_our_stdio_closed),
      cmocka_unit_test(has_a_group_or_a_session_of_its_own),
      cmocka_unit_test(sets_limits_nice_and_folder),
      cmocka_unit_test(changes_the_user),
      cmocka_unit_test(refuses_another_user_without_the_right_to),
      cmocka_unit_test(a_child_dies_with_us),
      cmocka_unit_test(refuses_what_makes_no_sense),
      cmocka_unit_test(waits_no_longer_than_asked),
      cmocka_unit_test(peeks_without_reaping),
      cmocka_unit_test(does_all_this_on_old_kernels_too),
      cmocka_unit_test(keeps_errno_of_a_busy_program),
      cmocka_unit_test(two_thousand_failures_leave_nothing),
  };
  mp_signal_begin();
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
