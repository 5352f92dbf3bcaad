#include "api/topics.h"
#include "api/api.h"
#include "api/channel.h"
#include "api/transfer.h"
#include "base/commons.h"
#include "base/err.h"
#include "io/bell.h"
#include "sched/line.h"
#include <errno.h>
#include <stdlib.h>

enum {
  LONGEST_TOPIC = 1024,
  READ_AT_ONCE = 64 * 1024, /* bytes from the ring */
  GIVE_AT_ONCE = 256,       /* messages between two turns of the loop: who receives them has to run too */
  AGAIN_MS = 50
};

struct mp_topics {
  struct mp_api *api;         /* borrowed; NULL once the state is being closed */
  struct mp_commons *commons; /* borrowed */
  struct mp_bell bell;
  struct mp_list subs;       /* struct sub */
  struct mp_list *next;      /* of subs: whom the message under way goes to next */
  struct mp_list dead;       /* struct sub: they have ended */
  struct mp_buf inbox;       /* owned: read from the ring, and not given to everybody yet */
  struct mp_line publishers; /* struct post: they wait for room */
  struct mp_timer again;
  struct mp_soon soon;
  bool attends, has_bell, pumps;
};

/* One subscription. */
struct sub {
  struct mp_channel_feed feed;
  struct mp_channel *channel; /* borrowed; its object is in the weak table under this address; NULL: it has ended */
  struct mp_list node;        /* of topics->subs, or of topics->dead */
  struct mp_member member;    /* of the scope that it was made in */
  struct mp_topics *topics;   /* borrowed */
  uint64_t from;              /* what lies before is not for it, or was given to it */
  uint64_t stalled_ms;        /* since then there has been no room in its channel; 0: there is */
  size_t topic_len;
  char topic[];
};

/* What a publisher that waits wants to say. */
struct post {
  size_t topic_len, value_len;
  char bytes[];
};

static const char weak_key; /* its address is the key in the registry: channels that are fed, by address */

/* ---- the end of a subscription ---- */

static void stand_down(struct mp_topics *t);

static void detach(struct sub *sub) {
  struct mp_topics *t = sub->topics;
  if (t->next == &sub->node) t->next = sub->node.next;
  mp_list_unlink(&sub->node);
  if (mp_list_empty(&t->subs)) stand_down(t);
}

/* It is freed at the end of this turn, so that whoever walks about here never stands on one that is gone. */
static void retire(struct sub *sub) {
  struct mp_topics *t = sub->topics;
  detach(sub);
  sub->channel = NULL;
  mp_list_append(&t->dead, &sub->node);
  mp_loop_post(t->api->loop, &t->soon);
}

static void end_sub(struct sub *sub, const char *why, const char *code) {
  if (sub->channel) mp_channel_end(sub->channel, why, code);
  retire(sub);
  mp_scope_leave(&sub->member);
}

static void on_scope_end(struct mp_member *member) {
  end_sub(MP_CONTAINER(member, struct sub, member), "closed", "closed");
}

/* A scope may come to its end by its last member's leaving, and that is nothing for the collector to set off. */
static void on_ended(struct mp_channel_feed *feed, bool collected) {
  struct sub *sub = MP_CONTAINER(feed, struct sub, feed);
  retire(sub);
  if (!collected) mp_scope_leave(&sub->member);
}

static void bury(struct mp_topics *t) {
  MP_LIST_EACH(node, &t->dead) mp_scope_leave(&MP_CONTAINER(node, struct sub, node)->member);
  MP_LIST_EACH(node, &t->dead) {
    struct sub *sub = MP_CONTAINER(node, struct sub, node);
    if (sub->member.scope) continue; /* it has come meanwhile */
    mp_list_unlink(node);
    free(sub);
  }
}

/* ---- the bell ---- */

static void pump(struct mp_topics *t);

static void on_ring(struct mp_bell *bell) {
  pump(MP_CONTAINER(bell, struct mp_topics, bell));
}

static int listen_for_bell(struct mp_topics *t) {
  if (t->has_bell) return 0;
  int err = mp_bell_open(&t->bell, t->api->loop, t->commons->bell, on_ring);
  t->has_bell = err == 0;
  return err;
}

/* Nobody here cares for what is published any more. The bell stays: it costs nothing while the ring lets it be. */
static void stand_down(struct mp_topics *t) {
  if (t->attends) mp_ring_leave(t->commons->ring, t->commons->seat, t->commons->bell);
  t->attends = false;
  if (!t->pumps) mp_buf_reset(&t->inbox, 0);
}

/* ---- giving a message to a channel ---- */

