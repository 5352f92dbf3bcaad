/* child.h - the life of one child process: its exit, its pipes, its group, its end.
 *
 *   start ─► running ─ exit ─► ended ─ pipes at their end, or `linger` over ─► settled ─► close ─► on_closed
 *               └ stop: TERM and CONT to the group, `grace`, KILL
 *
 * The status is read from the pidfd (see SPAWN: laws 1, 3 and 9). At the exit the leader is left a zombie, so that its
 * number is held, until the pipes have ended or `linger` is over; then what is left of the group is killed, then the
 * leader is reaped. Settled means: exit known and pipes done. Everything is told by callbacks on the loop, never from
 * within a call. */
#ifndef MP_IO_CHILD_H
#define MP_IO_CHILD_H

#include "io/below.h"
#include "io/pidfd.h"
#include "io/stream.h"

struct mp_child;

enum mp_child_pipe { MP_CHILD_STDIN, MP_CHILD_STDOUT, MP_CHILD_STDERR };

struct mp_child_ops {
  /* Status and collected pipes are final; `child->status` and the flags below stay readable until freed. Once. A pipe
   * that its owner reads at a pace of his own may still hold what was written into it: on_output goes on with that. */
  void (*on_settled)(struct mp_child *child);
  /* Bytes of a stream that is being read (mp_child_read), or n == 0 at its end, and again at each mp_child_read after
   * it. Not called for collected streams. */
  void (*on_output)(struct mp_child *child, enum mp_child_pipe which, const char *bytes, size_t n);
  /* All that was given to mp_child_write is in the pipe (err 0), or can never be (-EPIPE). May be NULL. */
  void (*on_input)(struct mp_child *child, int err);
  void (*on_closed)(struct mp_child *child); /* may be freed now */
};

struct mp_child_spec {
  struct mp_exec exec;   /* stdio[i] is used where pipe[i] is false */
  bool pipe[3];          /* give it a pipe to us */
  bool collect[3];       /* 1 and 2: keep the bytes in the pipe's `collected`, up to max_output; needs pipe[i] */
  bool merge_stderr;     /* stderr goes where stdout goes */
  struct mp_slice input; /* copied; fed to stdin, then closed; needs pipe[0] */
  bool has_input;
  uint64_t timeout_ms; /* 0: none */
  uint64_t grace_ms;
  uint64_t linger_ms;
  size_t max_output; /* bytes a collected stream */
  bool kill_on_limit;
  bool leave; /* do not end what is left of the group */
};

struct mp_child_stream {
  struct mp_stream stream;
  struct mp_child *child;  /* borrowed; NULL: it could not be started, and this frees itself once closed */
  struct mp_buf collected; /* owned */
  uint32_t left;           /* once cut: bytes that were in the pipe then */
  uint8_t which;           /* enum mp_child_pipe */
  bool collect, discard;   /* keeps, or counts, what nobody is given */
  bool wanted, was_read;   /* its owner reads it; has ever done so */
  bool cut;                /* somebody still holds the other end; it ends after `left` bytes */
  bool ended, end_due;     /* nothing more can come; the owner is to hear it */
  bool shut;               /* stdin: to be closed once all is written */
  bool due, lost;          /* stdin: on_input is to come; with an error */
  bool truncated;
};

struct mp_child {
  const struct mp_child_ops *ops; /* static */
  void *ctx;                      /* borrowed: the owner's */
  struct mp_loop *loop;           /* borrowed */
  struct mp_started proc;
  struct mp_status status;          /* final once settled */
  struct mp_child_stream *pipes[3]; /* owned; NULL where there is none */
  struct mp_polled watch;           /* of the pidfd, once `watched` */
  struct mp_timer timeout;          /* the spec's, then the ladder's grace */
  struct mp_timer linger;           /* after the exit; also the retry of a stolen status, and where there is no pidfd */
  struct mp_soon again;             /* looks once more at what a call has changed */
  uint64_t started_ms, ended_ms;    /* of the loop's clock */
  uint64_t grace_ms, linger_ms;
  struct mp_below below; /* once it is stopped: what has left its group, and ends with it all the same */
  uint64_t discarded;    /* bytes drained that nobody had asked for */
  size_t max_output;
  uint8_t state, tries, handles; /* handles: still open on the loop */
  bool timed_out, stopping, held, leave, kill_on_limit, settled, closing;
  bool leads;   /* a group or session of its own */
  bool watched; /* the loop tells of its end */
  bool told;    /* on_settled has been called */
};

/* 0, or -errno and `*step`; then nothing is held and no callback comes. */
int mp_child_start(struct mp_child *child, struct mp_loop *loop, const struct mp_child_spec *spec,
                   const struct mp_child_ops *ops, enum mp_exec_step *step);

/* on_output comes from now on, until mp_child_read_stop; bytes wait in the pipe, not here. -EBADF: no such pipe, or one
 * that is collected or was closed. */
int mp_child_read(struct mp_child *child, enum mp_child_pipe which);
void mp_child_read_stop(struct mp_child *child, enum mp_child_pipe which);
void mp_child_close_pipe(struct mp_child *child, enum mp_child_pipe which);

/* Reads and throws away (counted in `discarded`), so that the child can end, every stream that nobody has ever read:
 * one that somebody reads now and then is his. mp_child_discard does it to one stream, read or not. */
void mp_child_drain(struct mp_child *child);
void mp_child_discard(struct mp_child *child, enum mp_child_pipe which);

/* Of a child that has settled: what its pipe holds goes to on_output now, within this call, and that was all. */
void mp_child_take_rest(struct mp_child *child, enum mp_child_pipe which);

/* Queues bytes for stdin; one on_input follows when all that is queued has gone. -EPIPE once stdin is closed or broken,
 * -ENOMEM. */
int mp_child_write(struct mp_child *child, struct mp_slice bytes);
void mp_child_close_stdin(struct mp_child *child); /* after what is queued */

/* To the process, or to its whole group until it has settled. -ESRCH after the end, or -errno. */
int mp_child_signal(struct mp_child *child, int signo, bool group);

/* The ladder: TERM and CONT to the group, after grace_ms KILL. When stopping already, a shorter
 * grace counts; harmless when ended. */
void mp_child_stop(struct mp_child *child, uint64_t grace_ms);

/* Frees everything on the loop; a child that still runs is killed with its group and reaped first. */
void mp_child_close(struct mp_child *child);

/* The same, but a child that still runs goes on without us: it is nobody's to stop or to reap here any more. */
void mp_child_let_go(struct mp_child *child);

#endif
