/* One call of a function of the host.
 *
 *   Lua calls ─► the function ─ returns ─────────────────────► results
 *                     └ holds it ─► the task waits … complete ─► (mailbox) ─► wakes ─► results
 *
 * A held call has two keepers, Lua and the host, and is freed when both have let go. Which of "completed" and
 * "cancelled" comes first is decided by one exchange of its state. */
#include "embed/modules.h"
#include "embed/values.h"
#include "io/mailbox.h"
#include "sched/state.h"
#include <errno.h>
#include <stdlib.h>

#define BOX_NAME "moonpool.host"

enum state { RUNS /* within the function */, HELD, CANCELLED, COMPLETED };

struct mp_call {
  lua_State *L; /* borrowed until the function has returned; then NULL */
  const struct mp_host_function *function;
  unsigned n; /* arguments */
  struct mp_values values;
  bool raises; /* the one value is an error */
  _Atomic int state;
  atomic_uint keepers;
  struct mp_mailbox *box; /* counted */
  struct mp_post post;
  /* Lua's side, on the loop's thread. */
  struct mp_wake wake;
  struct mp_owned owned; /* of the task that waits */
  void (*on_cancel)(struct mp_call *call, void *ctx);
  void *ctx; /* of on_cancel */
};

/* ---- life ---- */

static void let_go(struct mp_call *call) {
  if (atomic_fetch_sub_explicit(&call->keepers, 1, memory_order_acq_rel) > 1) return;
  mp_values_reset(&call->values);
  mp_mailbox_drop(call->box);
  free(call);
}

/* Nobody waits any more. */
static void cancel(struct mp_call *call) {
  int held = HELD;
  if (!atomic_compare_exchange_strong(&call->state, &held, CANCELLED)) return;
  if (call->on_cancel) call->on_cancel(call, call->ctx);
}

static void task_is_cancelled(struct mp_owned *owned) {
  cancel(MP_CONTAINER(owned, struct mp_call, owned));
}

static int l_call_gc(lua_State *L) {
  struct mp_call **place = lua_touserdata(L, 1), *call = *place;
  *place = NULL;
  if (!call) return 0;
  mp_list_unlink(&call->owned.node);
  cancel(call);
  let_go(call);
  return 0;
}

/* ---- what the calls of one state share ---- */

struct shared {
  struct mp_mailbox *box;
};

static int l_shared_gc(lua_State *L) {
  struct shared *shared = lua_touserdata(L, 1);
  if (shared->box) mp_mailbox_close(shared->box);
  shared->box = NULL;
  return 0;
}

static const char place_key; /* its address is the key in the registry: the metatable of calls */

static void push_metatable(lua_State *L, lua_CFunction gc) {
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, BOX_NAME);
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
}

void mp_calls_push(lua_State *L) {
  push_metatable(L, l_call_gc);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &place_key);
  struct shared *shared = lua_newuserdatauv(L, sizeof *shared, 0);
  shared->box = NULL;
  push_metatable(L, l_shared_gc);
  lua_setmetatable(L, -2);
  shared->box = mp_mailbox_open(mp_sched_of(L)->loop);
  if (!shared->box) luaL_error(L, "not enough memory for calls of the host");
}

/* ---- a call ---- */

/* Behind the arguments: the place that keeps it, whatever is raised. */
static struct mp_call *new_call(lua_State *L, const struct mp_host_function *f, struct shared *shared) {
  int n = lua_gettop(L);
  struct mp_call **place = lua_newuserdatauv(L, sizeof(struct mp_call *), 0);
  *place = NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &place_key);
  lua_setmetatable(L, -2);
  struct mp_call *call = calloc(1, sizeof *call);
  if (!call) luaL_error(L, "%s.%s: not enough memory", f->module, f->name);
  *place = call;
  call->L = L;
  call->function = f;
  call->n = (unsigned)n;
  call->box = mp_mailbox_keep(shared->box);
  call->owned.cancel = task_is_cancelled;
  mp_list_init(&call->owned.node);
  atomic_init(&call->keepers, 1);
  return call;
}

/* stack: arguments place … */
static int give_results(lua_State *L, struct mp_call *call) {
  struct mp_call **place = lua_touserdata(L, (int)call->n + 1);
  if (call->raises) {
    luaL_where(L, 1);
    mp_values_push(L, &call->values);
    lua_concat(L, 2);
    return lua_error(L);
  }
  int n = mp_values_push(L, &call->values);
  *place = NULL;
  let_go(call);
  return n;
}

static int after_hold(lua_State *L, int status, lua_KContext ctx) {
  struct mp_call *call = (struct mp_call *)ctx;
  (void)status;
  mp_list_unlink(&call->owned.node);
  mp_unpark(L); /* raises the cancellation; then the place lets go */
  return give_results(L, call);
}

static int wait_for(lua_State *L, struct mp_call *call) {
  struct mp_task *task = mp_sched_of(L)->current;
  mp_list_append(&task->owned, &call->owned.node);
  mp_wake_arm(&call->wake, task);
  return mp_park(L, -1, after_hold, (lua_KContext)call);
}

