/* crowd KIND COUNT PORT SECONDS - many clients of one server at once, hardly one of them pleasant.
 *
 *   idle    one request, its answer, then nothing      silent  nothing at all
 *   head    a head that grows by a field now and then  body    half a body
 *   reader  asks for /flood and reads nothing          line    a field line without an end
 *   chunks  a chunk extension without an end           events  asks for /events and reads them
 *
 * Says "held N" on stdout once all have connected, "closed N first_ms last_ms" at the end: how many the server has
 * ended, and when. Ends when all have been ended, or after SECONDS. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum kind { IDLE, SILENT, HEAD, BODY, READER, LINE, CHUNKS, EVENTS, KINDS };

static const char *const names[KINDS] = {"idle", "silent", "head", "body", "reader", "line", "chunks", "events"};

/* What each says first, and what it says again and again. */
static const char *const first_words[KINDS] = {
    "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n",
    "",
    "GET /hello HTTP/1.1\r\nHost: h\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhalf",
    "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /hello HTTP/1.1\r\nHost: h\r\nA: ",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    "GET /events HTTP/1.1\r\nHost: h\r\n\r\n",
};

struct crowd {
  enum kind kind;
  int count, port, left, held;
  struct pollfd *client; /* owned */
  uint64_t first_ms, last_ms;
};

static uint64_t clock_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void must(bool ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

static void raise_limit(void) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

static void join(struct crowd *crowd, int index) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)crowd->port)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
  must(fd >= 0, "socket");
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (crowd->kind == READER) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  must(connect(fd, (struct sockaddr *)&at, sizeof at) == 0 || errno == EINPROGRESS, "connect");
  crowd->client[index] = (struct pollfd){.fd = fd, .events = POLLOUT};
  crowd->left++;
}

static void leave(struct crowd *crowd, struct pollfd *client) {
  close(client->fd);
  client->fd = -1;
  crowd->left--;
  crowd->last_ms = clock_ms();
  if (!crowd->first_ms) crowd->first_ms = crowd->last_ms;
}

/* A client that floods wants to write on; others hear the server out. A stalled reader looks for its end only. */
static short wish_of(enum kind kind) {
  if (kind == READER) return 0;
  return kind == LINE || kind == CHUNKS ? POLLIN | POLLOUT : POLLIN;
}

static void begin(struct crowd *crowd, struct pollfd *client) {
  const char *words = first_words[crowd->kind];
  client->events = wish_of(crowd->kind);
  crowd->held++;
  if (*words && send(client->fd, words, strlen(words), MSG_NOSIGNAL) < 0) leave(crowd, client);
}

static void flood(struct crowd *crowd, struct pollfd *client) {
  static char many[16384];
  memset(many, 'x', sizeof many);
  if (send(client->fd, many, sizeof many, MSG_NOSIGNAL) < 0 && errno != EAGAIN) leave(crowd, client);
}

static void serve(struct crowd *crowd, struct pollfd *client, bool *begun) {
  char bytes[4096];
  if (!*begun && client->revents & POLLOUT) {
    *begun = true;
    begin(crowd, client);
    return;
  }
  if (client->revents & POLLIN && *begun) {
    ssize_t n = recv(client->fd, bytes, sizeof bytes, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
      leave(crowd, client);
      return;
    }
  }
  if (client->revents & (POLLERR | POLLHUP))
    leave(crowd, client);
  else if (client->revents & POLLOUT)
    flood(crowd, client);
}

static void grow_heads(struct crowd *crowd) {
  for (int i = 0; i < crowd->count; i++)
    if (crowd->client[i].fd >= 0 && send(crowd->client[i].fd, "A: b\r\n", 6, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
      leave(crowd, &crowd->client[i]);
}

static void run(struct crowd *crowd, uint64_t until_ms) {
  bool *begun = calloc((size_t)crowd->count, sizeof *begun), said = false;
  uint64_t next_ms = clock_ms() + 200;
  must(begun != NULL, "memory");
  while (crowd->left > 0 && clock_ms() < until_ms) {
    if (poll(crowd->client, (nfds_t)crowd->count, 50) < 0) continue;
    for (int i = 0; i < crowd->count; i++)
      if (crowd->client[i].fd >= 0 && crowd->client[i].revents) serve(crowd, &crowd->client[i], &begun[i]);
    if (!said && crowd->held == crowd->count) said = printf("held %d\n", crowd->held) > 0;
    if (crowd->kind != HEAD || clock_ms() < next_ms) continue;
    grow_heads(crowd);
    next_ms = clock_ms() + 200;
  }
  free(begun);
}

int main(int argc, char **argv) {
  struct crowd crowd = {.kind = KINDS};
  if (argc != 5) return 2;
  for (int i = 0; i < KINDS; i++)
    if (strcmp(argv[1], names[i]) == 0) crowd.kind = (enum kind)i;
  crowd.count = atoi(argv[2]);
  crowd.port = atoi(argv[3]);
  if (crowd.kind == KINDS || crowd.count < 1) return 2;
  signal(SIGPIPE, SIG_IGN);
  setvbuf(stdout, NULL, _IOLBF, 0);
  raise_limit();
  must((crowd.client = calloc((size_t)crowd.count, sizeof *crowd.client)) != NULL, "memory");
  uint64_t began_ms = clock_ms();
  for (int i = 0; i < crowd.count; i++) {
    join(&crowd, i);
    if (i % 100 == 99) usleep(10000); /* the queue of the listener is not what is tested */
  }
  run(&crowd, began_ms + (uint64_t)(atof(argv[4]) * 1000));
  printf("closed %d %d %d\n", crowd.count - crowd.left, crowd.first_ms ? (int)(crowd.first_ms - began_ms) : 0,
         crowd.first_ms ? (int)(crowd.last_ms - began_ms) : 0);
  free(crowd.client);
  return 0;
}
