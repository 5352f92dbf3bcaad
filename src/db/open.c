#include "db/code.h"
#include "db/inside.h"
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

enum { STEPS = 1000, LONGEST_NAP_MS = 25 };

uint64_t mp_db_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct mp_db *mp_db_new(const struct mp_db_settings *settings) {
  struct mp_db *db = calloc(1, sizeof *db);
  if (!db) return NULL;
  db->settings = settings;
  mp_list_init(&db->kept);
  mp_list_init(&db->cursors);
  return db;
}

void mp_db_free(struct mp_db *db) {
  free(db);
}

static void free_list(struct mp_db *db, struct mp_list *list) {
  struct mp_list *node;
  while ((node = mp_list_pop(list))) mp_statement_free(db, MP_CONTAINER(node, struct mp_statement, node));
}

static void free_statements(struct mp_db *db) {
  free_list(db, &db->kept);
  free_list(db, &db->cursors);
  db->n_kept = 0;
}

void mp_db_close(struct mp_db *db) {
  free_statements(db);
  if (db->sqlite) db->lib.close_v2(db->sqlite);
  db->sqlite = NULL;
}

/* ---- what SQLite asks while it works ---- */

static int should_end(void *ctx) {
  struct mp_db *db = ctx;
  if (db->stop && atomic_load_explicit(db->stop, memory_order_acquire))
    db->ended = MP_DB_BY_STOP;
  else if (db->deadline_ms && mp_db_now_ms() >= db->deadline_ms)
    db->ended = MP_DB_BY_TIMEOUT;
  return db->ended != MP_DB_BY_NOBODY;
}

/* Others hold what is wanted. Naps are short, so that a stop is seen soon. */
static int go_on_waiting(void *ctx, int n_naps) {
  struct mp_db *db = ctx;
  long ms = n_naps < LONGEST_NAP_MS ? n_naps + 1 : LONGEST_NAP_MS;
  if (should_end(db) || mp_db_now_ms() >= db->patient_until_ms) return 0;
  nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
  return 1;
}

/* ---- opening ---- */

static int set_up(struct mp_db *db) {
  char sql[256];
  const struct mp_db_settings *s = db->settings;
  snprintf(sql, sizeof sql, "PRAGMA foreign_keys=%d;PRAGMA synchronous=%s;%s", s->foreign_keys, s->synchronous,
           s->reader ? "PRAGMA query_only=1;" : "");
  return db->lib.exec(db->sqlite, sql, NULL, NULL, NULL);
}

static int on_journal(void *ctx, int n, char **values, char **names) {
  struct mp_db *db = ctx;
  (void)names;
  db->wal = n > 0 && values[0] && strcasecmp(values[0], "wal") == 0;
  return 0;
}

/* SQLite does not ask its busy handler where that could be a deadlock; several workers that make the same file at once
 * get here. */
static int set_journal(struct mp_db *db) {
  char sql[64] = "PRAGMA journal_mode";
  const struct mp_db_settings *s = db->settings;
  if (s->journal && !s->reader && !s->readonly) snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s", s->journal);
  for (int n = 0;; n++) {
    int code = db->lib.exec(db->sqlite, sql, on_journal, db, NULL);
    if ((code & 0xff) != SQLITE_BUSY || !go_on_waiting(db, n)) return code;
  }
}

static int connect(struct mp_db *db) {
  const struct mp_db_settings *s = db->settings;
  int flags = SQLITE_OPEN_NOMUTEX;
  flags |= s->readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  int code = db->lib.open_v2(s->path, &db->sqlite, flags, NULL);
  if (code != SQLITE_OK) return code;
  db->lib.extended_result_codes(db->sqlite, 1);
  db->lib.busy_handler(db->sqlite, go_on_waiting, db);
  db->lib.progress_handler(db->sqlite, STEPS, should_end, db);
  if (s->max_bytes < INT32_MAX) db->lib.limit(db->sqlite, SQLITE_LIMIT_LENGTH, (int)s->max_bytes);
  code = set_up(db);
  return code == SQLITE_OK ? set_journal(db) : code;
}

bool mp_db_open(struct mp_db *db, struct mp_db_answer *answer) {
  if (db->sqlite) return true;
  if (mp_sqlite_load(&db->lib, answer->message, sizeof answer->message) < 0) {
    answer->outcome = MP_DB_FAILED;
    answer->code = "ENOENT";
    return false;
  }
  int code = connect(db);
  if (code == SQLITE_OK) return true;
  const char *text = db->sqlite ? db->lib.errmsg(db->sqlite) : db->lib.errstr(code);
  mp_db_fail_with(answer, mp_db_code_name(code), "%s: %s", db->settings->path, text);
  mp_db_close(db);
  return false;
}
