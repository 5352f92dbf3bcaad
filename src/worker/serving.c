/* Requests on their way to the app, and what the shared page is told of them. */
#include "api/open.h"
#include "worker/http.h"
#include "worker/inside.h"

/* ---- the shared page: what the master and the siblings may know ---- */

static void publish_counts(struct mp_site *s) {
  MP_PUBLISH(s, requests, s->server.n_requests);
  MP_PUBLISH(s, in_flight, s->server.n_held);
  MP_PUBLISH(s, connections, s->server.n_conns);
}

void mp_site_sleep(struct mp_site *s) {
  if (s->has_server) publish_counts(s);
  if (s->api) mp_api_show(s->api);
  mp_viewer_sleep(&s->viewer);
  if (s->server.n_requests >= s->enough && s->setup.ops->on_spent(s, s->server.n_requests)) s->enough = UINT64_MAX;
  MP_PUBLISH(s, busy_since_ms, 0);
}

/* Before the app, and neither counted as a request nor written down: it comes every few seconds, from a machine. */
static void answer_health(struct mp_site *s, struct mp_exchange *ex) {
  bool serving = s->stage == MP_WORK_SERVING;
  ex->place = MP_VIEWER_UNSEEN;
  ex->reply.status = serving ? 200 : 503;
  int err = mp_reply_set(&ex->reply, MP_SLICE("Content-Type"), MP_SLICE("text/plain; charset=utf-8"));
  if (err == 0) err = mp_reply_set(&ex->reply, MP_SLICE("Cache-Control"), MP_SLICE("no-store"));
  if (err == 0) err = mp_exchange_send(ex, serving ? MP_SLICE("ok\n") : MP_SLICE("draining\n"));
  mp_viewer_count(&s->viewer, MP_COUNT_HEALTH);
  mp_exchange_finish(ex, err < 0);
}

static bool is_health_check(const struct mp_site *s, const struct mp_head *head) {
  return s->health.len > 0 && mp_slice_is(head->path, s->health) &&
         (mp_slice_is(head->method, MP_SLICE("GET")) || mp_slice_is(head->method, MP_SLICE("HEAD")));
}

/* Told before Lua runs, so that a crash in the handler finds its request counted. */
static void on_request(struct mp_server *server, struct mp_exchange *ex) {
  struct mp_site *s = MP_CONTAINER(server, struct mp_site, server);
  MP_PUBLISH(s, in_flight, server->n_held);
  if (is_health_check(s, &ex->head)) {
    answer_health(s, ex);
    return;
  }
  mp_viewer_begin(&s->viewer, ex);
  mp_api_server_ops.on_request(server, ex);
  bool held = server->current == ex;
  mp_viewer_leave(&s->viewer, ex, held);
  if (held && s->record.slow_ms && !mp_timer_started(&s->slow)) mp_timer_start(&s->slow, s->record.slow_ms);
}

void mp_site_on_slow(struct mp_timer *timer) {
  struct mp_site *s = MP_CONTAINER(timer, struct mp_site, slow);
  uint64_t again_ms = mp_api_tell_slow(s->api, s->record.slow_ms);
  if (again_ms) mp_timer_start(timer, again_ms);
}

static struct mp_site *of_server(struct mp_server *server) {
  return MP_CONTAINER(server, struct mp_site, server);
}

/* Siblings decide by these numbers, so they are told at once. */
static void on_connections(struct mp_server *server) {
  struct mp_site *s = of_server(server);
  MP_PUBLISH(s, connections, server->n_conns);
  MP_PUBLISH(s, accepted, ++s->n_accepted);
  mp_viewer_count(&s->viewer, MP_COUNT_ACCEPTED);
}

static bool holds_back(struct mp_server *server) {
  struct mp_site *s = of_server(server);
  return mp_share_holds_back(&s->share, server->n_conns, mp_loop_now(s->loop));
}

static void on_over(struct mp_exchange *ex, bool whole) {
  struct mp_site *s = of_server(ex->server);
  if (ex->place == MP_VIEWER_UNSEEN) return;
  mp_viewer_over(&s->viewer, ex);
  if (s->record.wanted && mp_record_over(&s->record, ex, whole, s->viewer.now_ns))
    mp_viewer_count(&s->viewer, MP_COUNT_SLOW);
}

static void on_forget(struct mp_exchange *ex) {
  mp_viewer_forget(&of_server(ex->server)->viewer, ex);
}

static void on_refused(struct mp_server *server, const struct mp_address *peer, int status) {
  mp_viewer_count(&of_server(server)->viewer, MP_COUNT_REFUSED + mp_view_refusal(status));
  mp_record_refused(&of_server(server)->record, peer, status);
}

/* ---- the server ---- */

int mp_site_open_server(struct mp_site *s) {
  struct mp_server_config config = mp_worker_http_config(s->setup.config, &s->trust);
  s->ops = mp_api_server_ops;
  s->ops.on_request = on_request;
  s->ops.on_over = on_over;
  s->ops.on_forget = on_forget;
  s->ops.on_refused = on_refused;
  s->ops.holds_back = holds_back;
  s->ops.on_connections = on_connections;
  int err = mp_server_init(&s->server, s->loop, s->log, &config, &s->ops, mp_api_realm(s->api));
  if (err < 0) return err;
  s->server.files.bundle = s->setup.bundle;
  s->has_server = s->has_doors = true;
  return mp_server_adopt(&s->server, s->setup.listen_fds, s->setup.n_listen);
}
