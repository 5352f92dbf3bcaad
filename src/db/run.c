#include "db/inside.h"
#include <errno.h>

/* ---- rows ---- */

static struct mp_slice text_slice(const char *text) {
  return mp_slice(text ? text : "", text ? strlen(text) : 0);
}

static bool no_memory(struct mp_db_answer *answer) {
  return mp_db_fail_with(answer, "SQLITE_NOMEM", "not enough memory for the result");
}

static bool put_names(struct mp_db *db, sqlite3_stmt *stmt, struct mp_db_answer *answer) {
  answer->n_columns = (unsigned)db->lib.column_count(stmt);
  for (unsigned i = 0; i < answer->n_columns; i++) {
    struct mp_db_value name = {.type = MP_DB_NAME, .bytes = text_slice(db->lib.column_name(stmt, (int)i))};
    if (mp_db_put(&answer->rows, &name) < 0) return no_memory(answer);
  }
  return true;
}

/* The length is asked for after the bytes, which may have to be converted first. */
static void read_column(struct mp_db *db, sqlite3_stmt *stmt, int i, struct mp_db_value *value) {
  switch (db->lib.column_type(stmt, i)) {
  case SQLITE_INTEGER:
    value->type = MP_DB_INTEGER;
    value->integer = db->lib.column_int64(stmt, i);
    return;
  case SQLITE_FLOAT:
    value->type = MP_DB_REAL;
    value->real = db->lib.column_double(stmt, i);
    return;
  case SQLITE_TEXT:
    value->type = MP_DB_TEXT;
    value->bytes.at = (const char *)db->lib.column_text(stmt, i);
    break;
  case SQLITE_BLOB:
    value->type = MP_DB_BLOB;
    value->bytes.at = db->lib.column_blob(stmt, i);
    break;
  default:
    value->type = MP_DB_NULL;
    return;
  }
  value->bytes.len = value->bytes.at ? (size_t)db->lib.column_bytes(stmt, i) : 0;
}

static bool put_row(struct mp_db *db, sqlite3_stmt *stmt, struct mp_db_answer *answer) {
  const struct mp_db_settings *s = db->settings;
  for (unsigned i = 0; i < answer->n_columns; i++) {
    struct mp_db_value value;
    read_column(db, stmt, (int)i, &value);
    if (mp_db_put(&answer->rows, &value) < 0) return no_memory(answer);
    if (mp_buf_len(&answer->rows) > s->max_bytes)
      return mp_db_fail_with(answer, "EMSGSIZE", "the result has more than %llu bytes (max_bytes)",
                             (unsigned long long)s->max_bytes);
  }
  answer->n_rows++;
  return true;
}

/* ---- statements ---- */

static bool batch_is_full(const struct mp_db_answer *answer) {
  return answer->n_rows >= MP_DB_BATCH_ROWS || mp_buf_len(&answer->rows) >= MP_DB_BATCH_BYTES;
}

/* Rows as far as the operation wants them; `*more`: there may be others. False: the answer says why not. */
static bool take_rows(struct mp_db *db, struct mp_statement *st, const struct mp_db_request *request, bool in_batches,
                      struct mp_db_answer *answer, bool *more) {
  int code = SQLITE_OK;
  *more = false;
  if (request->op != MP_DB_EXEC && !put_names(db, st->stmt, answer)) return false;
  while ((code = db->lib.step(st->stmt)) == SQLITE_ROW) {
    if (request->op == MP_DB_EXEC) continue;
    if (!in_batches && answer->n_rows >= db->settings->max_rows)
      return mp_db_fail_with(answer, "EMSGSIZE", "the result has more than %llu rows (max_rows)",
                             (unsigned long long)db->settings->max_rows);
    if (request->op == MP_DB_FIRST && answer->n_rows == 1) continue; /* what writes is to be run to its end */
    if (!put_row(db, st->stmt, answer)) return false;
    if (request->op == MP_DB_FIRST && db->lib.stmt_readonly(st->stmt)) return true;
    if (in_batches && batch_is_full(answer)) {
      *more = true;
      return true;
    }
  }
  return code == SQLITE_DONE || mp_db_fail(db, code, request->sql, 0, answer);
}