/* stack: channel message; protected. */
static int p_give(lua_State *L) {
  const struct mp_ring_message *m = lua_touserdata(L, 2);
  struct mp_slice text;
  lua_settop(L, 1);
  if (mp_transfer_is_text(mp_ring_value(m), &text))
    lua_pushlstring(L, text.at, text.len);
  else
    mp_transfer_unpack(L, mp_ring_value(m), NULL);
  mp_channel_put(L);
  return 0;
}

static bool wants(const struct sub *sub, const struct mp_ring_message *m) {
  return m->at >= sub->from && mp_slice_is(mp_ring_topic(m), mp_slice(sub->topic, sub->topic_len));
}

/* The channel of which the object is at the top of L, or nil if the collector has it: popped. */
static void give_to(struct mp_topics *t, struct mp_channel *ch, const struct mp_ring_message *m) {
  lua_State *L = t->api->L;
  lua_pushcfunction(L, p_give);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, (void *)(uintptr_t)m);
  if (mp_held_pcall(&t->api->sched, L, 2, 0, 0) == LUA_OK) return;
  const char *why = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is no text";
  mp_log(t->api->log, MP_LOG_ERROR, "app", "a subscription is closed: a message cannot be taken over: %s", why);
  lua_pop(L, 1);
  /* What is required for it may have closed the channel itself. */
  MP_LIST_EACH(node, &t->subs) {
    struct sub *sub = MP_CONTAINER(node, struct sub, node);
    if (sub->channel != ch) continue;
    end_sub(sub, "a message could not be taken over: the log says why", "EINVAL");
    return;
  }
}

/* False: there is no room for it. */
static bool give(struct mp_topics *t, struct sub *sub, const struct mp_ring_message *m) {
  lua_State *L = t->api->L;
  if (!mp_channel_has_room(sub->channel)) {
    if (!sub->stalled_ms) sub->stalled_ms = mp_loop_now(t->api->loop);
    return false;
  }
  sub->from = m->at + 1;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key);
  lua_rawgetp(L, -1, sub->channel);
  lua_remove(L, -2);
  if (lua_isnil(L, -1))
    lua_pop(L, 1); /* the collector has it, and will say so */
  else
    give_to(t, sub->channel, m);
  return true;
}

/* True: everybody has it. */
static bool give_all(struct mp_topics *t, const struct mp_ring_message *m) {
  bool whole = true;
  for (t->next = t->subs.next; t->next != &t->subs;) {
    struct sub *sub = MP_CONTAINER(t->next, struct sub, node);
    t->next = t->next->next;
    if (wants(sub, m) && !give(t, sub, m)) whole = false;
  }
  t->next = NULL;
  return whole;
}

/* ---- from the ring ---- */

static void cut_off(struct mp_topics *t) {
  mp_log(t->api->log, MP_LOG_WARN, "worker",
         "cut off from what is published: nothing was read for %d s while others waited", MP_RING_PATIENCE_MS / 1000);
  t->attends = false;
  while (!mp_list_empty(&t->subs))
    end_sub(MP_CONTAINER(t->subs.next, struct sub, node), "cut off: this worker has held up the others for too long",
            "ETIMEDOUT");
}

/* True: there is something in the inbox. */
static bool fetch(struct mp_topics *t) {
  if (!t->attends) return false;
  mp_buf_reset(&t->inbox, READ_AT_ONCE);
  int n = mp_ring_read(t->commons->ring, t->commons->seat, &t->inbox, READ_AT_ONCE, t->commons->bell);
  if (n == -EPIPE)
    cut_off(t);
  else if (n < 0)
    mp_timer_start(&t->again, AGAIN_MS);
  return n > 0;
}

/* The message at the front is done with, unless somebody has no room for it. */
static bool advance(struct mp_topics *t) {
  const struct mp_ring_message *m = (const void *)mp_buf_at(&t->inbox);
  if (!give_all(t, m)) return false;
  mp_buf_take(&t->inbox, mp_ring_length(m));
  return true;
}

/* Those that have been full for too long are in the way of all others. */
static void drop_stalled(struct mp_topics *t) {
  uint64_t now = mp_loop_now(t->api->loop);
  for (t->next = t->subs.next; t->next != &t->subs;) {
    struct sub *sub = MP_CONTAINER(t->next, struct sub, node);
    t->next = t->next->next;
    if (!sub->stalled_ms || now - sub->stalled_ms < MP_TOPICS_PATIENCE_MS) continue;
    mp_log(t->api->log, MP_LOG_WARN, "app",
           "a subscription is cut off: full, and nothing taken from it for %d s topic=%.*s",
           MP_TOPICS_PATIENCE_MS / 1000, (int)(sub->topic_len < 100 ? sub->topic_len : 100), sub->topic);
    end_sub(sub, "cut off: nothing was taken from it for too long", "ETIMEDOUT");
  }
  t->next = NULL;
}

