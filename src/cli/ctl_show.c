/* Answers of the control socket as text: aligned tables for people. What a client of the server may have written is
 * escaped, so that it cannot speak to a terminal. */
#include "base/log.h"
#include "cli/ctl.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { COLUMNS_MOST = 16, CELL = 512 };
enum kind { WORD, COUNT, SECONDS, BYTES, RATIO, FLAG };

struct column {
  const char *title, *key;
  enum kind kind;
};

/* ---- cells ---- */

static void show_bytes(double n, char *out, size_t size) {
  static const char *const units[] = {"", "K", "M", "G", "T"};
  unsigned i = 0;
  for (; n >= 1024 && i + 1 < sizeof units / sizeof *units; i++) n /= 1024;
  snprintf(out, size, i > 0 && n < 10 ? "%.1f%s" : "%.0f%s", n, units[i]);
}

static void show_seconds(double s, char *out, size_t size) {
  if (s < 1)
    snprintf(out, size, "%.0fms", s * 1000);
  else if (s < 120)
    snprintf(out, size, "%.1fs", s);
  else if (s < 7200)
    snprintf(out, size, "%dm%02ds", (int)(s / 60), (int)s % 60);
  else
    snprintf(out, size, "%dh%02dm", (int)(s / 3600), (int)(s / 60) % 60);
}

/* Without the quotes of the log. */
static void show_word(const char *word, char *out, size_t size) {
  char quoted[CELL];
  mp_log_quote(mp_slice(word, strlen(word)), quoted, sizeof quoted);
  snprintf(out, size, "%.*s", (int)strlen(quoted) - 2, quoted + 1);
}

static void show_cell(const json_t *value, enum kind kind, char *out, size_t size) {
  double n = json_number_value(value);
  snprintf(out, size, "-");
  if (kind == FLAG) snprintf(out, size, "%s", json_is_true(value) ? "yes" : "");
  if (kind == WORD && json_is_string(value)) show_word(json_string_value(value), out, size);
  if (!json_is_number(value)) return;
  if (kind == COUNT) snprintf(out, size, "%.0f", n);
  if (kind == SECONDS) show_seconds(n, out, size);
  if (kind == BYTES) show_bytes(n, out, size);
  if (kind == RATIO) snprintf(out, size, "%.0f%%", n * 100);
}

/* ---- tables ---- */

static unsigned widths(const json_t *rows, const struct column *columns, unsigned n, int *width) {
  char cell[CELL];
  size_t i;
  const json_t *row;
  for (unsigned c = 0; c < n; c++) width[c] = (int)strlen(columns[c].title);
  json_array_foreach(rows, i, row) {
    for (unsigned c = 0; c < n; c++) {
      show_cell(json_object_get(row, columns[c].key), columns[c].kind, cell, sizeof cell);
      if ((int)strlen(cell) > width[c]) width[c] = (int)strlen(cell);
    }
  }
  return (unsigned)json_array_size(rows);
}

/* Numbers stand right, words left; nothing is padded behind the last one. */
static void put_cell(const char *cell, const struct column *column, int width, bool last) {
  bool left = column->kind == WORD || column->kind == FLAG;
  if (left && last)
    printf("%s\n", cell);
  else
    printf(left ? "%-*s%s" : "%*s%s", width, cell, last ? "\n" : "  ");
}

static void put_table(const json_t *rows, const struct column *columns, unsigned n, const char *none) {
  int width[COLUMNS_MOST];
  char cell[CELL];
  size_t i;
  const json_t *row;
  if (widths(rows, columns, n, width) == 0) {
    puts(none);
    return;
  }
  for (unsigned c = 0; c < n; c++) put_cell(columns[c].title, &columns[c], width[c], c + 1 == n);
  json_array_foreach(rows, i, row) {
    for (unsigned c = 0; c < n; c++) {
      show_cell(json_object_get(row, columns[c].key), columns[c].kind, cell, sizeof cell);
      put_cell(cell, &columns[c], width[c], c + 1 == n);
    }
  }
}

#define TABLE(rows, columns, none) put_table(rows, columns, sizeof(columns) / sizeof *(columns), none)

