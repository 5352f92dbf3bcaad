#include "api/sqlite_inside.h"
#include "base/err.h"
#include "db/library.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*   Lua runs a query ─► queued ─► the connection's thread ─► loop ─► the task gets the answer
 *
 * A cancelled task does not wait: what runs is told to end, and the connection goes on with the next. */

/* ---- their ends ---- */

void mp_sqlite_connection_free(struct mp_sqlite_connection *c) {
  mp_list_unlink(&c->node);
  mp_db_free(c->db);
  free(c->settings.path);
  free(c);
}

void mp_sqlite_connection_unused(struct mp_sqlite_connection *c) {
  if (c->retired && !c->threads && mp_list_empty(&c->queries)) mp_sqlite_connection_free(c);
}

void mp_sqlite_query_free(struct mp_sqlite_query *q) {
  struct mp_sqlite_connection *c = q->connection;
  mp_list_unlink(&q->node);
  mp_list_unlink(&q->owned.node);
  mp_db_answer_free(&q->answer);
  mp_buf_free(&q->sql);
  mp_buf_free(&q->values);
  free(q);
  mp_sqlite_connection_unused(c);
}

static void free_query_when_unused(struct mp_sqlite_query *q) {
  if (q->finished && q->released) mp_sqlite_query_free(q);
}

/* No signal is sent: SQLite looks at the flag itself. */
void mp_sqlite_query_stop(struct mp_sqlite_query *q) {
  if (q->finished) return;
  if (mp_work_take_back(&q->work))
    q->finished = true;
  else
    atomic_store_explicit(&q->work.stop, 1, memory_order_release);
}

static void task_is_cancelled(struct mp_owned *owned) {
  mp_sqlite_query_stop(MP_CONTAINER(owned, struct mp_sqlite_query, owned));
}

static void task_has_ended(struct mp_owned *owned) {
  struct mp_sqlite_query *q = MP_CONTAINER(owned, struct mp_sqlite_query, owned);
  q->released = true;
  mp_sqlite_query_stop(q);
  free_query_when_unused(q);
}

static void run(struct mp_work *work, void **place) {
  struct mp_sqlite_query *q = MP_CONTAINER(work, struct mp_sqlite_query, work);
  *place = q->connection;
  atomic_store(&q->connection->used, true);
  mp_db_run(q->connection->db, &q->request, &q->answer);
}

static void ignore(struct mp_work *work) {
  (void)work;
}

static void on_done(struct mp_work *work) {
  struct mp_sqlite_query *q = MP_CONTAINER(work, struct mp_sqlite_query, work);
  q->finished = true;
  q->connection->wal = q->answer.wal;
  mp_wake_fire(&q->wake);
  free_query_when_unused(q);
}

static const struct mp_work_ops query_ops = {.run = run, .interrupt = ignore, .done = on_done};

static struct mp_sqlite_query *new_query(struct mp_sqlite_connection *c, const struct mp_db_request *request) {
  struct mp_sqlite_query *q = calloc(1, sizeof *q);
  if (!q) return NULL;
  q->work.ops = &query_ops;
  q->connection = c;
  q->request = *request;
  q->request.stop = &q->work.stop;
  q->owned.cancel = task_is_cancelled;
  q->owned.ended = task_has_ended;
  mp_list_init(&q->work.node);
  mp_list_init(&q->owned.node);
  mp_list_append(&c->queries, &q->node);
  return q;
}

/* ---- running one ---- */

static struct mp_sqlite_connection *check_connection(lua_State *L) {
  struct mp_sqlite_connection **box = luaL_checkudata(L, 1, MP_SQLITE_CONNECTION);
  return *box && !(*box)->retired ? *box : NULL;
}

enum { CONNECTION = 1, OP, PLACE, SQL, VALUES, NAMED, CURSOR, ARGS = CURSOR };

static void read_request(lua_State *L, struct mp_db_request *request) {
  static const char *const ops[] = {"open", "query", "first", "exec", "fetch", "close_cursor", "reset", NULL};
  static const char *const places[] = {"outside", "begins", "inside", NULL};
  lua_settop(L, ARGS);
  request->op = (enum mp_db_op)luaL_checkoption(L, OP, NULL, ops);
  request->place = (enum mp_db_place)luaL_checkoption(L, PLACE, "outside", places);
  luaL_optstring(L, SQL, "");
  request->named = lua_toboolean(L, NAMED);
  request->cursor = (uint64_t)luaL_optinteger(L, CURSOR, 0);
  if (!lua_isnil(L, VALUES)) mp_sqlite_check_values(L, VALUES, request->named);
}

