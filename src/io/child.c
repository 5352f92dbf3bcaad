#include "io/child.h"
#include "base/check.h"
#include "io/child_pipe.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* STOLEN: it has ended, somebody else reaped it, and the kernel is asked how. ENDED: `status` is known, the leader is
 * still a zombie, and the pipes are waited for. */
enum { RUNNING, STOLEN, ENDED, SETTLED };

enum { STOLEN_TRIES = 20, STOLEN_PAUSE_MS = 5, NO_PIDFD_PAUSE_MS = 10, UNWATCHED_PAUSE_MS = 20 };

/* What is below it, too, when it leads a group. A leader may have left its own group, so KILL goes to both. */
static int send_to_all(struct mp_child *child, int signo) {
  int err = child->leads ? mp_pidfd_signal_group(&child->proc, signo) : -ESRCH;
  if (err < 0 || signo == SIGKILL) {
    int alone = mp_pidfd_signal(&child->proc, signo);
    if (err < 0) err = alone;
  }
  return err;
}

/* Before the first signal: what is below it is handed to us when it ends, and then nobody knows whose it was. */
static void find_below(struct mp_child *child) {
  if (child->leads && !child->leave) mp_below_collect(&child->below, child->proc.pid);
}

static void on_timeout(struct mp_timer *timer) {
  struct mp_child *child = MP_CONTAINER(timer, struct mp_child, timeout);
  if (child->stopping) {
    find_below(child);
    send_to_all(child, SIGKILL);
    return;
  }
  child->timed_out = true;
  mp_child_stop(child, child->grace_ms);
}

void mp_child_stop(struct mp_child *child, uint64_t grace_ms) {
  if (child->state != RUNNING) return;
  if (child->stopping) { /* who is in more of a hurry decides */
    if (mp_loop_now(child->loop) + grace_ms < child->timeout.due_ms) mp_timer_start(&child->timeout, grace_ms);
    return;
  }
  child->stopping = true;
  find_below(child);
  send_to_all(child, SIGTERM); /* ESRCH: its end is about to be noticed */
  send_to_all(child, SIGCONT); /* what is stopped cannot hear TERM */
  mp_below_signal(&child->below, SIGTERM);
  mp_below_signal(&child->below, SIGCONT);
  mp_timer_start(&child->timeout, grace_ms);
}

static void kill_now(struct mp_child *child) {
  if (child->state != RUNNING) return;
  child->stopping = true;
  find_below(child);
  send_to_all(child, SIGKILL);
}

void mp_child_over_limit(struct mp_child *child) {
  if (child->kill_on_limit) kill_now(child);
}

int mp_child_signal(struct mp_child *child, int signo, bool group) {
  if (child->state == SETTLED) return -ESRCH;
  if (group && child->leads) return mp_pidfd_signal_group(&child->proc, signo);
  return child->state == RUNNING ? mp_pidfd_signal(&child->proc, signo) : -ESRCH;
}

/* The end -------------------------------------------------------------------------------------------------------- */

static void stop_watching(struct mp_child *child) {
  if (child->watched) mp_poller_set(&child->loop->poller, &child->watch, 0);
  mp_pidfd_close(&child->proc);
  mp_timer_deinit(&child->timeout);
  mp_timer_deinit(&child->linger);
}

/* The group first, while the zombie holds its number; then the zombie. Its status is known: whoever has stolen it since
 * has stolen nothing. */
static void settle(struct mp_child *child) {
  struct mp_status seen;
  child->held = !child->closing && mp_child_pipes_held(child);
  if (child->leads && !child->leave) mp_pidfd_signal_group(&child->proc, SIGKILL);
  mp_below_signal(&child->below, SIGKILL);
  mp_below_free(&child->below);
  mp_pidfd_reap(&child->proc, &seen);
  child->state = SETTLED;
  stop_watching(child);
  if (!child->closing) mp_child_pipes_finish(child);
  child->settled = true;
}

/* Lingers until the pipes are done, and settles. */
static void linger(struct mp_child *child) {
  uint64_t until = child->ended_ms + child->linger_ms, now = mp_loop_now(child->loop);
  if (child->closing || now >= until || mp_child_pipes_done(child)) {
    settle(child);
    return;
  }
  uint64_t left = until - now;
  if (left > UNWATCHED_PAUSE_MS && mp_child_pipes_unwatched(child)) left = UNWATCHED_PAUSE_MS;
  mp_timer_start(&child->linger, left);
}

static void finish_close(struct mp_child *child) {
  mp_soon_cancel(&child->again);
  mp_child_pipes_free(child);
  child->ops->on_closed(child);
}

/* Always last in a callback of the loop: the child may be freed in it. */
void mp_child_advance(struct mp_child *child) {
  if (child->state == ENDED) linger(child);
  mp_child_pipes_tell(child);
  if (child->settled && !child->told && !child->closing) {
    child->told = true;
    child->ops->on_settled(child);
  }
  if (child->closing && child->settled && child->handles == 0) finish_close(child);
}

static void advance_again(struct mp_soon *soon) {
  mp_child_advance(MP_CONTAINER(soon, struct mp_child, again));
}

static void has_ended(struct mp_child *child) {
  child->state = ENDED;
  mp_child_advance(child);
}

