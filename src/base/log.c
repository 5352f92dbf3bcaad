#include "base/log.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FULL_MS = 50 /* how long a line waits for room */ };

static const char *const level_names[] = {"debug", "info", "warn", "error"};

bool mp_log_level_named(const char *name, enum mp_log_level *level) {
  for (unsigned i = 0; i < sizeof level_names / sizeof *level_names; i++)
    if (strcmp(name, level_names[i]) == 0) {
      *level = (enum mp_log_level)i;
      return true;
    }
  return false;
}

/* A line under way: on the stack as long as it is short. */
struct line {
  char *at; /* owned when not `small` */
  size_t len, cap;
  char small[1024];
};

static void line_open(struct line *l) {
  l->at = l->small;
  l->len = 0;
  l->cap = sizeof l->small;
}

static bool line_room(struct line *l, size_t n) {
  if (l->cap - l->len >= n) return true;
  size_t cap = l->cap * 2 + n;
  char *at = malloc(cap);
  if (!at) return false;
  memcpy(at, l->at, l->len);
  if (l->at != l->small) free(l->at);
  l->at = at;
  l->cap = cap;
  return true;
}

static void line_add(struct line *l, const char *bytes, size_t n) {
  if (!line_room(l, n)) return;
  memcpy(l->at + l->len, bytes, n);
  l->len += n;
}

static void line_adds(struct line *l, const char *s) {
  line_add(l, s, strlen(s));
}

/* Control bytes never reach the log as they are: a forged line would need a newline. */
static void line_add_escaped(struct line *l, struct mp_slice s, bool json) {
  static const char hex[] = "0123456789abcdef";
  for (size_t i = 0; i < s.len; i++) {
    unsigned char c = (unsigned char)s.at[i];
    if (json && (c == '"' || c == '\\')) {
      char pair[2] = {'\\', (char)c};
      line_add(l, pair, 2);
    } else if ((c < 0x20 && !(c == '\t' && !json)) || c == 0x7f || (json && c >= 0x80)) {
      char code[6] = {'\\', json ? 'u' : 'x', '0', '0', hex[c >> 4], hex[c & 15]};
      if (json)
        line_add(l, code, 6);
      else {
        char shorter[4] = {'\\', 'x', code[4], code[5]};
        line_add(l, shorter, 4);
      }
    } else {
      line_add(l, (const char *)&s.at[i], 1);
    }
  }
}

static void line_add_time(struct line *l) {
  struct timespec now;
  struct tm tm;
  char stamp[40];
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &tm);
  size_t n = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
  snprintf(stamp + n, sizeof stamp - n, ".%03ldZ", now.tv_nsec / 1000000);
  line_adds(l, stamp);
}

static void line_add_detail(struct line *l, struct mp_slice detail) {
  while (detail.len > 0) {
    const char *nl = memchr(detail.at, '\n', detail.len);
    size_t n = nl ? (size_t)(nl - detail.at) : detail.len;
    line_adds(l, "\n\t");
    line_add_escaped(l, mp_slice(detail.at, n), false);
    detail.at += nl ? n + 1 : n;
    detail.len -= nl ? n + 1 : n;
  }
}

/* An error is left to write(2). */
static bool has_room(struct mp_log *log) {
  struct pollfd to = {.fd = log->fd, .events = POLLOUT};
  log->stalled = poll(&to, 1, log->stalled ? 0 : FULL_MS) == 0;
  return !log->stalled;
}

/* What poll(2) promises of a pipe that has room is a write of PIPE_BUF bytes. */
static size_t most_at_once(const struct mp_log *log, size_t len) {
  struct stat st;
  return len > PIPE_BUF && fstat(log->fd, &st) == 0 && !S_ISREG(st.st_mode) ? PIPE_BUF : len;
}

static void write_all(struct mp_log *log, const char *bytes, size_t len) {
  size_t at = 0, most = most_at_once(log, len);
  while (at < len) {
    size_t left = len - at;
    ssize_t n = has_room(log) ? write(log->fd, bytes + at, left < most ? left : most) : -1;
    if (n < 0 && !log->stalled && errno == EINTR) continue;
    if (n < 0) {
      log->lost++;
      log->torn |= at > 0;
      return;
    }
    at += (size_t)n;
  }
}

