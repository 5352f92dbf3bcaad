#include "api/channel_far.h"
#include "api/channel_link.h"
#include <stdlib.h>

#define FAR_NAME "moonpool.channel"

static const char known_key; /* its address is the key in the registry: a weak table, number -> object */

/* On its way to the loop when the object is collected; made with it, so that letting go needs no memory. */
struct release {
  struct mp_post post;
  struct mp_api *api; /* borrowed */
  uint64_t number;
  bool thrown_away;
};

struct box {
  uint64_t number;
  struct release *release; /* owned until it is posted */
};

static void run_release(struct mp_post *post) {
  struct release *release = MP_CONTAINER(post, struct release, post);
  mp_link_released(release->api, release->number, release->thrown_away);
  free(release);
}

static int l_gc(lua_State *L) {
  struct box *box = lua_touserdata(L, 1);
  struct mp_far *far = mp_lua_thread_far(L);
  struct release *release = box->release;
  box->release = NULL;
  if (!release) return 0;
  release->thrown_away = far->closing;
  if (!mp_threads_post(far->threads, &release->post)) free(release);
  return 0;
}

static void push_known(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &known_key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &known_key);
}

/* ---- the carrier ---- */

static void note(lua_State *L, struct mp_buf *numbers, uint64_t number) {
  if (mp_buf_add(numbers, &number, sizeof number) < 0) luaL_error(L, "channel: not enough memory");
}

static bool take(lua_State *L, int index, uint64_t *number, void *ctx) {
  struct mp_job *job = ctx;
  const struct box *box = luaL_testudata(L, index, FAR_NAME);
  if (!box) return false;
  note(L, &job->sent, box->number);
  *number = box->number;
  return true;
}

/* The object is of no use before it was counted: what raises before leaves nothing behind. */
static void make(lua_State *L, uint64_t number, struct mp_job *job) {
  const struct mp_far *far = mp_lua_thread_far(L);
  struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (struct box){.number = number};
  luaL_setmetatable(L, FAR_NAME);
  struct release *release = calloc(1, sizeof *release);
  if (!release) luaL_error(L, "channel: not enough memory");
  *release = (struct release){.post = {.run = run_release}, .api = far->api, .number = number};
  mp_list_init(&release->post.node);
  if (mp_buf_add(&job->adopted, &number, sizeof number) < 0) {
    free(release);
    luaL_error(L, "channel: not enough memory");
  }
  box->release = release;
}

static void give(lua_State *L, uint64_t number, void *ctx) {
  push_known(L); /* stack: known */
  if (lua_rawgeti(L, -1, (lua_Integer)number) == LUA_TNIL) {
    lua_pop(L, 1);
    make(L, number, ctx);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)number);
  }
  lua_remove(L, -2);
}

void mp_far_init(struct mp_job *job) {
  job->far_carrier = (struct mp_carrier){.take = take, .give = give, .ctx = job};
}

void mp_far_open(lua_State *L) {
  luaL_newmetatable(L, FAR_NAME);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_setfield(L, -2, "far_channel");
}
