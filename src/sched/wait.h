/* wait.h - how a task is parked, and what wakes it.
 *
 * A wake holds the ticket that its task had when it was armed. Whoever fires first takes the ticket; whoever comes
 * later holds a stale one, and nothing happens. Task slots are never given back while the state lives, so a stale wake
 * never points into nowhere. */
#ifndef MP_SCHED_WAIT_H
#define MP_SCHED_WAIT_H

#include "base/list.h"
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct mp_task;
struct mp_sched;

enum mp_woken { MP_WOKEN_DONE, MP_WOKEN_TIMEOUT, MP_WOKEN_CANCEL };

struct mp_wake {
  struct mp_task *task; /* borrowed; NULL: not armed */
  uint64_t ticket;
};

void mp_wake_arm(struct mp_wake *wake, struct mp_task *task);
bool mp_wake_fire(struct mp_wake *wake); /* a no-op, and false, if the task moved on */

bool mp_wake_armed(const struct mp_wake *wake); /* would it wake anybody? Not a task that has moved on or ended */

/* Something that ends once, and that any number of tasks may wait for, before and after. */
struct mp_waitable {
  struct mp_list waiters;
  const struct mp_waitable_ops *ops; /* static */
  bool settled;
  bool failed; /* what it ended with is an error, to be raised in who waits */
};

struct mp_waitable_ops {
  const char *kind; /* "task", "process" */
  /* Pushes what a wait returns, how many; or raises. `index`: where the object stands on L. */
  int (*push)(lua_State *L, struct mp_waitable *waitable, int index);
  /* Somebody is about to wait for it. May be NULL. */
  void (*begin)(struct mp_waitable *waitable, struct mp_task *waiting);
  /* Might it end without any waiting? True: it has. May be NULL. */
  bool (*look)(lua_State *L, struct mp_waitable *waitable, int index);
  /* The wait is over, and does not take what this one ended with. May be NULL. */
  void (*drop)(struct mp_waitable *waitable);
  /* Asks it to end. May be NULL. */
  void (*cancel)(struct mp_waitable *waitable);
  /* A cancel has reached it, and its end is near: a cancelled waiter waits for that first. May be NULL. */
  bool (*ending)(const struct mp_waitable *waitable);
  /* The task whose end it is; NULL for what is no task. May be NULL. */
  struct mp_task *(*task)(struct mp_waitable *waitable);
};

struct mp_group;

struct mp_waiter {
  struct mp_list node;
  struct mp_wake wake;
  struct mp_group *group; /* borrowed; NULL for a single wait */
  struct mp_waitable *on; /* of a group: borrowed from its list */
  int index;              /* in the group's list, 1… */
};

/* One wait for several: wakes at the first end, or when all have ended or one has failed. */
struct mp_group {
  unsigned pending;
  bool all;
  int first; /* who woke it by its end, or of all by its failure; 0: nobody yet */
  int n;
  struct mp_waiter *waiters; /* borrowed: they stand behind it */
};

void mp_waitable_init(struct mp_waitable *waitable, const struct mp_waitable_ops *ops);
/* Wakes who waits. True: somebody goes on with what it ended with. */
bool mp_waitable_settle(struct mp_waitable *waitable, bool failed);

/* Raises a Lua error unless the running function may wait: names `what` and the cause. Raises the cancellation when
 * the task was asked to end and has not been told yet. */
void mp_wait_check(lua_State *L, const char *what);

/* Would mp_wait_check pass (cancellation apart)? */
bool mp_may_wait(lua_State *L);

/* Parks the running task; call it as `return mp_park(...)`, after arming what will wake it and with a timeout or a
 * negative number. `k` goes on afterwards and calls mp_unpark first. */
int mp_park(lua_State *L, double timeout_s, lua_KFunction k, lua_KContext ctx);

/* Why it goes on. Raises the cancellation, unless that was raised before. */
enum mp_woken mp_unpark(lua_State *L);
/* mp_unpark, but an error that the wait was given goes before a cancel, which the next wait raises. */
enum mp_woken mp_unpark_with(lua_State *L, const struct mp_waitable *given);

/* Waits for one object at stack place `index`: `return mp_wait_for(...)`; returns as moonpool.wait does. */
int mp_wait_for(lua_State *L, int index, double timeout_s);
int mp_wait_any(lua_State *L); /* moonpool.wait_any(list[, timeout]) */
int mp_wait_all(lua_State *L); /* moonpool.wait_all(list[, timeout]) */

/* The waitable inside the userdata at `index`; NULL when it is none. Marks a metatable (at the top) as such a one. */
struct mp_waitable *mp_waitable_at(lua_State *L, int index);
void mp_waitable_mark(lua_State *L);

/* A timeout argument: nil or none is -1; raises on what is no number of seconds from 0. */
double mp_check_timeout(lua_State *L, int arg);

/* nil, "timeout", "timeout" */
int mp_push_timeout(lua_State *L);

#endif