static void ask_the_kernel(struct mp_child *child) {
  child->state = STOLEN;
  if (mp_pidfd_reap(&child->proc, &child->status) == 1) {
    has_ended(child);
  } else if (++child->tries > STOLEN_TRIES) {
    child->status = (struct mp_status){.end = MP_END_LOST};
    has_ended(child);
  } else {
    mp_timer_start(&child->linger, STOLEN_PAUSE_MS);
  }
}

static void look(struct mp_child *child) {
  int ended = mp_pidfd_look(&child->proc, &child->status);
  if (ended == 0) {
    if (!child->watched) mp_timer_start(&child->linger, NO_PIDFD_PAUSE_MS);
    return;
  }
  if (child->watched) mp_poller_set(&child->loop->poller, &child->watch, 0); /* it would come for ever */
  mp_timer_stop(&child->timeout);
  child->ended_ms = mp_loop_now(child->loop);
  if (ended == 1)
    has_ended(child);
  else
    ask_the_kernel(child);
}

/* Whatever woke us, the kernel is asked. */
static void on_ready(struct mp_polled *watch, uint32_t events) {
  struct mp_child *child = MP_CONTAINER(watch, struct mp_child, watch);
  (void)events;
  if (!child->watch.events) return;
  mp_loop_woke(child->loop);
  look(child);
}

static void on_linger(struct mp_timer *timer) {
  struct mp_child *child = MP_CONTAINER(timer, struct mp_child, linger);
  if (child->state == RUNNING)
    look(child);
  else if (child->state == STOLEN)
    ask_the_kernel(child);
  else
    mp_child_advance(child);
}

/* The start ------------------------------------------------------------------------------------------------------ */

static int init_child(struct mp_child *child, struct mp_loop *loop, const struct mp_child_spec *spec,
                      const struct mp_child_ops *ops) {
  *child = (struct mp_child){.ops = ops, .ctx = child->ctx, .loop = loop, .proc = {-1, -1}};
  child->started_ms = mp_loop_now(loop);
  child->grace_ms = spec->grace_ms;
  child->linger_ms = spec->linger_ms;
  child->max_output = spec->max_output;
  child->kill_on_limit = spec->kill_on_limit;
  child->leave = spec->leave;
  child->leads = spec->exec.own_group || spec->exec.session;
  mp_soon_init(&child->again, advance_again);
  int err = mp_timer_init(&child->timeout, &loop->timers, on_timeout);
  return err < 0 ? err : mp_timer_init(&child->linger, &loop->timers, on_linger);
}

/* Without a pidfd the child is looked at every 10 ms: slow, but right. */
static void watch(struct mp_child *child) {
  child->watch = (struct mp_polled){on_ready, child->proc.pidfd, 0};
  child->watched = child->proc.pidfd >= 0 && mp_poller_set(&child->loop->poller, &child->watch, EPOLLIN) == 0;
  if (!child->watched) mp_timer_start(&child->linger, NO_PIDFD_PAUSE_MS);
}

static int exec_child(struct mp_child *child, const struct mp_child_spec *spec, const int theirs[3],
                      enum mp_exec_step *step) {
  struct mp_exec exec = spec->exec;
  for (int i = 0; i < 3; i++)
    if (theirs[i] >= 0) exec.stdio[i] = theirs[i];
  if (spec->merge_stderr) exec.stdio[2] = exec.stdio[1];
  return mp_exec(&exec, &child->proc, step);
}

static void set_going(struct mp_child *child, const struct mp_child_spec *spec) {
  struct mp_child_stream *in = child->pipes[0];
  watch(child);
  if (spec->timeout_ms) mp_timer_start(&child->timeout, spec->timeout_ms);
  if (!in || !spec->has_input) return;
  mp_stream_flush(&in->stream);
  if (mp_stream_queued(&in->stream) == 0 && !in->stream.err) mp_stream_close(&in->stream);
}

int mp_child_start(struct mp_child *child, struct mp_loop *loop, const struct mp_child_spec *spec,
                   const struct mp_child_ops *ops, enum mp_exec_step *step) {
  int theirs[3] = {-1, -1, -1};
  *step = MP_EXEC_START;
  int err = init_child(child, loop, spec, ops);
  if (err == 0) err = mp_child_pipes_open(child, spec, theirs);
  if (err == 0) err = exec_child(child, spec, theirs, step);
  for (int i = 0; i < 3; i++)
    if (theirs[i] >= 0) close(theirs[i]);
  if (err == 0) {
    set_going(child, spec);
    return 0;
  }
  mp_child_pipes_abandon(child);
  mp_timer_deinit(&child->linger);
  mp_timer_deinit(&child->timeout);
  return err;
}

void mp_child_let_go(struct mp_child *child) {
  if (child->closing) return;
  child->closing = true;
  mp_child_pipes_close(child);
  if (child->state != SETTLED) {
    child->state = SETTLED;
    stop_watching(child);
    child->settled = true;
  }
  mp_loop_post(child->loop, &child->again);
}

void mp_child_close(struct mp_child *child) {
  if (child->closing) return;
  child->closing = true;
  mp_child_pipes_close(child);
  kill_now(child);
  mp_loop_post(child->loop, &child->again);
}
