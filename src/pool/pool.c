#include "pool/pool.h"
#include "base/commons.h"
#include "base/err.h"
#include "io/guardian.h"
#include "pool/inside.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INTERNAL = 1, CANNOT_LISTEN = 4 /* exit codes */, LAST_SWEEP_MS = 1000 };

void mp_plan_free(struct mp_plan *plan) {
  if (!plan) return;
  for (char **word = plan->words; word && *word; word++) free(*word);
  free(plan->words);
  free(plan->folder);
  if (plan->settings_fd >= 0) close(plan->settings_fd);
  mp_identity_free(&plan->identity);
  mp_config_free(&plan->config);
  free(plan);
}

static uint64_t ms_of(double seconds) {
  return (uint64_t)(seconds * 1000);
}

/* Doing what the roster says. */

static const struct mp_plan *plan_of(const struct mp_pool *pool, uint32_t generation) {
  return pool->next && generation == pool->next_generation ? pool->next : pool->plan;
}

static void start(struct mp_pool *pool, const struct mp_action *a) {
  int err = mp_member_start(pool, a, plan_of(pool, a->generation));
  if (err == 0) return;
  pool->start_errors[a->seat] = err; /* told when this round of actions is over */
  mp_loop_post(&pool->loop, &pool->tell_start_errors);
}

static void tell_start_errors(struct mp_soon *soon) {
  struct mp_pool *pool = MP_CONTAINER(soon, struct mp_pool, tell_start_errors);
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) {
    int err = pool->start_errors[i];
    pool->start_errors[i] = 0;
    if (err) mp_pool_tell(pool, &(struct mp_event){.kind = MP_EVENT_START_FAILED, .seat = i, .err = err});
  }
}

static void use(struct mp_pool *pool, const struct mp_config *config) {
  pool->roster->boot_ms = ms_of(config->boot_timeout);
  pool->roster->graceful_ms = ms_of(config->graceful_timeout);
  pool->roster->timeout_ms = ms_of(config->timeout);
  pool->roster->lifetime_ms = ms_of(config->max_lifetime);
  pool->log->least = config->log_level;
  pool->log->json = config->log_json;
  const struct mp_identity *id = &pool->plan->identity;
  umask(id->set_umask ? id->umask : pool->setup->umask);
}

/* What cannot be had stays as it was: the app is proven, and that is what counts. */
static void move_metrics(struct mp_pool *pool, const char *address) {
  char why[512] = "out of memory";
  if (mp_reporter_use(&pool->reporter, address, why, sizeof why) < 0)
    mp_log(pool->log, MP_LOG_ERROR, "pool", "metrics stay where they were: %s", why);
}

/* From the master before us, who has let them go. */
static void take_views_over(struct mp_pool *pool) {
  const struct mp_config *config = &pool->plan->config;
  char why[512] = "out of memory";
  if (mp_control_open(&pool->control, pool, config->control_socket, why, sizeof why) < 0)
    mp_log(pool->log, MP_LOG_ERROR, "pool", "there is no control socket: %s", why);
  mp_reporter_take_over(&pool->reporter, config->metrics_listen);
}

static void adopt(struct mp_pool *pool) {
  if (!pool->next) return;
  move_metrics(pool, pool->next->config.metrics_listen);
  mp_plan_free(pool->plan);
  pool->plan = pool->next;
  pool->next = NULL;
  use(pool, &pool->plan->config);
  mp_pool_adopt_sockets(pool);
  mp_pool_look_soon(pool);
}

static void drop(struct mp_pool *pool) {
  mp_plan_free(pool->next);
  pool->next = NULL;
  mp_pool_drop_sockets(pool);
}

static void wake_at(struct mp_pool *pool, uint64_t at_ms) {
  uint64_t now = mp_loop_now(&pool->loop);
  if (!at_ms)
    mp_timer_stop(&pool->alarm);
  else
    mp_timer_start(&pool->alarm, at_ms > now ? at_ms - now : 0);
}

static void close_signals(struct mp_pool *pool) {
  mp_signal_end();
  for (unsigned i = 0; i < pool->n_signals; i++) mp_signal_close(&pool->signals[i]);
  pool->n_signals = 0;
}

/* Handles may still be closing: whoever is the last stops the loop. */
static void finish(struct mp_pool *pool, int code) {
  pool->exit_code = code;
  pool->over = true;
  close_signals(pool);
  mp_timer_stop(&pool->alarm);
  mp_timer_stop(&pool->look);
  mp_timer_stop(&pool->sweep);
  pool->setup->stop_rereading(pool->setup->ctx);
  mp_control_close(&pool->control);
  mp_keeper_close(pool);
  mp_reporter_close(&pool->reporter);
  mp_pool_left(pool);
}

