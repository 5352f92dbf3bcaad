#include "report/report.h"
#include "base/err.h"
#include "io/guardian.h"
#include "io/procfs.h"
#include "io/signal.h"
#include "report/exposition.h"
#include "web/server.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

enum { INTERNAL = 1 /* exit code */, CONNECTIONS = 64, BODY = 1024, HEAD = 16384, LINE = 2048 };

struct report {
  struct mp_log *log; /* borrowed */
  struct mp_loop loop;
  struct mp_server server;
  struct mp_signal term;
  struct mp_shm *shm; /* owned; read only */
};

/* ---- answers ---- */

static uint64_t rss_of(int pid) {
  struct mp_process_facts facts;
  return pid > 0 && mp_process_look(pid, &facts) == 0 ? facts.rss_bytes : 0;
}

static void answer(struct mp_exchange *ex, unsigned status, const char *type, struct mp_slice body) {
  ex->reply.status = (uint16_t)status;
  int err = mp_reply_set(&ex->reply, MP_SLICE("Content-Type"), mp_slice(type, strlen(type)));
  if (err == 0) err = mp_exchange_send(ex, body);
  mp_exchange_finish(ex, err < 0);
}

static void answer_metrics(struct report *r, struct mp_exchange *ex) {
  struct mp_buf out = {0};
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  struct mp_moment now = {
      .mono_ns = mp_loop_now_ns(&r->loop), .wall_s = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9, .rss = rss_of};
  if (mp_expose(r->shm, &now, &out) == 0)
    answer(ex, 200, "text/plain; version=0.0.4; charset=utf-8", mp_buf_slice(&out));
  else
    answer(ex, 503, "text/plain; charset=utf-8", MP_SLICE("503 Service Unavailable\n"));
  mp_buf_free(&out);
}

static void refuse_method(struct mp_exchange *ex) {
  int err = mp_reply_set(&ex->reply, MP_SLICE("Allow"), MP_SLICE("GET, HEAD"));
  if (err < 0)
    mp_exchange_finish(ex, true);
  else
    answer(ex, 405, "text/plain; charset=utf-8", MP_SLICE("405 Method Not Allowed\n"));
}

static void on_request(struct mp_server *server, struct mp_exchange *ex) {
  struct report *r = server->ctx;
  if (!mp_slice_is(ex->head.path, MP_SLICE("/metrics")))
    answer(ex, 404, "text/plain; charset=utf-8", MP_SLICE("404 Not Found: /metrics is what there is\n"));
  else if (mp_slice_is(ex->head.method, MP_SLICE("GET")) || mp_slice_is(ex->head.method, MP_SLICE("HEAD")))
    answer_metrics(r, ex);
  else
    refuse_method(ex);
}

/* Every exchange is finished in on_request: nobody waits, and nobody is held. */
static void ignore(struct mp_exchange *ex) {
  (void)ex;
}

static void on_drained(struct mp_server *server) {
  struct report *r = server->ctx;
  mp_loop_stop(&r->loop);
}

static const struct mp_server_ops ops = {.on_request = on_request,
                                         .on_readable = ignore,
                                         .on_writable = ignore,
                                         .on_gone = ignore,
                                         .on_drained = on_drained};

/* ---- life ---- */

static void on_term(struct mp_signal *signal, int signo) {
  struct report *r = signal->ctx;
  (void)signo;
  mp_server_close(&r->server);
}

static int open_server(struct report *r, int fd) {
  struct mp_server_config config = {
      .limits = {.request_line = LINE, .fields = 64, .field_size = LINE, .head = HEAD, .body = BODY},
      .max_connections = CONNECTIONS,
      .pipeline = 1,
      .keep_alive_ms = 75000,
      .header_ms = 10000,
      .body_ms = 10000,
      .write_ms = 10000,
      .compress = true};
  int err = mp_server_init(&r->server, &r->loop, r->log, &config, &ops, r);
  return err < 0 ? err : mp_server_adopt(&r->server, &fd, 1);
}

static int begin(struct report *r, const struct mp_report_setup *setup) {
  mp_signal_begin();
  signal(SIGINT, SIG_IGN);
  signal(SIGQUIT, SIG_IGN);
  int err = mp_guardian_start(setup->death_fd);
  if (err < 0) return err;
  r->shm = mp_shm_map_to_read(setup->shm_fd);
  if (!r->shm) return -errno;
  err = mp_loop_init(&r->loop, r->log);
  if (err < 0) return err;
  r->term.ctx = r;
  err = mp_signal_open(&r->term, &r->loop, SIGTERM, on_term);
  return err < 0 ? err : open_server(r, setup->listen_fd);
}

int mp_report_run(const struct mp_report_setup *setup) {
  struct report *r = calloc(1, sizeof *r);
  char text[128];
  if (!r) return INTERNAL;
  r->log = setup->log;
  int err = begin(r, setup);
  if (err < 0) {
    mp_log(r->log, MP_LOG_ERROR, "report", "the report cannot begin: %s", mp_err_text(err, text, sizeof text));
    exit(INTERNAL); /* half of it may be open */
  }
  mp_loop_run(&r->loop);
  mp_server_deinit(&r->server);
  mp_signal_end();
  mp_signal_close(&r->term);
  mp_loop_deinit(&r->loop);
  mp_shm_unmap(r->shm);
  free(r);
  return 0;
}
