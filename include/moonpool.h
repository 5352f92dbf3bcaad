/* moonpool.h - a web server scripted in Lua, inside a program of yours.
 *
 *   struct mp_modules *modules = mp_modules_new();
 *   mp_modules_function(modules, "sensor", "read", read_sensor, &sensor, 0);
 *   struct mp_server *server = mp_server_new("/usr/share/device/app.lua", modules, 0);
 *   mp_server_set(server, "listen", "127.0.0.1:8080");
 *   if (mp_server_start(server) < 0) complain(mp_server_error(server));
 *   ...
 *   mp_server_free(server);
 *   mp_modules_free(modules);
 *
 * Results: 0 or more is well; a negative number is an errno (-EINVAL), and mp_server_error has a sentence. A NULL
 * pointer means out of memory. Threads: a function is for one thread at a time for each server, unless it says "any
 * thread". Pointers given to a function are borrowed for the call unless it says otherwise; text is UTF-8 and ends with
 * NUL. Everything is opaque: what a later version adds needs no new compilation. docs/embedding.md tells the rest. */
#ifndef MOONPOOL_H
#define MOONPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MP_PUBLIC __attribute__((visibility("default")))

struct mp_modules;
struct mp_server;
struct mp_call;
struct lua_State;
struct uv_loop_s;

/* "0.1.0": of the library that runs, which may be newer than this header. Static. Any thread. */
MP_PUBLIC const char *mp_version(void);

/* ---- modules: functions of yours that Lua calls ------------------------------------------------------------------ */

enum {
  MP_FUNCTION_WAITS =
      1 /* it may hold its call: Lua calls it only where it may wait, and waits without holding others up */
};

/* A set of modules, for any number of servers, all of which it must outlive. Fill it before the first server uses it;
 * afterwards it is only read. */
MP_PUBLIC struct mp_modules *mp_modules_new(void);
MP_PUBLIC void mp_modules_free(struct mp_modules *modules); /* harmless on NULL */

/* `require "MODULE"` gives a table in which `name` is that function, called with the `ctx` given here. The call is the
 * function's until it returns, and for longer only if it holds it. It runs on the server's thread, which serves nobody
 * meanwhile. Of two with the same names the last counts. -ENOMEM; -EINVAL: an empty name, unknown flags. Names are
 * copied, `ctx` is borrowed for the life of `modules`. */
MP_PUBLIC int mp_modules_function(struct mp_modules *modules, const char *module, const char *name,
                                  void (*function)(struct mp_call *call, void *ctx), void *ctx, unsigned flags);

/* `require "MODULE"` calls a luaopen_ function, for those who include lua.h: it and what it registers keep to Lua's own
 * rules (lua_error, lua_yield), and belong to one Lua state: each worker and each reload opens it anew. -ENOMEM,
 * -EINVAL.
 */
MP_PUBLIC int mp_modules_lua(struct mp_modules *modules, const char *module, int (*open)(struct lua_State *L));

/* ---- calls ------------------------------------------------------------------------------------------------------- */

enum mp_type {
  MP_TYPE_NONE,
  MP_TYPE_NIL,
  MP_TYPE_BOOLEAN,
  MP_TYPE_INTEGER,
  MP_TYPE_NUMBER,
  MP_TYPE_STRING,
  MP_TYPE_OTHER
};

/* Arguments, from 1. Only until the function returns, also when the call is held; text is borrowed until then. Nothing
 * is converted: "5" is no number, but an integer is a number too, and a number without a fraction an integer. */
MP_PUBLIC unsigned mp_call_count(const struct mp_call *call);
MP_PUBLIC enum mp_type mp_call_type(const struct mp_call *call, unsigned i);
MP_PUBLIC bool mp_call_boolean(const struct mp_call *call, unsigned i); /* as Lua takes it: nil and false are false */
MP_PUBLIC bool mp_call_integer(const struct mp_call *call, unsigned i, int64_t *value);       /* false: it is none */
MP_PUBLIC bool mp_call_number(const struct mp_call *call, unsigned i, double *value);         /* false: it is none */
MP_PUBLIC const char *mp_call_string(const struct mp_call *call, unsigned i, size_t *length); /* NULL: it is none */

/* For those who include lua.h: the state, with the arguments at places 1 to mp_call_count; leave the stack as it was.
 * An error that Lua raises there goes past your function as by longjmp. NULL once the function has returned. */
MP_PUBLIC struct lua_State *mp_call_lua(const struct mp_call *call);

