/* wrap.c - preloaded into a server by bench/instructions: its worker starts under callgrind, all else as it is.
 *
 * The server starts its worker by execve of /proc/self/exe. A valgrind that follows children (seen with 3.19) would
 * take that for valgrind itself, and count the master too; so that one execve becomes `valgrind ... BINARY worker ...`
 * here. Inside the worker, whatever else it starts from its own executable runs unobserved; a signal there has
 * callgrind write what was counted since the one before. */
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <valgrind/callgrind.h>

enum { MOST_ARGUMENTS = 256 };

static long (*real)(long, ...);
static char *binary, *option, *valgrind; /* borrowed from the environment */

static void on_signal(int signo) {
  (void)signo;
  CALLGRIND_DUMP_STATS;
}

/* SIGRTMIN + 9 is nobody's; the bench sends it by number. */
static void dump_on_signal(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  if (RUNNING_ON_VALGRIND) sigaction(SIGRTMIN + 9, &action, NULL);
}

__attribute__((constructor)) static void look_up(void) {
  *(void **)&real = dlsym(RTLD_NEXT, "syscall");
  binary = getenv("BENCH_BINARY");
  valgrind = getenv("BENCH_VALGRIND");
  option = getenv("BENCH_OUT");
  dump_on_signal();
}

/* Runs in the new process, which may share the memory of its parent: nothing but the stack is written. */
static long start_worker(char *const *argv, char *const *envp) {
  char *wrapped[MOST_ARGUMENTS] = {valgrind, "--tool=callgrind", "-q", option, binary};
  size_t n = 5;
  for (size_t i = 1; argv[i]; i++) {
    if (n == MOST_ARGUMENTS - 1) return real(SYS_exit_group, 126);
    wrapped[n++] = argv[i];
  }
  return real(SYS_execve, valgrind, wrapped, envp);
}

/* Lua seeds its hashes with it: with the same seed the same keys collide, and figures can be compared. */
time_t time(time_t *at) {
  struct timespec now = {.tv_sec = 1000000000};
  if (!RUNNING_ON_VALGRIND) clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

/* Six arguments are passed on whatever the call takes; those not given are what the registers happened to hold. */
long syscall(long number, ...) {
  long a[6];
  va_list args;
  va_start(args, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(args, long);
  va_end(args);
  if (number == SYS_execve && binary && strcmp((const char *)a[0], "/proc/self/exe") == 0) {
    char *const *argv = (char *const *)a[1];
    if (argv[0] && argv[1] && strcmp(argv[1], "worker") == 0) return start_worker(argv, (char *const *)a[2]);
    a[0] = (long)binary;
  }
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
