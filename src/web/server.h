/* server.h - HTTP on a set of listeners: connections, their requests and answers. Knows no Lua: the room above gets
 * on_request and answers through the exchange, now or later.
 *
 *   connection: reading ─ head ─► handling ─ answered ─► reading …
 *
 * An exchange is one request and its answer. It belongs to the room above from on_request until it calls
 * mp_exchange_finish, exactly once, whatever happened to the client meanwhile. While it is held, `head` and `reply`
 * stay readable; its slices are moved to memory of its own before on_request's caller returns to the loop. */
#ifndef MP_WEB_SERVER_H
#define MP_WEB_SERVER_H

#include "http/body.h"
#include "http/forwarded.h"
#include "http/memo.h"
#include "http/reply.h"
#include "io/files.h"
#include "io/listener.h"
#include "web/compress.h"

struct mp_conn;
struct mp_sending;
struct mp_server;

struct mp_exchange {
  struct mp_conn *conn;     /* borrowed; NULL once the connection is gone or has gone on to the next request */
  struct mp_server *server; /* borrowed: outlives it */
  struct mp_head head;
  struct mp_reply reply;
  struct mp_body body;
  struct mp_sending *sending; /* owned: the rest of the answer, which goes by itself; else NULL */
  void *call;                 /* of the room above; borrowed */
  struct mp_buf *into;        /* borrowed until the exchange is finished: see mp_exchange_receive_into; else NULL */
  char *block;                /* owned: the head's bytes once the handler outlives the read callback; else NULL */
  uint32_t block_cap;
  uint64_t started_ms;
  uint64_t body_sent;        /* bytes of the answer's body, without their framing */
  struct mp_client peer;     /* who sends: the socket's other end, or whom a PROXY header names */
  uint16_t told_status;      /* the status that the client was sent; 0: none */
  uint64_t max_body;         /* may be changed before the first read */
  uint64_t request_ms;       /* from `started_ms` on; 0: any time; may be changed by mp_exchange_set_time */
  struct mp_refusal refused; /* what reading the body came to; status 0: nothing bad */
  bool body_done, continued, wants_body, wants_room, gone, finished;
  bool overdue;             /* with `gone`: it was not the client that went, its time is over */
  bool spoiled;             /* a piece was lost on its way into the packer: the answer can only be cut */
  struct mp_packer *packer; /* owned: of a stream that is packed; else NULL */
  uint64_t began_ns;        /* of the room above: when it began, by a finer clock; 0 before on_request */
  uint16_t place;           /* of the room above: where it is noted; then on_forget comes. 0 before on_request */
  bool recorded;            /* on_over was called */
  bool told;                /* in the server's list of those whose waits end with the answer */
  struct mp_exchange *next; /* of the server's free list, or of that list */
};

struct mp_server_ops {
  /* A good head has come. May answer and finish at once. */
  void (*on_request)(struct mp_server *server, struct mp_exchange *ex);
  /* After mp_exchange_read said MP_MORE: ask again. Once for each such answer. */
  void (*on_readable)(struct mp_exchange *ex);
  /* After mp_exchange_full said true: the queue is below its low mark, or the client is gone. Once for each. */
  void (*on_writable)(struct mp_exchange *ex);
  /* The client went away before the answer ended, or its time is over (`overdue`). Reads refuse and writes return
   * -EPIPE from now on. */
  void (*on_gone)(struct mp_exchange *ex);
  /* After mp_server_drain: the last connection has closed and no exchange is held. Once. */
  void (*on_drained)(struct mp_server *server);
  /* These may be NULL. The answer has ended, or never will (not `whole`: the client went away, the handler failed in
   * the middle of it). Once for each exchange, for the record; its head can be read. */
  void (*on_over)(struct mp_exchange *ex, bool whole);
  /* Finished, and its answer is over: nothing of it is in flight any more. Only for what has a `place`. */
  void (*on_forget)(struct mp_exchange *ex);
  /* What came was refused before it became an exchange. */
  void (*on_refused)(struct mp_server *server, const struct mp_address *peer, int status);
  /* Would a request with so long a body be of use, though it is above the limit? Then it is handed up, and refused when
   * its body is read, unless `max_body` has been raised by then. NULL: none is. */
  bool (*takes_body)(struct mp_server *server, uint64_t length);
  /* Had a sibling better take the next connection? Asked again soon if nobody did. */
  bool (*holds_back)(struct mp_server *server);
  /* One was taken: n_conns has changed. */
  void (*on_connections)(struct mp_server *server);
};

struct mp_server_config {
  struct mp_http_limits limits;
  uint32_t max_connections; /* at it the listeners pause, and recover by themselves */
  uint32_t pipeline;        /* bytes read ahead are bounded by the head limit too */
  uint64_t keep_alive_ms, header_ms, body_ms, write_ms, request_ms, drain_idle_ms; /* 0: none */
  bool no_server;                                                                  /* leave the Server field out */
  bool compress;
  bool proxy_protocol;          /* each connection begins with a PROXY header, or is refused */
  const struct mp_trust *trust; /* borrowed: outlives the server; NULL: no proxy is believed */
};

enum { MP_MEMOS = 16 /* kinds of clients whose field lines are remembered */ };

/* One listening socket. */
struct mp_door {
  struct mp_listener listener;
  struct mp_server *server; /* borrowed: outlives it */
};

/* Bytes that the loop lends for one read callback; only one connection at a time is inside one. */
struct mp_lent {
  struct mp_conn *conn; /* borrowed until the callback returns; NULL outside */
  struct mp_slice bytes;
};

