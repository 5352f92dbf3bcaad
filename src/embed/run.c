/* How a server runs: on a thread of its own, on the caller's, or turn by turn in a loop of the host.
 *
 *   idle ─ open ─► runs ─ the engine is over ─► over ─ finish ─► idle
 *
 * Every turn is bracketed: SIGPIPE is blocked on the thread meanwhile, and one that came of our writes is taken away,
 * so that no disposition has to change. */
#include "base/err.h"
#include "embed/inside.h"
#include "embed/quiet.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

/* ---- beginning and ending ---- */

static void on_sleep(struct mp_loop *loop) {
  struct mp_server *server = MP_CONTAINER(loop, struct mp_server, loop);
  atomic_store_explicit(&server->busy_ms, 0, memory_order_relaxed);
  server->engine->sleep(server);
}

static int open_loop(struct mp_server *server) {
  char text[128];
  int err = mp_loop_init(&server->loop, &server->log);
  if (err < 0) return mp_server_complain(server, err, "the loop: %s", mp_err_text(err, text, sizeof text));
  server->loop.busy_since_ms = &server->busy_ms;
  struct mp_mailbox *box = mp_mailbox_open(&server->loop);
  if (!box) {
    mp_loop_deinit(&server->loop);
    return mp_server_complain(server, -ENOMEM, "out of memory");
  }
  pthread_mutex_lock(&server->lock);
  server->box = box;
  pthread_mutex_unlock(&server->lock);
  return 0;
}

static void close_loop(struct mp_server *server) {
  server->loop.on_sleep = NULL;
  pthread_mutex_lock(&server->lock);
  struct mp_mailbox *box = server->box;
  server->box = NULL;
  pthread_mutex_unlock(&server->lock);
  mp_mailbox_close(box);
  mp_loop_deinit(&server->loop);
  server->stage = MP_SERVER_IDLE;
}

static void finish(struct mp_server *server) {
  server->engine->end(server);
  close_loop(server);
  server->engine->release(server);
}

static int begin(struct mp_server *server) {
  struct mp_options options = {0};
  if (server->stage != MP_SERVER_IDLE) return mp_server_complain(server, -EALREADY, "the server runs already");
  int err = mp_server_read(server, &options);
  if (err < 0) return err;
  err = open_loop(server);
  if (err == 0) {
    server->stage = MP_SERVER_RUNS;
    server->exit_code = 0;
    server->log.least = options.config.log_level;
    err = server->engine->begin(server, &options);
    server->loop.on_sleep = err == 0 ? on_sleep : NULL;
    if (err < 0) finish(server);
  }
  if (err < 0) mp_options_free(&options);
  return err;
}

void mp_server_over(struct mp_server *server, int exit_code, const char *why) {
  server->stage = MP_SERVER_OVER;
  server->exit_code = exit_code;
  atomic_store(&server->port, 0);
  mp_server_tell(server, MP_SERVER_STOPPED, why);
  mp_loop_stop(&server->loop);
}

/* ---- on the caller's thread ---- */

int mp_server_run(struct mp_server *server) {
  struct mp_quiet quiet;
  mp_quiet_begin(&quiet, server->guest.interrupts);
  int err = begin(server);
  if (err == 0) {
    while (server->stage != MP_SERVER_OVER) mp_loop_run(&server->loop);
    finish(server);
  }
  mp_quiet_end(&quiet);
  return err < 0 ? err : server->exit_code;
}

/* ---- on a thread ---- */

static void say_begun(struct mp_server *server, int err) {
  pthread_mutex_lock(&server->lock);
  if (!server->begun) {
    server->begun = true;
    server->begin_err = err;
    pthread_cond_signal(&server->changed);
  }
  pthread_mutex_unlock(&server->lock);
}

void mp_server_say_ready(struct mp_server *server) {
  say_begun(server, 0);
}

static int why_not(int exit_code) {
  return exit_code == 3 ? -ENOEXEC : exit_code == 4 ? -EADDRNOTAVAIL : exit_code == 2 ? -EINVAL : -EIO;
}

/* It was created with every signal blocked. */
static void *thread_main(void *arg) {
  struct mp_server *server = arg;
  int err = mp_server_run(server);
  say_begun(server, err < 0 ? err : why_not(err)); /* who is still waiting was never told that it serves */
  return NULL;
}

static int start_thread(struct mp_server *server) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int err = -pthread_create(&server->thread, NULL, thread_main, server);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return err;
}

int mp_server_start(struct mp_server *server) {
  char text[128];
  if (server->has_thread || server->stage != MP_SERVER_IDLE)
    return mp_server_complain(server, -EALREADY, "the server runs already");
  server->begun = false;
  int err = start_thread(server);
  if (err < 0) return mp_server_complain(server, err, "a thread: %s", mp_err_text(err, text, sizeof text));
  pthread_mutex_lock(&server->lock);
  while (!server->begun) pthread_cond_wait(&server->changed, &server->lock);
  err = server->begin_err;
  pthread_mutex_unlock(&server->lock);
  if (err < 0)
    pthread_join(server->thread, NULL);
  else
    server->has_thread = true;
  return err;
}

