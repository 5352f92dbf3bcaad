/* job.h - a function on its way to a Lua state on a thread and back, and the crew of threads that it goes to.
 *
 *   Lua calls ─► values packed ─► queued ─► thread: unpack, run, pack ─► loop ─► the task gets the values
 *
 * A job has a task, which belongs to the scope of whoever made it and waits for the job: results, errors, cancelling
 * and reports are those of any task. What a thread asks of the loop (a process, above all) is done by that task. A
 * cancelled task does not wait for its job: that is dropped from the queue, or stopped, or left behind with its thread.
 */
#ifndef MP_API_JOB_H
#define MP_API_JOB_H

#include "api/api.h"
#include "api/transfer.h"
#include "io/thread.h"

enum { MP_CREW_BOUND = 1024 }; /* jobs in a queue */

struct mp_lua_thread;
struct mp_job;

/* Threads with a Lua state each: those of offload, or the one of a service. */
struct mp_crew {
  struct mp_api *api;         /* borrowed */
  struct mp_list node;        /* of api->crews */
  struct mp_threads *threads; /* borrowed; NULL once they have ended */
  struct mp_list jobs;        /* that are not freed yet */
  struct mp_list waiting;     /* struct mp_waiter: tasks that wait for room in the queue, oldest first */
  const char *kind;           /* static: "offload" or "service" */
  char *module;               /* owned: of a service; NULL otherwise */
  char *path, *cpath;         /* owned: package.path and cpath when it was made */
  struct mp_log log;          /* a copy: threads count what they lose apart */
  struct mp_api_setup setup;  /* a copy: a thread that is left behind may look at it when the api is gone */
  uint64_t grace_ms;          /* a cancelled job may go on for so long before it is stopped */
  bool retired;
  void (*on_done)(struct mp_crew *crew, struct mp_job *job); /* a job has ended; may be NULL */
  void (*free)(struct mp_crew *crew);                        /* retired, and nothing refers to it any more */
};

enum mp_job_outcome { MP_JOB_NONE, MP_JOB_DONE, MP_JOB_FAILED, MP_JOB_STOPPED };
enum { MP_STOP_ASKED = 1, MP_STOP_INSISTED };

struct mp_job {
  struct mp_work work;
  struct mp_crew *crew; /* borrowed: outlives it */
  struct mp_list node;  /* of crew->jobs */
  struct mp_job **box;  /* borrowed: the place in the userdata that still owns it; NULL once started */
  /* The loop's. */
  struct mp_wake wake;   /* the task */
  struct mp_owned owned; /* of the task */
  struct mp_waiter room; /* while its maker waits for room in the queue */
  struct mp_timer patience;
  uint64_t submitted_ms;
  char spawned_at[96];
  uint8_t rung;           /* of the ladder that ends it */
  bool finished;          /* no thread has it any more */
  bool released;          /* no task waits for it any more */
  bool asking;            /* its thread waits for an answer */
  bool behind;            /* it did not come back in time */
  struct mp_buf channels; /* owned: numbers of those that it carries (channel_link.h) */
  struct mp_carrier carrier;
  /* Its thread's from submit to done, the loop's before and afterwards. */
  struct mp_buf in;            /* owned: the function and its arguments */
  struct mp_buf out;           /* owned: results, or the error */
  struct mp_buf trace;         /* owned: the traceback of the error, or of where it was stopped */
  char at[96];                 /* where it was stopped: "app.lua:12" */
  struct mp_buf adopted, sent; /* owned: numbers of channels that its thread holds now, or has given back */
  struct mp_carrier far_carrier;
  uint64_t max_memory; /* of the Lua state while it runs; 0: no limit */
  uint8_t outcome;     /* enum mp_job_outcome */
  bool loads;          /* of a service: loads the module, also if that failed before */
  bool load_failed;
  /* A question to the loop: the thread's, but from post to answer the loop's. */
  struct mp_post asked;
  struct mp_buf ask, answer; /* owned */
  bool answered, answer_is_error;
  _Atomic(struct mp_lua_thread *) lua; /* borrowed while Lua runs for it; read by the thread's signal handler */
};

/* crew.c */
/* 0, or -ENOMEM (of memory or descriptors); with `crew` all zero but for kind, module and the callbacks. `name` is
 * borrowed. */
int mp_crew_open(lua_State *L, struct mp_crew *crew, const char *name, unsigned threads);
/* Its threads end; queued jobs fail with `why`, running ones are stopped. */
void mp_crew_retire(struct mp_crew *crew, const char *why);
void mp_crew_free_when_unused(struct mp_crew *crew);
/* The next task that waits for room may try. */
void mp_crew_wake_next(struct mp_crew *crew);
void mp_crews_stats(struct mp_api *api, struct mp_threads_facts *facts); /* of offloads */

/* job.c */
/* A userdata with a job that nobody has submitted: pushed. It is freed with it unless mp_job_start takes it. */
struct mp_job *mp_job_push(lua_State *L, struct mp_crew *crew);
/* `return mp_job_start(L, box)`, in the scope `scope` with the job at stack place `box`, perhaps after waiting for room
 * in the queue. → the task */
int mp_job_start(lua_State *L, int box, struct mp_scope *scope);
/* Ends with this error instead of being run; before mp_job_start, or when it was taken back. */
void mp_job_fail(struct mp_job *job, const char *message);
void mp_job_stop(struct mp_job *job);
void mp_job_free(struct mp_job *job);

/* offload.c: an option; raises. */
uint64_t mp_check_max_memory(lua_State *L, int index, const char *what);

/* lua_thread.c */
extern const struct mp_work_ops mp_job_ops;
void mp_lua_thread_close(void *place);
struct mp_lua_thread *mp_lua_thread_of(lua_State *L);
struct mp_job *mp_lua_thread_job(lua_State *L); /* raises when none runs */

/* thread_core.c: fills the core of a thread's state, at the top of L. */
void mp_thread_core_open(lua_State *L);
/* job.c, on the loop: the job's thread has written job->ask. */
void mp_job_on_asked(struct mp_post *post);
/* On the loop: `done` of mp_job_ops. */
void mp_job_on_done(struct mp_work *work);

#endif