static void give_out(struct mp_topics *t) {
  for (int n = 0; n < GIVE_AT_ONCE; n++) {
    if (mp_buf_len(&t->inbox) == 0 && !fetch(t)) return;
    if (!advance(t)) {
      mp_timer_start(&t->again, AGAIN_MS);
      return;
    }
  }
  mp_loop_post(t->api->loop, &t->soon);
}

/* ---- to the ring ---- */

static int say(struct mp_topics *t, struct mp_slice topic, struct mp_slice value) {
  struct mp_ring_cut cut;
  int err = mp_ring_publish(t->commons->ring, topic, value, mp_coarse_ms(), t->commons->bell, &cut);
  if (cut.n > 0)
    mp_log(t->api->log, MP_LOG_WARN, "worker",
           "workers are cut off from what is published: they read nothing for %d s n=%u pid=%d",
           MP_RING_PATIENCE_MS / 1000, cut.n, (int)cut.pid);
  return err;
}

static void say_what_waits(struct mp_topics *t) {
  struct mp_turn *turn;
  while ((turn = mp_line_first(&t->publishers))) {
    const struct post *post = turn->item;
    if (say(t, mp_slice(post->bytes, post->topic_len), mp_slice(post->bytes + post->topic_len, post->value_len)) < 0) {
      mp_timer_start(&t->again, AGAIN_MS);
      return;
    }
    mp_line_next(&t->publishers);
  }
}

/* ---- turning ---- */

static void pump(struct mp_topics *t) {
  if (t->pumps || !t->api) return;
  t->pumps = true;
  mp_timer_stop(&t->again);
  drop_stalled(t);
  give_out(t);
  say_what_waits(t);
  t->pumps = false;
  if (!t->attends) mp_buf_reset(&t->inbox, 0);
}

static void on_soon(struct mp_soon *soon) {
  struct mp_topics *t = MP_CONTAINER(soon, struct mp_topics, soon);
  bury(t);
  pump(t);
}

static void on_again(struct mp_timer *timer) {
  pump(MP_CONTAINER(timer, struct mp_topics, again));
}

/* It goes on, so it is patient with us no longer than it has been. */
static void on_taken(struct mp_channel_feed *feed) {
  struct sub *sub = MP_CONTAINER(feed, struct sub, feed);
  if (!sub->stalled_ms) return;
  sub->stalled_ms = 0;
  mp_loop_post(sub->topics->api->loop, &sub->topics->soon);
}

/* ---- the one of this state ---- */

static void undo_post(struct mp_line *line, void *post) {
  (void)line;
  free(post);
}

static struct mp_topics *topics_of(lua_State *L, const char *what) {
  struct mp_api *api = mp_api_of(L);
  if (api->topics) return api->topics;
  struct mp_topics *t = calloc(1, sizeof *t);
  if (t && mp_timer_init(&t->again, &api->loop->timers, on_again) < 0) {
    free(t);
    t = NULL;
  }
  if (!t) {
    luaL_error(L, "%s: not enough memory", what);
    return NULL;
  }
  t->api = api;
  t->commons = api->setup.commons;
  mp_list_init(&t->subs);
  mp_list_init(&t->dead);
  mp_line_init(&t->publishers, undo_post);
  mp_soon_init(&t->soon, on_soon);
  return api->topics = t;
}

static void on_bell_closed(struct mp_bell *bell) {
  free(MP_CONTAINER(bell, struct mp_topics, bell));
}

/* Their scopes are over, or will never be. */
static void drop_all(struct mp_list *subs) {
  MP_LIST_EACH(node, subs) {
    struct sub *sub = MP_CONTAINER(node, struct sub, node);
    mp_list_unlink(node);
    mp_list_unlink(&sub->member.node);
    if (sub->channel) mp_channel_end(sub->channel, "closed", "closed");
    free(sub);
  }
}

void mp_topics_close(struct mp_api *api) {
  struct mp_topics *t = api->topics;
  if (!t) return;
  drop_all(&t->subs);
  drop_all(&t->dead);
  stand_down(t);
  mp_line_deinit(&t->publishers);
  mp_soon_cancel(&t->soon);
  mp_timer_deinit(&t->again);
  mp_buf_free(&t->inbox);
  t->api = NULL;
  api->topics = NULL;
  if (t->has_bell)
    mp_bell_close(&t->bell, on_bell_closed);
  else
    free(t);
}

/* ---- publish ---- */

static struct mp_slice check_topic(lua_State *L) {
  struct mp_slice topic;
  luaL_checktype(L, 1, LUA_TSTRING);
  topic.at = lua_tolstring(L, 1, &topic.len);
  luaL_argcheck(L, topic.len <= LONGEST_TOPIC, 1, "a topic has at most 1024 bytes");
  return topic;
}

static int push_unpublished(lua_State *L, const struct mp_topics *t, int err) {
  if (err == -EMSGSIZE)
    return mp_push_failure(L, err, "publish: the message is larger than %zu bytes", mp_ring_most(t->commons->ring));
  return mp_push_failure(L, err, "publish: there is no room: somebody does not take what was published before");
}

