/* process.h - a child process as scripts see it: an object to wait for, its pipes, its result.
 * The object is a userdata and holds the child itself; it is anchored until the child's last handle has closed. */
#ifndef MP_API_PROCESS_H
#define MP_API_PROCESS_H

#include "api/args.h"
#include "api/result.h"

enum {
  MP_PROCESS_RESULT = 1,
  MP_PROCESS_STDIN,
  MP_PROCESS_STDOUT,
  MP_PROCESS_STDERR,
  MP_PROCESS_PERMIT, /* of a limit: given back at its end */
  MP_PROCESS_SPAWNED_AT,
  MP_PROCESS_USER_VALUES = 6
};

/* Output on its way to the script or to the log; index 0 is stdin and uses `waiter` alone. */
struct mp_process_pipe {
  struct mp_buf held;    /* owned: read from the pipe, not yet by the script */
  struct mp_wake waiter; /* the task that reads or writes */
  uint8_t kind;          /* enum mp_stdio */
  bool eof, closed, broken;
  bool wants_more;              /* the reader needs more than `held` whatever its size: a line, or the rest */
  bool discards;                /* nobody will read it: thrown away, so that the child can end */
  struct mp_owned reader;       /* of the task that read it last */
  struct mp_task *reading_task; /* borrowed while `reader` is linked */
  struct mp_process *process;   /* borrowed: whose pipe it is */
};

struct mp_process {
  struct mp_waitable end; /* first: what waits find in a userdata */
  struct mp_api *api;     /* borrowed */
  struct mp_realm *realm; /* borrowed: whose process it is; outlives its scope */
  struct mp_child child;
  struct mp_member member; /* of the scope it lives in */
  struct mp_owned owned;   /* of the task that started it */
  struct mp_list live;     /* of api->live, until it was reaped */
  struct mp_process_pipe pipes[3];
  struct mp_untaken untaken; /* of its scope: it failed, and nobody has waited for it yet */
  char name[64];             /* argv[0] without its folder */
  char argv0[128];           /* cut */
  uint64_t gen;
  const struct mp_call *call; /* borrowed; valid while `gen` is its generation */
  double timeout_s;           /* for tostring(result); 0: none */
  bool waited;                /* somebody asked how it ended */
  bool check;                 /* a wait raises unless it exited 0 */
  bool cancelled;             /* ended by its scope or its task */
  int killed;                 /* the signal that the script sent it last; 0: none */
  struct mp_young young;
  bool has_place;
};

/* moonpool.spawn{…} with the table at `index`. */
int mp_process_spawn(lua_State *L, int index);
int mp_process_run(lua_State *L); /* moonpool.run{…}: a function of Lua */
struct mp_process *mp_process_check(lua_State *L, int arg);

/* pipes.c */
void mp_pipe_on_output(struct mp_process *p, enum mp_child_pipe which, const char *bytes, size_t n);
void mp_pipe_on_input(struct mp_process *p, int err);
/* What nobody reads is thrown away from now on: streams that no task but `waiting` has read. */
void mp_pipes_discard(struct mp_process *p, const struct mp_task *waiting);
void mp_pipes_take_rest(struct mp_process *p); /* the child has settled: what its pipes hold is kept for the script */
void mp_pipes_settle(struct mp_process *p);    /* then readers see the end */
void mp_pipes_free(struct mp_process *p);
void mp_pipe_push(lua_State *L, int process, enum mp_child_pipe which); /* the stream object, or nil */

#endif