void mp_pool_left(struct mp_pool *pool) {
  bool follower = pool->successor && !pool->successor->serves;
  if (!pool->over || pool->rereading || follower || !mp_list_empty(&pool->members)) return;
  if (mp_control_is_closed(&pool->control) && mp_reporter_is_closed(&pool->reporter)) mp_loop_stop(&pool->loop);
}

static void answer_reload(struct mp_pool *pool, const char *why) {
  mp_control_reloaded(&pool->control, why);
  mp_keeper_reloaded(pool, why);
}

/* Who has asked for a reload hears what came of it. */
static void tell_reloaded(struct mp_pool *pool, enum mp_fact fact) {
  if (fact == MP_FACT_RELOADED) answer_reload(pool, NULL);
  if (fact == MP_FACT_DROPPED) answer_reload(pool, "the new workers failed; the log says why");
  if (fact == MP_FACT_MIXED) answer_reload(pool, "some of the new workers failed; the log says why");
  if (fact == MP_FACT_STOPPING) answer_reload(pool, "the server is stopping");
}

static void note(struct mp_pool *pool, const struct mp_action *a, const struct mp_event *event) {
  mp_pool_say(pool, a, event);
  if (a->fact == MP_FACT_ADOPTED) adopt(pool);
  if (a->fact == MP_FACT_DROPPED) drop(pool);
  if (a->fact == MP_FACT_READY) mp_pool_look_soon(pool);
  if (a->fact == MP_FACT_RELOADED) mp_pool_settle_sockets(pool);
  tell_reloaded(pool, a->fact);
  if (a->fact != MP_FACT_STOPPING) return;
  mp_pool_stop_listening(pool);
  mp_successor_stop(pool, false);
}

static void perform(struct mp_pool *pool, const struct mp_action *a, const struct mp_event *event) {
  struct mp_member *member = pool->seats[a->seat]; /* NULL while a failed start waits to be told */
  switch (a->kind) {
  case MP_ACTION_START:
    start(pool, a);
    break;
  case MP_ACTION_RETIRE:
    if (member) mp_member_say(member, "drain\n");
    break;
  case MP_ACTION_FINISH:
    if (member) mp_member_say(member, "finish\n");
    break;
  case MP_ACTION_HALT:
    if (member) mp_member_say(member, "stop\n");
    break;
  case MP_ACTION_KILL:
    if (member) mp_member_kill(member);
    break;
  case MP_ACTION_SAY:
    note(pool, a, event);
    break;
  case MP_ACTION_WAKE:
    wake_at(pool, a->ms);
    break;
  case MP_ACTION_EXIT:
    finish(pool, a->code);
    break;
  }
}

void mp_pool_tell(struct mp_pool *pool, const struct mp_event *event) {
  unsigned n = mp_roster_take(pool->roster, event, mp_loop_now(&pool->loop));
  for (unsigned i = 0; i < n; i++) {
    mp_tell_action(pool, &pool->roster->actions[i], event);
    perform(pool, &pool->roster->actions[i], event);
  }
  mp_tell_after(pool);
  if (pool->over) return;
  if (!pool->proven && mp_roster_manned(pool->roster)) {
    pool->proven = true;
    mp_keeper_ready(pool);
    mp_predecessor_proven(pool);
  }
  mp_systemd_look(pool);
}

/* At a start without a master before us at once; else when that one has left it to us, or is dead. */
void mp_pool_take_over(struct mp_pool *pool) {
  char text[128];
  pool->predecessor.leads = false;
  mp_pool_own_names(pool, true);
  pool->roster->boot_tries = MP_ROSTER_BOOT_TRIES;
  mp_log(pool->log, MP_LOG_INFO, "pool", "this is the master now pid=%d", (int)getpid());
  int err = pool->pid_file ? mp_pidfile_write(pool->pid_file) : 0;
  if (err < 0)
    mp_log(pool->log, MP_LOG_ERROR, "pool", "the pid file cannot be written file=%s: %s", pool->pid_file,
           mp_err_text(err, text, sizeof text));
  mp_systemd_take_over(pool);
  take_views_over(pool);
}

static void on_alarm(struct mp_timer *timer) {
  mp_pool_tell(MP_CONTAINER(timer, struct mp_pool, alarm), &(struct mp_event){.kind = MP_EVENT_TICK});
}

/* Reload: the configuration is read by a child, then a probe shows whether the app can be had too. */

static void reread(struct mp_pool *pool);

