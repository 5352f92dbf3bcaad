/* pool_simulation [FIRST_SEED [EVENTS]] - the roster among processes, signals and clocks that do what a seed says.
 *
 * A world of its own keeps account of every process: what it was told, what it has said, how it ended. After each event
 * the rules are checked against that account, not against what the roster believes. When a round is over all faults
 * stop, and the pool must come to rest with every slot filled. A seed that fails names itself; as an argument it fails
 * again. */
#include "pool/roster.h"
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUND_EVENTS = 4000, CALM_EVENTS = 20000, MOST_GENERATIONS = 4096, HOUR_MS = 3600 * 1000 };

/* What a process is in truth. */
struct process {
  bool lives, cannot_start; /* cannot_start: the start failed, and that is not told yet */
  bool was_ready, told_stuck;
  bool asked, killed; /* to leave, in whatever way */
  bool deaf;          /* does not do what it is asked */
  bool spent;         /* has told that it is at a limit */
  unsigned slot;
  uint32_t generation;
  uint64_t born_ms, answered, silent_since_ms;
};

static struct world {
  struct mp_roster r;
  struct process process[MP_ROSTER_SEATS];
  unsigned n_lives;
  uint64_t now, alarm, random, seed, n_told;
  bool broken[MOST_GENERATIONS]; /* its app does not load */
  bool calm, exited, stop_asked, ever_ready;
  int exit_code;
  struct mp_event event; /* the one being told */
  unsigned served_before;
  uint64_t n_exits, n_renewed, n_adopted, n_dropped, n_killed, n_rests; /* that the interesting things happen */
} w;

static uint64_t first_seed = 1, n_events = 300000;

static unsigned chance(unsigned n) {
  w.random ^= w.random << 13;
  w.random ^= w.random >> 7;
  w.random ^= w.random << 17;
  return (unsigned)((w.random >> 11) % n);
}

#define HOLDS(truth)                                                                                                   \
  do {                                                                                                                 \
    if (!(truth))                                                                                                      \
      fail_msg("seed %" PRIu64 ", event %" PRIu64 " (kind %d, seat %u): not so: %s", w.seed, w.n_told,                 \
               (int)w.event.kind, w.event.seat, #truth);                                                               \
  } while (0)

/* ---- doing what the roster says ---- */

static bool is_broken(uint32_t generation) {
  return !w.calm && w.broken[generation % MOST_GENERATIONS];
}

static unsigned serving(void) {
  unsigned n = 0;
  for (unsigned i = 0; i < w.r.wanted; i++) n += w.r.slot[i].serving >= 0;
  return n;
}

static bool is_ready_in(unsigned slot, unsigned but_not) {
  int seat = w.r.slot[slot].serving;
  return seat >= 0 && (unsigned)seat != but_not && w.process[seat].lives && w.process[seat].was_ready &&
         !w.process[seat].asked;
}

static unsigned in_slot(unsigned slot, bool leaving) {
  unsigned n = 0;
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++)
    n += w.process[i].lives && w.process[i].slot == slot && (w.r.seat[i].state == MP_SEAT_LEAVING) == leaving;
  return n;
}

/* A start is for a slot that lacks a worker, for a probe, or for one that is old or at a limit: then the extra one. */
static void do_start(const struct mp_action *a) {
  struct process *p = &w.process[a->seat];
  HOLDS(!p->lives);
  HOLDS(w.r.stage == MP_STAGE_BOOTING || w.r.stage == MP_STAGE_RUNNING);
  HOLDS(a->generation == w.r.generation || a->generation == w.r.probing);
  HOLDS(!w.r.resting || a->generation == w.r.probing);
  HOLDS(in_slot(a->slot, false) <= 1);
  int before = w.r.slot[a->slot].serving;
  if (before >= 0 && w.r.seat[before].generation == a->generation) {
    HOLDS(w.r.seat[before].limit != MP_LIMIT_NONE);
    HOLDS(in_slot(a->slot, true) == 0);
  }
  *p = (struct process){.lives = true,
                        .slot = a->slot,
                        .generation = a->generation,
                        .born_ms = w.now,
                        .cannot_start = !w.calm && chance(60) == 0,
                        .deaf = !w.calm && chance(20) == 0};
  w.n_lives++;
}

static bool is_stopping(void) {
  return w.r.stage == MP_STAGE_STOPPING || w.r.stage == MP_STAGE_OVER;
}

