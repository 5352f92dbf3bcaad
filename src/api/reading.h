/* reading.h - what the files that read the table of a process share. Strings and arrays live as long as the args, which
 * are a userdata on the Lua stack with what they point to anchored behind them. */
#ifndef MP_API_READING_H
#define MP_API_READING_H

#include "api/args.h"

/* Where things stand while the table is read. */
struct mp_reading {
  struct mp_args *args; /* borrowed from the stack */
  int table, scratch;   /* stack places: the script's table, the args */
};

/* Anchors the value at the top of the stack behind the args; pops it. */
void mp_reading_anchor(lua_State *L, int scratch);

/* A string without NUL, anchored; raises and names it otherwise. */
const char *mp_reading_string(lua_State *L, const struct mp_reading *r, int index, const char *name);

/* Room for `n` strings and the NULL behind them, anchored. */
char **mp_reading_array(lua_State *L, const struct mp_reading *r, size_t n);

/* environment.c: the options `env` and `setenv`, checked; the value is at the top. */
void mp_environment_read(lua_State *L, struct mp_reading *r, const char *name);
/* What the child gets: the worker's less what is ours, or `env`; for a request's child its TRACEPARENT; then `setenv`.
 */
void mp_environment_make(lua_State *L, const struct mp_reading *r);

#endif
