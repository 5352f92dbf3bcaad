/* access.h - the access log: a line for each request, collected while a turn of the loop lasts and written at its end.
 *
 *   192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 12 "-" "curl/8" id=f00d00000001 worker=1 took_ms=3
 *
 * That is the combined format with three more words at the end, and `trace=` where the request belongs to one; or one
 * JSON object a line. A request that ended without an answer has "-" (null) for its status. Bytes that could forge a
 * line or an escape are escaped. */
#ifndef MP_WORKER_ACCESS_H
#define MP_WORKER_ACCESS_H

#include "base/address.h"
#include "base/buf.h"
#include "io/loop.h"
#include <time.h>

/* What one line tells. Slices are borrowed for the call; empty ones are not known. */
struct mp_head;
struct mp_reply;

struct mp_access_facts {
  struct mp_address client;
  struct mp_slice method, target, referer, agent, id, trace;
  int minor;      /* of HTTP/1.x; -1: no request was understood */
  int status;     /* 0: none was sent */
  uint64_t bytes; /* of the body sent */
  bool whole;     /* the answer was */
  unsigned worker;
  uint64_t took_ms, took_us;
  time_t at;
  const struct mp_head *head; /* borrowed for the call, like the next; NULL: there was none */
  const struct mp_reply *reply;
};

/* What a client has sent, so that it cannot forge a line; "[02/Jan/2026:03:04:05 +0000]". 0 or -ENOMEM. */
int mp_access_escape(struct mp_buf *out, struct mp_slice s);
int mp_access_stamp(struct mp_buf *out, time_t at);

/* How lines look: JSON; or else by a format of atoms (atoms.h); or else, without one, combined. */
struct mp_access_form {
  bool json;
  bool brief, colour; /* brief.h */
  const char *atoms;  /* borrowed; NULL: none */
};

/* Appends the line. 0 or -ENOMEM: then nothing was appended. */
int mp_access_line(struct mp_buf *out, const struct mp_access_facts *facts, struct mp_access_form form);

struct mp_access {
  struct mp_loop *loop; /* borrowed */
  struct mp_log *log;   /* borrowed: told when lines are lost */
  const char *path;     /* borrowed; "-": stderr */
  struct mp_access_form form;
  int fd;              /* owned, unless it is stderr; -1: closed */
  struct mp_buf lines; /* owned: not written yet */
  struct mp_soon flush;
  uint64_t lost; /* lines, since that was last logged */
  uint64_t complained_ms;
};

int mp_access_open(struct mp_access *access, struct mp_loop *loop, struct mp_log *log, const char *path,
                   struct mp_access_form form);
void mp_access_add(struct mp_access *access, const struct mp_access_facts *facts);
/* The file of that name anew. 0 or -errno: then the old one goes on. */
int mp_access_reopen(struct mp_access *access);
void mp_access_close(struct mp_access *access); /* writes what is left; harmless on all zero */

/* Opens a log to append to: 0640, never waiting for a reader of a pipe. The descriptor or -errno. */
int mp_access_file(const char *path);

#endif
