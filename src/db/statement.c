#include "db/inside.h"
#include <stdlib.h>
#include <strings.h>

static bool is_blank(struct mp_slice text) {
  for (size_t i = 0; i < text.len; i++)
    if (!strchr(" \t\r\n\f;", text.at[i]) || !text.at[i]) return false;
  return true;
}

void mp_statement_free(struct mp_db *db, struct mp_statement *statement) {
  sqlite3_stmt *stmt = statement->stmt;
  mp_list_unlink(&statement->node);
  free(statement->sql);
  free(statement);
  db->lib.finalize(stmt);
}

static struct mp_statement *new_statement(struct mp_slice sql, uint32_t hash) {
  struct mp_statement *statement = calloc(1, sizeof *statement);
  if (!statement) return NULL;
  statement->sql = malloc(sql.len + 1);
  if (!statement->sql) {
    free(statement);
    return NULL;
  }
  memcpy(statement->sql, sql.at, sql.len);
  statement->sql[sql.len] = '\0';
  statement->len = sql.len;
  statement->hash = hash;
  mp_list_init(&statement->node);
  return statement;
}

/* Taken out: while it runs it is nobody else's. */
static struct mp_statement *take_kept(struct mp_db *db, struct mp_slice sql, uint32_t hash) {
  MP_LIST_EACH(node, &db->kept) {
    struct mp_statement *statement = MP_CONTAINER(node, struct mp_statement, node);
    if (statement->hash != hash || !mp_slice_is(mp_slice(statement->sql, statement->len), sql)) continue;
    mp_list_unlink(&statement->node);
    db->n_kept--;
    return statement;
  }
  return NULL;
}

int mp_statement_prepare(struct mp_db *db, struct mp_slice *sql, struct mp_statement **statement) {
  uint32_t hash = mp_slice_hash(*sql);
  sqlite3_stmt *stmt = NULL;
  const char *rest = NULL;
  *statement = take_kept(db, *sql, hash);
  if (*statement) {
    sql->len = 0;
    return SQLITE_OK;
  }
  int code = db->lib.prepare_v3(db->sqlite, sql->at, (int)sql->len, 0, &stmt, &rest);
  if (code != SQLITE_OK) return code;
  struct mp_slice own = *sql, tail = mp_slice(rest, sql->len - (size_t)(rest - sql->at));
  if (is_blank(tail)) tail.len = 0;
  if (tail.len > 0) own.len -= tail.len;
  *sql = tail;
  if (!stmt) return SQLITE_OK;
  *statement = new_statement(own, tail.len > 0 ? mp_slice_hash(own) : hash);
  if (!*statement) {
    db->lib.finalize(stmt);
    return SQLITE_NOMEM;
  }
  (*statement)->stmt = stmt;
  return SQLITE_OK;
}

void mp_statement_keep(struct mp_db *db, struct mp_statement *statement) {
  db->lib.reset(statement->stmt);
  db->lib.clear_bindings(statement->stmt);
  statement->cursor = 0;
  statement->in_transaction = false;
  mp_list_unlink(&statement->node);
  mp_list_append(&db->kept, &statement->node);
  if (++db->n_kept <= db->settings->statements) return;
  db->n_kept--;
  mp_statement_free(db, MP_CONTAINER(mp_list_pop(&db->kept), struct mp_statement, node));
}

struct mp_statement *mp_cursor_find(struct mp_db *db, uint64_t cursor) {
  MP_LIST_EACH(node, &db->cursors) {
    struct mp_statement *statement = MP_CONTAINER(node, struct mp_statement, node);
    if (statement->cursor == cursor) return statement;
  }
  return NULL;
}

/* They change the connection itself, so it matters which one they reach. */
bool mp_statement_is_pragma(struct mp_slice sql) {
  while (sql.len > 0 && strchr(" \t\r\n\f;", sql.at[0])) sql = mp_slice(sql.at + 1, sql.len - 1);
  return sql.len >= 6 && strncasecmp(sql.at, "pragma", 6) == 0;
}
