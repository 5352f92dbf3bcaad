/* api.h - what the files of this room share: the state of one worker's Lua side, and of one request in it. */
#ifndef MP_API_API_H
#define MP_API_API_H

#include "api/failure.h"
#include "api/heritage.h"
#include "api/memory.h"
#include "api/open.h"
#include "api/places.h"
#include "api/realm.h"
#include "api/report.h"
#include "base/view.h"
#include "sched/state.h"

struct mp_process;
struct mp_topics;

struct mp_api {
  struct mp_api_setup setup;
  struct mp_loop *loop; /* borrowed */
  struct mp_log *log;   /* borrowed */
  struct mp_memory memory;
  struct mp_view *view;     /* borrowed: where things are counted */
  struct mp_view *own_view; /* owned: that is this one, when nobody else looks; else NULL */
  lua_State *L;             /* owned */
  uint64_t started_ms;      /* of the loop's clock */
  struct mp_sched sched;
  struct mp_realm realm;      /* the worker's own app (life.c) */
  struct mp_call *free_calls; /* owned */
  struct mp_list calls;       /* whose scope is not over */
  unsigned n_calls;
  uint64_t n_requests;
  uint64_t most_body;                /* the largest that any route takes, where it says so itself */
  uint64_t n_errors[MP_ERROR_KINDS]; /* that nobody took, by kind */
  int get_ref;                       /* the string "GET" */
  int request_meta, response_meta, headers_meta;
  int kept_ref;                /* what is kept for requests: a list with MP_KEPT_KEYS places for each slot */
  uint32_t n_slots;            /* of requests, ever made */
  struct mp_buf scratch;       /* owned: JSON and bodies on their way */
  struct mp_heritage heritage; /* what processes find in their environment */
  struct mp_places places;     /* what they wait for before they are started */
  struct mp_list live;         /* processes that have not been reaped yet, through their `live` */
  struct mp_timer strays;      /* looks for what other processes left to this one */
  uint64_t lost_told_ms;       /* when a lost status was last logged with its advice */
  uint64_t next_id;            /* of requests */
  uint64_t last_link;          /* of channels that threads know */
  char id_prefix[17];          /* random, one a worker */
  struct mp_list crews;        /* threads with Lua states of their own: that of offload, and a service each */
  struct mp_crew *offload;     /* borrowed from crews; NULL before the first offload */
  struct mp_list connections;  /* to SQLite databases */
  struct mp_topics *topics;    /* owned; NULL before anything was published or subscribed to */
  struct mp_soon quiet;        /* after mp_api_stop: all that was cancelled has ended */
  bool stopped, stopping, closing;
  bool cycle_over; /* of the collector, since its pause was set */
  int pause;       /* the one that we have set */
  bool retiring;   /* a drain has begun: the worker's own timers fire no more */
};

/* One request on the Lua side. Slots are never given back, so that a userdata of an ended one finds a newer `gen`. */
struct mp_call {
  struct mp_api *api;     /* borrowed */
  struct mp_realm *realm; /* borrowed: outlives the request */
  struct mp_exchange *ex; /* borrowed until mp_exchange_finish; NULL afterwards */
  struct mp_scope scope;
  struct mp_list node;  /* of api->calls */
  struct mp_call *next; /* of the free list */
  uint64_t gen;         /* which request this slot stands for */
  uint64_t id;
  char *given_id;         /* owned: what a trusted proxy calls it; NULL: nothing */
  struct mp_wake reader;  /* waits for body bytes */
  struct mp_list writers; /* tasks that wait for room */
  struct mp_buf body;     /* owned: collected by req:body() */
  struct mp_list sinks;   /* struct mp_file: being written for this request, gone with it */
  uint32_t slot;          /* a number of its own, from 0 */
  int on_head_ref;        /* registry: list of functions; LUA_NOREF */
  uint8_t kept;           /* bit n: key n of what is kept for it (ctx, params …) */
  uint8_t body_use;       /* enum mp_body_use */
  bool keep;              /* req:keep(): a client that goes away cancels nothing */
  bool gone;              /* the client went away before the answer ended */
  bool handler_over;      /* its response raises from now on */
  bool told_slow;         /* the log has it that it waits for long */
};

enum { MP_CALL_ID = 68, MP_CALL_GIVEN_ID = 64 /* bytes of an id from outside */ };

enum mp_body_use { MP_BODY_UNUSED, MP_BODY_READ, MP_BODY_WHOLE };

/* A userdata of this layout is `req`, `res` or `req.headers`; `type` says which, and that it is of ours: no other
 * userdata holds that address there. */
struct mp_call_box {
  const char *type;     /* static: its name */
  struct mp_call *call; /* borrowed: slots live as long as the api */
  uint64_t gen;
};

static inline struct mp_api *mp_api_of(lua_State *L) {
  return mp_sched_of(L)->ctx;
}

/* The scope that what the running function starts joins: its task's, or the worker's. */
struct mp_scope *mp_api_scope(lua_State *L);

/* The scope that background tasks and detached processes of the running function join. */
struct mp_scope *mp_api_background(lua_State *L);

/* Starts a task in `scope` at the end of this turn: the function at `first` with what stands above it. Pushes the
 * task's object; raises when there is no memory. */
struct mp_task *mp_spawn_task(lua_State *L, int first, struct mp_scope *scope, const char *what);