/* Not before its successor has said that it is ready, unless nobody is wanted there any more. */
static void do_retire(const struct mp_action *a) {
  struct process *p = &w.process[a->seat];
  HOLDS(p->lives && p->was_ready && !p->asked && !p->killed);
  HOLDS(is_ready_in(p->slot, a->seat) || p->slot >= w.r.wanted || w.r.resting || w.r.departing);
  p->asked = true;
}

static void do_finish(const struct mp_action *a) {
  struct process *p = &w.process[a->seat];
  HOLDS(p->lives && p->was_ready && !p->killed && is_stopping());
  p->asked = true;
}

static void do_halt(const struct mp_action *a) {
  struct process *p = &w.process[a->seat];
  HOLDS(p->lives && !p->killed && is_stopping());
  p->asked = true;
}

/* Nobody is killed who serves well. */
static void do_kill(const struct mp_action *a) {
  struct process *p = &w.process[a->seat];
  HOLDS(p->lives && !p->killed);
  bool serves = p->was_ready && !p->asked && !is_stopping();
  bool silent =
      w.event.kind == MP_EVENT_SILENT && w.event.seat == a->seat && w.event.ms >= w.r.timeout_ms + MP_ROSTER_SILENCE_MS;
  HOLDS(!serves || silent || (p->told_stuck && w.now >= w.r.seat[a->seat].stuck_ms + MP_ROSTER_STUCK_MS));
  p->killed = true;
  w.n_killed++;
}

static void reconfigure(void) {
  static const uint64_t boots[] = {60000, 60000, 500, 0}, graces[] = {30000, 1000, 0}, lives[] = {0, 0, 5000, 600000};
  w.r.boot_ms = w.calm ? 60000 : boots[chance(4)];
  w.r.graceful_ms = graces[chance(3)];
  w.r.timeout_ms = chance(4) ? 30000 : 0;
  w.r.lifetime_ms = w.calm ? 0 : lives[chance(4)];
}

static void note_fact(const struct mp_action *a) {
  switch (a->fact) {
  case MP_FACT_ADOPTED:
    HOLDS(!w.ever_ready || w.event.kind == MP_EVENT_RELOAD || w.process[w.event.seat].generation == a->generation);
    w.n_adopted++;
    reconfigure();
    break;
  case MP_FACT_DROPPED:
    HOLDS(w.event.kind != MP_EVENT_READY);
    w.n_dropped++;
    break;
  case MP_FACT_RELOADED:
    for (unsigned i = 0; i < w.r.wanted; i++)
      HOLDS(is_ready_in(i, MP_ROSTER_SEATS) && w.process[w.r.slot[i].serving].generation == a->generation);
    break;
  case MP_FACT_RENEWED:
    HOLDS(w.process[a->seat].generation == w.process[w.event.seat].generation);
    HOLDS(a->limit == MP_LIMIT_AGE || w.process[a->seat].spent);
    w.n_renewed++;
    break;
  case MP_FACT_AGAIN:
    HOLDS(a->ms >= MP_ROSTER_PAUSE_MS && a->ms <= MP_ROSTER_LONGEST_PAUSE_MS);
    break;
  case MP_FACT_GAVE_UP:
    HOLDS(!w.ever_ready && a->n >= MP_ROSTER_BOOT_TRIES);
    break;
  default:
    break;
  }
}

static void do_exit(const struct mp_action *a) {
  HOLDS(!w.exited && w.n_lives == 0);
  HOLDS(a->code == 0 ? w.stop_asked : (a->code == 3 || a->code == 5) && !w.ever_ready);
  w.exited = true;
  w.exit_code = a->code;
  w.n_exits++;
}

static void perform(const struct mp_action *a) {
  switch (a->kind) {
  case MP_ACTION_START:
    do_start(a);
    break;
  case MP_ACTION_RETIRE:
    do_retire(a);
    break;
  case MP_ACTION_FINISH:
    do_finish(a);
    break;
  case MP_ACTION_HALT:
    do_halt(a);
    break;
  case MP_ACTION_KILL:
    do_kill(a);
    break;
  case MP_ACTION_SAY:
    note_fact(a);
    break;
  case MP_ACTION_WAKE:
    HOLDS(a->ms == 0 || a->ms > w.now || (a->ms == w.now && w.event.kind != MP_EVENT_TICK)); /* it may not spin */
    w.alarm = a->ms;
    break;
  case MP_ACTION_EXIT:
    do_exit(a);
    break;
  }
}

/* ---- what must always hold ---- */

