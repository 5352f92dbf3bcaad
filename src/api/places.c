#include "api/places.h"
#include "api/args.h"
#include <errno.h>

enum {
  YOUNG_MS = 4, /* about what the kernel needs for exec, the loader and a short program when others want its time too */
  YOUNG_AT_LEAST = 2
};

static struct mp_args *args_of(struct mp_list *node) {
  return MP_CONTAINER(MP_CONTAINER(node, struct mp_entrant, node), struct mp_args, entrant);
}

static struct mp_args *args_at(lua_State *L, int scratch) {
  return lua_touserdata(L, scratch);
}

/* ---- turns ---- */

static struct mp_young *oldest(struct mp_places *places) {
  return MP_CONTAINER(places->young.next, struct mp_young, node);
}

static void forget_young(struct mp_places *places, struct mp_young *young) {
  if (mp_list_empty(&young->node)) return;
  mp_list_unlink(&young->node);
  places->n_young--;
}

static void let_grow(struct mp_api *api) {
  struct mp_places *places = &api->places;
  uint64_t now = mp_loop_now(api->loop);
  while (places->n_young > 0 && oldest(places)->started_ms + YOUNG_MS <= now) forget_young(places, oldest(places));
}

static bool is_time(struct mp_api *api) {
  struct mp_places *places = &api->places;
  if (places->started || places->called) return false;
  let_grow(api);
  return places->n_young < places->most_young;
}

/* Whoever waits for a turn is called by the end of this turn, by the end of a process, or by the timer. */
static void see_to_it(struct mp_api *api) {
  struct mp_places *places = &api->places;
  if (places->started || places->called || places->n_young < places->most_young) return;
  uint64_t now = mp_loop_now(api->loop), due = oldest(places)->started_ms + YOUNG_MS;
  if (!mp_timer_started(&places->grown)) mp_timer_start(&places->grown, due > now ? due - now : 0);
}

static void call_next(struct mp_api *api) {
  struct mp_places *places = &api->places;
  struct mp_list *node;
  while (!mp_list_empty(&places->turns) && is_time(api)) {
    node = mp_list_pop(&places->turns);
    struct mp_entrant *next = &args_of(node)->entrant;
    places->called = next->is_called = mp_wake_fire(&next->wake);
  }
  if (!mp_list_empty(&places->turns)) see_to_it(api);
}

static void on_next(struct mp_soon *soon) {
  struct mp_places *places = MP_CONTAINER(soon, struct mp_places, next);
  places->started = false;
  call_next(MP_CONTAINER(places, struct mp_api, places));
}

static void on_grown(struct mp_timer *timer) {
  call_next(MP_CONTAINER(timer, struct mp_api, places.grown));
}

/* ---- places ---- */

static void post_next(struct mp_api *api) {
  mp_loop_post(api->loop, &api->places.next);
}

/* Handed over, so that nobody overtakes. */
static void release(struct mp_api *api) {
  struct mp_places *places = &api->places;
  struct mp_list *node;
  places->n_taken--;
  while ((node = mp_list_pop(&places->line))) {
    struct mp_args *args = args_of(node);
    places->n_waiting--;
    if (!mp_wake_fire(&args->entrant.wake)) continue;
    args->entrant.has_place = true;
    places->n_taken++;
    return;
  }
}

static void leave_lines(struct mp_args *args) {
  struct mp_entrant *entrant = &args->entrant;
  if (!mp_list_empty(&entrant->node) && !entrant->has_place) args->api->places.n_waiting--;
  mp_list_unlink(&entrant->node);
  mp_list_unlink(&entrant->owned.node);
}

static void turn_is_over(struct mp_args *args) {
  if (args->entrant.is_called) args->api->places.called = false;
  args->entrant.is_called = false;
  post_next(args->api);
}

void mp_place_take_turn(struct mp_args *args) {
  leave_lines(args);
  args->api->places.started = true;
  turn_is_over(args);
}

void mp_place_give_back(struct mp_args *args) {
  leave_lines(args);
  if (args->entrant.is_called) turn_is_over(args);
  if (!args->entrant.has_place) return;
  args->entrant.has_place = false;
  release(args->api);
}

