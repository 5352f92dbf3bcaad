/* connection.h - one connection to an SQLite database, and what is asked of it.
 *
 * It blocks: each belongs to a thread of its own, and only mp_db_new, mp_db_free and reading an answer are for others.
 * A run ends early when `*stop` is no longer 0, at the next thousand steps of SQLite's machine or pause of a wait for a
 * lock, and the connection is good for the next. */
#ifndef MP_DB_CONNECTION_H
#define MP_DB_CONNECTION_H

#include "db/value.h"
#include <stdatomic.h>

struct mp_db; /* a connection */

struct mp_db_settings {
  char *path;              /* owned by whoever gives them; outlives the connection */
  const char *journal;     /* static: "wal" …; NULL: as it is */
  const char *synchronous; /* static: "normal" … */
  uint64_t busy_ms;        /* how long to wait for what other connections hold */
  uint64_t timeout_ms;     /* of one run; 0: none */
  uint64_t max_rows, max_bytes;
  unsigned statements; /* how many prepared ones are kept */
  bool foreign_keys;
  bool readonly; /* the file is not to be changed, nor made */
  bool reader;   /* what would change anything is refused: MP_DB_ELSEWHERE */
};

enum mp_db_op {
  MP_DB_OPEN,  /* that it is open, and nothing else */
  MP_DB_QUERY, /* one statement, all its rows */
  MP_DB_FIRST, /* one statement, at most one row */
  MP_DB_EXEC,  /* statements, no rows */
  MP_DB_FETCH, /* some rows; with `cursor` 0 of the statement, else of the cursor */
  MP_DB_CLOSE_CURSOR,
  MP_DB_RESET /* ends a transaction that is still open, and the cursors that were opened in one */
};

/* Where a run stands to a transaction that lasts longer than the run. */
enum mp_db_place { MP_DB_OUTSIDE, MP_DB_BEGINS, MP_DB_INSIDE };

struct mp_db_request {
  enum mp_db_op op;
  enum mp_db_place place;
  struct mp_slice sql;
  struct mp_slice values; /* parameters, as by mp_db_put */
  unsigned n_values;
  bool named; /* each has its name before it: MP_DB_NAME, or MP_DB_INTEGER for a place */
  uint64_t cursor;
  const _Atomic int *stop;
};

enum mp_db_outcome {
  MP_DB_DONE,
  MP_DB_FAILED,   /* the world: message and code */
  MP_DB_MISUSED,  /* the caller: message */
  MP_DB_ELSEWHERE /* a reader cannot do this; nothing was done */
};

struct mp_db_answer {
  enum mp_db_outcome outcome;
  const char *code; /* static */
  char message[512];
  struct mp_buf rows; /* owned: names of the columns, then the values of each row */
  unsigned n_columns, n_rows;
  int64_t changes, last_id;
  uint64_t cursor; /* there is more: to be fetched from this one */
  bool wal;        /* the database's journal is one that readers need not wait for */
};

enum { MP_DB_BATCH_ROWS = 250, MP_DB_BATCH_BYTES = 128 * 1024 };

struct mp_db *mp_db_new(const struct mp_db_settings *settings); /* borrowed; NULL: out of memory */
void mp_db_run(struct mp_db *db, const struct mp_db_request *request, struct mp_db_answer *answer);
void mp_db_close(struct mp_db *db); /* on the thread that has run it last; it can be run again */
void mp_db_free(struct mp_db *db);  /* closed, or never run */
void mp_db_answer_free(struct mp_db_answer *answer);

#endif
