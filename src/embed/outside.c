#include "embed/inside.h"
#include <errno.h>
static int begin(struct mp_server *server, struct mp_options *options) {
  (void)options;
  return mp_server_complain(server, -ENOSYS, "workers");
}
static void stop(struct mp_server *server, enum mp_stop how) {
  (void)server, (void)how;
}
static void reload(struct mp_server *server, struct mp_options *options) {
  (void)server, (void)options;
}
static void on_sleep(struct mp_server *server) {
  (void)server;
}
static void end(struct mp_server *server) {
  (void)server;
}
const struct mp_engine mp_engine_outside = {
    .begin = begin, .stop = stop, .reload = reload, .sleep = on_sleep, .end = end};