/* 0 or -ENOMEM. A thread reads copies. */
static int lend(lua_State *L, struct mp_sqlite_query *q) {
  size_t len = 0;
  const char *sql = luaL_optlstring(L, SQL, "", &len);
  int err = mp_buf_add(&q->sql, sql, len);
  if (err == 0 && !lua_isnil(L, VALUES))
    err = mp_sqlite_pack_values(L, VALUES, q->request.named, &q->values, &q->request.n_values);
  q->request.sql = mp_slice(len > 0 ? mp_buf_at(&q->sql) : "", len);
  q->request.values = mp_buf_slice(&q->values);
  return err;
}

static void submit(struct mp_sqlite_query *q) {
  char text[128];
  int err = mp_work_submit(q->connection->threads, &q->work);
  if (err == 0) return;
  q->finished = true;
  q->answer.outcome = MP_DB_FAILED;
  q->answer.code = mp_err_name(err);
  snprintf(q->answer.message, sizeof q->answer.message, "no thread could be started: %s",
           mp_err_text(err, text, sizeof text));
}

static int push_done(lua_State *L, const struct mp_sqlite_query *q) {
  lua_pushboolean(L, 1);
  switch (q->request.op) {
  case MP_DB_QUERY:
    mp_sqlite_push_rows(L, &q->answer);
    return 2;
  case MP_DB_FIRST:
    mp_sqlite_push_row(L, &q->answer);
    return 3;
  case MP_DB_EXEC:
    lua_pushinteger(L, q->answer.changes);
    lua_pushinteger(L, q->answer.last_id);
    return 3;
  case MP_DB_FETCH:
    mp_sqlite_push_rows(L, &q->answer);
    lua_pushinteger(L, (lua_Integer)q->answer.cursor);
    return 3;
  default:
    lua_pushboolean(L, q->answer.wal);
    return 2;
  }
}

/* true, …; nil, message, code; false, message: the caller's mistake; false: not on this connection */
static int push_answer(lua_State *L, const struct mp_sqlite_query *q) {
  switch (q->answer.outcome) {
  case MP_DB_DONE:
    return push_done(L, q);
  case MP_DB_FAILED:
    lua_pushnil(L);
    lua_pushstring(L, q->answer.message);
    lua_pushstring(L, q->answer.code);
    return 3;
  case MP_DB_MISUSED:
    lua_pushboolean(L, 0);
    lua_pushstring(L, q->answer.message);
    return 2;
  default:
    lua_pushboolean(L, 0);
    return 1;
  }
}

static int deliver(lua_State *L, struct mp_sqlite_query *q) {
  int n = push_answer(L, q);
  mp_sqlite_query_free(q);
  return n;
}

/* Raised on by a cancel, the query stays with its task, whose end frees it. */
static int after_wait(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  mp_unpark(L);
  return deliver(L, (struct mp_sqlite_query *)ctx);
}

static int push_closed(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "the database is closed");
  lua_pushliteral(L, "closed");
  return 3;
}

/* run(connection, op, place, sql, values, named, cursor): waits; what it returns stands at push_answer and push_done.
 */
static int l_run(lua_State *L) {
  struct mp_sqlite_connection *c = check_connection(L);
  struct mp_db_request request = {0};
  if (!c) return push_closed(L);
  read_request(L, &request);
  mp_wait_check(L, "sqlite");
  struct mp_sqlite_query *q = new_query(c, &request);
  if (!q || lend(L, q) < 0) {
    if (q) mp_sqlite_query_free(q);
    return luaL_error(L, "not enough memory");
  }
  struct mp_task *task = mp_sched_of(L)->current;
  mp_list_append(&task->owned, &q->owned.node);
  mp_wake_arm(&q->wake, task);
  submit(q);
  return q->finished ? deliver(L, q) : mp_park(L, -1, after_wait, (lua_KContext)q);
}

/* post(connection, op[, place, sql, nil, nil, cursor]): the same, and nobody waits. */
static int l_post(lua_State *L) {
  struct mp_sqlite_connection *c = check_connection(L);
  struct mp_db_request request = {0};
  if (!c) return 0;
  read_request(L, &request);
  struct mp_sqlite_query *q = new_query(c, &request);
  if (!q || lend(L, q) < 0) {
    if (q) mp_sqlite_query_free(q);
    return luaL_error(L, "not enough memory");
  }
  q->released = true;
  submit(q);
  free_query_when_unused(q);
  return 0;
}

/* library(): true; or nil, message, code */
static int l_library(lua_State *L) {
  struct mp_sqlite library;
  char why[256];
  int err = mp_sqlite_load(&library, why, sizeof why);
  if (err < 0) return mp_push_failure(L, err, "%s", why);
  lua_pushboolean(L, 1);
  return 1;
}

void mp_sqlite_open(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"sqlite_library", l_library}, {"sqlite_run", l_run}, {"sqlite_post", l_post}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  mp_sqlite_connections_open(L);
  mp_sqlite_values_open(L);
}
