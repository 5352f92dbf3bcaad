/* record.h - what the worker writes down of each request once it is over: its line in the access log, and a warning
 * when it took long. */
#ifndef MP_WORKER_RECORD_H
#define MP_WORKER_RECORD_H

#include "web/server.h"
#include "worker/access.h"

struct mp_config;

struct mp_record {
  struct mp_log *log;             /* borrowed */
  struct mp_loop *loop;           /* borrowed */
  const struct mp_config *config; /* borrowed */
  struct mp_access access;
  unsigned worker;  /* its number, from 1 */
  uint64_t slow_ms; /* 0: never too slow */
  bool has_access;
  bool wanted; /* anything of it: else mp_record_over need not be called */
};

int mp_record_open(struct mp_record *record, struct mp_loop *loop, struct mp_log *log, const struct mp_config *config,
                   unsigned worker); /* 0 or -errno: the access log cannot be opened */
/* True: it was slow. */
bool mp_record_over(struct mp_record *record, const struct mp_exchange *ex, bool whole, uint64_t now_ns);
void mp_record_refused(struct mp_record *record, const struct mp_address *peer, int status);
/* The access log, and stdout and stderr if they go to a file, anew under their names. What fails is logged and stays as
 * it was. */
void mp_record_reopen(struct mp_record *record);
void mp_record_close(struct mp_record *record);

#endif
