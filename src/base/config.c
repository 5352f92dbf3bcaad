#include "base/config.h"
#include <stdlib.h>
#include <string.h>

void mp_config_free(struct mp_config *config) {
  char *const strings[] = {config->app,
                           config->user,
                           config->group,
                           config->umask,
                           config->chdir,
                           config->pid_file,
                           config->access_log,
                           config->error_log,
                           config->access_log_format,
                           config->lua_dir,
                           config->trusted_proxies,
                           config->control_socket,
                           config->metrics_listen,
                           config->health,
                           config->settings,
                           config->trouble,
                           config->override,
                           config->public_key};
  for (unsigned i = 0; i < sizeof strings / sizeof *strings; i++) free(strings[i]);
  for (unsigned i = 0; i < config->n_listen; i++) free(config->listen[i]);
  free(config->listen);
  memset(config, 0, sizeof *config);
}
