/* sqlite.h - moonpool.core's half of moonpool.sqlite: connections with a thread each, and queries on their way there
 * and back. Which connection a query goes to, and when, is decided in lua/moonpool/sqlite/connections.lua. */
#ifndef MP_API_SQLITE_H
#define MP_API_SQLITE_H

#include "api/api.h"
#include "db/connection.h"

void mp_sqlite_open(lua_State *L); /* adds to the core at the top */
/* When the loop runs no more. False: a thread did not come back. */
bool mp_connections_close(struct mp_api *api);

/* sqlite_values.c */
void mp_sqlite_values_open(lua_State *L); /* likewise */
/* Raises what SQLite cannot hold: the list (with n) or the table of names at `index`. */
void mp_sqlite_check_values(lua_State *L, int index, bool named);
/* The same table, checked before; 0 or -ENOMEM. Sets *n. */
int mp_sqlite_pack_values(lua_State *L, int index, bool named, struct mp_buf *to, unsigned *n);
/* Pushes the rows as a JSON array; or two: the first row or nil, and the value of its first column. May raise out of
 * memory. */
void mp_sqlite_push_rows(lua_State *L, const struct mp_db_answer *answer);
void mp_sqlite_push_row(lua_State *L, const struct mp_db_answer *answer);

#endif