static int show_workers(const json_t *answer) {
  static const struct column columns[] = {
      {"WORKER", "worker", COUNT},    {"PID", "pid", COUNT},           {"GEN", "generation", COUNT},
      {"STATE", "state", WORD},       {"UPTIME", "uptime", SECONDS},   {"REQUESTS", "requests", COUNT},
      {"FLIGHT", "in_flight", COUNT}, {"CONNS", "connections", COUNT}, {"TASKS", "tasks", COUNT},
      {"PROCS", "processes", COUNT},  {"RSS", "rss", BYTES},           {"LUA", "lua_memory", BYTES},
      {"BUSY", "busy", RATIO},        {"LAG", "lag", SECONDS},         {"STOPPED", "stopped", FLAG},
      {"STUCK", "stuck", FLAG}};
  TABLE(json_object_get(answer, "workers"), columns, "no workers");
  return 0;
}

static int show_requests(const json_t *answer) {
  static const struct column columns[] = {{"WORKER", "worker", COUNT}, {"PID", "pid", COUNT},
                                          {"AGE", "age", SECONDS},     {"RUNNING", "running", FLAG},
                                          {"ID", "id", WORD},          {"REQUEST", "request", WORD}};
  json_int_t more = json_integer_value(json_object_get(answer, "unlisted"));
  TABLE(json_object_get(answer, "requests"), columns, "no requests in flight");
  if (more > 0) printf("and %lld more\n", (long long)more);
  return 0;
}

/* ---- what workers have answered ---- */

static void add_worker(json_t *row, const json_t *from) {
  json_object_set(row, "worker", json_object_get(from, "worker"));
  json_object_set(row, "worker_pid", json_object_get(from, "pid"));
}

/* The lists of all workers as one, each row with its worker. NULL: out of memory. */
static json_t *gather(const json_t *answer, const char *key) {
  json_t *rows = json_array();
  size_t i, k;
  json_t *worker, *row;
  json_array_foreach(json_object_get(answer, "workers"), i, worker) {
    json_array_foreach(json_object_get(worker, key), k, row) {
      add_worker(row, worker);
      json_array_append(rows, row);
    }
  }
  return rows;
}

static void name_silent(const json_t *answer) {
  size_t i;
  const json_t *worker;
  json_array_foreach(json_object_get(answer, "silent"), i, worker) {
    printf("worker %lld (pid %lld) does not answer\n", (long long)json_integer_value(json_object_get(worker, "worker")),
           (long long)json_integer_value(json_object_get(worker, "pid")));
  }
}

static int show_tasks(const json_t *answer) {
  static const struct column columns[] = {{"WORKER", "worker", COUNT},
                                          {"STATE", "state", WORD},
                                          {"WAITS FOR", "waits_for", WORD},
                                          {"CANCELLED", "cancelled", FLAG},
                                          {"NAME", "name", WORD},
                                          {"SPAWNED AT", "spawned_at", WORD},
                                          {"ID", "id", WORD},
                                          {"REQUEST", "request", WORD}};
  json_t *rows = gather(answer, "tasks");
  if (!rows) return -ENOMEM;
  TABLE(rows, columns, "no tasks");
  json_decref(rows);
  name_silent(answer);
  return 0;
}

static int show_processes(const json_t *answer) {
  static const struct column columns[] = {
      {"WORKER", "worker", COUNT}, {"PID", "pid", COUNT}, {"AGE", "age", SECONDS},     {"STOPPING", "stopping", FLAG},
      {"NAME", "name", WORD},      {"ID", "id", WORD},    {"REQUEST", "request", WORD}};
  json_t *rows = gather(answer, "processes");
  if (!rows) return -ENOMEM;
  TABLE(rows, columns, "no processes");
  json_decref(rows);
  name_silent(answer);
  return 0;
}

static void put_word(const json_t *task, const char *before, const char *key) {
  char cell[CELL];
  if (!json_is_string(json_object_get(task, key))) return;
  show_cell(json_object_get(task, key), WORD, cell, sizeof cell);
  printf("%s%s", before, cell);
}

static void put_trace(const char *trace) {
  char cell[CELL];
  while (*trace) {
    char line[CELL / 4];
    if (*trace == '\t') trace++;
    size_t len = strcspn(trace, "\n");
    snprintf(line, sizeof line, "%.*s", (int)len, trace);
    show_word(line, cell, sizeof cell);
    printf("    %.*s\n", (int)strlen(cell), cell);
    trace += len + (trace[len] == '\n');
  }
}

