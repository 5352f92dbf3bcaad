/* scope.h - what belongs together ends together: tasks, processes and whatever else joins.
 *
 * A scope is open while its owner may add to it; it is over once it was closed and its last member has left. Cancelling
 * asks every member to end, and each that joins later too. */
#ifndef MP_SCHED_SCOPE_H
#define MP_SCHED_SCOPE_H

#include "base/list.h"
#include <stdbool.h>

struct lua_State;
struct mp_scope;
struct mp_task_object;

/* An error that nobody took yet: told when its scope is over, unless somebody takes it before. */
struct mp_untaken {
  struct mp_list node;
  void (*tell)(struct mp_untaken *untaken, struct mp_scope *scope); /* unlinked before; once */
};

struct mp_member {
  struct mp_list node;
  struct mp_scope *scope;                   /* borrowed while joined; NULL outside */
  void (*cancel)(struct mp_member *member); /* ask it to end; it leaves when it has */
  /* Only such members as have this are left, and the scope is closed: nobody of the scope will tend to it any more.
   * May be told more than once. NULL for what runs by itself. */
  void (*left_alone)(struct mp_member *member);
  /* Pushes what it is called, for whoever has to say what still runs. NULL: nobody need be told of it. */
  void (*push_name)(struct lua_State *L, struct mp_member *member);
};

struct mp_scope {
  struct mp_list members;
  unsigned n_active;                       /* members without left_alone */
  struct mp_list failed;                   /* struct mp_untaken: oldest first */
  struct mp_scope *parent;                 /* borrowed: it outlives this one, which is a member of it; NULL: none */
  void (*on_over)(struct mp_scope *scope); /* once; may free the scope */
  /* A task of it has failed and nobody waited for it; its object is at the top of the state's main coroutine. It stays
   * in `failed` as well, unless its error was lost. May be NULL. */
  void (*on_failed)(struct mp_scope *scope, struct mp_task_object *object);
  bool open, cancelled, over;
  bool asking;  /* members are being walked: it cannot be over yet */
  bool at_once; /* errors nobody took are reported when they happen, not at the end */
};

/* What one task started or uses, though it belongs to the scope: told when the task is cancelled or ends. Either may be
 * NULL. */
struct mp_owned {
  struct mp_list node;
  void (*cancel)(struct mp_owned *owned); /* stays linked */
  void (*ended)(struct mp_owned *owned);  /* unlinked before */
};

void mp_scope_init(struct mp_scope *scope, void (*on_over)(struct mp_scope *scope));
void mp_scope_join(struct mp_scope *scope, struct mp_member *member); /* cancelled at once in a cancelled scope */
void mp_scope_leave(struct mp_member *member);                        /* may end the scope; harmless outside */
void mp_scope_close(struct mp_scope *scope);                          /* nobody adds any more; may end it */
void mp_scope_cancel(struct mp_scope *scope);
void mp_scope_cancel_members(struct mp_scope *scope); /* those of now; who joins later is not */

#endif