void mp_place_started(struct mp_args *args, struct mp_young *young) {
  struct mp_places *places = &args->api->places;
  args->entrant.has_place = false;
  young->started_ms = mp_loop_now(args->api->loop);
  mp_list_append(&places->young, &young->node);
  places->n_young++;
}

void mp_place_release(struct mp_api *api, struct mp_young *young) {
  forget_young(&api->places, young);
  if (!mp_list_empty(&api->places.turns)) post_next(api);
  release(api);
}

static void task_has_ended(struct mp_owned *owned) {
  mp_place_give_back(MP_CONTAINER(owned, struct mp_args, entrant.owned));
}

/* ---- entering ---- */

static int push_no_place(lua_State *L, const struct mp_args *args) {
  return mp_push_failure(L, EAGAIN, "%s: no free place among %u processes within %g s", args->what,
                         args->api->setup.config->max_procs, args->queue_timeout_s);
}

static void join_line(struct mp_args *args, struct mp_list *line, struct mp_task *task) {
  struct mp_entrant *entrant = &args->entrant;
  mp_wake_arm(&entrant->wake, task);
  mp_list_append(line, &entrant->node);
  if (mp_list_empty(&entrant->owned.node)) mp_list_append(&task->owned, &entrant->owned.node);
}

/* A cancel raises in mp_unpark, and then nothing may be held. */
static void come_back(lua_State *L, struct mp_args *args) {
  if (mp_sched_of(L)->current->cancel == MP_CANCEL_ASKED) mp_place_give_back(args);
  mp_unpark(L);
}

static int after_turn(lua_State *L, int status, lua_KContext scratch) {
  struct mp_args *args = args_at(L, (int)scratch);
  come_back(L, args);
  return args->entrant.go(L, status, scratch);
}

/* It has its place. */
static int await_turn(lua_State *L, int scratch) {
  struct mp_args *args = args_at(L, scratch);
  struct mp_places *places = &args->api->places;
  bool free = mp_list_empty(&places->turns) && is_time(args->api);
  if (free || !mp_may_wait(L)) return args->entrant.go(L, LUA_OK, scratch);
  mp_wait_check(L, args->what);
  join_line(args, &places->turns, mp_sched_of(L)->current);
  see_to_it(args->api);
  return mp_park(L, -1, after_turn, scratch);
}

static int after_line(lua_State *L, int status, lua_KContext scratch) {
  struct mp_args *args = args_at(L, (int)scratch);
  (void)status;
  if (!args->entrant.has_place) leave_lines(args);
  come_back(L, args);
  return args->entrant.has_place ? await_turn(L, (int)scratch) : push_no_place(L, args);
}

static int await_place(lua_State *L, int scratch) {
  struct mp_args *args = args_at(L, scratch);
  struct mp_places *places = &args->api->places;
  mp_wait_check(L, args->what);
  join_line(args, &places->line, mp_sched_of(L)->current);
  places->n_waiting++;
  return mp_park(L, args->queue_timeout_s, after_line, scratch);
}

int mp_place_enter(lua_State *L, int scratch, lua_KFunction go) {
  struct mp_args *args = args_at(L, scratch);
  struct mp_places *places = &args->api->places;
  args->entrant.go = go;
  if (places->n_taken >= args->api->setup.config->max_procs || !mp_list_empty(&places->line))
    return await_place(L, scratch);
  places->n_taken++;
  args->entrant.has_place = true;
  return await_turn(L, scratch);
}

/* ---- life ---- */

void mp_entrant_init(struct mp_entrant *entrant) {
  mp_list_init(&entrant->node);
  mp_list_init(&entrant->owned.node);
  entrant->owned.ended = task_has_ended;
}

int mp_places_init(struct mp_api *api) {
  struct mp_places *places = &api->places;
  unsigned cpus = mp_loop_cpus();
  mp_list_init(&places->line);
  mp_list_init(&places->turns);
  mp_list_init(&places->young);
  mp_soon_init(&places->next, on_next);
  places->most_young = cpus < YOUNG_AT_LEAST ? YOUNG_AT_LEAST : cpus + 1;
  return mp_timer_init(&places->grown, &api->loop->timers, on_grown);
}

void mp_places_deinit(struct mp_api *api) {
  mp_soon_cancel(&api->places.next);
  mp_timer_deinit(&api->places.grown);
}