static void reload_with(struct mp_pool *pool, struct mp_plan *plan) {
  if (mp_pool_listen_next(pool, &plan->config) < 0) {
    mp_plan_free(plan);
    answer_reload(pool, "an address cannot be listened on; the log says which");
    return;
  }
  if (plan->config.shared_memory != pool->plan->config.shared_memory)
    mp_log(pool->log, MP_LOG_WARN, "pool", "another size of shared memory takes a restart; the old one stays");
  mp_plan_free(pool->next);
  pool->next = plan;
  pool->next_generation = pool->roster->newest + 1;
  mp_pool_tell(pool, &(struct mp_event){.kind = MP_EVENT_RELOAD, .workers = plan->config.workers});
}

/* To the one who writes the app, in the browser: a generation with the settings that still hold, which shows what is
 * wrong with the new ones in place of the app. The next file that can be read heals it. */
static void show_trouble(struct mp_pool *pool, const char *why) {
  struct mp_config *config = &pool->plan->config;
  char *trouble = strdup(why);
  if (!trouble) return; /* the log has it */
  free(config->trouble);
  config->trouble = trouble;
  drop(pool); /* what is being probed has been overtaken */
  mp_pool_tell(pool, &(struct mp_event){.kind = MP_EVENT_RELOAD, .workers = pool->roster->wanted});
}

static void refuse_reload(struct mp_pool *pool, const char *why) {
  mp_log(pool->log, MP_LOG_ERROR, "pool", "reload refused, the old configuration goes on: %s", why);
  answer_reload(pool, why);
  if (pool->plan->config.watch && pool->plan->config.dev) show_trouble(pool, why);
}

static void on_reread(void *ctx, struct mp_plan *plan, const char *why) {
  struct mp_pool *pool = ctx;
  pool->rereading = false;
  if (pool->over || pool->roster->stage >= MP_STAGE_STOPPING)
    mp_plan_free(plan);
  else if (plan)
    reload_with(pool, plan);
  else
    refuse_reload(pool, why);
  if (pool->reread_again && !pool->over) reread(pool);
  if (!pool->over) mp_systemd_look(pool);
  mp_pool_left(pool);
}

static void reread(struct mp_pool *pool) {
  pool->reread_again = pool->rereading;
  if (pool->rereading) return; /* once more when this one is done: it may have read too early */
  pool->rereading = true;
  int err = pool->setup->reread(pool->setup->ctx, &pool->loop, on_reread, pool);
  if (err == 0) return;
  char text[128];
  pool->rereading = false;
  refuse_reload(pool, mp_err_text(err, text, sizeof text));
}

void mp_pool_reload(struct mp_pool *pool) {
  mp_systemd_reloading(pool);
  reread(pool);
}

/* Signals. */

/* A resized terminal sends WINCH to what runs in its foreground: there it is no wish of the operator. */
static bool at_a_terminal(void) {
  int tty = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (tty < 0) return false;
  bool foreground = tcgetpgrp(tty) == getpgrp();
  close(tty);
  return foreground;
}

static void tell_kind(struct mp_pool *pool, enum mp_event_kind kind) {
  mp_pool_tell(pool, &(struct mp_event){.kind = kind});
}

/* The master's descriptor stays the same: workers that are started later inherit it under its number. */
static void reopen_own_log(struct mp_pool *pool) {
  const char *path = pool->plan->config.error_log;
  char text[128];
  if (!path || strcmp(path, "-") == 0 || pool->log->fd == STDERR_FILENO) return;
  int flags = O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_NONBLOCK;
  int fd = mp_identity_open(&pool->plan->identity, path, flags, 0640);
  int err = fd < 0 ? fd : dup3(fd, pool->log->fd, O_CLOEXEC) < 0 ? -errno : 0;
  if (err < 0)
    mp_log(pool->log, MP_LOG_ERROR, "pool", "the log cannot be reopened, the old one goes on file=%s: %s", path,
           mp_err_text(err, text, sizeof text));
  if (fd >= 0) close(fd);
}

void mp_pool_reopen(struct mp_pool *pool) {
  reopen_own_log(pool);
  mp_reporter_renew(&pool->reporter);
  MP_LIST_EACH(node, &pool->members) {
    struct mp_member *m = MP_CONTAINER(node, struct mp_member, node);
    if (pool->seats[m->seat] == m) mp_member_say(m, "reopen\n");
  }
}

static void stop_now(struct mp_pool *pool) {
  mp_successor_stop(pool, true);
  tell_kind(pool, MP_EVENT_STOP_NOW);
}

void mp_pool_stop(struct mp_pool *pool, bool now) {
  if (now)
    stop_now(pool);
  else
    tell_kind(pool, MP_EVENT_STOP);
}

