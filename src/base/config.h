/* config.h - every setting of one server, as plain values. cli/options fills it from flags, variables and the file. */
#ifndef MP_BASE_CONFIG_H
#define MP_BASE_CONFIG_H

#include "base/log.h"
#include <stdbool.h>
#include <stdint.h>

struct mp_config {
  char *app;     /* owned: the file or folder of the app */
  char **listen; /* owned, each too */
  unsigned n_listen;
  unsigned backlog, max_connections;
  unsigned workers; /* `auto` resolved */
  unsigned threads, max_procs;
  double timeout, request_timeout, boot_timeout, graceful_timeout, drain_idle; /* seconds */
  double keep_alive, header_timeout, body_timeout, write_timeout;              /* seconds */
  uint64_t max_body;
  unsigned limit_request_line, limit_request_fields, limit_request_field_size, limit_pipeline;
  uint64_t limit_request_head;
  uint64_t max_memory, max_rss, shared_memory;
  double max_lifetime;
  unsigned max_requests, max_requests_jitter;
  char *user, *group, *umask, *chdir, *pid_file; /* owned; NULL: not set */
  bool no_new_privs;
  char *access_log, *error_log; /* owned; NULL: off; "-": stderr */
  char *access_log_format;      /* owned; NULL: combined */
  enum mp_log_level log_level;
  bool log_json;
  double slow_callback, slow_request;
  char *trusted_proxies; /* owned; NULL: none */
  bool proxy_protocol, server_header, compress;
  char *control_socket, *metrics_listen, *health; /* owned; NULL: off */
  bool dev;
  char *override,
      *public_key; /* owned; NULL: none; of a bundle: the folder whose files win, and who must have signed */
  bool watch;      /* reload when the app's sources change; what does not load is shown instead */
  char *lua_dir;   /* owned; NULL: the embedded one */
  char *settings;  /* owned; JSON of the configuration's key `app` (moonpool.settings); NULL: none */
  char *trouble;   /* owned; a worker is to show this in place of the app (--watch); NULL: none */
};

void mp_config_free(struct mp_config *config);

#endif
