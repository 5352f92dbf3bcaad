/* sqlite_inside.h - what sqlite.c and sqlite_connection.c share. */
#ifndef MP_API_SQLITE_INSIDE_H
#define MP_API_SQLITE_INSIDE_H

#include "api/sqlite.h"
#include "io/thread.h"

#define MP_SQLITE_CONNECTION "moonpool.sqlite.connection"

struct mp_sqlite_connection {
  struct mp_list node; /* of api->connections */
  struct mp_api *api;  /* borrowed */
  struct mp_db_settings settings;
  struct mp_db *db;                  /* owned; the thread's, once that has begun */
  struct mp_threads *threads;        /* borrowed; NULL once it has ended */
  struct mp_sqlite_connection **box; /* borrowed: the place in the userdata; NULL once that is gone */
  struct mp_list queries;            /* struct mp_sqlite_query, that are not freed yet */
  struct mp_wake closed;             /* who waits for its end */
  _Atomic bool used;                 /* its thread has opened it, and not closed it yet */
  bool retired;
  bool wal;
};

struct mp_sqlite_query {
  struct mp_work work;
  struct mp_list node;                     /* of connection->queries */
  struct mp_sqlite_connection *connection; /* borrowed: outlives it */
  struct mp_owned owned;                   /* of the task */
  struct mp_wake wake;
  struct mp_db_request request;
  struct mp_db_answer answer;
  struct mp_buf sql, values; /* owned: what the request lends */
  bool finished;             /* no thread has it any more */
  bool released;             /* no task waits for it any more */
};

/* sqlite.c */
void mp_sqlite_query_stop(struct mp_sqlite_query *q);
void mp_sqlite_query_free(struct mp_sqlite_query *q); /* no thread has it */
void mp_sqlite_connection_free(struct mp_sqlite_connection *c);
void mp_sqlite_connection_unused(struct mp_sqlite_connection *c); /* frees it, if it is over and nothing refers to it */

/* sqlite_connection.c: adds to the core at the top. */
void mp_sqlite_connections_open(lua_State *L);

#endif
