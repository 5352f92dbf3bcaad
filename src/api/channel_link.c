#include "api/channel_link.h"
#include "api/channel.h"

static const char links_key; /* its address is the key in the registry: a table, number -> channel */

static void push_links(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &links_key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &links_key);
}

/* NULL: it was let go of. Leaves the channel, or nil, on the stack. */
static struct mp_channel *push_channel(lua_State *L, uint64_t number) {
  push_links(L);
  lua_rawgeti(L, -1, (lua_Integer)number);
  lua_remove(L, -2);
  return mp_channel_at(L, -1);
}

static void forget_if_unused(lua_State *L, struct mp_channel_far *far) {
  if (far->jobs > 0 || far->states > 0) return;
  push_links(L);
  lua_pushnil(L);
  lua_rawseti(L, -2, (lua_Integer)far->number);
  lua_pop(L, 1);
  far->states = 0;
}

/* ---- numbers of a job ---- */

static bool has(const struct mp_buf *numbers, uint64_t number) {
  for (size_t at = 0; at < mp_buf_len(numbers); at += sizeof number)
    if (memcmp(mp_buf_at(numbers) + at, &number, sizeof number) == 0) return true;
  return false;
}

static uint64_t number_at(const struct mp_buf *numbers, size_t at) {
  uint64_t number;
  memcpy(&number, mp_buf_at(numbers) + at, sizeof number);
  return number;
}

/* False: out of memory. */
static bool carry(struct mp_job *job, struct mp_channel_far *far) {
  if (has(&job->channels, far->number)) return true;
  if (mp_buf_add(&job->channels, &far->number, sizeof far->number) < 0) return false;
  far->jobs++;
  return true;
}

/* ---- the carrier ---- */

static bool take(lua_State *L, int index, uint64_t *number, void *ctx) {
  struct mp_job *job = ctx;
  struct mp_channel *ch = mp_channel_at(L, index);
  if (!ch) return false;
  struct mp_channel_far *far = mp_channel_far(ch);
  if (far->number == 0) far->number = ++job->crew->api->last_link;
  push_links(L);
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, (lua_Integer)far->number);
  lua_pop(L, 1);
  if (!carry(job, far)) luaL_error(L, "%s: not enough memory", job->crew->kind);
  *number = far->number;
  return true;
}

static void give(lua_State *L, uint64_t number, void *ctx) {
  (void)ctx;
  if (!push_channel(L, number)) luaL_error(L, "a channel that nobody holds any more");
}

void mp_links_init(struct mp_job *job) {
  job->carrier = (struct mp_carrier){.take = take, .give = give, .ctx = job};
}

/* ---- what becomes of a job ---- */

void mp_links_settle(struct mp_job *job) {
  lua_State *L = job->crew->api->L;
  for (size_t at = 0; at < mp_buf_len(&job->adopted); at += sizeof(uint64_t)) {
    struct mp_channel *ch = push_channel(L, number_at(&job->adopted, at));
    if (ch) mp_channel_far(ch)->states++;
    lua_pop(L, 1);
  }
  for (size_t at = 0; at < mp_buf_len(&job->sent); at += sizeof(uint64_t)) {
    struct mp_channel *ch = push_channel(L, number_at(&job->sent, at));
    if (ch) carry(job, mp_channel_far(ch)); /* without memory it is held by its thread alone */
    lua_pop(L, 1);
  }
  mp_buf_free(&job->adopted);
  mp_buf_free(&job->sent);
}

/* The state of a service may hold it for later calls: then it ends with that. */
static bool is_last(const struct mp_job *job, const struct mp_channel_far *far) {
  return far->jobs == 1 && (!job->crew->module || (job->finished && far->states <= 0));
}

void mp_links_abandon(struct mp_job *job) {
  lua_State *L = job->crew->api->L;
  if (job->finished && job->outcome == MP_JOB_DONE) return; /* before that the outcome is its thread's */
  for (size_t at = 0; at < mp_buf_len(&job->channels); at += sizeof(uint64_t)) {
    struct mp_channel *ch = push_channel(L, number_at(&job->channels, at));
    if (ch && is_last(job, mp_channel_far(ch))) mp_channel_close(ch);
    lua_pop(L, 1);
  }
}

void mp_links_drop(struct mp_job *job) {
  lua_State *L = job->crew->api->L;
  for (size_t at = 0; at < mp_buf_len(&job->channels); at += sizeof(uint64_t)) {
    struct mp_channel *ch = push_channel(L, number_at(&job->channels, at));
    if (ch) {
      mp_channel_far(ch)->jobs--;
      forget_if_unused(L, mp_channel_far(ch));
    }
    lua_pop(L, 1);
  }
  mp_buf_free(&job->channels);
  mp_buf_free(&job->adopted);
  mp_buf_free(&job->sent);
}

void mp_link_released(struct mp_api *api, uint64_t number, bool thrown_away) {
  struct mp_channel *ch = push_channel(api->L, number);
  if (ch) {
    struct mp_channel_far *far = mp_channel_far(ch);
    far->states--;
    if (thrown_away && far->jobs == 0 && far->states <= 0) mp_channel_close(ch);
    forget_if_unused(api->L, far);
  }
  lua_pop(api->L, 1);
}
