/* inside.h - what the files of this room share: one server of a host.
 *
 * Its name is the public one, and there is another struct of that name in web: no file sees both, for this room knows
 * sites (worker/site.h) and not what they are made of. */
#ifndef MP_EMBED_INSIDE_H
#define MP_EMBED_INSIDE_H

#include "api/guest.h"
#include "cli/options.h"
#include "embed/modules.h"
#include "io/mailbox.h"
#include "io/nested.h"
#include <pthread.h>

struct mp_inprocess;
struct mp_outside;

/* What serves: Lua in this process, or workers in others. All of it on the server's thread. */
struct mp_engine {
  /* 0; or -errno and mp_server_complain has a sentence, then nothing is held. on_event READY, or mp_server_over,
   * follows.
   */
  int (*begin)(struct mp_server *server, struct mp_options *options);   /* `options` are taken over if it is 0 */
  void (*stop)(struct mp_server *server, enum mp_stop how);             /* mp_server_over follows */
  void (*reload)(struct mp_server *server, struct mp_options *options); /* taken over */
  void (*sleep)(struct mp_server *server);                              /* the loop is about to wait */
  void (*end)(struct mp_server *server);     /* after mp_server_over, or when begin has failed: closes what is open */
  void (*release)(struct mp_server *server); /* then, once the loop has run out its closings */
};

extern const struct mp_engine mp_engine_inprocess, mp_engine_outside;

enum mp_server_stage { MP_SERVER_IDLE, MP_SERVER_RUNS, MP_SERVER_OVER };

struct mp_server {
  char *app;                        /* owned: absolute */
  const struct mp_modules *modules; /* borrowed; may be NULL */
  const struct mp_engine *engine;   /* static */
  struct mp_extension extension;
  struct mp_guest guest;
  struct mp_log log; /* its sink is set while the host wants the lines */
  void (*on_log)(void *ctx, enum mp_level level, const char *room, const char *message, const char *detail);
  void *log_ctx; /* borrowed, as the next */
  void (*on_event)(void *ctx, enum mp_server_event event, const char *text);
  void *event_ctx;
  /* Under the lock: any thread. */
  pthread_mutex_t lock;
  struct mp_options options; /* as the host has set them */
  char *settings;            /* owned: moonpool.settings; NULL: none */
  struct mp_mailbox *box;    /* NULL: it does not run */
  char why[1024];
  _Atomic int port;
  /* The server's thread. */
  struct mp_loop loop;
  _Atomic uint64_t busy_ms;
  enum mp_server_stage stage;
  int exit_code;
  struct mp_inprocess *inprocess; /* owned; one of the two while it runs */
  struct mp_outside *outside;
  /* run.c: how it runs. */
  struct mp_nested nested;
  pthread_t thread;
  bool has_thread, attached, free_when_over, ready;
  pthread_cond_t changed; /* of ready and begun, under the lock */
  bool begun;             /* the thread has something to say to who started it */
  int begin_err;
};

/* server.c: a sentence for mp_server_error; returns `err`. */
int mp_server_complain(struct mp_server *server, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The settings as they are now. 0; or -errno, complained of. */
int mp_server_read(struct mp_server *server, struct mp_options *options);
void mp_server_tell(struct mp_server *server, enum mp_server_event event, const char *text);

void mp_server_discard(struct mp_server *server); /* its memory, once it does not run */

/* run.c: it serves, who has started it may go on. */
void mp_server_say_ready(struct mp_server *server);
/* Nothing of the engine runs any more; `why` (may be NULL) if nobody had asked for that. */
void mp_server_over(struct mp_server *server, int exit_code, const char *why);

#endif
