/* Requests on their way to the app, and what the shared page is told of them. */
#include "api/open.h"
#include "worker/inside.h"
#include <stdio.h>
#include <sys/socket.h>

/* ---- the shared page: what the master and the siblings may know ---- */

static void publish_counts(struct mp_worker *w) {
  MP_PUBLISH(w, requests, w->server.n_requests);
  MP_PUBLISH(w, in_flight, w->server.n_held);
  MP_PUBLISH(w, connections, w->server.n_conns);
}

/* The master hears it once, and has a successor ready before it says "drain". With no room in the pipe: the next time.
 */
static void say_spent(struct mp_worker *w) {
  char word[40];
  int n = snprintf(word, sizeof word, "\nspent %llu\n", (unsigned long long)w->server.n_requests);
  if (send(w->setup->control_fd, word, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) == n) w->enough = UINT64_MAX;
}

void mp_worker_on_sleep(struct mp_loop *loop) {
  struct mp_worker *w = MP_CONTAINER(loop, struct mp_worker, loop);
  if (w->has_server) publish_counts(w);
  if (w->api) mp_api_show(w->api);
  mp_viewer_sleep(&w->viewer);
  if (w->server.n_requests >= w->enough) say_spent(w);
  MP_PUBLISH(w, busy_since_ms, 0);
}

/* Before the app, and neither counted as a request nor written down: it comes every few seconds, from a machine. */
static void answer_health(struct mp_worker *w, struct mp_exchange *ex) {
  bool serving = w->stage == MP_WORK_SERVING;
  ex->place = MP_VIEWER_UNSEEN;
  ex->reply.status = serving ? 200 : 503;
  int err = mp_reply_set(&ex->reply, MP_SLICE("Content-Type"), MP_SLICE("text/plain; charset=utf-8"));
  if (err == 0) err = mp_reply_set(&ex->reply, MP_SLICE("Cache-Control"), MP_SLICE("no-store"));
  if (err == 0) err = mp_exchange_send(ex, serving ? MP_SLICE("ok\n") : MP_SLICE("draining\n"));
  mp_viewer_count(&w->viewer, MP_COUNT_HEALTH);
  mp_exchange_finish(ex, err < 0);
}

static bool is_health_check(const struct mp_worker *w, const struct mp_head *head) {
  return w->health.len > 0 && mp_slice_is(head->path, w->health) &&
         (mp_slice_is(head->method, MP_SLICE("GET")) || mp_slice_is(head->method, MP_SLICE("HEAD")));
}

/* Told before Lua runs, so that a crash in the handler finds its request counted. */
static void on_request(struct mp_server *server, struct mp_exchange *ex) {
  struct mp_worker *w = MP_CONTAINER(server, struct mp_worker, server);
  MP_PUBLISH(w, in_flight, server->n_held);
  if (is_health_check(w, &ex->head)) {
    answer_health(w, ex);
    return;
  }
  mp_viewer_begin(&w->viewer, ex);
  mp_api_server_ops.on_request(server, ex);
  bool held = server->current == ex;
  mp_viewer_leave(&w->viewer, ex, held);
  if (held && w->record.slow_ms && !mp_timer_started(&w->slow)) mp_timer_start(&w->slow, w->record.slow_ms);
}

void mp_worker_on_slow(struct mp_timer *timer) {
  struct mp_worker *w = MP_CONTAINER(timer, struct mp_worker, slow);
  uint64_t again_ms = mp_api_tell_slow(w->api, w->record.slow_ms);
  if (again_ms) mp_timer_start(timer, again_ms);
}

static struct mp_worker *of_server(struct mp_server *server) {
  return MP_CONTAINER(server, struct mp_worker, server);
}

/* Siblings decide by these numbers, so they are told at once. */
static void on_connections(struct mp_server *server) {
  struct mp_worker *w = of_server(server);
  MP_PUBLISH(w, connections, server->n_conns);
  MP_PUBLISH(w, accepted, ++w->n_accepted);
  mp_viewer_count(&w->viewer, MP_COUNT_ACCEPTED);
}

static bool holds_back(struct mp_server *server) {
  struct mp_worker *w = of_server(server);
  return mp_share_holds_back(&w->share, server->n_conns, mp_loop_now(&w->loop));
}

static void on_over(struct mp_exchange *ex, bool whole) {
  struct mp_worker *w = of_server(ex->server);
  if (ex->place == MP_VIEWER_UNSEEN) return;
  mp_viewer_over(&w->viewer, ex);
  if (w->record.wanted && mp_record_over(&w->record, ex, whole, w->viewer.now_ns))
    mp_viewer_count(&w->viewer, MP_COUNT_SLOW);
}

static void on_forget(struct mp_exchange *ex) {
  mp_viewer_forget(&of_server(ex->server)->viewer, ex);
}

static void on_refused(struct mp_server *server, const struct mp_address *peer, int status) {
  mp_viewer_count(&of_server(server)->viewer, MP_COUNT_REFUSED + mp_view_refusal(status));
  mp_record_refused(&of_server(server)->record, peer, status);
}

/* ---- the server ---- */

static struct mp_server_config server_config(const struct mp_worker *w) {
  const struct mp_config *c = w->setup->config;
  return (struct mp_server_config){
      .limits = {.request_line = c->limit_request_line,
                 .fields = c->limit_request_fields,
                 .field_size = c->limit_request_field_size,
                 .head = c->limit_request_head < UINT32_MAX ? (uint32_t)c->limit_request_head : UINT32_MAX,
                 .body = c->max_body},
      .max_connections = c->max_connections,
      .pipeline = c->limit_pipeline,
      .keep_alive_ms = mp_worker_ms(c->keep_alive),
      .header_ms = mp_worker_ms(c->header_timeout),
      .body_ms = mp_worker_ms(c->body_timeout),
      .write_ms = mp_worker_ms(c->write_timeout),
      .request_ms = mp_worker_ms(c->request_timeout),
      .drain_idle_ms = mp_worker_ms(c->drain_idle),
      .no_server = !c->server_header,
      .compress = c->compress,
      .proxy_protocol = c->proxy_protocol,
      .trust = c->trusted_proxies ? &w->trust : NULL,
  };
}

int mp_worker_open_server(struct mp_worker *w) {
  const struct mp_worker_setup *s = w->setup;
  struct mp_server_config config = server_config(w);
  w->ops = mp_api_server_ops;
  w->ops.on_request = on_request;
  w->ops.on_over = on_over;
  w->ops.on_forget = on_forget;
  w->ops.on_refused = on_refused;
  w->ops.holds_back = holds_back;
  w->ops.on_connections = on_connections;
  int err = mp_server_init(&w->server, &w->loop, w->log, &config, &w->ops, w->api);
  if (err < 0) return err;
  w->has_server = true;
  w->server.files.bundle = s->bundle;
  return mp_server_adopt(&w->server, s->listen_fds, s->n_listen);
}
