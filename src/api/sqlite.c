#include "api/sqlite.h"
#include "base/err.h"
#include "db/library.h"
#include "io/thread.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECTION_NAME "moonpool.sqlite.connection"

enum { QUEUE = 65536, CLOSE_MS = 1000 };

/*   Lua runs a query ─► queued ─► the connection's thread ─► loop ─► the task gets the answer
 *
 * A cancelled task does not wait: what runs is told to end, and the connection goes on with the next. */
struct connection {
  struct mp_list node; /* of api->connections */
  struct mp_api *api;  /* borrowed */
  struct mp_db_settings settings;
  struct mp_db *db;           /* owned; the thread's, once that has begun */
  struct mp_threads *threads; /* borrowed; NULL once it has ended */
  struct connection **box;    /* borrowed: the place in the userdata; NULL once that is gone */
  struct mp_list queries;     /* struct query, that are not freed yet */
  struct mp_wake closed;      /* who waits for its end */
  _Atomic bool used;          /* its thread has opened it, and not closed it yet */
  bool retired;
  bool wal;
};

struct query {
  struct mp_work work;
  struct mp_list node;           /* of connection->queries */
  struct connection *connection; /* borrowed: outlives it */
  struct mp_owned owned;         /* of the task */
  struct mp_wake wake;
  struct mp_db_request request;
  struct mp_db_answer answer;
  struct mp_buf sql, values; /* owned: what the request lends */
  bool finished;             /* no thread has it any more */
  bool released;             /* no task waits for it any more */
};

/* ---- connections ---- */

static void free_connection(struct connection *c) {
  mp_list_unlink(&c->node);
  mp_db_free(c->db);
  free(c->settings.path);
  free(c);
}

static void free_when_unused(struct connection *c) {
  if (c->retired && !c->threads && mp_list_empty(&c->queries)) free_connection(c);
}

static void on_closed(void *ctx) {
  struct connection *c = ctx;
  c->threads = NULL;
  mp_wake_fire(&c->closed);
  free_when_unused(c);
}

/* On its thread, which ends. */
static void leave(void *place) {
  struct connection *c = place;
  mp_db_close(c->db);
  atomic_store(&c->used, false);
}

static void retire(struct connection *c) {
  if (c->retired) return;
  c->retired = true;
  mp_threads_retire(c->threads);
}

/* ---- queries ---- */

static void free_query(struct query *q) {
  struct connection *c = q->connection;
  mp_list_unlink(&q->node);
  mp_list_unlink(&q->owned.node);
  mp_db_answer_free(&q->answer);
  mp_buf_free(&q->sql);
  mp_buf_free(&q->values);
  free(q);
  free_when_unused(c);
}

static void free_query_when_unused(struct query *q) {
  if (q->finished && q->released) free_query(q);
}

/* No signal is sent: SQLite looks at the flag itself. */
static void stop(struct query *q) {
  if (q->finished) return;
  if (mp_work_take_back(&q->work))
    q->finished = true;
  else
    atomic_store_explicit(&q->work.stop, 1, memory_order_release);
}

static void task_is_cancelled(struct mp_owned *owned) {
  stop(MP_CONTAINER(owned, struct query, owned));
}

static void task_has_ended(struct mp_owned *owned) {
  struct query *q = MP_CONTAINER(owned, struct query, owned);
  q->released = true;
  stop(q);
  free_query_when_unused(q);
}

static void run(struct mp_work *work, void **place) {
  struct query *q = MP_CONTAINER(work, struct query, work);
  *place = q->connection;
  atomic_store(&q->connection->used, true);
  mp_db_run(q->connection->db, &q->request, &q->answer);
}

static void ignore(struct mp_work *work) {
  (void)work;
}

static void on_done(struct mp_work *work) {
  struct query *q = MP_CONTAINER(work, struct query, work);
  q->finished = true;
  q->connection->wal = q->answer.wal;
  mp_wake_fire(&q->wake);
  free_query_when_unused(q);
}

