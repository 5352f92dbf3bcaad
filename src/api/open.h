/* open.h - the Lua side of one worker: one state, Moonpool's modules, one app. */
#ifndef MP_API_OPEN_H
#define MP_API_OPEN_H

#include "api/guest.h"
#include "base/config.h"
#include "web/server.h"

struct mp_api;
struct mp_buf;
struct mp_commons;
struct mp_view;

struct mp_api_setup {
  struct mp_loop *loop; /* borrowed: outlives the api; so do the others */
  struct mp_log *log;
  const struct mp_config *config;
  struct mp_commons *commons;
  const struct mp_bundle *bundle; /* NULL: the app lies on the disk */
  struct mp_trial *trial;         /* what tests have beside; NULL: this runs none */
  unsigned worker;                /* moonpool.worker.id: 1… */
  unsigned generation;
  struct mp_view *view;                 /* borrowed: where things are counted; NULL: nobody looks */
  const struct mp_guest *guest;         /* borrowed; NULL: this process is ours */
  const struct mp_extension *extension; /* borrowed; NULL: none */
  void *ctx;                            /* of the callbacks */
  /* on_start functions have run: `error` is NULL, or a message with traceback, borrowed. */
  void (*on_started)(void *ctx, const char *error);
  /* The server handed to mp_server_init with mp_api_server_ops has drained. */
  void (*on_drained)(void *ctx);
  /* After mp_api_stop: nothing of the app runs any more. */
  void (*on_stopped)(void *ctx);
};

/* NULL: out of memory. */
struct mp_api *mp_api_open(const struct mp_api_setup *setup);

/* Runs the app file (config->app, or app.lua in that folder). 0; or -EINVAL, then `why` holds the message with file
 * and line, and the traceback on further lines. */
int mp_api_load(struct mp_api *api, struct mp_buf *why);

/* Runs the app's on_start functions as a task; on_started follows, perhaps from within. */
void mp_api_start(struct mp_api *api);

/* What the request is called in logs, and by scripts as req.id; "" when it never got so far. */
const char *mp_api_request_id(const struct mp_exchange *ex, char *out, unsigned size);

/* The number of the request that has begun last; borrowed. */
const uint64_t *mp_api_last_number(const struct mp_api *api);
const char *mp_api_id_prefix(const struct mp_api *api);

/* Writes a line for each request that has begun `slow_ms` ago and waits, with the stacks of its tasks; once for each.
 * When to look again, in milliseconds; 0: there is none to look at. */
uint64_t mp_api_tell_slow(struct mp_api *api, uint64_t slow_ms);

/* What runs in this worker, as a JSON list: "tasks", "processes", or "dump", which is the tasks with their tracebacks.
 * 0; -ENOMEM; -EINVAL: there is nothing of that name. */
int mp_api_describe(struct mp_api *api, const char *what, struct mp_buf *out);

/* What changes by itself (tasks, processes, memory) to the view, as it is now. */
void mp_api_show(struct mp_api *api);

/* Of a server whose ctx is a realm. */
extern const struct mp_server_ops mp_api_server_ops;
struct mp_realm;
struct mp_realm *mp_api_realm(struct mp_api *api); /* the worker's own */

/* Requests, their leftover tasks, and what they have begun in the background: what a drain waits for. */
unsigned mp_api_busy(const struct mp_api *api);
unsigned mp_api_in_background(const struct mp_api *api); /* the last alone */

/* A drain has begun: timers fire no more, but for those that a request has made. */
void mp_api_retire(struct mp_api *api);

/* Cancels whatever still runs, then runs on_stop functions; on_stopped follows. */
void mp_api_stop(struct mp_api *api);
bool mp_api_close(struct mp_api *api); /* false: a thread did not come back, and may still look at what it was given */

#endif
