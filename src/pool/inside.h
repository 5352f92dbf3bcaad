/* inside.h - what the files of this room share: the one struct of the master, and who does what to it. */
#ifndef MP_POOL_INSIDE_H
#define MP_POOL_INSIDE_H

#include "base/lines.h"
#include "base/shm.h"
#include "io/child.h"
#include "io/signal.h"
#include "pool/control.h"
#include "pool/pool.h"
#include "pool/reporter.h"
#include "pool/roster.h"

enum { MP_POOL_SIGNALS = 10, MP_POOL_LISTENERS = 64 };

/* One worker process: its child and the master's end of its control pair. Freed when both have closed. */
struct mp_member {
  struct mp_pool *pool; /* borrowed */
  unsigned seat, slot;
  uint32_t generation;
  struct mp_child child;
  struct mp_stream control;
  struct mp_lines lines;
  struct mp_list node; /* of pool->members */
  /* Of look.c: when it was looked at last, its sign then, and for how long that has been the same. */
  uint64_t looked_ms, sign_ms, silent_ms;
  uint8_t open;        /* of child and control: how many still are */
};

/* A listening socket, shared by the generations that use it. Its name goes with it. */
struct mp_socket {
  int fd;        /* owned */
  char *address; /* owned: what it was opened for */
  unsigned users;
};

struct mp_sockets {
  unsigned n;
  struct mp_socket *at[MP_POOL_LISTENERS]; /* shared: the last one that lets go closes and frees it */
};

struct mp_pool {
  struct mp_log *log;                /* borrowed */
  const struct mp_pool_setup *setup; /* borrowed */
  struct mp_plan *plan;              /* owned: of the pool's generation */
  struct mp_plan *next;              /* owned: of the generation being probed, or NULL */
  uint32_t next_generation;
  struct mp_loop loop;
  struct mp_roster *roster;                 /* owned */
  struct mp_list members;                   /* owned: all of them, also those that have ended and still close */
  struct mp_member *seats[MP_ROSTER_SEATS]; /* borrowed from members; NULL: free */
  int start_errors[MP_ROSTER_SEATS];        /* starts that failed and are not told yet; 0: none */
  struct mp_soon tell_start_errors;
  struct mp_timer alarm;   /* of the roster */
  struct mp_timer look;    /* at those that serve */
  struct mp_timer sweep;   /* the next slice, while strangers are left */
  uint64_t sweep_since_ms; /* 0: no sweep is on */
  struct mp_signal signals[MP_POOL_SIGNALS];
  unsigned n_signals;
  struct mp_sockets sockets;      /* of the pool's generation */
  struct mp_sockets next_sockets; /* of the one being probed */
  struct mp_sockets old_sockets;  /* of the ones before, until every slot has the pool's */
  struct mp_control control;
  struct mp_reporter reporter;
  int death_pipe[2];  /* owned: the write end is ours alone */
  struct mp_shm *shm; /* owned */
  uint8_t killed_for[MP_ROSTER_SEATS]; /* enum mp_pool_count: why we have ended who sits there; 0: we have not */
  int shm_fd;         /* owned */
  int exit_code;
  bool rereading, reread_again, over;
};

/* pool.c */
void mp_pool_tell(struct mp_pool *pool, const struct mp_event *event);
void mp_pool_left(struct mp_pool *pool); /* a member, or what else has to close, is gone for good */
void mp_pool_reload(struct mp_pool *pool);

/* member.c */
int mp_member_start(struct mp_pool *pool, const struct mp_action *action, const struct mp_plan *plan);
void mp_member_say(struct mp_member *member, const char *word); /* with its newline */
void mp_member_kill(struct mp_member *member);

/* strangers.c */
bool mp_strangers_spared(pid_t pid, void *pool);
void mp_strangers_sweep(struct mp_pool *pool); /* in slices, until none is left */
void mp_strangers_on_timer(struct mp_timer *timer);
void mp_strangers_reap(struct mp_pool *pool); /* those that have ended by themselves */

/* tell.c: what the shared page tells of the pool */
void mp_tell_begin(struct mp_pool *pool);
void mp_tell_action(struct mp_pool *pool, const struct mp_action *action, const struct mp_event *event);
void mp_tell_after(struct mp_pool *pool); /* the actions of an event are done */

/* facts.c: what the roster has to say, as lines of the log */
void mp_pool_say(struct mp_pool *pool, const struct mp_action *fact, const struct mp_event *event);

/* look.c */
void mp_pool_on_look(struct mp_timer *timer);
void mp_pool_look_soon(struct mp_pool *pool); /* if there is anything to look for */

/* sockets.c */
int mp_pool_listen(struct mp_pool *pool); /* 0, or the exit code of the program; the sentence is on stderr */
/* For a new generation, in place of one that is being probed: what it shares with others is taken over, the rest is
 * opened. 0; or -errno, a line in the log, and nothing has changed. Then: it is proven (adopt), every slot has it
 * (settle), or it failed (drop). */
int mp_pool_listen_next(struct mp_pool *pool, const struct mp_config *config);
void mp_pool_adopt_sockets(struct mp_pool *pool);
void mp_pool_settle_sockets(struct mp_pool *pool);
void mp_pool_drop_sockets(struct mp_pool *pool);
void mp_pool_stop_listening(struct mp_pool *pool);

/* pidfile.c: 0 or -errno */
int mp_pidfile_write(const char *path);
void mp_pidfile_remove(const char *path); /* if it is still ours */

#endif
