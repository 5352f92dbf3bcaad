#include "api/places.h"
#include <errno.h>

void mp_place_give_back(struct mp_args *args) {
  if (!args->has_place) return;
  args->has_place = false;
  mp_place_release(args->api);
}

int mp_place_push_none(lua_State *L, const struct mp_args *args) {
  return mp_push_failure(L, EAGAIN, "%s: no free place among %u processes within %g s", args->what,
                         args->api->setup.config->max_procs, args->queue_timeout_s);
}

int mp_place_queue(lua_State *L, int scratch, lua_KFunction after) {
  struct mp_args *args = lua_touserdata(L, scratch);
  mp_wait_check(L, args->what);
  mp_wake_arm(&args->queued.wake, mp_sched_of(L)->current);
  mp_list_append(&args->api->spawn_queue, &args->queued.node);
  args->api->n_queued++;
  return mp_park(L, args->queue_timeout_s, after, scratch);
}

bool mp_place_got(lua_State *L, int scratch) {
  struct mp_args *args = lua_touserdata(L, scratch);
  if (!mp_list_empty(&args->queued.node)) {
    mp_list_unlink(&args->queued.node);
    args->api->n_queued--;
  }
  if (mp_sched_of(L)->current->cancel == MP_CANCEL_ASKED) mp_place_give_back(args); /* the next line raises */
  mp_unpark(L);
  return args->has_place;
}

bool mp_place_take(struct mp_args *args) {
  struct mp_api *api = args->api;
  if (api->n_processes >= api->setup.config->max_procs || !mp_list_empty(&api->spawn_queue)) return false;
  api->n_processes++;
  args->has_place = true;
  return true;
}

void mp_place_release(struct mp_api *api) {
  struct mp_list *node;
  api->n_processes--;
  while ((node = mp_list_pop(&api->spawn_queue))) {
    struct mp_args *args = MP_CONTAINER(node, struct mp_args, queued.node);
    api->n_queued--;
    if (!mp_wake_fire(&args->queued.wake)) continue;
    args->has_place = true; /* handed over, so that nobody overtakes */
    api->n_processes++;
    return;
  }
}
