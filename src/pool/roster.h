/* roster.h - who serves, who comes, who leaves: the decisions of the master, and nothing else.
 *
 *   (event, now) -> actions
 *
 * Pure: no clock, no process, no allocation; whoever calls it does what the actions say and tells what came of it.
 *
 *   a slot:  empty ─ start ─► coming ─ ready ─► serving ─ retire ─► leaving ─ ended
 *                     ▲          │ ended           │ ended                └ overdue: kill
 *                     └ pause ◄──┴────────────────-┘
 *
 * A process sits in a seat from its start until it has ended; the number of the seat names it in events and actions.
 * A slot has one worker that serves and at most one that comes; those that leave have seats, but no slot any more.
 *
 * A worker that has reached a limit (requests, memory, age) serves on until its successor is ready: one slot at a time,
 * behind a reload, and not while another that had its slot is still leaving.
 *
 * A reload begins with a probe: one worker of the new generation in slot 0. Ready, and the pool adopts that generation
 * and goes on slot by slot; ended before, and the generation is dropped while the old one goes on. */
#ifndef MP_POOL_ROSTER_H
#define MP_POOL_ROSTER_H

#include "io/pidfd.h"

enum {
  MP_ROSTER_SLOTS = 256,
  MP_ROSTER_SEATS = 2 * MP_ROSTER_SLOTS, /* with none free a start waits until somebody has left */
  MP_ROSTER_ACTIONS = 4 * MP_ROSTER_SEATS,
  MP_ROSTER_BOOT_TRIES = 5,
  MP_ROSTER_PAUSE_MS = 100,
  MP_ROSTER_LONGEST_PAUSE_MS = 10000,
  MP_ROSTER_STUCK_MS = 500,    /* between a worker's word that its loop is stuck and the kill */
  MP_ROSTER_SILENCE_MS = 1000, /* what a worker that gives no sign has beyond `timeout_ms` */
  MP_ROSTER_HALT_MS = 1000     /* between the word to end at once and the kill */
};

enum mp_event_kind {
  MP_EVENT_BEGIN,
  MP_EVENT_START_FAILED, /* seat, err: what an action START asked for could not be done */
  MP_EVENT_READY,        /* seat */
  MP_EVENT_STUCK,        /* seat: Lua has its loop, and cannot be got out of what it does */
  MP_EVENT_BACK,         /* seat: it could, after all */
  MP_EVENT_SILENT,       /* seat, ms, stopped: no sign of it for so long. Told again while it lasts */
  MP_EVENT_SPENT,        /* seat, limit, figure: it has reached a limit. Told again while it lasts */
  MP_EVENT_ENDED,        /* seat, status, answered */
  MP_EVENT_STOP,         /* TERM: the second one stops at once */
  MP_EVENT_STOP_NOW,     /* INT, QUIT */
  MP_EVENT_RELOAD,       /* HUP, the new configuration is good: workers */
  MP_EVENT_MORE,         /* TTIN */
  MP_EVENT_FEWER,        /* TTOU */
  MP_EVENT_HAND_OVER,    /* another master serves on the same sockets: all retire, then we end */
  MP_EVENT_REST,         /* WINCH: retire the workers, keep the master, until the next reload */
  MP_EVENT_TICK          /* the time of the last WAKE has come */
};

/* Why a worker that is well gets a successor. */
enum mp_limit { MP_LIMIT_NONE, MP_LIMIT_REQUESTS, MP_LIMIT_MEMORY, MP_LIMIT_AGE };

struct mp_event {
  enum mp_event_kind kind;
  unsigned seat;
  int err; /* negative errno */
  struct mp_status status;
  uint64_t answered; /* requests in its life */
  unsigned workers;
  uint64_t ms;
  bool stopped; /* by a signal (SIGSTOP) */
  enum mp_limit limit;
  uint64_t figure; /* requests, or bytes */
};

enum mp_action_kind {
  MP_ACTION_START,  /* seat, slot, generation */
  MP_ACTION_RETIRE, /* seat: drain, then end; others serve on, so idle connections have time to go there */
  MP_ACTION_FINISH, /* seat: the same, but nobody serves on: idle connections close at once */
  MP_ACTION_HALT,   /* seat: end at once, by yourself */
  MP_ACTION_KILL,   /* seat */
  MP_ACTION_SAY,    /* fact: for the log */
  MP_ACTION_WAKE,   /* ms: tell TICK then; 0: no need. Replaces the one before */
  MP_ACTION_EXIT    /* code: nobody is left */
};

