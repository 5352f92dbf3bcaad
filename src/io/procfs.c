#include "io/procfs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIELDS_TO_RSS = 21 /* from the state, the third field, to the 24th (proc(5)) */ };

static ssize_t read_stat(pid_t pid, char *text, size_t size) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t n = read(fd, text, size - 1);
  if (n < 0) n = -errno;
  close(fd);
  if (n >= 0) text[n] = '\0';
  return n;
}

int mp_process_look(pid_t pid, struct mp_process_facts *facts) {
  char text[1024];
  ssize_t n = read_stat(pid, text, sizeof text);
  if (n < 0) return (int)n;
  const char *at = strrchr(text, ')'); /* the name may hold anything */
  if (!at || at[1] != ' ') return -EPROTO;
  at += 2;
  facts->state = *at;
  for (unsigned i = 0; at && i < FIELDS_TO_RSS; i++) at = (at = strchr(at, ' ')) ? at + 1 : NULL;
  if (!at || *at < '0' || *at > '9') return -EPROTO;
  facts->rss_bytes = strtoull(at, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
  return 0;
}
