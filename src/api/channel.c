#include "api/channel.h"
#include "api/api.h"
#include "sched/claim.h"
#include <stdlib.h>

#define CHANNEL_NAME "moonpool.channel"

enum { MOST_HELD = 1 << 24 };

/* One value on its way. The value itself stands in the channel's table (its user value) under `key`. */
struct item {
  struct mp_list all;  /* of channel->items, as long as it lives */
  struct mp_list node; /* of channel->held or channel->dropped; in a turn: of neither */
  lua_Integer key;
};

struct mp_channel {
  struct mp_line senders;   /* their items: what they offer */
  struct mp_line receivers; /* their items: what they were given */
  struct mp_list items;     /* owned: all of them */
  struct mp_list held;      /* oldest first, by key */
  struct mp_list dropped;   /* nobody will receive them: their values go at the next call */
  lua_Integer n_held, capacity, last_key;
  bool closed;
  struct mp_channel_feed *feed; /* borrowed; NULL: the script sends */
  const char *why, *code;       /* static: what it says once it is closed and empty */
  struct mp_channel_far far;
};

struct mp_channel *mp_channel_at(lua_State *L, int index) {
  return luaL_testudata(L, index, CHANNEL_NAME);
}

struct mp_channel_far *mp_channel_far(struct mp_channel *ch) {
  return &ch->far;
}

static struct mp_channel *check_channel(lua_State *L) {
  return luaL_checkudata(L, 1, CHANNEL_NAME);
}

static int push_closed(lua_State *L, const struct mp_channel *ch) {
  lua_pushnil(L);
  lua_pushstring(L, ch->why);
  lua_pushstring(L, ch->code);
  return 3;
}

/* ---- items ---- */

static void free_item(struct item *item) {
  mp_list_unlink(&item->node);
  mp_list_unlink(&item->all);
  free(item);
}

/* In its place by age: one that was given back is older than most. */
static void hold(struct mp_channel *ch, struct item *item) {
  struct mp_list *after = &ch->held;
  while (after->prev != &ch->held && MP_CONTAINER(after->prev, struct item, node)->key > item->key) after = after->prev;
  mp_list_append(after, &item->node); /* before `after` */
  ch->n_held++;
}

static struct item *take_held(struct mp_channel *ch) {
  struct mp_list *node = mp_list_pop(&ch->held);
  if (!node) return NULL;
  ch->n_held--;
  return MP_CONTAINER(node, struct item, node);
}

/* The value at `value` is kept from here on; raises when there is no memory, and then nothing is. */
static struct item *keep_value(lua_State *L, struct mp_channel *ch, int value) {
  lua_getiuservalue(L, 1, 1);
  lua_pushvalue(L, value);
  lua_rawseti(L, -2, ++ch->last_key);
  struct item *item = malloc(sizeof *item);
  if (!item) {
    lua_pushnil(L);
    lua_rawseti(L, -2, ch->last_key);
    luaL_error(L, "send: not enough memory");
    return NULL;
  }
  lua_pop(L, 1);
  item->key = ch->last_key;
  mp_list_init(&item->node);
  mp_list_append(&ch->items, &item->all);
  return item;
}

/* The channel stands at `at`. */
static void forget_value(lua_State *L, int at, const struct item *item) {
  lua_getiuservalue(L, at, 1);
  lua_pushnil(L);
  lua_rawseti(L, -2, item->key);
  lua_pop(L, 1);
}

static int push_value(lua_State *L, int at, struct item *item) {
  lua_getiuservalue(L, at, 1);
  lua_rawgeti(L, -1, item->key);
  lua_remove(L, -2);
  forget_value(L, at, item);
  free_item(item);
  return 1;
}

static void forget_dropped(lua_State *L, int at, struct mp_channel *ch) {
  MP_LIST_EACH(node, &ch->dropped) {
    struct item *item = MP_CONTAINER(node, struct item, node);
    forget_value(L, at, item);
    free_item(item);
  }
}

/* ---- turns that come to nothing ---- */

/* It gave up, was cancelled, or the channel was closed: what it offered was not sent. */
static void undo_send(struct mp_line *line, void *item) {
  struct mp_channel *ch = MP_CONTAINER(line, struct mp_channel, senders);
  mp_list_append(&ch->dropped, &((struct item *)item)->node);
}

/* What it was given is the next one's. */
static void undo_receive(struct mp_line *line, void *item) {
  struct mp_channel *ch = MP_CONTAINER(line, struct mp_channel, receivers);
  struct mp_turn *next = mp_line_next(&ch->receivers);
  if (next)
    next->item = item;
  else
    hold(ch, item);
}