static void check_seats(void) {
  unsigned n_lives = 0;
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) {
    const struct mp_seat *s = &w.r.seat[i];
    const struct process *p = &w.process[i];
    HOLDS(p->lives == (s->state != MP_SEAT_FREE));
    if (!p->lives) continue;
    n_lives++;
    const struct mp_slot *slot = &w.r.slot[s->slot];
    HOLDS(s->slot == p->slot && s->generation == p->generation);
    HOLDS((s->state == MP_SEAT_SERVING) == (slot->serving == (int)i));
    HOLDS((s->state == MP_SEAT_STARTING) == (slot->coming == (int)i));
    HOLDS(s->state != MP_SEAT_SERVING || p->was_ready);
    HOLDS(s->killed == p->killed);
    HOLDS(s->due_ms == 0 || (s->due_ms >= w.now && w.alarm && w.alarm <= s->due_ms));
  }
  HOLDS(n_lives == w.n_lives);
}

/* At most one extra worker a slot; one slot at a time, but that a probe may come beside it. */
static void check_slots(void) {
  unsigned extra = 0;
  for (unsigned i = 0; i < MP_ROSTER_SLOTS; i++) {
    const struct mp_slot *s = &w.r.slot[i];
    extra += s->serving >= 0 && s->coming >= 0;
    HOLDS(s->due_ms <= w.now + MP_ROSTER_LONGEST_PAUSE_MS);
    HOLDS(s->serving < 0 || s->serving != s->coming);
    if (w.r.stage != MP_STAGE_RUNNING || i < w.r.wanted) continue;
    HOLDS(s->serving < 0 && (s->coming < 0 || w.r.probing));
  }
  HOLDS(extra <= 2);
}

/* Slots that lost their worker by what the roster did, not by a death or a wish. */
static void check_strength(void) {
  static const bool may_fall[] = {
      [MP_EVENT_ENDED] = true, [MP_EVENT_STOP] = true, [MP_EVENT_STOP_NOW] = true,  [MP_EVENT_RELOAD] = true,
      [MP_EVENT_FEWER] = true, [MP_EVENT_REST] = true, [MP_EVENT_HAND_OVER] = true, [MP_EVENT_TICK] = false};
  bool shrunk = w.event.kind == MP_EVENT_READY; /* a new generation may want fewer slots */
  if (!may_fall[w.event.kind] && !shrunk) HOLDS(serving() >= w.served_before);
  HOLDS(w.event.kind != MP_EVENT_RELOAD || is_stopping() || serving() >= w.served_before);
}

static void check_idle(void) {
  if (w.r.stage != MP_STAGE_RUNNING || w.r.resting || w.n_lives == MP_ROSTER_SEATS) return;
  for (unsigned i = 0; i < w.r.wanted; i++) {
    const struct mp_slot *s = &w.r.slot[i];
    if (s->serving >= 0 || s->coming >= 0 || (i == 0 && w.r.probing)) continue;
    HOLDS(s->due_ms > w.now && w.alarm && w.alarm <= s->due_ms); /* it pauses, and will be woken */
  }
}

static void tell(struct mp_event e) {
  if (w.exited) return;
  w.event = e;
  w.served_before = serving();
  w.n_told++;
  unsigned n = mp_roster_take(&w.r, &e, w.now);
  for (unsigned i = 0; i < n; i++) perform(&w.r.actions[i]);
  if (e.kind == MP_EVENT_READY && w.r.stage == MP_STAGE_RUNNING) w.ever_ready = true;
  check_seats();
  check_slots();
  check_strength();
  check_idle();
}

/* ---- what happens ---- */

static void pass(uint64_t ms) {
  w.now += ms;
}

static void dies(unsigned seat, struct mp_status status) {
  struct mp_event e = {.kind = MP_EVENT_ENDED, .seat = seat, .status = status, .answered = w.process[seat].answered};
  w.process[seat].lives = false;
  w.n_lives--;
  tell(e);
}

static void exits(unsigned seat, int code) {
  dies(seat, (struct mp_status){.end = MP_END_EXIT, .code = code});
}

static void crashes(unsigned seat, int signo) {
  dies(seat, (struct mp_status){.end = MP_END_SIGNAL, .signal = signo});
}

static void cannot_start(unsigned seat) {
  w.process[seat].lives = false;
  w.n_lives--;
  tell((struct mp_event){.kind = MP_EVENT_START_FAILED, .seat = seat, .err = -EAGAIN});
}

static void gets_ready(unsigned seat) {
  w.process[seat].was_ready |= !w.process[seat].asked && !w.process[seat].killed;
  tell((struct mp_event){.kind = MP_EVENT_READY, .seat = seat});
}

static void boots(unsigned seat) {
  unsigned dice = chance(100);
  if (is_broken(w.process[seat].generation))
    dice < 50 ? exits(seat, 3) : crashes(seat, 11);
  else if (w.calm || dice < 90)
    gets_ready(seat);
  else if (dice < 95)
    crashes(seat, 11);
  else if (dice < 96)
    exits(seat, 3);
}

