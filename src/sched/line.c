#include "sched/line.h"
#include "sched/state.h"
#include <stdlib.h>

void mp_line_init(struct mp_line *line, void (*undo)(struct mp_line *line, void *item)) {
  *line = (struct mp_line){.undo = undo};
  mp_list_init(&line->waiting);
  mp_list_init(&line->called);
}

static void part_all(struct mp_list *turns) {
  struct mp_list *node;
  while ((node = mp_list_pop(turns))) MP_CONTAINER(node, struct mp_turn, node)->line = NULL;
}

void mp_line_deinit(struct mp_line *line) {
  part_all(&line->waiting);
  part_all(&line->called);
  line->n_waiting = 0;
}

/* Out of the line, whatever list it stands in; what it still holds goes back. */
static void withdraw(struct mp_turn *turn) {
  struct mp_line *line = turn->line;
  void *item = turn->item;
  mp_list_unlink(&turn->node);
  if (line && turn->state == MP_TURN_WAITING) line->n_waiting--;
  turn->state = MP_TURN_MISSED;
  turn->item = NULL;
  turn->line = NULL;
  if (line && item && line->undo) line->undo(line, item);
}

static void task_is_cancelled(struct mp_owned *owned) {
  withdraw(MP_CONTAINER(owned, struct mp_turn, owned));
}

static void free_turn(struct mp_turn *turn) {
  if (turn->holder) *turn->holder = NULL;
  free(turn);
}

static void task_has_ended(struct mp_owned *owned) {
  struct mp_turn *turn = MP_CONTAINER(owned, struct mp_turn, owned);
  withdraw(turn);
  free_turn(turn);
}

struct mp_turn *mp_turn_new(void) {
  struct mp_turn *turn = calloc(1, sizeof *turn);
  if (!turn) return NULL;
  turn->state = MP_TURN_MISSED;
  turn->owned.cancel = task_is_cancelled;
  turn->owned.ended = task_has_ended;
  mp_list_init(&turn->node);
  mp_list_init(&turn->owned.node);
  return turn;
}

void mp_line_enter(struct mp_line *line, struct mp_turn *turn, struct mp_task *task, void *item, bool called) {
  turn->line = line;
  turn->item = item;
  turn->state = called ? MP_TURN_CALLED : MP_TURN_WAITING;
  mp_list_append(&task->owned, &turn->owned.node);
  mp_list_append(called ? &line->called : &line->waiting, &turn->node);
  if (!called) line->n_waiting++;
}

struct mp_turn *mp_line_join(struct mp_line *line, struct mp_task *task, void *item) {
  struct mp_turn *turn = mp_turn_new();
  if (turn) mp_line_enter(line, turn, task, item, false);
  return turn;
}

/* Woken by a timeout or a cancel, it has not gone on yet: too late for it. */
static bool would_come(const struct mp_turn *turn) {
  const struct mp_task *task = turn->wake.task;
  return !task || (task->ticket == turn->wake.ticket && task->state == MP_TASK_PARKED);
}

struct mp_turn *mp_line_first(struct mp_line *line) {
  MP_LIST_EACH(node, &line->waiting) {
    struct mp_turn *turn = MP_CONTAINER(node, struct mp_turn, node);
    if (would_come(turn)) return turn;
  }
  return NULL;
}

bool mp_line_waits(struct mp_line *line) {
  return mp_line_first(line) != NULL;
}

struct mp_turn *mp_line_next(struct mp_line *line) {
  struct mp_turn *turn = mp_line_first(line);
  if (!turn) return NULL;
  mp_list_unlink(&turn->node);
  mp_list_append(&line->called, &turn->node);
  line->n_waiting--;
  turn->state = MP_TURN_CALLED;
  if (turn->on_called)
    turn->on_called(turn);
  else if (mp_wake_armed(&turn->wake))
    mp_wake_fire(&turn->wake);
  return turn;
}

void mp_line_dismiss(struct mp_line *line) {
  struct mp_turn *turn;
  while ((turn = mp_line_next(line))) turn->state = MP_TURN_DISMISSED;
}

int mp_turn_park(lua_State *L, struct mp_turn *turn, double timeout_s, lua_KFunction k) {
  mp_wake_arm(&turn->wake, mp_sched_of(L)->current);
  return mp_park(L, timeout_s, k, (lua_KContext)turn);
}

void mp_turn_drop(struct mp_turn *turn) {
  mp_list_unlink(&turn->owned.node);
  withdraw(turn);
  free_turn(turn);
}

void *mp_turn_take(struct mp_turn *turn) {
  void *item = turn->item;
  turn->item = NULL;
  mp_turn_drop(turn);
  return item;
}

enum mp_turn_state mp_turn_over(lua_State *L, struct mp_turn *turn, const char *what, void **item) {
  enum mp_turn_state state = turn->state == MP_TURN_WAITING ? MP_TURN_MISSED : (enum mp_turn_state)turn->state;
  *item = NULL;
  if (state == MP_TURN_CALLED)
    *item = mp_turn_take(turn);
  else
    mp_turn_drop(turn);
  mp_unpark(L);
  /* A cancel takes back what was given (task_is_cancelled): nothing may be returned in its place. */
  if (state == MP_TURN_MISSED && mp_sched_of(L)->current->cancel == MP_CANCEL_ASKED) mp_wait_check(L, what);
  return state;
}