/* Results, in order: on the server's thread until the function returns, or on any one thread at a time while the call
 * is held. Between mp_call_put_table and mp_call_put_end stand the values of a table: behind a key, or else in a list
 * from
 * 1. Bytes are copied. A result that could not be kept (no memory, a table without its end) makes the call raise. */
MP_PUBLIC void mp_call_put_nil(struct mp_call *call);
MP_PUBLIC void mp_call_put_boolean(struct mp_call *call, bool value);
MP_PUBLIC void mp_call_put_integer(struct mp_call *call, int64_t value);
MP_PUBLIC void mp_call_put_number(struct mp_call *call, double value);
MP_PUBLIC void mp_call_put_string(struct mp_call *call, const char *text); /* NULL is nil */
MP_PUBLIC void mp_call_put_bytes(struct mp_call *call, const void *bytes, size_t length);
MP_PUBLIC void mp_call_put_table(struct mp_call *call);
MP_PUBLIC void mp_call_put_key(struct mp_call *call, const char *key);
MP_PUBLIC void mp_call_put_end(struct mp_call *call);

/* Instead of results. The world's failures: Lua gets nil, message, code ("ENOENT", "timeout"; NULL: none). The caller's
 * mistakes: Lua gets an error that names the line which called. The last one counts, and results put before are gone.
 */
MP_PUBLIC void mp_call_fail(struct mp_call *call, const char *message, const char *code);
MP_PUBLIC void mp_call_raise(struct mp_call *call, const char *message);

/* Within a function that MP_FUNCTION_WAITS: Lua will wait, and the call is yours until mp_call_complete. `on_cancel`
 * (may be NULL) is called at most once, on the server's thread, when nobody waits any more: the client has gone, a
 * timeout is over, the server stops. It only tells: the call stays yours, and is to be completed all the same, from
 * within or later. It is not called after a completion, but may run beside one on another thread. -EPERM: the function
 * was registered without that flag; -EALREADY. */
MP_PUBLIC int mp_call_hold(struct mp_call *call, void (*on_cancel)(struct mp_call *call, void *ctx), void *ctx);

/* Any thread: gives a held call back, with its results. Exactly once for each hold; the pointer is dead afterwards.
 * Harmless, and without effect, when nobody waits any more or the server is gone. */
MP_PUBLIC void mp_call_complete(struct mp_call *call);

/* Any thread, of a call that is held: nobody waits for it any more. */
MP_PUBLIC bool mp_call_cancelled(const struct mp_call *call);

/* ---- a server: before it runs ------------------------------------------------------------------------------------ */

enum {
  MP_SERVER_WORKERS = 1 /* in worker processes, under a supervisor: see mp_worker_main */
};

/* `app`: an app file, or a folder with app.lua; copied. `modules` (may be NULL) is borrowed until mp_server_free. */
MP_PUBLIC struct mp_server *mp_server_new(const char *app, const struct mp_modules *modules, unsigned flags);

/* Stops it at once if it runs, and waits for that. Not from within a callback of it. An attached one: on the thread of
 * its loop, and that loop is run until its handles are gone. Harmless on NULL. */
MP_PUBLIC void mp_server_free(struct mp_server *server);

/* An option by its name: the words, and the complaints, of the command line ("max-body", "1M"). The environment and
 * moonpool.conf.lua are not looked at. Lists grow with each call. Any time: a server that runs takes it up with the
 * next mp_server_reload. Any thread. -EINVAL, -ENOMEM. */
MP_PUBLIC int mp_server_set(struct mp_server *server, const char *name, const char *value);
MP_PUBLIC int mp_server_unset(struct mp_server *server, const char *name); /* its default again; lists are empty then */

/* moonpool.settings of the app: a JSON text; NULL: none. -EINVAL when it is none is told at the start. Any thread. */
MP_PUBLIC int mp_server_settings(struct mp_server *server, const char *json);

/* What went wrong last in a function that has returned a negative number; "" when nothing has. Borrowed until the next
 * call for this server. A reload that fails writes it too, on the server's thread: its text comes with the event. */
MP_PUBLIC const char *mp_server_error(const struct mp_server *server);

enum mp_level { MP_LEVEL_DEBUG, MP_LEVEL_INFO, MP_LEVEL_WARN, MP_LEVEL_ERROR };

/* Gets every line of the log instead of stderr: who speaks ("app", "http"), what, and further lines such as a traceback
 * (or ""). Any bytes may stand in there. It may be called on several threads at once, and must not call into the
 * server. Set it before the start. */
