/* report.h - an error that nobody took: a line in the log, the app's on_error, a counter; each once. */
#ifndef MP_API_REPORT_H
#define MP_API_REPORT_H

#include <lua.h>
#include <stdbool.h>

struct mp_api;
struct mp_call;
struct mp_sched;
struct mp_scope;
struct mp_realm;

enum { MP_ERROR_KINDS = 7 };
extern const char *const mp_error_kinds[MP_ERROR_KINDS];

struct mp_error_facts {
  const char *kind; /* one of mp_error_kinds */
  const struct mp_call *call;
  const struct mp_realm *realm; /* whose on_error is told; NULL: the call's, else the worker's */
  const char *spawned_at;
  bool told; /* the line is in the log already */
};

/* Index of the error value and of its traceback (0: none) on L; of the facts all but the kind may be NULL. */
void mp_api_report(struct mp_api *api, lua_State *L, int error, int traceback, const struct mp_error_facts *facts);

/* on_unhandled of struct mp_sched: the failed task's object is at the top of L. */
void mp_api_on_unhandled(struct mp_sched *sched, lua_State *L, struct mp_scope *scope);

/* An error as a line shows it: its text; of a table its message. Left on the stack; raises nothing, though the error's
 * own __tostring may. */
const char *mp_push_error_text(lua_State *L, int index);

#endif