int mp_server_wait(struct mp_server *server) {
  if (!server->has_thread) return mp_server_complain(server, -ESRCH, "the server has no thread");
  pthread_join(server->thread, NULL);
  server->has_thread = false;
  return server->exit_code;
}

/* ---- turn by turn ---- */

int mp_server_open(struct mp_server *server) {
  struct mp_quiet quiet;
  mp_quiet_begin(&quiet, server->guest.interrupts);
  int err = begin(server);
  mp_quiet_end(&quiet);
  return err;
}

int mp_server_fd(const struct mp_server *server) {
  return server->stage == MP_SERVER_RUNS ? mp_loop_fd(&server->loop) : -1;
}

int mp_server_due_ms(const struct mp_server *server) {
  return server->stage == MP_SERVER_RUNS ? mp_loop_due_ms(&server->loop) : -1;
}

static bool take_turn(struct mp_server *server) {
  struct mp_quiet quiet;
  mp_quiet_begin(&quiet, server->guest.interrupts);
  mp_loop_turn(&server->loop);
  mp_quiet_end(&quiet);
  return server->stage == MP_SERVER_RUNS;
}

static void finish_quietly(struct mp_server *server) {
  struct mp_quiet quiet;
  mp_quiet_begin(&quiet, server->guest.interrupts);
  finish(server);
  mp_quiet_end(&quiet);
}

bool mp_server_step(struct mp_server *server) {
  if (server->stage != MP_SERVER_RUNS) return false;
  if (take_turn(server)) return true;
  finish_quietly(server);
  return false;
}

/* ---- in a loop of the host ---- */

static void on_nested_turn(struct mp_nested *nested) {
  struct mp_server *server = MP_CONTAINER(nested, struct mp_server, nested);
  if (!take_turn(server)) mp_nested_close(nested);
}

static void on_nested_closed(struct mp_nested *nested) {
  struct mp_server *server = MP_CONTAINER(nested, struct mp_server, nested);
  server->attached = false;
  finish_quietly(server);
  if (server->free_when_over) mp_server_discard(server);
}

int mp_server_attach(struct mp_server *server, struct uv_loop_s *loop) {
  char text[128];
  int err = mp_server_open(server);
  if (err < 0) return err;
  server->nested.turn = on_nested_turn;
  server->nested.on_closed = on_nested_closed;
  err = mp_nested_open(&server->nested, loop, &server->loop);
  server->attached = err == 0;
  if (err == 0) return 0;
  mp_server_stop(server, MP_STOP_NOW);
  while (mp_server_step(server)) continue;
  return mp_server_complain(server, err, "the loop: %s", mp_err_text(err, text, sizeof text));
}

void mp_server_free(struct mp_server *server) {
  if (!server) return;
  mp_server_stop(server, MP_STOP_NOW); /* -ESRCH: it does not run */
  if (server->has_thread) mp_server_wait(server);
  if (server->attached) {
    server->free_when_over = true;
    return;
  }
  if (server->stage == MP_SERVER_RUNS) {
    struct mp_quiet quiet;
    mp_quiet_begin(&quiet, server->guest.interrupts);
    while (server->stage == MP_SERVER_RUNS) mp_loop_run(&server->loop);
    finish(server);
    mp_quiet_end(&quiet);
  }
  mp_server_discard(server);
}

/* ---- from any thread ---- */

struct command {
  struct mp_post post;
  struct mp_server *server; /* borrowed: it outlives its mailbox */
  bool reloads;
  enum mp_stop how;
};

static void reload(struct mp_server *server) {
  struct mp_options options = {0};
  if (mp_server_read(server, &options) < 0) {
    mp_log(&server->log, MP_LOG_ERROR, "embed", "reload refused, the old settings go on: %s", server->why);
    mp_server_tell(server, MP_SERVER_RELOAD_FAILED, server->why);
    return;
  }
  server->log.least = options.config.log_level;
  server->engine->reload(server, &options);
}

static void obey(struct mp_post *post) {
  struct command *command = MP_CONTAINER(post, struct command, post);
  struct mp_server *server = command->server;
  bool reloads = command->reloads;
  enum mp_stop how = command->how;
  free(command);
  if (server->stage != MP_SERVER_RUNS) return;
  if (reloads)
    reload(server);
  else
    server->engine->stop(server, how);
}

static int send_command(struct mp_server *server, bool reloads, enum mp_stop how) {
  struct command *command = calloc(1, sizeof *command);
  if (!command) return -ENOMEM;
  *command = (struct command){.post.run = obey, .server = server, .reloads = reloads, .how = how};
  pthread_mutex_lock(&server->lock);
  bool sent = server->box && mp_mailbox_post(server->box, &command->post);
  pthread_mutex_unlock(&server->lock);
  if (!sent) free(command);
  return sent ? 0 : -ESRCH;
}

int mp_server_stop(struct mp_server *server, enum mp_stop how) {
  return send_command(server, false, how);
}

int mp_server_reload(struct mp_server *server) {
  return send_command(server, true, MP_STOP_DRAIN);
}

int mp_server_port(const struct mp_server *server) {
  return atomic_load(&server->port);
}
