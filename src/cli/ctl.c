#include "cli/ctl.h"
#include "base/err.h"
#include "cli/verbs.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_S = 10, RELOAD_S = 600, LARGEST = 64 * 1024 * 1024, FOUND_MOST = 32 };

static const char *const questions[] = {"status", "workers", "requests", "tasks", "processes",
                                        "reload", "scale",   "stop",     "dump"};

struct ctl {
  const char *path; /* borrowed: of the socket; from the words, the environment, or `found` */
  char *found;      /* owned; NULL: none was looked for */
  const char *what;
  int patience_s; /* for the answer */
  char line[64];  /* what is asked */
  bool json;
};

/* ---- which server ---- */

/* A connected descriptor, or -errno. */
static int connect_to(const char *path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  size_t len = strlen(path);
  if (len >= sizeof at.sun_path) return -ENAMETOOLONG;
  memcpy(at.sun_path, path, len + 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct timeval patience = {.tv_sec = ANSWER_S}; /* a backlog that is full holds connect up */
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(fd, (const struct sockaddr *)&at, sizeof at) == 0) return fd;
  int err = -errno;
  close(fd);
  return err;
}

struct found {
  char *path[FOUND_MOST]; /* owned */
  unsigned n;
  bool denied; /* there is one that we may not speak to */
};

/* A file that nobody listens on any more is none. */
static void try_socket(struct found *found, const char *folder, const char *name) {
  size_t len = strlen(name);
  char *path = NULL;
  if (len < 6 || strcmp(name + len - 5, ".sock") != 0 || found->n == FOUND_MOST) return;
  if (asprintf(&path, "%s/%s", folder, name) < 0) return;
  int fd = connect_to(path);
  if (fd >= 0) {
    close(fd);
    found->path[found->n++] = path;
    return;
  }
  found->denied |= fd == -EACCES;
  free(path);
}

static void look_in(struct found *found, const char *parent) {
  char folder[400];
  const struct dirent *entry;
  snprintf(folder, sizeof folder, "%s/moonpool", parent);
  DIR *dir = opendir(folder);
  if (!dir) {
    found->denied |= errno == EACCES;
    return;
  }
  while ((entry = readdir(dir))) try_socket(found, folder, entry->d_name);
  closedir(dir);
}

static int no_server(const struct found *found) {
  fputs(found->denied ? "moonpool: no server that we may speak to (its control socket is another user's)\n"
                      : "moonpool: no server is running here (none has a control socket; -s PATH names one)\n",
        stderr);
  return MP_EXIT_INTERNAL;
}

static int which_server(const struct found *found) {
  fputs("moonpool: which server? say -s PATH:\n", stderr);
  for (unsigned i = 0; i < found->n; i++) fprintf(stderr, "  %s\n", found->path[i]);
  return MP_EXIT_USAGE;
}

/* The only one of this user, else the only one of the machine. 0, or what to exit with. */
static int find_server(struct ctl *ctl) {
  const char *runtime = getenv("XDG_RUNTIME_DIR"), *named = getenv("MOONPOOL_CONTROL_SOCKET");
  struct found found = {.n = 0};
  if (!ctl->path && named && *named && strcmp(named, "auto") != 0) ctl->path = named;
  if (ctl->path) return 0;
  if (runtime && *runtime == '/') look_in(&found, runtime);
  if (found.n == 0) look_in(&found, "/run");
  int code = found.n == 0 ? no_server(&found) : found.n > 1 ? which_server(&found) : 0;
  if (code == 0) ctl->path = ctl->found = found.path[--found.n];
  while (found.n > 0) free(found.path[--found.n]);
  return code;
}

/* ---- asking ---- */

static int send_all(int fd, const char *text) {
  size_t len = strlen(text);
  while (len > 0) {
    ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    text += n;
    len -= (size_t)n;
  }
  return 0;
}

/* To the end of the connection; the answer is whole when it ends with a newline. */
static int read_answer(int fd, int patience_s, struct mp_buf *out) {
  for (;;) {
    struct pollfd at = {.fd = fd, .events = POLLIN};
    int ready = poll(&at, 1, patience_s * 1000);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return -ETIMEDOUT;
    char *room = mp_buf_len(out) < LARGEST ? mp_buf_room(out, 65536) : NULL;
    if (!room) return -ENOMEM;
    ssize_t n = read(fd, room, 65536);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) break;
    mp_buf_grew(out, (size_t)n);
  }
  size_t len = mp_buf_len(out);
  return len > 0 && mp_buf_at(out)[len - 1] == '\n' ? 0 : -ECONNRESET;
}

static int ask(const struct ctl *ctl, struct mp_buf *answer) {
  int fd = connect_to(ctl->path);
  if (fd < 0) return fd;
  int err = send_all(fd, ctl->line);
  if (err == 0) err = read_answer(fd, ctl->patience_s, answer);
  close(fd);
  return err;
}