static void open_cursor(struct mp_db *db, struct mp_statement *st, const struct mp_db_request *request,
                        struct mp_db_answer *answer) {
  if (!st->cursor) st->cursor = ++db->last_cursor;
  st->in_transaction = request->place == MP_DB_INSIDE;
  mp_list_append(&db->cursors, &st->node);
  answer->cursor = st->cursor;
}

static void run_statement(struct mp_db *db, struct mp_statement *st, const struct mp_db_request *request,
                          struct mp_db_answer *answer) {
  bool more, in_batches = request->op == MP_DB_FETCH && db->lib.stmt_readonly(st->stmt);
  if (take_rows(db, st, request, in_batches, answer, &more) && more)
    open_cursor(db, st, request, answer);
  else
    mp_statement_keep(db, st);
}

/* A reader takes what only reads; what it cannot prepare may be of the other connection's own: a temporary table, a
 * database that was attached there. */
static bool belongs_elsewhere(struct mp_db *db, const struct mp_statement *st, struct mp_slice sql) {
  return db->settings->reader && (!st || !db->lib.stmt_readonly(st->stmt) || mp_statement_is_pragma(sql));
}

static bool prepare(struct mp_db *db, const struct mp_db_request *request, struct mp_slice *rest,
                    struct mp_statement **st, struct mp_db_answer *answer) {
  size_t begun = (size_t)(rest->at - request->sql.at);
  int code = mp_statement_prepare(db, rest, st);
  if (code == SQLITE_OK) return true;
  if (code == SQLITE_ERROR && db->settings->reader) {
    answer->outcome = MP_DB_ELSEWHERE;
    return false;
  }
  return mp_db_fail(db, code, request->sql, begun, answer);
}

static void run_one(struct mp_db *db, const struct mp_db_request *request, struct mp_db_answer *answer) {
  struct mp_slice rest = request->sql;
  struct mp_statement *st = NULL;
  if (!prepare(db, request, &rest, &st, answer)) return;
  if (!st) {
    mp_db_misuse(answer, "there is no statement in the SQL");
    return;
  }
  if (belongs_elsewhere(db, st, request->sql))
    answer->outcome = MP_DB_ELSEWHERE;
  else if (rest.len > 0)
    mp_db_misuse(answer, "one statement is wanted, and the SQL goes on after it (exec runs several)");
  else if (mp_statement_bind(db, st, request, answer)) {
    run_statement(db, st, request, answer);
    return;
  }
  mp_statement_keep(db, st);
}

/* How many statements there were. */
static unsigned run_script(struct mp_db *db, const struct mp_db_request *request, struct mp_db_answer *answer) {
  struct mp_slice rest = request->sql;
  unsigned n = 0;
  while (rest.len > 0 && answer->outcome == MP_DB_DONE) {
    struct mp_statement *st = NULL;
    if (!prepare(db, request, &rest, &st, answer) || !st) break;
    n++;
    if (rest.len > 0 && request->n_values > 0)
      mp_db_misuse(answer, "with parameters there can be only one statement");
    else if (mp_statement_bind(db, st, request, answer)) {
      run_statement(db, st, request, answer);
      continue;
    }
    mp_statement_keep(db, st);
  }
  return n;
}

static void run_exec(struct mp_db *db, const struct mp_db_request *request, struct mp_db_answer *answer) {
  int before = db->lib.total_changes(db->sqlite);
  unsigned n = run_script(db, request, answer);
  int changed = db->lib.total_changes(db->sqlite) - before; /* with those of triggers; one statement's own are apart */
  answer->changes = changed && n == 1 ? db->lib.changes(db->sqlite) : changed;
  if (changed) answer->last_id = db->lib.last_insert_rowid(db->sqlite);
}

