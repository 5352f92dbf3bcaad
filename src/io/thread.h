/* thread.h - threads of our own, and the work that they take from one queue.
 *
 *   submit ─► queued ─► running (on a thread) ─► done (on the loop)
 *               └─ take_back      └─ interrupt, wake it, and as the last resort leave_behind
 *
 * All but what says otherwise is called on the loop's thread. Threads are started when there is work for them, up to
 * `most`, and stay. They block every signal except the one that interrupts them. A thread that does not come back is
 * left behind: another takes its place, and it ends once its work has. */
#ifndef MP_IO_THREAD_H
#define MP_IO_THREAD_H

#include "io/loop.h"
#include <signal.h>
#include <stdatomic.h>

#define MP_SIGNAL_INTERRUPT (SIGRTMIN + 1)

struct mp_thread;
struct mp_threads;
struct mp_work;

/* Something to be done on the loop, sent from a thread. */
struct mp_post {
  struct mp_list node;
  void (*run)(struct mp_post *post);
};

struct mp_work_ops {
  void (*run)(struct mp_work *work, void **place); /* on a thread; `*place`: what the thread keeps from work to work */
  /* On that thread in a signal handler, at any point of `run`: `stop` was set before. */
  void (*interrupt)(struct mp_work *work);
  void (*done)(struct mp_work *work); /* on the loop, once; may free it */
};

struct mp_work {
  struct mp_list node;           /* of the queue */
  const struct mp_work_ops *ops; /* static */
  struct mp_threads *threads;    /* borrowed from submit to done */
  struct mp_thread *thread;      /* borrowed while it runs */
  struct mp_post post;
  uint64_t queued_ms; /* of the loop's clock */
  _Atomic int stop;   /* 0: go on; what else it says is between `run` and whoever interrupts */
};

struct mp_threads_setup {
  struct mp_loop *loop;         /* borrowed */
  const char *name;             /* of the threads: at most 11 bytes, a number follows */
  unsigned most, bound;         /* threads; works in the queue */
  bool no_signals;              /* a work is only told by `stop`: nothing interrupts it */
  void (*leave)(void *place);   /* on a thread that ends, with what it kept; not called with NULL */
  void (*on_room)(void *ctx);   /* something was taken from a queue that was found full; may be NULL */
  void (*on_closed)(void *ctx); /* it is gone, after mp_threads_retire; may be NULL */
  void *ctx;                    /* borrowed: of on_room and on_closed */
};

/* NULL: out of memory or descriptors. */
struct mp_threads *mp_threads_open(const struct mp_threads_setup *setup);

/* It ends when its threads have; all works must be done, taken back or left behind by then. */
void mp_threads_retire(struct mp_threads *threads);

/* Retires it and waits for its threads, at most `most_ms`: what does not end by then is left behind, and its work is
 * never done. Called last, when the loop runs no more. */
bool mp_threads_close(struct mp_threads *threads, unsigned most_ms); /* true: all of them have ended */

/* False: the queue is full, and on_room follows. */
bool mp_threads_has_room(struct mp_threads *threads);

/* 0; -EAGAIN: the queue is full; or why no thread could be started at all. */
int mp_work_submit(struct mp_threads *threads, struct mp_work *work);
bool mp_work_take_back(struct mp_work *work); /* true: it was still queued, and `done` will not be called */
bool mp_work_runs(struct mp_work *work);

/* Sets `stop`, ends its mp_work_wait, and calls `interrupt` on its thread. -EAGAIN: the kernel has no room for the
 * signal at the moment; -ESRCH: it does not run. */
int mp_work_interrupt(struct mp_work *work, int stop);
void mp_work_leave_behind(struct mp_work *work);

/* From any thread. False: the loop is gone, and so is the answer. */
bool mp_threads_post(struct mp_threads *threads, struct mp_post *post);

/* On the work's own thread: blocks until mp_work_answer has set `*answered` (NULL: never), `stop` is set (-EINTR), or
 * the time is over (-ETIMEDOUT; negative: for ever). */
int mp_work_wait(struct mp_work *work, const bool *answered, double timeout_s);
void mp_work_answer(struct mp_work *work, bool *answered);

struct mp_threads_facts {
  unsigned running, queued, left_behind;
  uint64_t oldest_ms; /* when the oldest of the queue came; 0: it is empty */
};
void mp_threads_look(struct mp_threads *threads, struct mp_threads_facts *facts);

#endif