struct mp_server {
  struct mp_loop *loop; /* borrowed */
  struct mp_log *log;   /* borrowed */
  const struct mp_server_ops *ops;
  void *ctx; /* borrowed: the room above */
  struct mp_server_config config;
  struct mp_date date;
  struct mp_door *doors; /* owned */
  unsigned n_doors, n_doors_open;
  struct mp_list conns;
  uint32_t n_conns, n_held; /* n_held: exchanges with the room above */
  uint64_t n_requests;      /* answered since start */
  struct mp_exchange *free; /* owned: exchanges to be used again */
  uint32_t n_free;
  struct mp_exchange *told;    /* held by the room above: their waits end although their answers have ended */
  struct mp_exchange *current; /* inside on_request: its head still borrows the bytes just read; else NULL */
  struct mp_lent lent;
  struct mp_head_memo memos[MP_MEMOS];
  uint8_t memo, next_memo;  /* the one that was of use last; the one to be overwritten */
  struct mp_files files;    /* those that were sent lately */
  struct mp_buf spare;      /* owned: memory for the next answers, so that idle connections hold none */
  struct mp_packer *packer; /* owned: kept for the next answer that is packed; NULL: none yet */
  struct mp_buf packed;     /* owned: what was packed, until it is framed */
  struct mp_soon flush;     /* connections with something to send at the end of this turn */
  struct mp_conn *dirty;    /* borrowed until flushed */
  uint64_t drain_due_ms;    /* while draining: when idle connections are closed */
  int fd_most;              /* a connection whose descriptor is above it is the last to be taken for now */
  uint64_t complained_ms;   /* when that was last logged */
  bool few_fds, paused, draining, drained;
};

int mp_server_init(struct mp_server *server, struct mp_loop *loop, struct mp_log *log,
                   const struct mp_server_config *config, const struct mp_server_ops *ops, void *ctx);
/* Listens on inherited descriptors (taken over). 0 or -errno. */
int mp_server_adopt(struct mp_server *server, const int *fds, unsigned n);

/* A connected socket that came another way, taken over whatever this returns; whose the other end is, is `peer`'s to
 * say. 0 or -errno. */
int mp_server_take(struct mp_server *server, int fd, const struct mp_address *peer);

/* Stops accepting; answers each connection's next request with "Connection: close". Connections idle after `idle_ms`
 * are closed (0: at once). on_drained follows. */
void mp_server_drain(struct mp_server *server, uint64_t idle_ms);
/* Closes listeners and connections now; exchanges still held see on_gone. on_drained follows. */
void mp_server_close(struct mp_server *server);
void mp_server_deinit(struct mp_server *server); /* after on_drained */

/* The next piece of the body, borrowed until the next call or the return to the loop. MP_DONE: it has ended (the piece
 * may hold its last bytes); MP_MORE: with a piece, call again when it is used up; with an empty one on_readable comes.
 * MP_REFUSE: too large, malformed, too slow or cut short; `why->status` is what to answer. Sends "100 Continue" when
 * the client waits for it. */
enum mp_verdict mp_exchange_read(struct mp_exchange *ex, struct mp_slice *piece, struct mp_refusal *why);

/* After an MP_MORE with an empty piece, for a body of known length: what still comes of it is put into `into`, straight
 * from the socket, and on_readable comes when all of it is there (or nothing more will come). False: out of memory, or
 * no such body. */
bool mp_exchange_receive_into(struct mp_exchange *ex, struct mp_buf *into);

/* Before the head is out, set status and fields on ex->reply with mp_reply_*. All of these: 0 or -errno: -EPIPE the
 * client is gone, -EALREADY the answer has ended (or its head is out), -EMSGSIZE as in reply.h, -ENOMEM. */
int mp_exchange_send(struct mp_exchange *ex, struct mp_slice body);       /* head, whole body, end */
int mp_exchange_send_as_is(struct mp_exchange *ex, struct mp_slice body); /* the same, and never packed */
int mp_exchange_head(struct mp_exchange *ex, uint64_t length);            /* head alone: a stream begins */
int mp_exchange_write(struct mp_exchange *ex, struct mp_slice piece);     /* head first when it is not out */
int mp_exchange_end(struct mp_exchange *ex);                              /* head first when it is not out */

/* The head, and then what goes by itself (see sending.h): taken over unless this fails. `length` as of mp_reply_head.
 * The answer counts as ended from now on, and is when all of it has been sent; the exchange may be finished before
 * that. */
int mp_exchange_send_rest(struct mp_exchange *ex, uint64_t length, struct mp_sending *sending);

/* So much time from the beginning of the request on, instead of the server's own; 0: any. */
void mp_exchange_set_time(struct mp_exchange *ex, uint64_t ms);

/* The body is known to be above the limit already. */
static inline bool mp_exchange_is_too_long(const struct mp_exchange *ex) {
  return ex->head.body == MP_BODY_LENGTH && ex->head.content_length > ex->max_body;
}

/* Nothing more may be written: the answer has ended, or ends by itself. */
static inline bool mp_exchange_is_over(const struct mp_exchange *ex) {
  return ex->reply.ended || ex->sending;
}

/* More is queued than a client should be ahead by: wait for on_writable before writing on. */
bool mp_exchange_full(struct mp_exchange *ex);

/* The room above has done with it. `cut`: the answer cannot be made whole; the connection is closed so that the
 * client sees it broken. An answer not begun and not cut becomes 204; a stream not ended is ended. */
void mp_exchange_finish(struct mp_exchange *ex, bool cut);

/* Who asks: the peer, or whom trusted proxies name. The head must be readable still. */
struct mp_client mp_exchange_client(const struct mp_exchange *ex);

#endif