enum mp_fact {
  MP_FACT_READY,        /* seat; ms: took */
  MP_FACT_ENDED,        /* seat; ms: age; asked: we had told it to; the event holds the status */
  MP_FACT_START_FAILED, /* seat; the event holds err */
  MP_FACT_AGAIN,        /* slot; n: deaths in a row; ms: pause */
  MP_FACT_STUCK,        /* seat; the slot says with what */
  MP_FACT_BACK,         /* seat */
  MP_FACT_HUNG,         /* seat; ms: since it was said to be stuck */
  MP_FACT_SILENT,       /* seat; ms: since its last sign; the event says whether it is stopped */
  MP_FACT_BOOT_TIMEOUT, /* seat; ms: waited */
  MP_FACT_OVERDUE,      /* seat; ms: since it was told to leave */
  MP_FACT_ADOPTED,      /* generation: what was new is now the pool's */
  MP_FACT_DROPPED,      /* generation: its probe failed */
  MP_FACT_RELOADED,     /* generation: every slot has it */
  MP_FACT_MIXED,        /* slot, generation: proven elsewhere, failed here; the old worker stays. Once a reload */
  MP_FACT_RENEWED,      /* seat: has a successor, for limit; figure: requests, bytes, or milliseconds of its age */
  MP_FACT_KEPT,         /* slot: the successor of a worker at a limit failed; it goes on. Once a worker */
  MP_FACT_GAVE_UP,      /* n: deaths in a row at boot */
  MP_FACT_STOPPING      /* n: workers that are still there */
};

struct mp_action {
  enum mp_action_kind kind;
  enum mp_fact fact;
  unsigned seat, slot;
  uint32_t generation;
  unsigned n;
  int code;
  uint64_t ms;
  bool asked;
  enum mp_limit limit;
  uint64_t figure;
};

enum mp_seat_state { MP_SEAT_FREE, MP_SEAT_STARTING, MP_SEAT_SERVING, MP_SEAT_LEAVING };

struct mp_seat {
  enum mp_seat_state state;
  unsigned slot;
  uint32_t generation;
  uint64_t born_ms, ready_ms, left_ms;
  uint64_t due_ms;     /* end it then; 0: never */
  uint64_t stuck_ms;   /* since then it is stuck; 0: it is not */
  enum mp_limit limit; /* that it has reached */
  uint64_t figure;     /* then */
  bool halted, killed; /* was told so */
  bool kept;           /* in its slot after a successor has failed, and said so */
};

struct mp_slot {
  int serving, coming; /* seats; -1: none */
  unsigned leaving;    /* how many had it, and are not gone yet */
  unsigned tries;      /* deaths in a row without an answer */
  unsigned swollen;    /* workers in a row that soon grew too large */
  uint64_t due_ms;     /* no start before; 0: at once */
};

enum mp_stage { MP_STAGE_BOOTING, MP_STAGE_RUNNING, MP_STAGE_STOPPING, MP_STAGE_OVER };

struct mp_roster {
  uint64_t boot_ms, graceful_ms; /* boot_ms 0: a boot may take for ever */
  uint64_t timeout_ms;           /* 0: a worker may be silent for ever */
  uint64_t lifetime_ms;          /* from being ready; 0: for ever */
  enum mp_stage stage;           /* BOOTING: no worker was ever ready */
  unsigned wanted;               /* slots in use */
  unsigned wanted_next;          /* of the generation being probed */
  uint32_t generation;           /* the pool's */
  uint32_t newest;               /* numbers are never used twice */
  uint32_t probing;              /* the generation of the probe; 0: none */
  bool resting, reloading, mixed;
  bool departing; /* stopping, while another master serves on */
  unsigned boot_deaths;
  unsigned boot_tries; /* so many of them end a boot; MP_ROSTER_BOOT_TRIES */
  int exit_code;
  struct mp_slot slot[MP_ROSTER_SLOTS];
  struct mp_seat seat[MP_ROSTER_SEATS];
  unsigned n_actions;
  struct mp_action actions[MP_ROSTER_ACTIONS];
};

/* `r` is all zeros: its tables are long, and what is not written to takes no memory. `workers` is cut to
 * MP_ROSTER_SLOTS. */
void mp_roster_init(struct mp_roster *r, unsigned workers, uint64_t boot_ms, uint64_t graceful_ms);

/* Has every slot in use had its worker, or failed to get one? False while none was ever ready. */
bool mp_roster_manned(const struct mp_roster *r);

/* Is a reload under way that can still come to its end? */
bool mp_roster_reloads(const struct mp_roster *r);

/* Fills r->actions, to be done in order before the next event is told; how many. `now_ms` never goes back and is
 * never 0. An event about a free seat changes nothing. */
unsigned mp_roster_take(struct mp_roster *r, const struct mp_event *event, uint64_t now_ms);

#endif
