/* inside.h - what the files of this room share: the one struct of the master, and who does what to it. */
#ifndef MP_POOL_INSIDE_H
#define MP_POOL_INSIDE_H

#include "base/lines.h"
#include "base/shm.h"
#include "io/cgroup.h"
#include "io/changes.h"
#include "io/child.h"
#include "io/notify.h"
#include "io/signal.h"
#include "pool/control.h"
#include "pool/keeper.h"
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
  unsigned cgroup;     /* its number; 0: none */
  /* Of look.c: when it was looked at last, its sign then, and for how long that has been the same. */
  uint64_t looked_ms, sign_ms, silent_ms;
  uint8_t open; /* of child and control: how many still are */
};

/* What the service manager was told last, and what it still has to be told. */
struct mp_systemd {
  struct mp_notify notify; /* fd -1: there is nobody to tell */
  struct mp_timer beat;    /* the signs of life */
  uint64_t beat_ms;        /* 0: none are wanted */
  struct mp_timer again;   /* tries to send `unsent` */
  struct mp_buf unsent;    /* owned: what its socket had no room for */
  char status[128];
  bool silent; /* another master is the one to speak */
  bool told_ready, told_stopping, reloading;
};

/* The master that shall follow us, from USR2 until it has failed, or until we have left it to it. Freed when both child
 * and control have closed. */
struct mp_successor {
  struct mp_pool *pool; /* borrowed */
  struct mp_child child;
  struct mp_stream control;
  struct mp_lines lines;
  char tail[512]; /* the last that it said on stderr */
  unsigned tail_len;
  uint8_t open;        /* of child and control: how many still are */
  bool serves;         /* it is the master now */
  bool stopped;        /* by us */
  bool reload, reopen; /* signals that came meanwhile: it hears of them once it serves */
};

/* The master before us, as long as it lives. */
struct mp_predecessor {
  struct mp_stream control;
  struct mp_lines lines;
  bool lives;
  bool leads; /* it has not left it to us yet */
};

/* A listening socket, shared by the generations that use it. Its name goes with it. */
struct mp_socket {
  int fd;        /* owned */
  char *address; /* owned: what it was opened for */
  unsigned users;
  bool anothers; /* a master before or behind us uses it too: the name is not ours to remove */
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
  struct mp_cgroups cgroups;
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
  struct mp_changes changes;           /* --watch */
  uint8_t killed_for[MP_ROSTER_SEATS]; /* enum mp_pool_count: why we have ended who sits there; 0: we have not */
  int death_pipe[2];                   /* owned: the write end is ours alone */
  struct mp_shm *shm;                  /* owned */
  int shm_fd;                          /* owned */
  struct mp_systemd systemd;
  struct mp_successor *successor; /* owned; NULL: none */
  struct mp_predecessor predecessor;
  struct mp_keeper keeper;
  pid_t heir;     /* the successor that serves: not ours to end any more; 0: none */
  char *pid_file; /* owned; NULL: none is wanted */
  pid_t *earlier; /* owned: children that we had before we began */
  unsigned n_earlier;
  int commons_fd, bell_fd; /* owned: what workers have in common (commons.h); the master does not look inside */
  int exit_code;
  bool proven; /* every slot had its worker once, or its failure */
  bool rereading, reread_again, over;
};

/* pool.c */
void mp_pool_tell(struct mp_pool *pool, const struct mp_event *event);
void mp_pool_left(struct mp_pool *pool);      /* a member, or what else has to close, is gone for good */
void mp_pool_take_over(struct mp_pool *pool); /* from now on we are the master */
void mp_pool_reload(struct mp_pool *pool);
void mp_pool_reopen(struct mp_pool *pool);         /* logs */
void mp_pool_stop(struct mp_pool *pool, bool now); /* as TERM, or as INT */

/* member.c */
int mp_member_start(struct mp_pool *pool, const struct mp_action *action, const struct mp_plan *plan);
void mp_member_say(struct mp_member *member, const char *word); /* with its newline */
void mp_member_kill(struct mp_member *member);

/* strangers.c */
int mp_strangers_note(struct mp_pool *pool); /* who is there before us; 0 or -ENOMEM */
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
void mp_pool_own_names(struct mp_pool *pool, bool ours); /* of unix sockets: do they end with us? */

/* systemd.c: never fails; harmless where nobody listens */
int mp_systemd_open(struct mp_pool *pool); /* 0 or -ENOMEM */
void mp_systemd_close(struct mp_pool *pool);
void mp_systemd_look(struct mp_pool *pool);      /* something may have changed: what has, is told */
void mp_systemd_reloading(struct mp_pool *pool); /* a reload, or an upgrade, begins */
void mp_systemd_hand_over(struct mp_pool *pool, pid_t successor);
void mp_systemd_take_over(struct mp_pool *pool);

/* successor.c: USR2 */
void mp_successor_start(struct mp_pool *pool);
void mp_successor_stop(struct mp_pool *pool, bool now); /* we end, and so does what is not the master yet */
void mp_successor_let_go(struct mp_pool *pool);

/* predecessor.c: the other end of it */
int mp_predecessor_open(struct mp_pool *pool); /* 0 or -errno */
void mp_predecessor_close(struct mp_pool *pool);
void mp_predecessor_begin(struct mp_pool *pool); /* workers come next: what is said from now on is for everybody */
void mp_predecessor_proven(struct mp_pool *pool);
int mp_predecessor_listener(struct mp_pool *pool, const char *address); /* its descriptor, ours now; -1: it has none */

/* pidfile.c: 0 or -errno */
int mp_pidfile_write(const char *path);
void mp_pidfile_remove(const char *path); /* if it is still ours */

#endif