/* While another master is on its way to replace us, its configuration is the one that counts: it hears of a reload as
 * soon as it can, and should it fail, we reload. */
static void reload_or_wait(struct mp_pool *pool) {
  if (pool->successor)
    pool->successor->reload = true;
  else
    mp_pool_reload(pool);
}

static void on_signal(struct mp_signal *signal, int signo) {
  struct mp_pool *pool = signal->ctx;
  char name[32];
  if (pool->over) return;
  if (signo != SIGCHLD)
    mp_log(pool->log, MP_LOG_INFO, "pool", "signal name=%s", mp_signal_name(signo, name, sizeof name));
  switch (signo) {
  case SIGCHLD:
    mp_strangers_reap(pool);
    break;
  case SIGTERM:
    if (pool->roster->stage == MP_STAGE_STOPPING) mp_successor_stop(pool, true);
    tell_kind(pool, MP_EVENT_STOP);
    break;
  case SIGINT:
  case SIGQUIT:
    stop_now(pool);
    break;
  case SIGHUP:
    reload_or_wait(pool);
    break;
  case SIGTTIN:
    tell_kind(pool, MP_EVENT_MORE);
    break;
  case SIGTTOU:
    tell_kind(pool, MP_EVENT_FEWER);
    break;
  case SIGUSR1:
    mp_pool_reopen(pool);
    if (pool->successor) pool->successor->reopen = true;
    break;
  case SIGUSR2:
    if (pool->setup->keeper)
      mp_log(pool->log, MP_LOG_ERROR, "pool", "no upgrade: the program that embeds this server is what is upgraded");
    else
      mp_successor_start(pool);
    break;
  case SIGWINCH:
    if (!at_a_terminal()) tell_kind(pool, MP_EVENT_REST);
    break;
  default:
    break;
  }
}

static int open_signals(struct mp_pool *pool) {
  static const int ours[MP_POOL_SIGNALS] = {SIGCHLD, SIGTERM, SIGINT,   SIGQUIT, SIGHUP,
                                            SIGTTIN, SIGTTOU, SIGWINCH, SIGUSR1, SIGUSR2};
  for (unsigned i = 0; i < MP_POOL_SIGNALS; i++) {
    int err = mp_signal_open(&pool->signals[i], &pool->loop, ours[i], on_signal);
    if (err < 0) return err;
    pool->signals[i].ctx = pool;
    pool->n_signals++;
  }
  return 0;
}

/* Start and end. */

static void raise_nofile(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit); /* refused: the old limit holds, as the operator has set it */
}

static int acquire(struct mp_pool *pool) {
  int err = mp_subreaper();
  mp_cgroups_open(&pool->cgroups);
  if (err == 0) err = mp_strangers_note(pool);
  if (err < 0) return err;
  if (!(pool->roster = calloc(1, sizeof *pool->roster))) return -ENOMEM;
  if (pipe2(pool->death_pipe, O_CLOEXEC) < 0) return -errno;
  if (!(pool->shm = mp_shm_create(MP_ROSTER_SEATS, &pool->shm_fd))) return -errno;
  err = mp_commons_create(pool->plan->config.shared_memory, MP_ROSTER_SEATS, &pool->commons_fd, &pool->bell_fd);
  if (err < 0) return err;
  if ((err = mp_timer_init(&pool->alarm, &pool->loop.timers, on_alarm)) < 0) return err;
  if ((err = mp_timer_init(&pool->look, &pool->loop.timers, mp_pool_on_look)) < 0) return err;
  if ((err = mp_timer_init(&pool->sweep, &pool->loop.timers, mp_strangers_on_timer)) < 0) return err;
  if ((err = mp_reporter_init(&pool->reporter, pool)) < 0) return err;
  mp_soon_init(&pool->tell_start_errors, tell_start_errors);
  if ((err = mp_systemd_open(pool)) < 0) return err;
  if ((err = mp_predecessor_open(pool)) < 0) return err;
  if ((err = mp_keeper_open(pool)) < 0) return err;
  return open_signals(pool);
}

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void release(struct mp_pool *pool) {
  close_signals(pool);
  mp_systemd_close(pool);
  mp_predecessor_close(pool);
  mp_keeper_close(pool);
  mp_soon_cancel(&pool->tell_start_errors);
  mp_timer_deinit(&pool->alarm);
  mp_timer_deinit(&pool->look);
  mp_timer_deinit(&pool->sweep);
  mp_reporter_deinit(&pool->reporter);
  mp_changes_close(&pool->changes);
  mp_loop_deinit(&pool->loop);
  mp_pool_stop_listening(pool);
  close_fd(&pool->death_pipe[0]);
  close_fd(&pool->death_pipe[1]);
  if (pool->shm) mp_shm_unmap(pool->shm);
  close_fd(&pool->shm_fd);
  close_fd(&pool->commons_fd);
  close_fd(&pool->bell_fd);
  drop(pool);
  mp_plan_free(pool->plan);
  free(pool->pid_file);
  mp_cgroups_close(&pool->cgroups);
  free(pool->earlier);
  free(pool->roster);
}

