/* spawn_bare.c - what bench/spawn measures against: posix_spawn and waitpid of one program, over and over.
 *
 *   spawn_bare SECONDS PROGRAM     prints how many, the seconds, and the CPU time of it all in seconds, children's too
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(int who) {
  struct rusage u;
  getrusage(who, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  char *child[] = {argv[2], NULL};
  double begun = now(), until = begun + atof(argv[1]), t;
  long n = 0;
  while ((t = now()) < until) {
    pid_t pid;
    int status;
    if (posix_spawn(&pid, child[0], NULL, NULL, child, environ) || waitpid(pid, &status, 0) < 0 || status != 0) {
      perror("spawn_bare");
      return 1;
    }
    n++;
  }
  printf("%ld %.3f %.3f\n", n, t - begun, cpu(RUSAGE_SELF) + cpu(RUSAGE_CHILDREN));
  return 0;
}