static int l_call(lua_State *L) {
  const struct mp_host_function *f = lua_touserdata(L, lua_upvalueindex(1));
  struct shared *shared = lua_touserdata(L, lua_upvalueindex(2));
  if (f->flags & MP_FUNCTION_WAITS) mp_wait_check(L, f->name);
  luaL_checkstack(L, LUA_MINSTACK, f->name);
  struct mp_call *call = new_call(L, f, shared);
  f->function(call, f->ctx);
  call->L = NULL;
  if (atomic_load(&call->state) == RUNS) return give_results(L, call);
  return wait_for(L, call);
}

void mp_call_push_function(lua_State *L, const struct mp_host_function *function, int box) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)function);
  lua_pushvalue(L, box);
  lua_pushcclosure(L, l_call, 2);
}

/* ---- the host's side ---- */

int mp_call_hold(struct mp_call *call, void (*on_cancel)(struct mp_call *call, void *ctx), void *ctx) {
  if (!(call->function->flags & MP_FUNCTION_WAITS)) return -EPERM;
  if (atomic_load(&call->state) != RUNS) return -EALREADY;
  call->on_cancel = on_cancel;
  call->ctx = ctx;
  atomic_fetch_add_explicit(&call->keepers, 1, memory_order_relaxed);
  atomic_store(&call->state, HELD);
  return 0;
}

/* On the loop. The task may have ended meanwhile: then the wake is stale. */
static void deliver(struct mp_post *post) {
  struct mp_call *call = MP_CONTAINER(post, struct mp_call, post);
  mp_wake_fire(&call->wake);
  let_go(call);
}

void mp_call_complete(struct mp_call *call) {
  int held = HELD;
  bool waits = atomic_compare_exchange_strong(&call->state, &held, COMPLETED);
  call->post.run = deliver;
  if (!waits || !mp_mailbox_post(call->box, &call->post)) let_go(call);
}

bool mp_call_cancelled(const struct mp_call *call) {
  return atomic_load(&call->state) == CANCELLED;
}

/* ---- arguments ---- */

struct lua_State *mp_call_lua(const struct mp_call *call) {
  return call->L;
}

unsigned mp_call_count(const struct mp_call *call) {
  return call->n;
}

/* LUA_TNONE behind the last one. */
static int type_at(const struct mp_call *call, unsigned i) {
  return call->L && i >= 1 && i <= call->n ? lua_type(call->L, (int)i) : LUA_TNONE;
}

enum mp_type mp_call_type(const struct mp_call *call, unsigned i) {
  switch (type_at(call, i)) {
  case LUA_TNONE:
    return MP_TYPE_NONE;
  case LUA_TNIL:
    return MP_TYPE_NIL;
  case LUA_TBOOLEAN:
    return MP_TYPE_BOOLEAN;
  case LUA_TNUMBER:
    return lua_isinteger(call->L, (int)i) ? MP_TYPE_INTEGER : MP_TYPE_NUMBER;
  case LUA_TSTRING:
    return MP_TYPE_STRING;
  default:
    return MP_TYPE_OTHER;
  }
}

bool mp_call_boolean(const struct mp_call *call, unsigned i) {
  return type_at(call, i) != LUA_TNONE && lua_toboolean(call->L, (int)i);
}

bool mp_call_integer(const struct mp_call *call, unsigned i, int64_t *value) {
  int is = 0;
  if (type_at(call, i) != LUA_TNUMBER) return false;
  lua_Integer n = lua_tointegerx(call->L, (int)i, &is);
  if (is) *value = n;
  return is;
}

bool mp_call_number(const struct mp_call *call, unsigned i, double *value) {
  if (type_at(call, i) != LUA_TNUMBER) return false;
  *value = lua_tonumber(call->L, (int)i);
  return true;
}

const char *mp_call_string(const struct mp_call *call, unsigned i, size_t *length) {
  if (type_at(call, i) != LUA_TSTRING) return NULL;
  return lua_tolstring(call->L, (int)i, length);
}

/* ---- results ---- */

static struct mp_slice text_of(const char *text) {
  return mp_slice(text, strlen(text));
}

void mp_call_put_nil(struct mp_call *call) {
  mp_values_nil(&call->values);
}

void mp_call_put_boolean(struct mp_call *call, bool value) {
  mp_values_boolean(&call->values, value);
}

void mp_call_put_integer(struct mp_call *call, int64_t value) {
  mp_values_integer(&call->values, value);
}

void mp_call_put_number(struct mp_call *call, double value) {
  mp_values_number(&call->values, value);
}

void mp_call_put_bytes(struct mp_call *call, const void *bytes, size_t length) {
  mp_values_bytes(&call->values, mp_slice(bytes, length));
}

void mp_call_put_string(struct mp_call *call, const char *text) {
  if (text)
    mp_values_bytes(&call->values, text_of(text));
  else
    mp_values_nil(&call->values);
}

void mp_call_put_table(struct mp_call *call) {
  mp_values_table(&call->values);
}

void mp_call_put_key(struct mp_call *call, const char *key) {
  mp_values_key(&call->values, text_of(key));
}

void mp_call_put_end(struct mp_call *call) {
  mp_values_end(&call->values);
}

void mp_call_fail(struct mp_call *call, const char *message, const char *code) {
  mp_values_reset(&call->values);
  call->raises = false;
  mp_values_nil(&call->values);
  mp_call_put_string(call, message);
  mp_call_put_string(call, code);
}

void mp_call_raise(struct mp_call *call, const char *message) {
  mp_values_reset(&call->values);
  call->raises = true;
  mp_call_put_string(call, message ? message : "?");
}
