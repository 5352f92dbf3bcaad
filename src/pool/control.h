/* control.h - the control socket: what an operator asks the master, and what he is told.
 *
 *   client:  one line, "status" or "scale 4"     ◄─►     server: one line of JSON, then the end of the connection
 *
 * The socket is a file with mode 0600: who may open it may do everything. What lies in the shared page (answers.c) is
 * answered at once, whatever the workers are doing; what only they know they are asked for over their control pairs
 * (inquiry.c), and those that say nothing in time are named. A client has a time for each step, there is a bound to how
 * many there are, and none of them is ever waited for. */
#ifndef MP_POOL_CONTROL_H
#define MP_POOL_CONTROL_H

#include "base/buf.h"
#include "base/lines.h"
#include "io/listener.h"

struct mp_pool;
struct mp_member;
struct mp_inquiry;

enum { MP_CONTROL_CLIENTS = 32 };

struct mp_control {
  struct mp_pool *pool; /* borrowed */
  struct mp_listener listener;
  char *path; /* owned: NULL: there is no socket */
  struct mp_list clients;
  unsigned n_clients;
  uint32_t last_inquiry;
  bool listening, closing;
};

struct mp_control_client {
  struct mp_control *control; /* borrowed */
  struct mp_list node;        /* of control->clients */
  struct mp_stream stream;
  struct mp_lines lines;
  struct mp_timer timer;      /* ends it */
  struct mp_inquiry *inquiry; /* owned: under way; NULL: none */
  bool asked, reloads;        /* has said its line; waits for the end of a reload */
};

/* `where`: a path, or "auto": a socket with our pid in $XDG_RUNTIME_DIR/moonpool or /run/moonpool; where there can be
 * none, an info line says so. NULL: none. 0; or -errno, and `why` (of `size` bytes) is a sentence. */
int mp_control_open(struct mp_control *control, struct mp_pool *pool, const char *where, char *why, unsigned size);
void mp_control_init(struct mp_control *control); /* before anything else: there is none yet */
/* Closes everything; mp_pool_left is called when it has. The file goes with it. */
void mp_control_close(struct mp_control *control);
bool mp_control_is_closed(const struct mp_control *control);

/* A reload has come to its end: `why` NULL, or a sentence. */
void mp_control_reloaded(struct mp_control *control, const char *why);

/* Answers and ends. `json` is taken over. */
void mp_control_answer(struct mp_control_client *client, struct mp_buf *json);
void mp_control_fail(struct mp_control_client *client, const char *why);

/* answers.c: each fills a buffer; 0 or -ENOMEM */
int mp_answer_status(struct mp_pool *pool, struct mp_buf *out);
int mp_answer_workers(struct mp_pool *pool, struct mp_buf *out);
int mp_answer_requests(struct mp_pool *pool, struct mp_buf *out);

/* inquiry.c */
/* Asks every worker; the client gets one answer. 0 or -ENOMEM. */
int mp_inquiry_start(struct mp_control_client *client, const char *what);
void mp_inquiry_drop(struct mp_inquiry *inquiry); /* its client is gone; harmless on NULL */
/* A worker's word: "part ID text" or "end ID bytes". Stale ones are nobody's. */
void mp_inquiry_hear(struct mp_control *control, unsigned seat, const char *word);
void mp_inquiry_lost(struct mp_control *control, unsigned seat); /* it has ended, and says nothing more */

#endif
