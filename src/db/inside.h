/* inside.h - what the files of this room share: a connection and its statements. */
#ifndef MP_DB_INSIDE_H
#define MP_DB_INSIDE_H

#include "base/list.h"
#include "db/connection.h"
#include "db/library.h"

enum mp_db_ended { MP_DB_BY_NOBODY, MP_DB_BY_STOP, MP_DB_BY_TIMEOUT };

struct mp_db {
  const struct mp_db_settings *settings; /* borrowed */
  struct mp_sqlite lib;
  sqlite3 *sqlite; /* owned; NULL: not open */
  bool wal;
  struct mp_list kept;    /* struct mp_statement, used last comes last */
  struct mp_list cursors; /* struct mp_statement, in the middle of their rows */
  unsigned n_kept;
  uint64_t last_cursor;
  /* Of the run of now. */
  const _Atomic int *stop; /* borrowed */
  uint64_t deadline_ms;    /* 0: none */
  uint64_t patient_until_ms;
  enum mp_db_ended ended;
};

/* Prepared. It stands in `kept`, in `cursors`, or belongs to who runs it. */
struct mp_statement {
  struct mp_list node;
  sqlite3_stmt *stmt; /* owned */
  char *sql;          /* owned: as it was given */
  size_t len;
  uint32_t hash;
  uint64_t cursor;
  bool in_transaction; /* of a cursor: opened in one */
};

/* statement.c */
/* What `*sql` begins with, prepared; `*sql` then is what follows. 0 and NULL: there was nothing but space and comments.
 * Or SQLite's code. */
int mp_statement_prepare(struct mp_db *db, struct mp_slice *sql, struct mp_statement **statement);
void mp_statement_keep(struct mp_db *db, struct mp_statement *statement); /* instead of free: rewound, for the next */
void mp_statement_free(struct mp_db *db, struct mp_statement *statement);
struct mp_statement *mp_cursor_find(struct mp_db *db, uint64_t cursor);
bool mp_statement_is_pragma(struct mp_slice sql);

/* bind.c: false: the answer says what is wrong with the values. */
bool mp_statement_bind(struct mp_db *db, struct mp_statement *statement, const struct mp_db_request *request,
                       struct mp_db_answer *answer);

/* failure.c */
/* SQLite's own words on its last error, and where in `sql` it was, if it knows; the statement begins `begun` bytes into
 * that. False. */
bool mp_db_fail(struct mp_db *db, int code, struct mp_slice sql, size_t begun, struct mp_db_answer *answer);
bool mp_db_fail_with(struct mp_db_answer *answer, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool mp_db_misuse(struct mp_db_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* open.c */
bool mp_db_open(struct mp_db *db, struct mp_db_answer *answer);
uint64_t mp_db_now_ms(void);

#endif