/* Pushes "app.lua:12", where the app called what runs now. */
void mp_push_caller(lua_State *L);

/* The continuation of a call that is the last thing its C function does: only with one may the callee wait. */
int mp_nothing_left(lua_State *L, int status, lua_KContext ctx);

/* show.c */
int mp_api_show_open(struct mp_api *api); /* 0 or -ENOMEM */
void mp_api_count_error(struct mp_api *api, const char *kind);
void mp_api_on_resume(struct mp_sched *sched, const struct mp_task *task); /* of struct mp_sched */

static inline void mp_api_count(struct mp_api *api, enum mp_count first, unsigned which) {
  mp_counter_add(&api->view->count[(unsigned)first + which], 1);
}

/* life.c */
void mp_life_init(struct mp_api *api);
/* After a request has ended, when the worker is stopping. */
void mp_api_when_quiet(struct mp_api *api);

/* dispatch.c */
void mp_calls_free(struct mp_api *api);
/* The request whose scope it is, or lies within; NULL for the worker's own. */
const struct mp_call *mp_call_of_scope(const struct mp_api *api, const struct mp_scope *scope);
/* "GET /path" in quotes, escaped, for the log; while call->ex is held. */
const char *mp_call_line(const struct mp_call *call, char *out, unsigned size);
const char *mp_call_id(const struct mp_call *call, char *out, unsigned size); /* MP_CALL_ID bytes are enough */
/* response.c: the call of `res` at place 1, its handler running and its head not sent; raises otherwise. */
struct mp_call *mp_response_unsent(lua_State *L, const char *what);
/* Runs on_head functions; before the head goes out. Raises what they raise. */
void mp_call_before_head(lua_State *L, struct mp_call *call);

/* strays.c: what escapes its group, or outlives its parent, becomes this worker's child. It is reaped when it ends. */
int mp_strays_init(struct mp_api *api);
void mp_strays_look(struct mp_api *api); /* soon: a process has settled */
void mp_strays_deinit(struct mp_api *api);

/* The openers: each pushes or fills in its part of the table moonpool.core at the top of L. */
void mp_request_open(lua_State *L);
void mp_response_open(lua_State *L);
void mp_serve_open(lua_State *L); /* behind the response: adds to its methods */
void mp_tasks_open(lua_State *L);
void mp_process_open(lua_State *L);
void mp_pipes_open(lua_State *L);
void mp_blocking_open(lua_State *L);
void mp_logging_open(lua_State *L, struct mp_log *log);
void mp_native_open(lua_State *L);
void mp_offload_open(lua_State *L);
void mp_service_open(lua_State *L);
void mp_scopes_open(lua_State *L);
void mp_timers_open(lua_State *L);
void mp_files_open(lua_State *L);
void mp_sinks_open(lua_State *L);
void mp_multipart_open(lua_State *L);

/* open.c: the parts of the core that need no loop; `log` and what `setup` points to outlive the state. */
void mp_core_open_shared(lua_State *L, const struct mp_api_setup *setup, struct mp_log *log);
void mp_searcher_open(lua_State *L, const struct mp_api_setup *setup);

/* crew.c: the threads end; what does not come back is left behind. */
bool mp_crews_close(struct mp_api *api); /* false: one was left behind */

/* tasks.c: moonpool.now, moonpool.time: also of threads. */
int mp_l_now(lua_State *L);
int mp_l_time(lua_State *L);

/* The box at `index` if it is of that type, which is one of the names below; raises otherwise. A tenth of the price of
 * luaL_checkudata. */
static inline struct mp_call_box *mp_box_check(lua_State *L, int index, const char *type) {
  struct mp_call_box *box = lua_touserdata(L, index);
  if (!box || lua_rawlen(L, index) != sizeof *box || box->type != type) luaL_typeerror(L, index, type);
  return box;
}

extern const char mp_request_name[], mp_response_name[], mp_headers_name[];

/* match.c: pushes the handler of a route with parameters, which are set; false, and nothing, when only the router can
 * tell what answers. */
bool mp_match_push(lua_State *L, struct mp_call *call);

/* request.c: pushes the two objects of a call. */
void mp_call_push(lua_State *L, struct mp_call *call);
/* The call of the `req` at stack place 1; raises when it is none, or has ended. */
struct mp_call *mp_call_check(lua_State *L);
/* What is made once for a request, or set by scripts. It goes with the request, not with the object: the error page
 * gets objects of its own and finds it again. Other keys are request.c's. */
enum { MP_KEPT_PARAMS, MP_KEPT_BODY, MP_KEPT_KEYS = 8 };
void mp_call_keep(lua_State *L, struct mp_call *call, unsigned key);           /* the value at the top, popped */
int mp_call_push_kept(lua_State *L, const struct mp_call *call, unsigned key); /* its type; nil when there is none */
void mp_call_forget_kept(struct mp_call *call);
/* request_body.c: adds its methods to the table at the top. */
void mp_request_body_open(lua_State *L);
/* Raises { status, message }. */
int mp_raise_status(lua_State *L, int status, const char *message);

/* collector.c: when Lua's collector runs. */
void mp_collector_open(lua_State *L);
void mp_collector_tune(struct mp_api *api); /* after a cycle, not from within Lua */

/* sink.c: closes what the request has not saved. */
void mp_call_drop_sinks(struct mp_call *call);

#endif