static const struct mp_work_ops query_ops = {.run = run, .interrupt = ignore, .done = on_done};

static struct query *new_query(struct connection *c, const struct mp_db_request *request) {
  struct query *q = calloc(1, sizeof *q);
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

static struct connection *check_connection(lua_State *L) {
  struct connection **box = luaL_checkudata(L, 1, CONNECTION_NAME);
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
static int lend(lua_State *L, struct query *q) {
  size_t len = 0;
  const char *sql = luaL_optlstring(L, SQL, "", &len);
  int err = mp_buf_add(&q->sql, sql, len);
  if (err == 0 && !lua_isnil(L, VALUES))
    err = mp_sqlite_pack_values(L, VALUES, q->request.named, &q->values, &q->request.n_values);
  q->request.sql = mp_slice(len > 0 ? mp_buf_at(&q->sql) : "", len);
  q->request.values = mp_buf_slice(&q->values);
  return err;
}

static void submit(struct query *q) {
  char text[128];
  int err = mp_work_submit(q->connection->threads, &q->work);
  if (err == 0) return;
  q->finished = true;
  q->answer.outcome = MP_DB_FAILED;
  q->answer.code = mp_err_name(err);
  snprintf(q->answer.message, sizeof q->answer.message, "no thread could be started: %s",
           mp_err_text(err, text, sizeof text));
}

static int push_done(lua_State *L, const struct query *q) {
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
static int push_answer(lua_State *L, const struct query *q) {
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

static int deliver(lua_State *L, struct query *q) {
  int n = push_answer(L, q);
  free_query(q);
  return n;
}

/* Raised on by a cancel, the query stays with its task, whose end frees it. */
static int after_wait(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  mp_unpark(L);
  return deliver(L, (struct query *)ctx);
}

static int push_closed(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "the database is closed");
  lua_pushliteral(L, "closed");
  return 3;
}

/* run(connection, op, place, sql, values, named, cursor): waits; what it returns stands at push_answer and push_done. */
static int l_run(lua_State *L) {
  struct connection *c = check_connection(L);
  struct mp_db_request request = {0};
  if (!c) return push_closed(L);
  read_request(L, &request);
  mp_wait_check(L, "sqlite");
  struct query *q = new_query(c, &request);
  if (!q || lend(L, q) < 0) {
    if (q) free_query(q);
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
  struct connection *c = check_connection(L);
  struct mp_db_request request = {0};
  if (!c) return 0;
  read_request(L, &request);
  struct query *q = new_query(c, &request);
  if (!q || lend(L, q) < 0) {
    if (q) free_query(q);
    return luaL_error(L, "not enough memory");
  }
  q->released = true;
  submit(q);
  free_query_when_unused(q);
  return 0;
}

/* ---- the object ---- */

static const char *word_at(lua_State *L, const char *name, const char *const words[]) {
  lua_getfield(L, 1, name);
  const char *word = lua_isnil(L, -1) ? NULL : words[luaL_checkoption(L, -1, NULL, words)];
  lua_pop(L, 1);
  return word;
}

static uint64_t number_at(lua_State *L, const char *name) {
  lua_getfield(L, 1, name);
  uint64_t n = (uint64_t)luaL_checkinteger(L, -1);
  lua_pop(L, 1);
  return n;
}

static bool flag_at(lua_State *L, const char *name) {
  lua_getfield(L, 1, name);
  bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

static void read_settings(lua_State *L, struct mp_db_settings *s) {
  static const char *const journals[] = {"wal", "delete", "truncate", "persist", "memory", "off", NULL};
  static const char *const synchronous[] = {"off", "normal", "full", "extra", NULL};
  s->journal = word_at(L, "journal", journals);
  s->synchronous = word_at(L, "synchronous", synchronous);
  s->busy_ms = number_at(L, "busy_ms");
  s->timeout_ms = number_at(L, "timeout_ms");
  s->max_rows = number_at(L, "max_rows");
  s->max_bytes = number_at(L, "max_bytes");
  s->statements = (unsigned)number_at(L, "statements");
  s->foreign_keys = flag_at(L, "foreign_keys");
  s->readonly = flag_at(L, "readonly");
  s->reader = flag_at(L, "reader");
}

static struct connection *new_connection(struct mp_api *api, const struct mp_db_settings *settings, const char *path) {
  struct connection *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  struct mp_threads_setup setup = {
      .loop = api->loop, .name = "sqlite", .most = 1, .bound = QUEUE, .leave = leave, .on_closed = on_closed, .ctx = c};
  c->api = api;
  c->settings = *settings;
  c->settings.path = strdup(path);
  c->db = mp_db_new(&c->settings);
  c->threads = c->settings.path && c->db ? mp_threads_open(&setup) : NULL;
  mp_list_init(&c->queries);
  mp_list_init(&c->node);
  if (c->threads) return c;
  free_connection(c);
  return NULL;
}

/* connect{ path, … }: nothing is opened before the first query. */
static int l_connect(lua_State *L) {
  struct mp_api *api = mp_api_of(L);
  struct mp_db_settings settings = {0};
  luaL_checktype(L, 1, LUA_TTABLE);
  read_settings(L, &settings);
  lua_getfield(L, 1, "path");
  const char *path = luaL_checkstring(L, -1);
  struct connection **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, CONNECTION_NAME);
  struct connection *c = new_connection(api, &settings, path);
  if (!c) return luaL_error(L, "not enough memory or descriptors for a connection");
  *box = c;
  c->box = box;
  mp_list_append(&api->connections, &c->node);
  return 1;
}

static int after_close(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  mp_unpark(L);
  return 0;
}

/* Waits for its end, where that can be. What was asked for before is done first. */
static int l_close(lua_State *L) {
  struct connection **box = luaL_checkudata(L, 1, CONNECTION_NAME);
  struct connection *c = *box;
  if (!c) return 0;
  *box = NULL;
  c->box = NULL;
  if (mp_may_wait(L)) {
    mp_wait_check(L, "sqlite");
    mp_wake_arm(&c->closed, mp_sched_of(L)->current);
    retire(c);
    return mp_park(L, -1, after_close, 0);
  }
  retire(c);
  return 0;
}

/* Nobody waits for its end. */
static int l_drop(lua_State *L) {
  struct connection **box = luaL_checkudata(L, 1, CONNECTION_NAME);
  if (!*box) return 0;
  (*box)->box = NULL;
  retire(*box);
  *box = NULL;
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
  static const luaL_Reg functions[] = {{"sqlite_library", l_library}, {"sqlite_connect", l_connect},
                                       {"sqlite_run", l_run},         {"sqlite_post", l_post},
                                       {"sqlite_close", l_close},     {"sqlite_drop", l_drop},
                                       {NULL, NULL}};
  luaL_newmetatable(L, CONNECTION_NAME);
  lua_pushcfunction(L, l_drop);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
  mp_sqlite_values_open(L);
}

/* ---- the worker ends ---- */

/* What its thread still uses stays: the process is about to end, and the file takes no harm. */
static void close_connection(struct connection *c) {
  if (c->threads) mp_threads_close(c->threads, CLOSE_MS);
  c->threads = NULL;
  c->retired = false; /* it is freed below, not by its last query */
  MP_LIST_EACH(node, &c->queries) {
    struct query *q = MP_CONTAINER(node, struct query, node);
    if (q->finished) free_query(q);
  }
  if (c->box) *c->box = NULL;
  if (mp_list_empty(&c->queries) && !atomic_load(&c->used)) free_connection(c);
}

void mp_connections_close(struct mp_api *api) {
  struct mp_list *node;
  MP_LIST_EACH(each, &api->connections) {
    struct connection *c = MP_CONTAINER(each, struct connection, node);
    MP_LIST_EACH(work, &c->queries) stop(MP_CONTAINER(work, struct query, node));
    retire(c);
  }
  while ((node = mp_list_pop(&api->connections))) close_connection(MP_CONTAINER(node, struct connection, node));
}