MP_PUBLIC void mp_server_on_log(struct mp_server *server,
                                void (*on_log)(void *ctx, enum mp_level level, const char *room, const char *message,
                                               const char *detail),
                                void *ctx);

enum mp_server_event {
  MP_SERVER_READY,         /* it serves: the text is where ("127.0.0.1:8080"; several with spaces between them) */
  MP_SERVER_RELOADED,      /* the new app serves */
  MP_SERVER_RELOAD_FAILED, /* the old one goes on: the text says why */
  MP_SERVER_STOPPED        /* the last one; the text says why, if it was not asked to */
};

/* On the server's thread. Set it before the start. */
MP_PUBLIC void mp_server_on_event(struct mp_server *server,
                                  void (*on_event)(void *ctx, enum mp_server_event event, const char *text), void *ctx);

/* Where the memory of the Lua state comes from (not of worker processes): as a lua_Alloc. A block of `old_size` is to
 * become one of `new_size`; NULL and 0 ask for a new one, `new_size` 0 gives it back. On the server's thread alone: the
 * states of `offload` threads, and what C needs (buffers of connections, some 40 KB, and libuv's), come from malloc. */
MP_PUBLIC void mp_server_allocator(struct mp_server *server,
                                   void *(*allocate)(void *ctx, void *block, size_t old_size, size_t new_size),
                                   void *ctx);

/* In-process: Lua that holds its thread for longer than `timeout` can only be interrupted by a signal. With this you
 * allow handlers for SIGRTMAX-1 and SIGRTMIN+1 in your process, and must not use these yourself. Without it the log
 * tells of such Lua, and nothing ends it. */
MP_PUBLIC void mp_server_allow_signals(struct mp_server *server);

/* ---- running it: one of the three -------------------------------------------------------------------------------- */

/* On a thread of its own, where every signal is blocked. Returns when it serves, or with why it cannot: -EINVAL the
 * configuration, -ENOEXEC the app failed to load, -EADDRINUSE and others of listening. mp_server_stop ends it,
 * mp_server_wait waits for that and returns the exit code that `moonpool serve` would have. */
MP_PUBLIC int mp_server_start(struct mp_server *server);
MP_PUBLIC int mp_server_wait(struct mp_server *server);

/* On this thread, until somebody stops it: the exit code, or as mp_server_start. SIGPIPE is blocked here meanwhile. */
MP_PUBLIC int mp_server_run(struct mp_server *server);

/* On a libuv loop that you run, on its thread. Returns when the app is loaded (-EINVAL … as mp_server_start);
 * MP_SERVER_READY follows. Two handles keep that loop alive until the server has stopped. SIGPIPE is blocked while the
 * server works. */
MP_PUBLIC int mp_server_attach(struct mp_server *server, struct uv_loop_s *loop);

/* The same for any other kind of loop, on one thread: after open, call step whenever the descriptor can be read or the
 * time is over (-1: no time). step returns false when the server has stopped. */
MP_PUBLIC int mp_server_open(struct mp_server *server);
MP_PUBLIC int mp_server_fd(const struct mp_server *server);
MP_PUBLIC int mp_server_due_ms(const struct mp_server *server);
MP_PUBLIC bool mp_server_step(struct mp_server *server);

/* ---- while it runs ----------------------------------------------------------------------------------------------- */

enum mp_stop {
  MP_STOP_DRAIN, /* as TERM: nobody new, requests begun are waited for, at most `graceful-timeout` */
  MP_STOP_NOW    /* as INT: what runs is cancelled */
};

/* Both: any thread, and from within callbacks; they ask and return. -ESRCH: it does not run. */
MP_PUBLIC int mp_server_stop(struct mp_server *server, enum mp_stop how);
/* App and settings anew, on the same sockets: a fresh Lua state, and the old one drains once that serves.
 * MP_SERVER_RELOADED or MP_SERVER_RELOAD_FAILED follows. */
MP_PUBLIC int mp_server_reload(struct mp_server *server);

/* Any thread: the port of the first TCP address that it listens on; 0: none yet. */
MP_PUBLIC int mp_server_port(const struct mp_server *server);

/* ---- worker processes -------------------------------------------------------------------------------------------- */

/* For MP_SERVER_WORKERS: the supervisor and the workers are your own program, started again. So call this first in
 * main, before threads, with the functions that Lua is to have there (their `ctx` is one of that process). 0 or more:
 * this was such a process, exit with that. -1: it is not, go on. The program's name must not be plain "moonpool". */
MP_PUBLIC int mp_worker_main(int argc, char **argv, const struct mp_modules *modules);

#ifdef __cplusplus
}
#endif

#endif
