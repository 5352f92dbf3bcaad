/* spawn_load.c - the load of bench/spawn: connections that ask for one thing without pause, and one more on which a
 * trivial route is asked at fixed moments.
 *
 *   spawn_load PORT SECONDS CONNECTIONS STORM-PATH PROBE-PATH INTERVAL_US
 *
 * Prints what JSON calls an object: answers of the storm, those that were not 200 with a body that begins with 0,
 * seconds, and the latencies of the probe in microseconds. A probe that is answered late delays the next one; each is
 * counted from the moment it was due, so that a stall is not counted once where it should be ten times. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 1024, ANSWER = 4096, MOST_PROBES = 1 << 20 };

struct connection {
  int fd;
  size_t len;
  char bytes[ANSWER + 1];
};

static struct connection storm[MOST_CONNECTIONS], probe;
static char storm_request[512], probe_request[512];
static double latencies[MOST_PROBES];
static size_t n_probes, n_answers, n_wrong;
static int port, epoll;

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void fail(const char *what) {
  fprintf(stderr, "spawn_load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void dial(struct connection *c, uint32_t index) {
  int on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->len = 0;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&at, sizeof at) < 0) fail("connect");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) fail("epoll_ctl");
}

static void ask(struct connection *c, const char *request) {
  size_t len = strlen(request);
  c->len = 0;
  if (send(c->fd, request, len, MSG_NOSIGNAL) != (ssize_t)len) fail("send");
}

/* The body once the answer is whole, else NULL. It has a length, or comes in chunks, as some peers send it. */
static const char *whole_body(struct connection *c) {
  const char *body = memmem(c->bytes, c->len, "\r\n\r\n", 4), *length;
  if (!body) return NULL;
  body += 4;
  length = strcasestr(c->bytes, "\r\ncontent-length:");
  if (length && length < body) return c->bytes + c->len - body >= atol(length + 17) ? body : NULL;
  if (!strstr(body, "0\r\n\r\n")) return NULL;
  body = strstr(body, "\r\n");
  return body ? body + 2 : NULL;
}

static const char *receive(struct connection *c) {
  ssize_t n = recv(c->fd, c->bytes + c->len, ANSWER - c->len, 0);
  if (n <= 0) fail("a connection was closed");
  c->len += (size_t)n;
  c->bytes[c->len] = '\0';
  return whole_body(c);
}

static void on_storm(struct connection *c) {
  const char *body = receive(c);
  if (!body) return;
  n_answers++;
  if (strncmp(c->bytes, "HTTP/1.1 200", 12) != 0 || body[0] != '0') n_wrong++;
  ask(c, storm_request);
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void report(double seconds) {
  size_t n = n_probes;
  qsort(latencies, n, sizeof *latencies, by_size);
  printf("{\"answers\": %zu, \"wrong\": %zu, \"seconds\": %.3f, \"probes\": %zu, \"p50\": %.0f, \"p99\": %.0f, "
         "\"max\": %.0f}\n",
         n_answers, n_wrong, seconds, n, n ? latencies[n / 2] : 0, n ? latencies[(size_t)((double)n * 0.99)] : 0,
         n ? latencies[n - 1] : 0);
}

static void run(double until, unsigned n_storm, double interval) {
  struct epoll_event events[64];
  double due = now_us() + interval;
  bool asked = false;
  for (double now; (now = now_us()) < until;) {
    if (interval > 0 && !asked && now >= due) {
      ask(&probe, probe_request);
      asked = true;
    }
    double sleep_us = interval > 0 && !asked ? due - now : until - now;
    struct timespec t = {(time_t)(sleep_us / 1e6), (long)(sleep_us - 1e6 * (double)(time_t)(sleep_us / 1e6)) * 1000};
    int n = epoll_pwait2(epoll, events, 64, &t, NULL);
    for (int i = 0; i < n; i++) {
      if (events[i].data.u32 < n_storm) {
        on_storm(&storm[events[i].data.u32]);
      } else if (receive(&probe)) {
        if (n_probes < MOST_PROBES) latencies[n_probes++] = now_us() - due;
        due += interval;
        asked = false;
      }
    }
  }
}

int main(int argc, char **argv) {
  static const char request[] = "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  if (argc != 7) return 2;
  unsigned n = (unsigned)atoi(argv[3]);
  if (n > MOST_CONNECTIONS) return 2;
  port = atoi(argv[1]);
  snprintf(storm_request, sizeof storm_request, request, argv[4]);
  snprintf(probe_request, sizeof probe_request, request, argv[5]);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  for (unsigned i = 0; i < n; i++) dial(&storm[i], i);
  dial(&probe, n);
  for (unsigned i = 0; i < n; i++) ask(&storm[i], storm_request);
  double begun = now_us();
  run(begun + atof(argv[2]) * 1e6, n, atof(argv[6]));
  report((now_us() - begun) / 1e6);
  return 0;
}
