/* result.h - how a process ended, as scripts see it: a table, and with `check` an error. */
#ifndef MP_API_RESULT_H
#define MP_API_RESULT_H

#include "io/pidfd.h"
#include <lua.h>

struct mp_result_facts {
  struct mp_status status;
  bool truncated[3], held, timed_out, cancelled;
  uint64_t discarded;
  double elapsed_s, timeout_s;
  pid_t pid;
};

/* Pushes the table, without what was collected. */
void mp_result_push(lua_State *L, const struct mp_result_facts *facts);

/* Leaves the result at `result` alone on top if it says ok: 1. Else raises what `check` promises; `name`: argv[0]. */
int mp_result_check(lua_State *L, int result, const char *name);

/* Raises { message, result, code }; the message is at the top, `result` (0: none) where it says. */
int mp_result_raise(lua_State *L, int result, const char *code);

void mp_result_open(lua_State *L); /* the metatable of results */

#endif
