#include "worker/record.h"
#include "api/open.h"
#include "base/config.h"
#include "base/err.h"
#include "http/traceparent.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static time_t wall_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME_COARSE, &t);
  return t.tv_sec;
}

static struct mp_slice value_of(const struct mp_head *head, struct mp_slice name) {
  const struct mp_field *field = mp_head_field(head, name);
  return field ? field->value : MP_SLICE("");
}

/* While an app is written, what is shown on the terminal is for a person. */
static struct mp_access_form form_of(const struct mp_config *config) {
  const char *no_colour = getenv("NO_COLOR");
  bool shown = strcmp(config->access_log, "-") == 0;
  bool brief = config->watch && shown && !config->log_json && !config->access_log_format;
  return (struct mp_access_form){.json = config->log_json,
                                 .brief = brief,
                                 .colour = brief && isatty(STDERR_FILENO) && !(no_colour && *no_colour),
                                 .atoms = config->access_log_format};
}

int mp_record_open(struct mp_record *record, struct mp_loop *loop, struct mp_log *log, const struct mp_config *config,
                   unsigned worker) {
  *record = (struct mp_record){
      .log = log, .loop = loop, .config = config, .worker = worker, .slow_ms = (uint64_t)(config->slow_request * 1000)};
  record->wanted = config->access_log || record->slow_ms;
  if (!config->access_log) return 0;
  int err = mp_access_open(&record->access, loop, log, config->access_log, form_of(config));
  record->has_access = err == 0;
  return err;
}

/* By the clock of timers, which is the loop's, and by a finer one. */
struct took {
  uint64_t ms, us;
};

static void write_line(struct mp_record *record, const struct mp_exchange *ex, bool whole, struct took took,
                       const char *id) {
  const struct mp_head *head = &ex->head;
  struct mp_access_facts facts = {.client = mp_exchange_client(ex).address,
                                  .method = head->method,
                                  .target = head->target,
                                  .referer = value_of(head, MP_SLICE("referer")),
                                  .agent = value_of(head, MP_SLICE("user-agent")),
                                  .id = mp_slice(id, strlen(id)),
                                  .trace = mp_traceparent_id(mp_traceparent_of(head)),
                                  .minor = head->minor,
                                  .status = ex->told_status,
                                  .bytes = ex->body_sent,
                                  .whole = whole,
                                  .worker = record->worker,
                                  .took_ms = took.ms,
                                  .took_us = took.us,
                                  .head = head,
                                  .reply = &ex->reply,
                                  .at = wall_clock()};
  mp_access_add(&record->access, &facts);
}

static void warn_slow(const struct mp_record *record, const struct mp_exchange *ex, uint64_t took_ms, const char *id) {
  char line[256], quoted[300];
  snprintf(line, sizeof line, "%.*s %.*s", (int)ex->head.method.len, ex->head.method.at, (int)ex->head.target.len,
           ex->head.target.at);
  mp_log(record->log, MP_LOG_WARN, "http", "slow request took_ms=%llu status=%d request=%s id=%s",
         (unsigned long long)took_ms, ex->told_status,
         mp_log_quote(mp_slice(line, strlen(line)), quoted, sizeof quoted), id);
}

bool mp_record_over(struct mp_record *record, const struct mp_exchange *ex, bool whole, uint64_t now_ns) {
  char id[80];
  uint64_t now_ms = now_ns / 1000000, took_ms = now_ms > ex->started_ms ? now_ms - ex->started_ms : 0;
  uint64_t took_us = now_ns > ex->began_ns ? (now_ns - ex->began_ns) / 1000 : 0;
  mp_api_request_id(ex, id, sizeof id);
  if (record->has_access) write_line(record, ex, whole, (struct took){took_ms, took_us}, id);
  bool slow = record->slow_ms && took_ms >= record->slow_ms;
  if (slow) warn_slow(record, ex, took_ms, id);
  return slow;
}

void mp_record_refused(struct mp_record *record, const struct mp_address *peer, int status) {
  if (!record->has_access) return;
  struct mp_access_facts facts = {
      .client = *peer, .minor = -1, .status = status, .whole = true, .worker = record->worker, .at = wall_clock()};
  mp_access_add(&record->access, &facts);
}

static void complain(const struct mp_record *record, const char *path, int err) {
  char text[128];
  mp_log(record->log, MP_LOG_ERROR, "worker", "a log cannot be reopened, the old one goes on file=%s: %s", path,
         mp_err_text(err, text, sizeof text));
}

static void reopen_error_log(const struct mp_record *record) {
  const char *path = record->config->error_log;
  if (!path || strcmp(path, "-") == 0) return;
  int fd = mp_access_file(path);
  if (fd < 0)
    complain(record, path, fd);
  else if (dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
    complain(record, path, -errno);
  if (fd >= 0) close(fd);
}

void mp_record_reopen(struct mp_record *record) {
  reopen_error_log(record);
  if (!record->has_access) return;
  int err = mp_access_reopen(&record->access);
  if (err < 0) complain(record, record->config->access_log, err);
}

void mp_record_close(struct mp_record *record) {
  mp_access_close(&record->access);
}
