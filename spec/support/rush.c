/* rush KEEP ONCE PORT SECONDS PATH - clients that ask again and again, and count what fails.
 *
 * KEEP of them hold one connection each as long as the server lets them; ONCE make a new one for every request. A
 * request fails when its connection cannot be made or ends before the whole answer is there, when the answer is not a
 * 200, or takes longer than 10 s. Ends after SECONDS or at TERM, when what has begun is over. Says "began" when every
 * client has had an answer, and at the end "done N failed N" behind a line for each failure: its time (CLOCK_MONOTONIC,
 * milliseconds) and what it was. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CLIENTS = 10000, MOST_ANSWER = 65536, PATIENCE_MS = 10000, MOST_TOLD = 1000, PAUSE_MS = 10 };

struct client {
  bool keeps, answered;
  uint64_t since_ms; /* of the request under way */
  uint64_t again_ms; /* behind a failure: no hurry */
  size_t len;
  char *answer; /* owned: MOST_ANSWER + 1 */
};

struct rush {
  int port;
  unsigned n;
  const char *path;
  struct pollfd *fds;     /* owned: fd -1: no connection. events 0: a connection that waits for its next request */
  struct client *clients; /* owned */
  uint64_t done, failed;
  bool closing;
};

static volatile sig_atomic_t told_to_end;

static void on_term(int signo) {
  (void)signo;
  told_to_end = 1;
}

static uint64_t clock_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void hang_up(struct rush *r, unsigned i) {
  if (r->fds[i].fd >= 0) close(r->fds[i].fd);
  r->fds[i] = (struct pollfd){.fd = -1};
}

static void fails(struct rush *r, unsigned i, const char *what, int err) {
  if (r->failed++ < MOST_TOLD)
    printf("failure at_ms=%llu %s: %s, %s\n", (unsigned long long)clock_ms(), r->clients[i].keeps ? "keep" : "once",
           what, err ? strerror(err) : "-");
  r->clients[i].again_ms = clock_ms() + PAUSE_MS;
  hang_up(r, i);
}

static void dial(struct rush *r, unsigned i) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)r->port)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0) {
    perror("rush: socket");
    exit(1);
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  r->fds[i] = (struct pollfd){.fd = fd, .events = POLLOUT};
  r->clients[i].since_ms = clock_ms();
  if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0 && errno != EINPROGRESS) fails(r, i, "connect", errno);
}

static void ask(struct rush *r, unsigned i) {
  char text[512];
  struct client *c = &r->clients[i];
  int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: rush\r\n%s\r\n", r->path,
                   c->keeps ? "" : "Connection: close\r\n");
  c->len = 0;
  c->since_ms = clock_ms();
  r->fds[i].events = POLLIN;
  if (send(r->fds[i].fd, text, (size_t)n, MSG_NOSIGNAL) != n) fails(r, i, "send", errno);
}

static void begin(struct rush *r, unsigned i) {
  if (r->fds[i].fd < 0)
    dial(r, i);
  else
    ask(r, i);
}

/* The head's field, or NULL. */
static const char *field(const char *head, const char *name) {
  size_t len = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
    line += 2;
    if (strncasecmp(line, name, len) == 0 && line[len] == ':') return line + len + 1 + strspn(line + len + 1, " ");
  }
  return NULL;
}

static void has_answer(struct rush *r, unsigned i, const char *head) {
  struct client *c = &r->clients[i];
  const char *connection = field(head, "connection");
  if (strncmp(head, "HTTP/1.1 200 ", 13) != 0) {
    fails(r, i, "status", 0);
    return;
  }
  r->done++;
  c->answered = true;
  r->fds[i].events = 0;
  if (!c->keeps || (connection && strncasecmp(connection, "close", 5) == 0)) hang_up(r, i);
}

static void judge(struct rush *r, unsigned i) {
  struct client *c = &r->clients[i];
  c->answer[c->len] = '\0';
  char *end = strstr(c->answer, "\r\n\r\n");
  if (!end) return;
  const char *length = field(c->answer, "content-length");
  size_t whole = (size_t)(end + 4 - c->answer) + (length ? strtoul(length, NULL, 10) : 0);
  if (c->len < whole) return;
  end[2] = '\0';
  has_answer(r, i, c->answer);
}

static void hear(struct rush *r, unsigned i) {
  struct client *c = &r->clients[i];
  ssize_t n = recv(r->fds[i].fd, c->answer + c->len, MOST_ANSWER - c->len, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    fails(r, i, n < 0 ? "answer" : "end of file", n < 0 ? errno : 0);
    return;
  }
  c->len += (size_t)n;
  judge(r, i);
}

static void connected(struct rush *r, unsigned i) {
  int err = 0;
  socklen_t len = sizeof err;
  getsockopt(r->fds[i].fd, SOL_SOCKET, SO_ERROR, &err, &len);
  if (err)
    fails(r, i, "connect", err);
  else
    ask(r, i);
}

/* A kept connection that the server has closed while it waited for nothing is no failure. */
static void serve(struct rush *r, unsigned i) {
  struct pollfd *p = &r->fds[i];
  if (p->events & POLLOUT && p->revents)
    connected(r, i);
  else if (p->events & POLLIN && p->revents)
    hear(r, i);
  else if (!p->events && p->revents)
    hang_up(r, i);
}

static void look_after(struct rush *r, unsigned i, uint64_t now) {
  if (r->fds[i].fd >= 0 && r->fds[i].events && now > r->clients[i].since_ms + PATIENCE_MS)
    fails(r, i, "no answer in time", 0);
  bool waits = r->fds[i].fd < 0 || !r->fds[i].events;
  if (waits && !r->closing && now >= r->clients[i].again_ms) begin(r, i);
}

static bool all_answered(const struct rush *r) {
  for (unsigned i = 0; i < r->n; i++)
    if (!r->clients[i].answered) return false;
  return true;
}

static bool is_over(struct rush *r) {
  if (!r->closing) return false;
  for (unsigned i = 0; i < r->n; i++)
    if (r->fds[i].fd >= 0 && r->fds[i].events) return false;
  return true;
}

static void run(struct rush *r, uint64_t until_ms) {
  bool began = false;
  do {
    uint64_t now = clock_ms();
    r->closing = told_to_end || now >= until_ms;
    for (unsigned i = 0; i < r->n; i++) look_after(r, i, now);
    if (poll(r->fds, r->n, PAUSE_MS) > 0)
      for (unsigned i = 0; i < r->n; i++) serve(r, i);
    if (!began && all_answered(r)) began = printf("began\n") > 0;
  } while (!is_over(r));
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  int keep = atoi(argv[1]), once = atoi(argv[2]);
  struct rush r = {.n = (unsigned)keep + (unsigned)once, .port = atoi(argv[3]), .path = argv[5]};
  if (keep < 0 || once < 0 || r.n == 0 || r.n > MOST_CLIENTS) return 2;
  r.fds = calloc(r.n, sizeof *r.fds);
  r.clients = calloc(r.n, sizeof *r.clients);
  if (!r.fds || !r.clients) return 1;
  for (unsigned i = 0; i < r.n; i++) {
    r.fds[i].fd = -1;
    r.clients[i].keeps = i < (unsigned)keep;
    if (!(r.clients[i].answer = malloc(MOST_ANSWER + 1))) return 1;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGTERM, on_term);
  run(&r, clock_ms() + strtoull(argv[4], NULL, 10) * 1000);
  printf("done %llu failed %llu\n", (unsigned long long)r.done, (unsigned long long)r.failed);
  return 0;
}