/* ---- sending ---- */

bool mp_channel_has_room(struct mp_channel *ch) {
  return mp_line_waits(&ch->receivers) || ch->n_held < ch->capacity;
}

static void put(struct mp_channel *ch, struct item *item) {
  struct mp_turn *receiver = mp_line_next(&ch->receivers);
  if (receiver)
    receiver->item = item;
  else
    hold(ch, item);
}

static int after_send(lua_State *L, int status, lua_KContext turn) {
  void *item;
  (void)status;
  enum mp_turn_state end = mp_turn_over(L, (struct mp_turn *)turn, "send", &item);
  forget_dropped(L, 1, check_channel(L));
  switch (end) {
  case MP_TURN_CALLED:
    lua_pushboolean(L, 1);
    return 1;
  case MP_TURN_DISMISSED:
    return push_closed(L, check_channel(L));
  default:
    return mp_push_timeout(L);
  }
}

static int wait_to_send(lua_State *L, struct mp_channel *ch, double timeout_s) {
  if (timeout_s == 0) return mp_push_timeout(L);
  mp_wait_check(L, "send");
  struct item *item = keep_value(L, ch, 2);
  struct mp_turn *turn = mp_line_join(&ch->senders, mp_sched_of(L)->current, item);
  if (turn) return mp_turn_park(L, turn, timeout_s, after_send);
  forget_value(L, 1, item);
  free_item(item);
  return luaL_error(L, "send: not enough memory");
}

/* send(v[, timeout]) → true, or nil, "closed" or "timeout", code */
static int l_send(lua_State *L) {
  struct mp_channel *ch = check_channel(L);
  luaL_checkany(L, 2);
  luaL_argcheck(L, !lua_isnil(L, 2), 2, "nil cannot be sent: it says that the channel is closed");
  if (ch->feed) return luaL_error(L, "send: what is published comes through a subscription, nothing else");
  double timeout_s = mp_check_timeout(L, 3);
  lua_settop(L, 2);
  forget_dropped(L, 1, ch);
  if (ch->closed) return push_closed(L, ch);
  if (!mp_channel_has_room(ch)) return wait_to_send(L, ch, timeout_s);
  put(ch, keep_value(L, ch, 2));
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- receiving ---- */

/* The next value there is; a sender who waited goes on. NULL: there is none. */
static struct item *get(struct mp_channel *ch) {
  struct item *item = take_held(ch);
  if (item && ch->n_held >= ch->capacity) return item; /* more than fits had been given back */
  if (item && ch->feed) ch->feed->taken(ch->feed);
  struct mp_turn *sender = mp_line_next(&ch->senders);
  if (!sender) return item;
  struct item *offered = sender->item;
  sender->item = NULL;
  if (!item) return offered;
  hold(ch, offered);
  return item;
}

static int after_receive(lua_State *L, int status, lua_KContext turn) {
  void *item;
  (void)status;
  switch (mp_turn_over(L, (struct mp_turn *)turn, "receive", &item)) {
  case MP_TURN_CALLED:
    return push_value(L, 1, item);
  case MP_TURN_DISMISSED:
    return push_closed(L, check_channel(L));
  default:
    return mp_push_timeout(L);
  }
}

/* The channel is at 1, alone. */
static int receive(lua_State *L, struct mp_channel *ch, double timeout_s) {
  forget_dropped(L, 1, ch);
  struct item *item = get(ch);
  if (item) return push_value(L, 1, item);
  if (ch->closed) return push_closed(L, ch);
  if (timeout_s == 0) return mp_push_timeout(L);
  mp_wait_check(L, "receive");
  struct mp_turn *turn = mp_line_join(&ch->receivers, mp_sched_of(L)->current, NULL);
  if (!turn) return luaL_error(L, "receive: not enough memory");
  return mp_turn_park(L, turn, timeout_s, after_receive);
}

/* ---- among others ---- */

static int wait_alone(lua_State *L, double timeout_s) {
  return receive(L, check_channel(L), timeout_s);
}

static struct mp_line *line_of(void *source) {
  return &((struct mp_channel *)source)->receivers;
}

static enum mp_turn_state take(lua_State *L, int index, void **item) {
  struct mp_channel *ch = lua_touserdata(L, index);
  forget_dropped(L, index, ch);
  *item = get(ch);
  if (*item) return MP_TURN_CALLED;
  return ch->closed ? MP_TURN_DISMISSED : MP_TURN_WAITING;
}

static int push_received(lua_State *L, int index, struct mp_claim *claim, enum mp_turn_state state) {
  struct item *item = mp_claim_take(claim);
  (void)state; /* called with nothing, it was dismissed */
  return item ? push_value(L, index, item) : push_closed(L, lua_touserdata(L, index));
}

static const struct mp_source_ops source_ops = {
    .kind = "channel", .wait = wait_alone, .line = line_of, .take = take, .push = push_received};

/* receive([timeout]) → the value, or nil, "closed" or "timeout", code */
static int l_receive(lua_State *L) {
  struct mp_channel *ch = check_channel(L);
  double timeout_s = mp_check_timeout(L, 2);
  lua_settop(L, 1);
  return receive(L, ch, timeout_s);
}

static int l_next_value(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(1));
  return receive(L, check_channel(L), -1);
}

