/* conn.h - one client: its bytes in, its exchanges one after the other, its answers out. Private to the room.
 *
 * Everything that happens to a connection ends in mp_conn_settle, and only there does it go on: requests are begun,
 * waits of the room above are ended, answers leave in one flush, reading and the timer are set. What the room above
 * does through an exchange changes state and calls mp_conn_touch, which settles at the end of the turn.
 *
 * An idle connection holds this struct and nothing else. */
#ifndef MP_WEB_CONN_H
#define MP_WEB_CONN_H

#include "web/server.h"

enum {
  MP_OUT_HIGH = 256 * 1024,    /* queued bytes above which nothing more should be written */
  MP_OUT_LOW = 64 * 1024,      /* below which it may be again */
  MP_CHECKS = 4,               /* looks for progress in one write_ms */
  MP_FREE_MOST = 64,           /* recycled exchanges that a quiet server keeps */
  MP_HELD_MOST = 64 * 1024,    /* bytes of a body that wait for the room above */
  MP_DISCARD_MOST = 256 * 1024 /* bytes of a body that nobody read, to save the connection */
};

/* What `due_ms` is about. */
enum mp_due {
  MP_DUE_NONE,
  MP_DUE_FIRST, /* the first byte of a new connection */
  MP_DUE_IDLE,  /* the first byte of the next request */
  MP_DUE_HEAD,  /* the rest of a head */
  MP_DUE_BODY,  /* the next piece of a body */
  MP_DUE_LINGER /* the client's own end of file after ours */
};

struct mp_conn {
  struct mp_stream stream;
  struct mp_server *server; /* borrowed: outlives it */
  struct mp_list node;      /* of server->conns */
  struct mp_conn *dirty;    /* the next of server->dirty; borrowed until flushed */
  struct mp_timer timer;    /* restarted lazily: fires early and looks again */
  struct mp_exchange *ex;   /* borrowed from the room above until finished, then owned while its body is discarded */
  struct mp_buf in;         /* owned: bytes read and not used yet */
  struct mp_head_scan scan;
  uint8_t memo;           /* of server->memos: where its heads were found last */
  struct mp_address peer; /* who sends: the socket's other end, or whom a PROXY header names */
  uint32_t discarded;     /* bytes thrown away since the last answer ended */
  uint32_t due_ms;        /* of `due`; 0: none; low bits of the clock */
  uint32_t look_ms;       /* with `looking`: when to look whether the client is still there; likewise */
  uint32_t check_ms;      /* with `backlog`: when to look for progress; likewise */
  uint32_t unsent;        /* with `backlog`: what would be queued if nothing had left since the last look */
  uint32_t due : 3;       /* enum mp_due */
  uint32_t looks : 2;     /* looks at the client in this exchange, up to the longest pause between them */
  uint32_t stale : 3;     /* looks for progress that found none */
  bool busy : 1;          /* inside settle */
  bool fresh : 1;         /* nothing was ever read */
  bool last : 1;          /* no request is read any more; close once the answers are out */
  bool lingering : 1;     /* our side is shut; reading on so that the client gets the answer */
  bool saw_eof : 1;
  bool half : 1;   /* the end of file was judged: the client waits for its answers */
  bool probed : 1; /* 100 Continue was sent to see whether it is still there */
  bool looking : 1;
  bool late : 1;    /* the body did not come in time */
  bool backlog : 1; /* the kernel did not take everything */
  bool starved : 1; /* nothing can go on before more bytes come */
  bool again : 1;   /* more can be done at once, but it is others' turn */
  bool touched : 1; /* stands in server->dirty */
  bool dead : 1;    /* closed, and freed when that list is run */
  bool cut : 1;     /* the last answer is broken: close with a reset */
  bool moved : 1;   /* the kernel took bytes of a file since the last look for progress */
  bool unnamed : 1; /* its PROXY header has not come whole */
  bool secure : 1;  /* as that has said */
};

/* A connection of a descriptor that was just accepted, taken over. 0 or -errno. */
int mp_conn_open(struct mp_server *server, int fd, const struct mp_address *peer);

