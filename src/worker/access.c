#include "worker/access.h"
#include "base/err.h"
#include "worker/atoms.h"
#include "worker/brief.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { FLUSH_AT = 64 * 1024, KEPT_MOST = 256 * 1024 /* bytes of memory kept from turn to turn */ };

/* ---- a line ---- */

/* What may stand in the log as it is: printable ASCII that ends neither a quoted string nor an escape. */
static bool is_plain(unsigned char c) {
  return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void escape_one(char out[8], unsigned char c, bool json) {
  if (json && (c == '"' || c == '\\'))
    snprintf(out, 8, "\\%c", c);
  else
    snprintf(out, 8, json ? "\\u%04x" : "\\x%02x", c);
}

static int add_escaped(struct mp_buf *out, struct mp_slice s, bool json) {
  int err = 0;
  while (err == 0 && s.len > 0) {
    size_t n = 0;
    char code[8];
    while (n < s.len && is_plain((unsigned char)s.at[n])) n++;
    if (n > 0) err = mp_buf_add(out, s.at, n);
    if (err < 0 || n == s.len) return err;
    escape_one(code, (unsigned char)s.at[n], json);
    err = mp_buf_addf(out, "%s", code);
    s = mp_slice(s.at + n + 1, s.len - n - 1);
  }
  return err;
}

static int add_quoted(struct mp_buf *out, struct mp_slice s) {
  if (s.len == 0) return mp_buf_add_slice(out, MP_SLICE(" \"-\""));
  int err = mp_buf_add_slice(out, MP_SLICE(" \""));
  if (err == 0) err = add_escaped(out, s, false);
  return err < 0 ? err : mp_buf_add_slice(out, MP_SLICE("\""));
}

static int add_request(struct mp_buf *out, const struct mp_access_facts *f) {
  if (f->minor < 0) return add_quoted(out, MP_SLICE(""));
  int err = mp_buf_add_slice(out, MP_SLICE(" \""));
  if (err == 0) err = add_escaped(out, f->method, false);
  if (err == 0) err = mp_buf_add_slice(out, MP_SLICE(" "));
  if (err == 0) err = add_escaped(out, f->target, false);
  return err < 0 ? err : mp_buf_addf(out, " HTTP/1.%d\"", f->minor);
}

static int add_stamp(struct mp_buf *out, time_t at, const char *format) {
  struct tm tm;
  char stamp[48];
  gmtime_r(&at, &tm);
  size_t n = strftime(stamp, sizeof stamp, format, &tm);
  return mp_buf_add(out, stamp, n);
}

static const char *host_of(const struct mp_access_facts *f, char *text) {
  return *mp_address_text(&f->client, text) ? text : "-";
}

static int add_status(struct mp_buf *out, int status, const char *none) {
  return status ? mp_buf_addf(out, "%d", status) : mp_buf_addf(out, "%s", none);
}

int mp_access_escape(struct mp_buf *out, struct mp_slice s) {
  return add_escaped(out, s, false);
}

int mp_access_stamp(struct mp_buf *out, time_t at) {
  return add_stamp(out, at, "[%d/%b/%Y:%H:%M:%S +0000]");
}

static int combined_line(struct mp_buf *out, const struct mp_access_facts *f) {
  char host[MP_ADDRESS_TEXT];
  int err = mp_buf_addf(out, "%s - - [", host_of(f, host));
  if (err == 0) err = add_stamp(out, f->at, "%d/%b/%Y:%H:%M:%S +0000]");
  if (err == 0) err = add_request(out, f);
  if (err == 0) err = mp_buf_add_slice(out, MP_SLICE(" "));
  if (err == 0) err = add_status(out, f->status, "-");
  if (err == 0) err = mp_buf_addf(out, " %llu", (unsigned long long)f->bytes);
  if (err == 0) err = add_quoted(out, f->referer);
  if (err == 0) err = add_quoted(out, f->agent);
  if (err == 0) err = mp_buf_addf(out, " id=%.*s", f->id.len ? (int)f->id.len : 1, f->id.len ? f->id.at : "-");
  if (err == 0 && f->trace.len) err = mp_buf_addf(out, " trace=%.*s", (int)f->trace.len, f->trace.at);
  if (err == 0) err = mp_buf_addf(out, " worker=%u took_ms=%llu", f->worker, (unsigned long long)f->took_ms);
  return err < 0 ? err : mp_buf_addf(out, "%s\n", f->whole ? "" : " broken");
}

static int add_key(struct mp_buf *out, const char *key, struct mp_slice s) {
  if (s.len == 0) return mp_buf_addf(out, ",\"%s\":null", key);
  int err = mp_buf_addf(out, ",\"%s\":\"", key);
  if (err == 0) err = add_escaped(out, s, true);
  return err < 0 ? err : mp_buf_add_slice(out, MP_SLICE("\""));
}

static int json_line(struct mp_buf *out, const struct mp_access_facts *f) {
  char host[MP_ADDRESS_TEXT], version[8] = "";
  if (f->minor >= 0) snprintf(version, sizeof version, "1.%d", f->minor & 1);
  int err = mp_buf_add_slice(out, MP_SLICE("{\"ts\":\""));
  if (err == 0) err = add_stamp(out, f->at, "%Y-%m-%dT%H:%M:%SZ");
  if (err == 0) err = mp_buf_addf(out, "\",\"ip\":\"%s\"", host_of(f, host));
  if (err == 0) err = add_key(out, "method", f->method);
  if (err == 0) err = add_key(out, "target", f->target);
  if (err == 0) err = add_key(out, "version", mp_slice(version, strlen(version)));
  if (err == 0) err = mp_buf_add_slice(out, MP_SLICE(",\"status\":"));
  if (err == 0) err = add_status(out, f->status, "null");
  if (err == 0)
    err = mp_buf_addf(out, ",\"bytes\":%llu,\"whole\":%s", (unsigned long long)f->bytes, f->whole ? "true" : "false");
  if (err == 0) err = add_key(out, "referer", f->referer);
  if (err == 0) err = add_key(out, "agent", f->agent);
  if (err == 0) err = add_key(out, "id", f->id);
  if (err == 0) err = add_key(out, "trace", f->trace);
  if (err < 0) return err;
  return mp_buf_addf(out, ",\"worker\":%u,\"took_ms\":%llu}\n", f->worker, (unsigned long long)f->took_ms);
}

int mp_access_line(struct mp_buf *out, const struct mp_access_facts *facts, struct mp_access_form form) {
  size_t before = mp_buf_len(out);
  int err = form.brief   ? mp_brief_line(out, facts, form.colour)
            : form.json  ? json_line(out, facts)
            : form.atoms ? mp_atoms_line(out, form.atoms, facts)
                         : combined_line(out, facts);
  if (err < 0) out->end = out->start + (uint32_t)before;
  return err;
}

/* ---- the file ---- */

int mp_access_file(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
  return fd < 0 ? -errno : fd;
}

static void lose(struct mp_access *access, struct mp_slice lines, int err) {
  uint64_t now = mp_loop_now(access->loop);
  char text[128];
  for (size_t i = 0; i < lines.len; i++) access->lost += lines.at[i] == '\n';
  if (access->complained_ms && now - access->complained_ms < 1000) return;
  access->complained_ms = now;
  mp_log(access->log, MP_LOG_ERROR, "worker", "the access log cannot be written: %s lost=%llu",
         mp_err_text(err, text, sizeof text), (unsigned long long)access->lost);
  access->lost = 0;
}

static void write_out(struct mp_access *access) {
  struct mp_buf *lines = &access->lines;
  while (mp_buf_len(lines) > 0) {
    ssize_t n = write(access->fd, mp_buf_at(lines), mp_buf_len(lines));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      lose(access, mp_buf_slice(lines), -errno);
      break;
    }
    mp_buf_take(lines, (size_t)n);
  }
  mp_buf_reset(lines, KEPT_MOST);
}