static int show(const struct ctl *ctl, const struct mp_buf *answer) {
  struct mp_buf why = {0};
  if (mp_ctl_complaint(mp_buf_slice(answer), &why)) {
    fprintf(stderr, "moonpool: %.*s\n", (int)mp_buf_len(&why), mp_buf_at(&why));
    mp_buf_free(&why);
    return MP_EXIT_INTERNAL;
  }
  if (ctl->json) {
    fwrite(mp_buf_at(answer), 1, mp_buf_len(answer), stdout);
    return MP_EXIT_WELL;
  }
  if (mp_ctl_show(ctl->what, mp_buf_slice(answer)) == 0) return MP_EXIT_WELL;
  fputs("moonpool: the server's answer is not understood\n", stderr);
  return MP_EXIT_INTERNAL;
}

static int run(struct ctl *ctl) {
  struct mp_buf answer = {0};
  char text[128];
  int code = find_server(ctl);
  if (code != 0) return code;
  int err = ask(ctl, &answer);
  if (err < 0) fprintf(stderr, "moonpool: no answer from %s: %s\n", ctl->path, mp_err_text(err, text, sizeof text));
  code = err < 0 ? MP_EXIT_INTERNAL : show(ctl, &answer);
  mp_buf_free(&answer);
  return code;
}

/* ---- the words ---- */

static void help(void) {
  puts("usage: moonpool ctl [-s PATH] [-j] status|workers|requests|tasks|processes|dump\n"
       "       moonpool ctl [-s PATH] [-j] reload|scale N|stop\n\n"
       "  -s, --socket PATH   the server's control socket; without it the only one that runs here\n"
       "  -j, --json          the answer as it came, one line of JSON\n\n"
       "  status     the pool, and what it has counted       reload     new workers, and wait for them\n"
       "  workers    each worker and its load                scale N    so many workers\n"
       "  requests   those in flight, with their age         stop       gracefully\n"
       "  tasks, processes   what runs in each worker        dump       tasks with their tracebacks");
}

/* 0 to go on, or what to exit with; -1: well, and nothing to do. */
static int take_flag(struct ctl *ctl, int argc, char **argv, int *at) {
  const char *word = argv[*at];
  if (strcmp(word, "-j") == 0 || strcmp(word, "--json") == 0) {
    ctl->json = true;
    return 0;
  }
  if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
    help();
    return -1;
  }
  if (strcmp(word, "-s") != 0 && strcmp(word, "--socket") != 0) return mp_usage("ctl: unknown option %.80s", word);
  if (++*at >= argc) return mp_usage("ctl: %s: a path is wanted", word);
  ctl->path = argv[*at];
  return 0;
}

static int take_word(struct ctl *ctl, char **argv, int at) {
  for (unsigned i = 0; !ctl->what && i < sizeof questions / sizeof *questions; i++) {
    if (strcmp(argv[at], questions[i]) != 0) continue;
    ctl->what = questions[i];
    ctl->patience_s = strcmp(ctl->what, "reload") == 0 ? RELOAD_S : ANSWER_S;
    snprintf(ctl->line, sizeof ctl->line, "%s", ctl->what);
    return 0;
  }
  bool counted = ctl->what && strcmp(ctl->what, "scale") == 0 && strcmp(ctl->line, "scale") == 0;
  if (counted && strlen(argv[at]) < 20 && argv[at][strspn(argv[at], "0123456789")] == '\0') {
    snprintf(ctl->line, sizeof ctl->line, "scale %s", argv[at]);
    return 0;
  }
  return mp_usage("ctl: what is %.80s? status, workers, requests, tasks, processes, dump, reload, scale N or stop",
                  argv[at]);
}

static int read_words(struct ctl *ctl, int argc, char **argv) {
  for (int i = 0; i < argc; i++) {
    int code = argv[i][0] == '-' && argv[i][1] ? take_flag(ctl, argc, argv, &i) : take_word(ctl, argv, i);
    if (code != 0) return code;
  }
  if (!ctl->what)
    return mp_usage("ctl: what is wanted? status, workers, requests, tasks, processes, dump, reload, scale N or stop");
  if (strcmp(ctl->line, "scale") == 0) return mp_usage("ctl: scale: how many workers?");
  size_t len = strlen(ctl->line);
  snprintf(ctl->line + len, sizeof ctl->line - len, "\n");
  return 0;
}

int mp_verb_ctl(int argc, char **argv) {
  struct ctl ctl = {0};
  int code = read_words(&ctl, argc, argv);
  if (code == 0) code = run(&ctl);
  free(ctl.found);
  return code < 0 ? MP_EXIT_WELL : code;
}