static int l_values(lua_State *L) {
  check_channel(L);
  lua_settop(L, 1);
  lua_pushcclosure(L, l_next_value, 1);
  return 1;
}

/* ---- the object ---- */

static void end_feed(struct mp_channel *ch, bool collected) {
  struct mp_channel_feed *feed = ch->feed;
  ch->feed = NULL;
  if (feed) feed->ended(feed, collected);
}

void mp_channel_end(struct mp_channel *ch, const char *why, const char *code) {
  ch->feed = NULL;
  if (ch->closed) return;
  ch->closed = true;
  ch->why = why;
  ch->code = code;
  mp_line_dismiss(&ch->senders);
  mp_line_dismiss(&ch->receivers);
}

/* What is held is still received; who waits to send or to receive goes on and hears of it. */
void mp_channel_close(struct mp_channel *ch) {
  end_feed(ch, false);
  mp_channel_end(ch, ch->why, ch->code);
}

static int l_close(lua_State *L) {
  mp_channel_close(check_channel(L));
  return 0;
}

static int l_len(lua_State *L) {
  lua_pushinteger(L, check_channel(L)->n_held);
  return 1;
}

static int l_tostring(lua_State *L) {
  struct mp_channel *ch = check_channel(L);
  lua_pushfstring(L, "channel (%s%I of %I)", ch->closed ? "closed, " : "", ch->n_held, ch->capacity);
  return 1;
}

static int l_gc(lua_State *L) {
  struct mp_channel *ch = check_channel(L);
  end_feed(ch, true);
  mp_line_deinit(&ch->senders);
  mp_line_deinit(&ch->receivers);
  MP_LIST_EACH(node, &ch->items) free(MP_CONTAINER(node, struct item, all));
  mp_list_init(&ch->items);
  return 0;
}

struct mp_channel *mp_channel_new(lua_State *L, lua_Integer capacity) {
  struct mp_channel *ch = lua_newuserdatauv(L, sizeof *ch, 1);
  *ch = (struct mp_channel){.capacity = capacity, .why = "closed", .code = "closed"};
  mp_line_init(&ch->senders, undo_send);
  mp_line_init(&ch->receivers, undo_receive);
  mp_list_init(&ch->items);
  mp_list_init(&ch->held);
  mp_list_init(&ch->dropped);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, CHANNEL_NAME);
  return ch;
}

void mp_channel_set_feed(struct mp_channel *ch, struct mp_channel_feed *feed) {
  ch->feed = feed;
}

void mp_channel_put(lua_State *L) {
  struct mp_channel *ch = check_channel(L);
  forget_dropped(L, 1, ch);
  put(ch, keep_value(L, ch, lua_gettop(L)));
  lua_pop(L, 1);
}

lua_Integer mp_check_capacity(lua_State *L, int arg, lua_Integer least, lua_Integer fallback) {
  lua_Integer n = luaL_optinteger(L, arg, fallback);
  if (n < least || n > MOST_HELD)
    luaL_argerror(L, arg, lua_pushfstring(L, "a number of values, %I to %I", least, (lua_Integer)MOST_HELD));
  return n;
}

/* channel([n]): n values may lie in it; 0: none. */
static int l_channel(lua_State *L) {
  mp_channel_new(L, mp_check_capacity(L, 1, 0, 0));
  return 1;
}

void mp_channel_open(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"send", l_send}, {"receive", l_receive}, {"close", l_close}, {"values", l_values}, {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__len", l_len}, {"__tostring", l_tostring}, {"__close", l_close}, {"__gc", l_gc}, {NULL, NULL}};
  luaL_newmetatable(L, CHANNEL_NAME);
  mp_source_mark(L, &source_ops);
  luaL_setfuncs(L, meta, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushcfunction(L, l_channel);
  lua_setfield(L, -2, "channel");
}