/* It says so on its own: what a watchdog, a look at it, or a count has found. */
static void speaks(unsigned seat) {
  struct process *p = &w.process[seat];
  struct mp_event e = {.seat = seat};
  switch (chance(5)) {
  case 0:
    e.kind = MP_EVENT_STUCK;
    p->told_stuck = true;
    break;
  case 1:
    e.kind = MP_EVENT_BACK;
    break;
  case 2:
    e.kind = MP_EVENT_SILENT;
    e.ms = chance(8) ? chance(20000) : chance(60000);
    e.stopped = chance(2);
    break;
  default:
    e.kind = MP_EVENT_SPENT;
    e.limit = chance(2) ? MP_LIMIT_REQUESTS : MP_LIMIT_MEMORY;
    e.figure = 1000;
    p->spent = true;
  }
  tell(e);
}

static void serves(unsigned seat) {
  unsigned dice = chance(100);
  w.process[seat].answered += chance(3);
  if (dice < 3)
    crashes(seat, 9);
  else if (dice < 5)
    exits(seat, (int)chance(6));
  else if (dice < 6)
    dies(seat, (struct mp_status){.end = MP_END_LOST});
  else if (dice < 20)
    speaks(seat);
}

static void leaves(unsigned seat) {
  if (!w.process[seat].deaf || chance(200) == 0) exits(seat, 0);
}

/* Something of one process that lives. */
static void one_of_them(void) {
  unsigned seat = chance(w.r.wanted > 20 ? MP_ROSTER_SEATS : 32);
  for (unsigned i = 0; i < 20 && !w.process[seat].lives; i++) seat = chance(w.r.wanted > 20 ? MP_ROSTER_SEATS : 32);
  const struct process *p = &w.process[seat];
  if (!p->lives && chance(50) == 0) /* a word of one that is gone */
    tell((struct mp_event){.kind = MP_EVENT_READY, .seat = chance(2) ? seat : seat + 100000});
  if (!p->lives) return;
  if (p->cannot_start)
    cannot_start(seat);
  else if (p->killed && chance(8) == 0)
    gets_ready(seat); /* its last word was under way */
  else if (p->killed)
    crashes(seat, 9);
  else if (p->asked)
    leaves(seat);
  else if (p->was_ready)
    serves(seat);
  else
    boots(seat);
}

static void a_wish(void) {
  static const enum mp_event_kind wishes[] = {MP_EVENT_RELOAD, MP_EVENT_RELOAD, MP_EVENT_RELOAD,
                                              MP_EVENT_MORE,   MP_EVENT_FEWER,  MP_EVENT_REST};
  struct mp_event e = {.kind = wishes[chance(6)]};
  if (e.kind == MP_EVENT_RELOAD) {
    e.workers = chance(200) ? 1 + chance(8) : chance(300);
    if (e.workers == 0) e.workers = 1;
    w.broken[(w.r.newest + 1) % MOST_GENERATIONS] = chance(4) == 0;
  }
  tell(e);
}

static void an_end(void) {
  static const enum mp_event_kind ends[] = {MP_EVENT_STOP, MP_EVENT_STOP_NOW, MP_EVENT_HAND_OVER};
  w.stop_asked = true;
  tell((struct mp_event){.kind = ends[chance(3)]});
}

static void time_passes(void) {
  unsigned dice = chance(1000);
  if (dice < 150 && w.alarm)
    w.now = w.alarm;
  else if (dice < 995)
    pass(chance(300));
  else
    pass(chance(HOUR_MS)); /* the machine stood still */
  if (w.alarm && w.now >= w.alarm) tell((struct mp_event){.kind = MP_EVENT_TICK});
}

static void something_happens(void) {
  unsigned dice = chance(10000);
  if (dice < 6000)
    one_of_them();
  else if (dice < 9960)
    time_passes();
  else if (dice < 9999 || chance(4))
    a_wish();
  else
    an_end();
}

/* ---- rounds ---- */

static void begin_round(uint64_t seed) {
  uint64_t totals[] = {w.n_told, w.n_exits, w.n_renewed, w.n_adopted, w.n_dropped, w.n_killed, w.n_rests};
  memset(&w, 0, sizeof w);
  w.n_told = totals[0], w.n_exits = totals[1], w.n_renewed = totals[2], w.n_adopted = totals[3];
  w.n_dropped = totals[4], w.n_killed = totals[5], w.n_rests = totals[6];
  w.seed = seed;
  w.random = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
  for (unsigned i = 0; i < 8; i++) chance(2);
  w.now = 1 + chance(100000);
  w.broken[1] = chance(10) == 0;
  mp_roster_init(&w.r, chance(30) ? 1 + chance(8) : 1 + chance(MP_ROSTER_SLOTS), 60000, 30000);
  reconfigure();
  tell((struct mp_event){.kind = MP_EVENT_BEGIN});
}