static int after_publish(lua_State *L, int status, lua_KContext turn) {
  void *post;
  (void)status;
  if (mp_turn_over(L, (struct mp_turn *)turn, "publish", &post) != MP_TURN_CALLED)
    return push_unpublished(L, mp_api_of(L)->topics, -EAGAIN);
  free(post);
  lua_pushboolean(L, 1);
  return 1;
}

static int wait_to_publish(lua_State *L, struct mp_topics *t, struct mp_slice topic, double timeout_s) {
  struct mp_slice value = mp_buf_slice(&t->api->scratch);
  mp_wait_check(L, "publish");
  int err = listen_for_bell(t);
  if (err < 0) return push_unpublished(L, t, err);
  struct post *post = malloc(sizeof *post + topic.len + value.len);
  struct mp_turn *turn = post ? mp_line_join(&t->publishers, mp_sched_of(L)->current, post) : NULL;
  if (!turn) {
    free(post);
    return luaL_error(L, "publish: not enough memory");
  }
  *post = (struct post){topic.len, value.len};
  memcpy(post->bytes, topic.at, topic.len);
  memcpy(post->bytes + topic.len, value.at, value.len);
  if (!mp_timer_started(&t->again)) mp_timer_start(&t->again, AGAIN_MS);
  return mp_turn_park(L, turn, timeout_s, after_publish);
}

/* publish(topic, v[, timeout]) → true, or nil, message, code */
static int l_publish(lua_State *L) {
  static const struct mp_transfer_words words = {.what = "publish", .name = "the message"};
  struct mp_slice topic = check_topic(L);
  luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "nil cannot be published: a channel says by it that it is closed");
  double timeout_s = mp_check_timeout(L, 3);
  struct mp_topics *t = topics_of(L, "publish");
  struct mp_buf *bytes = &t->api->scratch;
  lua_settop(L, 2);
  mp_buf_reset(bytes, READ_AT_ONCE);
  mp_transfer_pack(L, 2, 1, &words, bytes);
  int err = mp_line_waits(&t->publishers) ? -EAGAIN : say(t, topic, mp_buf_slice(bytes));
  if (err == -EAGAIN && timeout_s != 0 && mp_may_wait(L)) return wait_to_publish(L, t, topic, timeout_s);
  if (err < 0) return push_unpublished(L, t, err);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- subscribe ---- */

static void remember(lua_State *L, const struct mp_channel *ch) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, ch);
  lua_pop(L, 1);
}

static struct sub *new_sub(struct mp_topics *t, struct mp_channel *ch, struct mp_slice topic) {
  struct sub *sub = calloc(1, sizeof *sub + topic.len);
  if (!sub) return NULL;
  sub->feed = (struct mp_channel_feed){on_taken, on_ended};
  sub->channel = ch;
  sub->topics = t;
  sub->topic_len = topic.len;
  memcpy(sub->topic, topic.at, topic.len);
  mp_list_init(&sub->node);
  mp_list_init(&sub->member.node);
  sub->member.cancel = sub->member.left_alone = on_scope_end;
  return sub;
}

static int attend(struct mp_topics *t, uint64_t *from) {
  struct mp_commons *c = t->commons;
  if (t->attends) return mp_ring_head(c->ring, from);
  int err = listen_for_bell(t);
  if (err == 0) err = mp_ring_attend(c->ring, c->seat, from);
  t->attends = err == 0;
  if (err == 0) mp_loop_post(t->api->loop, &t->soon); /* it reads once, and goes to sleep */
  return err;
}

/* subscribe(topic[, n = 1024]) → a channel, or nil, message, code */
static int l_subscribe(lua_State *L) {
  char text[128];
  struct mp_slice topic = check_topic(L);
  lua_Integer held = mp_check_capacity(L, 2, 1, MP_TOPICS_HELD);
  struct mp_topics *t = topics_of(L, "subscribe");
  struct mp_channel *ch = mp_channel_new(L, held);
  remember(L, ch);
  struct sub *sub = new_sub(t, ch, topic);
  if (!sub) return luaL_error(L, "subscribe: not enough memory");
  int err = attend(t, &sub->from);
  if (err < 0) {
    free(sub);
    return mp_push_failure(L, err, "subscribe: %s", mp_err_text(err, text, sizeof text));
  }
  mp_channel_set_feed(ch, &sub->feed);
  mp_list_append(&t->subs, &sub->node);
  mp_scope_join(mp_api_scope(L), &sub->member);
  return 1;
}

void mp_topics_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"publish", l_publish}, {"subscribe", l_subscribe}, {NULL, NULL}};
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &weak_key);
  luaL_setfuncs(L, functions, 0);
}
