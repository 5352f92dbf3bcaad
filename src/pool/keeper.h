/* keeper.h - the program that this master serves, when one has started it: its end is ours.
 *
 *   keeper ── "stop" "halt" "reopen" "reload …" ─► master
 *          ◄─ "at 127.0.0.1:8080" … "ready"    "at …" "reloaded" | "refused WHY" ──
 */
#ifndef MP_POOL_KEEPER_H
#define MP_POOL_KEEPER_H

#include "base/lines.h"
#include "io/stream.h"

struct mp_pool;

struct mp_keeper {
  struct mp_pool *pool; /* borrowed */
  struct mp_stream stream;
  struct mp_lines lines;
  bool open, asked; /* asked: it waits to hear what came of a reload */
};

int mp_keeper_open(struct mp_pool *pool); /* 0 or -errno; harmless without a keeper */
void mp_keeper_close(struct mp_pool *pool);
void mp_keeper_ready(struct mp_pool *pool);
void mp_keeper_reloaded(struct mp_pool *pool, const char *why); /* NULL: it was; else why not */

#endif