static bool is_at_rest(void) {
  if (w.r.probing || w.r.stage != MP_STAGE_RUNNING) return false;
  for (unsigned i = 0; i < MP_ROSTER_SLOTS; i++) {
    bool wanted = i < w.r.wanted && !w.r.resting;
    if (w.r.slot[i].coming >= 0 || (w.r.slot[i].serving >= 0) != wanted) return false;
    if (wanted && w.r.seat[w.r.slot[i].serving].generation != w.r.generation) return false;
    if (wanted && w.r.seat[w.r.slot[i].serving].limit) return false;
  }
  return w.n_lives == (w.r.resting ? 0 : w.r.wanted);
}

static void calm_turn(unsigned seat) {
  const struct process *p = &w.process[seat];
  if (p->lives && p->cannot_start)
    cannot_start(seat);
  else if (p->lives && (p->killed || (p->asked && !p->deaf)))
    exits(seat, 0);
  else if (p->lives && !p->asked && !p->was_ready)
    gets_ready(seat);
}

/* Every process does what it should, and time goes on: nothing else is needed. */
static void comes_to_rest(void) {
  w.calm = true;
  w.r.lifetime_ms = 0;
  bool again = chance(2);
  if (again) tell((struct mp_event){.kind = MP_EVENT_RELOAD, .workers = 3});
  for (unsigned turn = 0; turn < CALM_EVENTS && !w.exited && !is_at_rest(); turn++) {
    for (unsigned seat = 0; seat < MP_ROSTER_SEATS && !w.exited; seat++) calm_turn(seat);
    if (w.alarm > w.now) w.now = w.alarm;
    tell((struct mp_event){.kind = MP_EVENT_TICK});
  }
  if (w.exited) return;
  HOLDS(is_at_rest());
  HOLDS(w.r.resting || mp_roster_manned(&w.r));
  HOLDS(!mp_roster_reloads(&w.r));
  HOLDS(!again || (w.r.wanted == 3 && w.r.generation == w.r.newest && !w.r.resting));
  w.n_rests++;
}

/* Asked to stop, it ends, whatever its workers do about it. */
static void comes_to_an_end(void) {
  w.calm = false;
  an_end();
  for (unsigned turn = 0; turn < CALM_EVENTS && !w.exited; turn++) {
    for (unsigned seat = 0; seat < MP_ROSTER_SEATS && !w.exited; seat++) {
      const struct process *p = &w.process[seat];
      if (p->lives && p->cannot_start)
        cannot_start(seat);
      else if (p->lives && p->killed)
        crashes(seat, 9);
    }
    if (w.alarm > w.now) w.now = w.alarm;
    tell((struct mp_event){.kind = MP_EVENT_TICK});
  }
  HOLDS(w.exited);
}

static void run_round(uint64_t seed) {
  begin_round(seed);
  for (uint64_t from = w.n_told; w.n_told - from < ROUND_EVENTS && !w.exited;) something_happens();
  if (!w.exited && !is_stopping()) comes_to_rest();
  if (!w.exited) comes_to_an_end();
  HOLDS(w.n_lives == 0);
}

static void whatever_happens_the_rules_hold_and_the_pool_comes_to_rest(void **state) {
  uint64_t seed = first_seed;
  (void)state;
  while (w.n_told < n_events) run_round(seed++);
  print_message(
      "%" PRIu64 " events, seeds %" PRIu64 " to %" PRIu64 ": %" PRIu64 " came to rest, %" PRIu64 " ended, %" PRIu64
      " generations adopted, %" PRIu64 " dropped, %" PRIu64 " workers renewed, %" PRIu64 " killed\n",
      w.n_told, first_seed, seed - 1, w.n_rests, w.n_exits, w.n_adopted, w.n_dropped, w.n_renewed, w.n_killed);
  if (n_events >= 100000)
    assert_true(w.n_rests && w.n_exits && w.n_adopted && w.n_dropped && w.n_renewed && w.n_killed);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_happens_the_rules_hold_and_the_pool_comes_to_rest)};
  if (argc > 1) first_seed = strtoull(argv[1], NULL, 10);
  if (argc > 2) n_events = strtoull(argv[2], NULL, 10);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