static void line_close(struct line *l) {
  if (l->at != l->small) free(l->at);
}

static void line_write(struct mp_log *log, struct line *l) {
  line_add(l, "\n", 1);
  write_all(log, l->at, l->len);
  line_close(l);
}

static void text_line(struct line *l, enum mp_log_level level, const char *room, struct mp_slice message,
                      struct mp_slice detail) {
  char who[64];
  line_add_time(l);
  snprintf(who, sizeof who, " %s %s ", room, level_names[level]);
  line_adds(l, who);
  line_add_escaped(l, message, false);
  line_add_detail(l, detail);
}

static void json_line(struct line *l, enum mp_log_level level, const char *room, struct mp_slice message,
                      struct mp_slice detail) {
  char who[128];
  line_adds(l, "{\"ts\":\"");
  line_add_time(l);
  snprintf(who, sizeof who, "\",\"level\":\"%s\",\"room\":\"%s\",\"pid\":%d,\"msg\":\"", level_names[level], room,
           (int)getpid());
  line_adds(l, who);
  line_add_escaped(l, message, true);
  if (detail.len > 0) {
    line_adds(l, "\",\"detail\":\"");
    line_add_escaped(l, detail, true);
  }
  line_adds(l, "\"}");
}

static void tell_lost(struct mp_log *log) {
  struct line l;
  char text[64];
  uint64_t lost = log->lost;
  if (lost == log->lost_told || !has_room(log)) return;
  snprintf(text, sizeof text, "some lines could not be written lines=%llu",
           (unsigned long long)(lost - log->lost_told));
  line_open(&l);
  if (log->torn) line_add(&l, "\n", 1);
  (log->json ? json_line : text_line)(&l, MP_LOG_WARN, "log", mp_slice(text, strlen(text)), mp_slice("", 0));
  line_write(log, &l);
  if (log->lost > lost) {
    log->lost = lost;
    return;
  }
  log->lost_told = lost;
  log->torn = false;
}

void mp_log_detail(struct mp_log *log, enum mp_log_level level, const char *room, struct mp_slice message,
                   struct mp_slice detail) {
  struct line l;
  if (!mp_log_wants(log, level)) return;
  if (log->sink) {
    log->sink(log->sink_ctx, level, room, message, detail);
    return;
  }
  tell_lost(log);
  line_open(&l);
  (log->json ? json_line : text_line)(&l, level, room, message, detail);
  line_write(log, &l);
}

void mp_log(struct mp_log *log, enum mp_log_level level, const char *room, const char *format, ...) {
  char small[512], *text = small;
  va_list args;
  if (!mp_log_wants(log, level)) return;
  va_start(args, format);
  int n = vsnprintf(small, sizeof small, format, args);
  va_end(args);
  if (n >= (int)sizeof small && (text = malloc((size_t)n + 1))) {
    va_start(args, format);
    vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
  } else if (!text) {
    text = small;
    n = (int)sizeof small - 1;
  }
  mp_log_detail(log, level, room, mp_slice(text, n > 0 ? (size_t)n : 0), mp_slice("", 0));
  if (text != small) free(text);
}

const char *mp_log_quote(struct mp_slice s, char *out, unsigned size) {
  unsigned at = 0;
  if (size < 8) return "";
  out[at++] = '"';
  for (size_t i = 0; i < s.len; i++) {
    unsigned char c = (unsigned char)s.at[i];
    if (at + 9 > size) { /* an escape, "...", the quote, NUL */
      memcpy(out + at, "...", 3);
      at += 3;
      break;
    }
    if (c == '"' || c == '\\') {
      out[at++] = '\\';
      out[at++] = (char)c;
    } else if (c < 0x20 || c >= 0x7f) {
      at += (unsigned)snprintf(out + at, size - at, "\\x%02x", c);
    } else {
      out[at++] = (char)c;
    }
  }
  out[at++] = '"';
  out[at] = '\0';
  return out;
}
