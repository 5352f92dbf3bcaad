#include "api/sqlite_inside.h"
#include <stdlib.h>

enum { QUEUE = 65536, CLOSE_MS = 1000 };

/* ---- connections ---- */

static void on_closed(void *ctx) {
  struct mp_sqlite_connection *c = ctx;
  c->threads = NULL;
  mp_wake_fire(&c->closed);
  mp_sqlite_connection_unused(c);
}

/* On its thread, which ends. */
static void leave(void *place) {
  struct mp_sqlite_connection *c = place;
  mp_db_close(c->db);
  atomic_store(&c->used, false);
}

static void retire(struct mp_sqlite_connection *c) {
  if (c->retired) return;
  c->retired = true;
  mp_threads_retire(c->threads);
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

static struct mp_sqlite_connection *new_connection(struct mp_api *api, const struct mp_db_settings *settings,
                                                   const char *path) {
  struct mp_sqlite_connection *c = calloc(1, sizeof *c);
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
  mp_sqlite_connection_free(c);
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
  struct mp_sqlite_connection **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, MP_SQLITE_CONNECTION);
  struct mp_sqlite_connection *c = new_connection(api, &settings, path);
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
  struct mp_sqlite_connection **box = luaL_checkudata(L, 1, MP_SQLITE_CONNECTION);
  struct mp_sqlite_connection *c = *box;
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
  struct mp_sqlite_connection **box = luaL_checkudata(L, 1, MP_SQLITE_CONNECTION);
  if (!*box) return 0;
  (*box)->box = NULL;
  retire(*box);
  *box = NULL;
  return 0;
}

void mp_sqlite_connections_open(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"sqlite_connect", l_connect}, {"sqlite_close", l_close}, {"sqlite_drop", l_drop}, {NULL, NULL}};
  luaL_newmetatable(L, MP_SQLITE_CONNECTION);
  lua_pushcfunction(L, l_drop);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}

/* ---- the worker ends ---- */

/* What its thread still uses stays: the process is about to end, and the file takes no harm. */
static bool close_connection(struct mp_sqlite_connection *c) {
  if (c->threads) mp_threads_close(c->threads, CLOSE_MS);
  c->threads = NULL;
  c->retired = false; /* it is freed below, not by its last query */
  for (struct mp_list *node = c->queries.next, *next; node != &c->queries; node = next) {
    struct mp_sqlite_query *q = MP_CONTAINER(node, struct mp_sqlite_query, node);
    next = node->next;
    if (q->finished) mp_sqlite_query_free(q);
  }
  if (c->box) *c->box = NULL;
  if (!mp_list_empty(&c->queries) || atomic_load(&c->used)) return false;
  mp_sqlite_connection_free(c);
  return true;
}

bool mp_connections_close(struct mp_api *api) {
  struct mp_list *node;
  bool whole = true;
  MP_LIST_EACH(each, &api->connections) {
    struct mp_sqlite_connection *c = MP_CONTAINER(each, struct mp_sqlite_connection, node);
    MP_LIST_EACH(work, &c->queries) mp_sqlite_query_stop(MP_CONTAINER(work, struct mp_sqlite_query, node));
    retire(c);
  }
  while ((node = mp_list_pop(&api->connections)))
    whole &= close_connection(MP_CONTAINER(node, struct mp_sqlite_connection, node));
  return whole;
}