/* turn.c */
void mp_conn_settle(struct mp_conn *conn);

/* Settles at the end of this turn; harmless when called often, and from within settle. */
void mp_conn_touch(struct mp_conn *conn);

/* Settles all that were touched. */
void mp_conn_flush_dirty(struct mp_server *server);

/* Ends at once; memory goes with the stream's last callback. Exchanges of it see on_gone. */
void mp_conn_close(struct mp_conn *conn);

/* The exchange whose answer is out may still be held above: it goes on without a connection. */
void mp_conn_leave_exchange(struct mp_conn *conn);

/* The exchange under way loses its client. The connection stays, without it. */
void mp_conn_lose_exchange(struct mp_conn *conn);

/* Answers what no handler sees, and ends the connection after it. */
void mp_conn_refuse(struct mp_conn *conn, struct mp_refusal why, bool head_only);

/* The same for what never became an exchange. */
void mp_conn_refuse_unread(struct mp_conn *conn, struct mp_refusal why, bool head_only);

/* The buffer for answers, with memory lent by the server where it has none. */
struct mp_buf *mp_conn_out(struct mp_conn *conn);

/* Hands what is queued to the kernel. */
void mp_conn_flush(struct mp_conn *conn);

/* The kernel took bytes of a file, or its queue holds some of them. */
void mp_conn_moved(struct mp_conn *conn);

/* Bytes appended to it since it held `before` bytes. */
void mp_conn_appended(struct mp_conn *conn, size_t before);

/* What the client was waited for has come: the time for the next of it starts anew. */
static inline void mp_conn_forget_due(struct mp_conn *conn) {
  conn->due = MP_DUE_NONE;
  conn->due_ms = 0;
}

/* There is an exchange whose answer has not ended: the room above holds it, or the rest of it goes by itself. */
static inline bool mp_conn_handling(const struct mp_conn *conn) {
  return conn->ex && !conn->ex->reply.ended && (!conn->ex->finished || conn->ex->sending);
}

/* Bytes read and not used yet; borrowed until they are taken, or the return to the loop. */
static inline struct mp_slice mp_conn_at_hand(const struct mp_conn *conn) {
  const struct mp_lent *lent = &conn->server->lent;
  if (lent->conn == conn) return lent->bytes;
  return mp_buf_len(&conn->in) ? mp_buf_slice(&conn->in) : MP_SLICE("");
}
void mp_conn_take(struct mp_conn *conn, size_t n);

/* receive.c: bytes of a body that go straight where they are wanted. */
char *mp_conn_lend(struct mp_stream *stream, size_t *room);
bool mp_conn_received(struct mp_conn *conn, const char *bytes, size_t n); /* false: they lie elsewhere */

/* Sends them behind what is queued, copying only what the kernel does not take. 0 or -ENOMEM, and nothing was sent. */
int mp_conn_send(struct mp_conn *conn, struct mp_slice bytes);

/* watch.c: what time and the kernel say about the client. */
void mp_conn_arm(struct mp_conn *conn);       /* at the end of settle: sets all deadlines */
void mp_conn_judge_eof(struct mp_conn *conn); /* half-closed or gone? */
void mp_conn_on_fire(struct mp_timer *timer);

/* exchange.c */
struct mp_exchange *mp_exchange_borrow(struct mp_server *server); /* NULL: out of memory */
void mp_exchange_give_back(struct mp_exchange *ex);
void mp_exchange_hold(struct mp_exchange *ex, const char *head, size_t len); /* its head in memory of its own */
void mp_exchange_lose(struct mp_exchange *ex);                               /* on_gone, and the ends of its waits */
void mp_exchange_rest_sent(struct mp_exchange *ex);
void mp_exchange_tell(struct mp_server *server);
void mp_exchange_trim(struct mp_server *server, uint32_t keep);

/* server.c */
void mp_server_set_date(struct mp_server *server);
void mp_server_conn_closed(struct mp_server *server);
void mp_server_look(struct mp_server *server); /* posts: something has ended that a drain may wait for */

#endif
