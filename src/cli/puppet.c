/* The role `puppet`: a child that a test put in another one's place. It is told line by line what to do:
 *
 *   out N, err N    the N bytes that follow go to stdout, to stderr
 *   read            the next bytes of stdin are sent back, as "input N"; N is 0 at its end
 *   sleep MS        (what is played while the parent's loop stands still)
 *   ignore SIGNO    from now on
 *   exit CODE, kill SIGNO
 *
 * When nobody tells it anything any more it ends. */
#include "base/buf.h"
#include "cli/verbs.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { UNTOLD = 125, PIECE = 65536 };

struct puppet {
  FILE *told; /* owned; bytes are sent back by its descriptor */
  int fd;     /* borrowed from it */
};

static bool write_all(int fd, const char *bytes, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, bytes, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes += n;
    len -= (size_t)n;
  }
  return true;
}

/* A reader that is gone is no reason to end: what is told goes on. */
static void pass(struct puppet *p, int fd, long len) {
  char piece[PIECE];
  while (len > 0) {
    size_t n = fread(piece, 1, len < PIECE ? (size_t)len : PIECE, p->told);
    if (n == 0) _exit(UNTOLD);
    write_all(fd, piece, n);
    len -= (long)n;
  }
}

static void send_input(struct puppet *p) {
  char piece[PIECE], line[32];
  ssize_t n;
  do n = read(STDIN_FILENO, piece, sizeof piece);
  while (n < 0 && errno == EINTR);
  if (n < 0) n = 0;
  int len = snprintf(line, sizeof line, "input %zd\n", n);
  if (!write_all(p->fd, line, (size_t)len) || !write_all(p->fd, piece, (size_t)n)) _exit(UNTOLD);
}

static void nap(long ms) {
  struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  while (nanosleep(&left, &left) < 0 && errno == EINTR) continue;
}

/* No core dump of ours for a crash that is played. */
static void die(int signo) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  signal(signo, SIG_DFL);
  kill(getpid(), signo);
  pause(); /* a signal that ends nobody */
}

static void obey(struct puppet *p, const char *word, long n) {
  if (strcmp(word, "out") == 0)
    pass(p, STDOUT_FILENO, n);
  else if (strcmp(word, "err") == 0)
    pass(p, STDERR_FILENO, n);
  else if (strcmp(word, "read") == 0)
    send_input(p);
  else if (strcmp(word, "sleep") == 0)
    nap(n);
  else if (strcmp(word, "ignore") == 0)
    signal((int)n, SIG_IGN);
  else if (strcmp(word, "kill") == 0)
    die((int)n);
  else
    _exit(strcmp(word, "exit") == 0 ? (int)n : UNTOLD);
}

int mp_role_puppet(int argc, char **argv) {
  struct puppet p = {.fd = argc == 1 ? (int)strtol(argv[0], NULL, 10) : -1};
  char line[64];
  p.told = p.fd > STDERR_FILENO ? fdopen(p.fd, "r") : NULL;
  if (!p.told) return mp_usage("puppet: a role of moonpool's own processes, for tests");
  signal(SIGPIPE, SIG_IGN);
  while (fgets(line, sizeof line, p.told)) {
    size_t len = strcspn(line, " \n");
    long n = line[len] == ' ' ? strtol(line + len, NULL, 10) : 0;
    line[len] = '\0';
    obey(&p, line, n);
  }
  _exit(UNTOLD);
}