static int fail(const char *what, int err) {
  char text[128];
  fprintf(stderr, "moonpool: %s: %s\n", what, mp_err_text(err, text, sizeof text));
  return INTERNAL;
}

/* Where operators look. 0, or -errno and a sentence is on stderr. */
static int open_views(struct mp_pool *pool) {
  const struct mp_config *config = &pool->plan->config;
  char why[512] = "out of memory";
  int err = mp_control_open(&pool->control, pool, config->control_socket, why, sizeof why);
  if (err < 0) fprintf(stderr, "moonpool: the control socket: %s\n", why);
  if (err < 0) return err;
  err = mp_reporter_use(&pool->reporter, config->metrics_listen, why, sizeof why);
  if (err < 0) fprintf(stderr, "moonpool: metrics: %s\n", why);
  return err;
}

static void on_change(struct mp_changes *changes) {
  struct mp_pool *pool = changes->ctx;
  if (pool->over || pool->roster->stage >= MP_STAGE_STOPPING) return;
  mp_log(pool->log, MP_LOG_INFO, "pool", "a file of the app was saved, reloading");
  reload_or_wait(pool);
}

static void watch_changes(struct mp_pool *pool) {
  if (!pool->plan->config.watch) return;
  pool->changes.ctx = pool;
  int err = mp_changes_open(&pool->changes, &pool->loop, pool->plan->folder, on_change);
  if (err < 0) mp_log(pool->log, MP_LOG_ERROR, "pool", "the app's folder cannot be watched code=%s", mp_err_name(err));
}

static void run(struct mp_pool *pool) {
  watch_changes(pool);
  mp_predecessor_begin(pool);
  mp_roster_init(pool->roster, pool->plan->config.workers, 0, 0);
  if (pool->predecessor.leads) pool->roster->boot_tries = 1; /* it goes on, and has to know */
  use(pool, &pool->plan->config);
  mp_tell_begin(pool);
  mp_pool_tell(pool, &(struct mp_event){.kind = MP_EVENT_BEGIN});
  mp_loop_run(&pool->loop);
  mp_sweep(mp_strangers_spared, pool, LAST_SWEEP_MS);
  mp_successor_let_go(pool); /* last: it takes our end for the end of file, and only then can be upgraded itself */
  mp_log(pool->log, MP_LOG_INFO, "pool", "stopped code=%d", pool->exit_code);
}

static int serve(struct mp_pool *pool) {
  const char *path = pool->plan->config.pid_file;
  pool->pid_file = path ? strdup(path) : NULL;
  bool ours = path && !pool->predecessor.leads; /* else it is another's as long as that one lives */
  int err = path && !pool->pid_file ? -ENOMEM : ours ? mp_pidfile_write(path) : 0;
  if (err < 0) return fail(path, err);
  if (pool->predecessor.leads || open_views(pool) == 0)
    run(pool);
  else
    pool->exit_code = CANNOT_LISTEN;
  if (pool->pid_file) mp_pidfile_remove(pool->pid_file);
  return pool->exit_code;
}

int mp_pool_run(const struct mp_pool_setup *setup) {
  struct mp_pool *pool = calloc(1, sizeof *pool);
  if (!pool) return fail("the pool", -ENOMEM);
  *pool = (struct mp_pool){.log = setup->log,
                           .setup = setup,
                           .plan = setup->plan,
                           .death_pipe = {-1, -1},
                           .shm_fd = -1,
                           .commons_fd = -1,
                           .bell_fd = -1,
                           .systemd.notify.fd = -1};
  mp_list_init(&pool->members);
  mp_control_init(&pool->control);
  mp_soon_init(&pool->tell_start_errors, tell_start_errors);
  raise_nofile();
  int err = mp_loop_init(&pool->loop, setup->log);
  if (err < 0) {
    mp_plan_free(pool->plan);
    free(pool);
    return fail("the event loop", err);
  }
  err = acquire(pool);
  int code = err < 0 ? fail("the pool", err) : mp_pool_listen(pool);
  if (code == 0) code = serve(pool);
  release(pool);
  free(pool);
  return code;
}