static int show_dump(const json_t *answer) {
  json_t *rows = gather(answer, "tasks");
  size_t i;
  const json_t *task;
  json_array_foreach(rows, i, task) {
    printf("worker %lld: task", (long long)json_integer_value(json_object_get(task, "worker")));
    put_word(task, " ", "name");
    put_word(task, ", ", "state");
    put_word(task, ", waits for ", "waits_for");
    put_word(task, ", spawned at ", "spawned_at");
    put_word(task, ", ", "request");
    put_word(task, " id=", "id");
    putchar('\n');
    put_trace(json_is_string(json_object_get(task, "traceback")) ? json_string_value(json_object_get(task, "traceback"))
                                                                 : "");
  }
  if (json_array_size(rows) == 0) puts("no tasks");
  json_decref(rows);
  name_silent(answer);
  return rows ? 0 : -ENOMEM;
}

/* ---- the pool ---- */

static void put_line(const json_t *answer, const char *key, enum kind kind) {
  char cell[CELL];
  show_cell(json_object_get(answer, key), kind, cell, sizeof cell);
  printf("%-14s %s\n", key, cell);
}

/* "2xx 12, 4xx 1": what is 0 is left out. */
static void put_counts(json_t *answer, const char *key, bool all) {
  const char *name, *between = "";
  json_t *count;
  printf("%-14s ", key);
  json_object_foreach(json_object_get(answer, key), name, count) {
    if (!all && json_integer_value(count) == 0) continue;
    printf("%s%s %lld", between, name, (long long)json_integer_value(count));
    between = ", ";
  }
  puts(*between ? "" : "-");
}

static void put_addresses(const json_t *answer) {
  size_t i;
  const json_t *address;
  char cell[CELL];
  json_array_foreach(json_object_get(answer, "listen"), i, address) {
    show_cell(address, WORD, cell, sizeof cell);
    printf("%-14s %s\n", i ? "" : "listen", cell);
  }
}

static int show_status(json_t *answer) {
  static const struct {
    const char *key;
    enum kind kind;
  } lines[] = {{"version", WORD},     {"pid", COUNT},        {"state", WORD},        {"uptime", SECONDS},
               {"generation", COUNT}, {"in_flight", COUNT},  {"connections", COUNT}, {"tasks", COUNT},
               {"rss", BYTES},        {"lua_memory", BYTES}, {"requests", COUNT},    {"accepted", COUNT},
               {"refused", COUNT}};
  put_addresses(answer);
  for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++) put_line(answer, lines[i].key, lines[i].kind);
  put_counts(answer, "workers", true);
  put_counts(answer, "responses", false);
  put_counts(answer, "errors", false);
  put_counts(answer, "processes", false);
  put_counts(answer, "pool", false);
  return 0;
}

static int show_done(const char *what, const json_t *answer) {
  long long workers = json_integer_value(json_object_get(answer, "workers"));
  long long generation = json_integer_value(json_object_get(answer, "generation"));
  if (strcmp(what, "scale") == 0)
    printf("workers %lld\n", workers);
  else if (strcmp(what, "reload") == 0)
    printf("reloaded, generation %lld\n", generation);
  else
    puts("stopping");
  return 0;
}

int mp_ctl_show(const char *what, struct mp_slice text) {
  json_t *answer = json_loadb(text.at, text.len, 0, NULL);
  int err = -EPROTO;
  if (!json_is_object(answer))
    err = -EPROTO;
  else if (strcmp(what, "status") == 0)
    err = show_status(answer);
  else if (strcmp(what, "workers") == 0)
    err = show_workers(answer);
  else if (strcmp(what, "requests") == 0)
    err = show_requests(answer);
  else if (strcmp(what, "tasks") == 0)
    err = show_tasks(answer);
  else if (strcmp(what, "processes") == 0)
    err = show_processes(answer);
  else if (strcmp(what, "dump") == 0)
    err = show_dump(answer);
  else
    err = show_done(what, answer);
  json_decref(answer);
  return err;
}

bool mp_ctl_complaint(struct mp_slice text, struct mp_buf *why) {
  json_t *answer = json_loadb(text.at, text.len, 0, NULL);
  const char *error = json_string_value(json_object_get(answer, "error"));
  char shown[CELL];
  if (error) show_word(error, shown, sizeof shown);
  if (error) mp_buf_add(why, shown, strlen(shown));
  json_decref(answer);
  return error != NULL;
}