static void on_flush(struct mp_soon *soon) {
  write_out(MP_CONTAINER(soon, struct mp_access, flush));
}

static int open_file(const char *path) {
  return strcmp(path, "-") == 0 ? STDERR_FILENO : mp_access_file(path);
}

int mp_access_open(struct mp_access *access, struct mp_loop *loop, struct mp_log *log, const char *path,
                   struct mp_access_form form) {
  *access = (struct mp_access){.loop = loop, .log = log, .path = path, .form = form};
  mp_soon_init(&access->flush, on_flush);
  access->fd = open_file(path);
  return access->fd < 0 ? access->fd : 0;
}

void mp_access_add(struct mp_access *access, const struct mp_access_facts *facts) {
  int err = mp_access_line(&access->lines, facts, access->form);
  if (err < 0) lose(access, MP_SLICE("\n"), err);
  if (mp_buf_len(&access->lines) >= FLUSH_AT)
    write_out(access);
  else
    mp_loop_post(access->loop, &access->flush);
}

static void close_file(struct mp_access *access) {
  if (access->fd > STDERR_FILENO) close(access->fd);
  access->fd = -1;
}

int mp_access_reopen(struct mp_access *access) {
  int fd = open_file(access->path);
  if (fd < 0) return fd;
  write_out(access);
  close_file(access);
  access->fd = fd;
  return 0;
}

void mp_access_close(struct mp_access *access) {
  if (!access->path) return;
  mp_soon_cancel(&access->flush);
  if (access->fd >= 0) write_out(access);
  close_file(access);
  mp_buf_free(&access->lines);
  access->path = NULL;
}
