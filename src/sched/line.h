/* line.h - tasks that wait for their turn, first come first served.
 *
 * A turn is one task's place in a line. Whoever has something to give calls the next turn and puts it into its `item`;
 * the task takes it when it goes on. One that does not come to take it (it gave up, was cancelled, is never resumed)
 * is passed over, and what stands in its item then is handed to `undo`: nothing given is ever lost.
 *
 * A turn lives on the heap and belongs to its task: mp_turn_over frees it, or the end of the task does. */
#ifndef MP_SCHED_LINE_H
#define MP_SCHED_LINE_H

#include "sched/scope.h"
#include "sched/wait.h"

struct mp_line {
  struct mp_list waiting; /* struct mp_turn, oldest first */
  struct mp_list called;  /* their tasks have been woken and did not go on yet */
  unsigned n_waiting;
  /* A turn has ended and this item is still in it. NULL where items mean nothing. */
  void (*undo)(struct mp_line *line, void *item);
};

enum mp_turn_state { MP_TURN_WAITING, MP_TURN_CALLED, MP_TURN_DISMISSED, MP_TURN_MISSED };

struct mp_turn {
  struct mp_list node;   /* of one of the line's lists */
  struct mp_line *line;  /* borrowed; NULL once the line is gone */
  struct mp_owned owned; /* of the task */
  struct mp_wake wake;   /* not armed: the task is not parked yet, and will look by itself */
  void *item;            /* what the turn offers, or was given; NULL: nothing */
  /* It was called: instead of waking its task, which may wait for more than this. `item` may follow. NULL: wakes. */
  void (*on_called)(struct mp_turn *turn);
  struct mp_turn **holder; /* borrowed: set to NULL when the turn is freed; may be NULL */
  uint8_t state;           /* enum mp_turn_state */
};

void mp_line_init(struct mp_line *line, void (*undo)(struct mp_line *line, void *item));
/* The turns stay with their tasks, and know of no line any more. */
void mp_line_deinit(struct mp_line *line);

/* One that stands in no line yet. NULL: out of memory. */
struct mp_turn *mp_turn_new(void);
/* The last place; or, `called`, one that holds its item already. */
void mp_line_enter(struct mp_line *line, struct mp_turn *turn, struct mp_task *task, void *item, bool called);
/* Both in one. NULL: out of memory. */
struct mp_turn *mp_line_join(struct mp_line *line, struct mp_task *task, void *item);

/* Is anybody there who would come? */
bool mp_line_waits(struct mp_line *line);
/* The oldest turn that would come; NULL: nobody is there. */
struct mp_turn *mp_line_first(struct mp_line *line);
/* Calls the oldest turn: its task is woken. NULL when nobody is there. The caller may exchange its item until the task
 * runs, which is not before this function's caller has returned to the loop or to Lua. */
struct mp_turn *mp_line_next(struct mp_line *line);
/* All that wait go on with empty hands. */
void mp_line_dismiss(struct mp_line *line);

/* Parks the running task, whose turn it is: `return mp_turn_park(...)`. `k` is given the turn as its context. */
int mp_turn_park(lua_State *L, struct mp_turn *turn, double timeout_s, lua_KFunction k);

/* How it ended, first thing in `k`: MP_TURN_CALLED with what stood in its item, MP_TURN_DISMISSED, or MP_TURN_MISSED
 * after a timeout. Frees the turn. Raises the cancellation of a task that was asked to end. */
enum mp_turn_state mp_turn_over(lua_State *L, struct mp_turn *turn, const char *what, void **item);

/* It is over, whatever it has come to: what is left in it goes back. Frees it. */
void mp_turn_drop(struct mp_turn *turn);

/* The same for a turn that was called before its task ever parked: what stood in its item. */
void *mp_turn_take(struct mp_turn *turn);

#endif
