#include "worker/http.h"
#include <string.h>

static uint64_t ms_of(double seconds) {
  return (uint64_t)(seconds * 1000);
}

struct mp_server_config mp_worker_http_config(const struct mp_config *c, const struct mp_trust *trust) {
  return (struct mp_server_config){
      .limits = {.request_line = c->limit_request_line,
                 .fields = c->limit_request_fields,
                 .field_size = c->limit_request_field_size,
                 .head = c->limit_request_head < UINT32_MAX ? (uint32_t)c->limit_request_head : UINT32_MAX,
                 .body = c->max_body},
      .max_connections = c->max_connections,
      .pipeline = c->limit_pipeline,
      .keep_alive_ms = ms_of(c->keep_alive),
      .header_ms = ms_of(c->header_timeout),
      .body_ms = ms_of(c->body_timeout),
      .write_ms = ms_of(c->write_timeout),
      .request_ms = ms_of(c->request_timeout),
      .drain_idle_ms = ms_of(c->drain_idle),
      .no_server = !c->server_header,
      .compress = c->compress,
      .proxy_protocol = c->proxy_protocol,
      .trust = c->trusted_proxies ? trust : NULL,
  };
}

int mp_worker_http_trust(const struct mp_config *config, struct mp_trust *trust) {
  const char *list = config->trusted_proxies;
  struct mp_slice bad;
  return list ? mp_trust_parse(trust, mp_slice(list, strlen(list)), &bad) : 0;
}