static void fetch_more(struct mp_db *db, const struct mp_db_request *request, struct mp_db_answer *answer) {
  struct mp_statement *st = mp_cursor_find(db, request->cursor);
  if (!st) {
    mp_db_fail_with(answer, "SQLITE_ABORT", "the transaction in which the rows were begun is over");
    return;
  }
  mp_list_unlink(&st->node);
  run_statement(db, st, request, answer);
}

static void close_cursor(struct mp_db *db, uint64_t cursor) {
  struct mp_statement *st = mp_cursor_find(db, cursor);
  if (st) mp_statement_keep(db, st);
}

static void reset(struct mp_db *db) {
  MP_LIST_EACH(node, &db->cursors) {
    struct mp_statement *st = MP_CONTAINER(node, struct mp_statement, node);
    if (st->in_transaction) mp_statement_keep(db, st);
  }
  if (!db->lib.get_autocommit(db->sqlite)) db->lib.exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- a run ---- */

static void dispatch(struct mp_db *db, const struct mp_db_request *request, struct mp_db_answer *answer) {
  switch (request->op) {
  case MP_DB_OPEN:
    return;
  case MP_DB_QUERY:
  case MP_DB_FIRST:
    run_one(db, request, answer);
    return;
  case MP_DB_EXEC:
    run_exec(db, request, answer);
    return;
  case MP_DB_FETCH:
    if (request->cursor)
      fetch_more(db, request, answer);
    else
      run_one(db, request, answer);
    return;
  case MP_DB_CLOSE_CURSOR:
    close_cursor(db, request->cursor);
    return;
  case MP_DB_RESET:
    reset(db);
    return;
  }
}

static void begin_run(struct mp_db *db, const struct mp_db_request *request) {
  uint64_t now = mp_db_now_ms();
  bool cleans = request->op == MP_DB_CLOSE_CURSOR || request->op == MP_DB_RESET;
  db->stop = cleans ? NULL : request->stop;
  db->deadline_ms = db->settings->timeout_ms && !cleans ? now + db->settings->timeout_ms : 0;
  db->patient_until_ms = now + db->settings->busy_ms;
  db->ended = MP_DB_BY_NOBODY;
}

/* SQLite ends some transactions itself: a full disk, an I/O error. What follows must not be taken for a part of it. */
static bool is_over(struct mp_db *db, const struct mp_db_request *request) {
  return request->place == MP_DB_INSIDE && db->lib.get_autocommit(db->sqlite);
}

/* Nobody would know of it, and everybody after would be in it. */
static void end_stray(struct mp_db *db, const struct mp_db_request *request, struct mp_db_answer *answer) {
  if (request->place != MP_DB_OUTSIDE || db->lib.get_autocommit(db->sqlite)) return;
  db->lib.exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
  if (answer->outcome == MP_DB_DONE)
    mp_db_misuse(answer, "the SQL leaves a transaction open, which was rolled back: use db:transaction");
}

void mp_db_run(struct mp_db *db, const struct mp_db_request *request, struct mp_db_answer *answer) {
  begin_run(db, request);
  if (!db->sqlite && (request->op == MP_DB_CLOSE_CURSOR || request->op == MP_DB_RESET)) return;
  if (!mp_db_open(db, answer)) return;
  if (request->op != MP_DB_CLOSE_CURSOR && request->op != MP_DB_RESET && is_over(db, request))
    mp_db_fail_with(answer, "SQLITE_ABORT", "the transaction is over: an error, or the SQL itself, has ended it");
  else
    dispatch(db, request, answer);
  end_stray(db, request, answer);
  answer->wal = db->wal;
}

void mp_db_answer_free(struct mp_db_answer *answer) {
  mp_buf_free(&answer->rows);
}
