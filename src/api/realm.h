/* realm.h - one app, and what runs for it outside of requests: background tasks, timers, detached processes.
 * A worker has one, inside its mp_api; a test opens others beside it (trial.c). What a scope belongs to is found by
 * its root, so that what an app starts is that app's wherever it is started from. */
#ifndef MP_API_REALM_H
#define MP_API_REALM_H

#include "api/routes.h"
#include "api/tree.h"
#include "sched/scope.h"

struct mp_api;
struct mp_server;

struct mp_realm {
  struct mp_api *api;                  /* borrowed */
  struct mp_scope scope;               /* what its body, on_start and timers have begun; the root of all but requests */
  struct mp_scope begun;               /* below it: what requests have begun in the background */
  struct mp_server *server;            /* borrowed; NULL before the first request */
  int handle_ref, fail_ref, hooks_ref; /* registry references, LUA_NOREF before load */
  struct mp_routes routes;
  struct mp_tree tree;
  unsigned n_calls;                              /* requests whose scope is not over */
  void (*on_drained)(struct mp_realm *realm);    /* its server has */
  void (*on_calls_over)(struct mp_realm *realm); /* n_calls has come to 0; may be NULL */
};

void mp_realm_init(struct mp_realm *realm, struct mp_api *api);
/* Both scopes anew, nothing in them. Errors are told when they happen. */
void mp_realm_begin(struct mp_realm *realm, void (*on_over)(struct mp_scope *),
                    void (*on_begun_over)(struct mp_scope *));
void mp_realm_deinit(struct mp_realm *realm, lua_State *L); /* L: NULL when the state is gone */

/* Whose scope it is, or of whose request. */
struct mp_realm *mp_realm_of_scope(const struct mp_scope *scope);
/* What the running function belongs to. */
struct mp_realm *mp_realm_running(lua_State *L);

/* The functions that fill its maps of routes: add_route, add_pattern, add_mount, clear_routes; into the table at the
 * top. The value at `holder` (which keeps the realm, or nil) stays with them. */
void mp_realm_open(lua_State *L, struct mp_realm *realm, int holder);

/* routes.c, match.c: functions of Lua; the realm is their first upvalue. */
struct mp_realm *mp_realm_upvalue(lua_State *L);
int mp_l_add_pattern(lua_State *L);
int mp_l_add_mount(lua_State *L);
int mp_l_clear_routes(lua_State *L);
void mp_match_drop(void *L, struct mp_tree_route route); /* for mp_tree_clear */

#endif
