#include "pool/roster_inside.h"
#include <string.h>

enum { APP_FAILED = 3, BOOT_FAILED = 5 /* exit codes */ };

void mp_roster_init(struct mp_roster *r, unsigned workers, uint64_t boot_ms, uint64_t graceful_ms) {
  r->boot_ms = boot_ms;
  r->graceful_ms = graceful_ms;
  r->wanted = workers < MP_ROSTER_SLOTS ? workers : MP_ROSTER_SLOTS;
  r->generation = r->newest = 1;
  r->boot_tries = MP_ROSTER_BOOT_TRIES;
  for (unsigned i = 0; i < MP_ROSTER_SLOTS; i++) r->slot[i].serving = r->slot[i].coming = MP_NONE;
}

static int free_seat(const struct mp_roster *r) {
  for (int i = 0; i < MP_ROSTER_SEATS; i++)
    if (r->seat[i].state == MP_SEAT_FREE) return i;
  return MP_NONE;
}

static unsigned living(const struct mp_roster *r) {
  unsigned n = 0;
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) n += r->seat[i].state != MP_SEAT_FREE;
  return n;
}

static void stop_all(struct mp_roster *r, uint64_t now, int code, void (*how)(struct mp_roster *, int, uint64_t)) {
  if (r->stage != MP_STAGE_STOPPING) {
    r->stage = MP_STAGE_STOPPING;
    r->exit_code = code;
    mp_roster_say(r, MP_FACT_STOPPING)->n = living(r);
  }
  for (int i = 0; i < MP_ROSTER_SEATS; i++)
    if (r->seat[i].state != MP_SEAT_FREE) how(r, i, now);
}

/* Starts. */

static void start(struct mp_roster *r, unsigned slot, uint32_t generation, uint64_t now) {
  int seat = free_seat(r);
  if (seat == MP_NONE) return;
  r->seat[seat] = (struct mp_seat){.state = MP_SEAT_STARTING,
                                   .slot = slot,
                                   .generation = generation,
                                   .born_ms = now,
                                   .due_ms = r->boot_ms ? now + r->boot_ms : 0};
  r->slot[slot].coming = seat;
  r->slot[slot].due_ms = 0;
  mp_roster_act_on(r, MP_ACTION_START, seat);
}

static bool may_start(const struct mp_roster *r, unsigned slot, uint64_t now) {
  return r->slot[slot].coming == MP_NONE && r->slot[slot].due_ms <= now;
}

/* A pause that doubles while deaths follow each other. */
static void pause_slot(struct mp_roster *r, unsigned slot, uint64_t now) {
  struct mp_slot *s = &r->slot[slot];
  uint64_t pause = s->tries < 7 ? (uint64_t)MP_ROSTER_PAUSE_MS << s->tries : MP_ROSTER_LONGEST_PAUSE_MS;
  s->tries++;
  s->due_ms = now + pause;
  struct mp_action *a = mp_roster_say(r, MP_FACT_AGAIN);
  a->slot = slot;
  a->n = s->tries;
  a->ms = pause;
}

static void drop_generation(struct mp_roster *r) {
  mp_roster_say(r, MP_FACT_DROPPED)->generation = r->probing;
  r->probing = 0;
  r->resting = false;
}

static void adopt_generation(struct mp_roster *r, uint32_t generation, unsigned wanted) {
  mp_roster_say(r, MP_FACT_ADOPTED)->generation = generation;
  r->generation = generation;
  r->wanted = wanted;
  r->probing = 0;
  r->resting = r->mixed = false;
  r->reloading = true;
}

static void give_up_booting(struct mp_roster *r, uint64_t now, int code) {
  if (code == BOOT_FAILED) mp_roster_say(r, MP_FACT_GAVE_UP)->n = r->boot_deaths;
  stop_all(r, now, code, mp_roster_halt);
}

/* Behind a successor that failed, the one before goes on. */
static void say_who_stays(struct mp_roster *r, unsigned slot, uint32_t generation) {
  int seat = r->slot[slot].serving;
  if (seat == MP_NONE) return;
  bool mixed = r->seat[seat].generation != generation, *said = mixed ? &r->mixed : &r->seat[seat].kept;
  if (*said) return;
  *said = true;
  struct mp_action *a = mp_roster_say(r, mixed ? MP_FACT_MIXED : MP_FACT_KEPT);
  a->slot = slot;
  a->generation = generation;
}

/* A worker that was coming to its slot has ended, or could not be started. */
static void boot_failed(struct mp_roster *r, unsigned slot, uint32_t generation, bool by_app, uint64_t now) {
  if (r->stage == MP_STAGE_BOOTING) {
    r->boot_deaths++;
    if (by_app || r->boot_deaths >= r->boot_tries) {
      give_up_booting(r, now, by_app ? APP_FAILED : BOOT_FAILED);
      return;
    }
  } else if (generation == r->probing) {
    drop_generation(r);
    return;
  }
  say_who_stays(r, slot, generation);
  pause_slot(r, slot, now);
}

static void start_failed(struct mp_roster *r, int seat, uint64_t now) {
  struct mp_seat was = r->seat[seat];
  bool coming = r->slot[was.slot].coming == seat;
  mp_roster_say_of(r, MP_FACT_START_FAILED, seat);
  mp_roster_free(r, seat);
  if (coming) boot_failed(r, was.slot, was.generation, false, now);
}

static void was_ready(struct mp_roster *r, int seat, uint64_t now) {
  struct mp_seat *s = &r->seat[seat];
  struct mp_slot *slot = &r->slot[s->slot];
  if (s->state != MP_SEAT_STARTING || s->killed || slot->coming != seat) return; /* too late */
  int before = slot->serving;
  slot->serving = seat;
  slot->coming = MP_NONE;
  s->state = MP_SEAT_SERVING;
  s->ready_ms = now;
  s->due_ms = 0;
  mp_roster_say_of(r, MP_FACT_READY, seat)->ms = now - s->born_ms;
  if (r->stage == MP_STAGE_BOOTING) r->stage = MP_STAGE_RUNNING;
  if (s->generation == r->probing) adopt_generation(r, r->probing, r->wanted_next);
  if (before != MP_NONE && r->seat[before].limit && r->seat[before].generation == s->generation)
    mp_roster_renewed(r, before, now);
  mp_roster_send_away(r, before, now);
}

/* At once if it had answered a request; if it had not, after a pause that grows unless it had lived for a while. */
static void serving_died(struct mp_roster *r, unsigned slot, uint64_t age_ms, uint64_t answered, uint64_t now) {
  struct mp_slot *s = &r->slot[slot];
  if (answered > 0 || age_ms > MP_ROSTER_LONGEST_PAUSE_MS) s->tries = 0;
  if (answered > 0)
    s->due_ms = 0;
  else if (s->coming == MP_NONE)
    pause_slot(r, slot, now);
}

static void has_ended(struct mp_roster *r, int seat, const struct mp_event *e, uint64_t now) {
  struct mp_seat was = r->seat[seat];
  bool serving = r->slot[was.slot].serving == seat, coming = r->slot[was.slot].coming == seat;
  struct mp_action *a = mp_roster_say_of(r, MP_FACT_ENDED, seat);
  a->ms = now - was.born_ms;
  a->asked = was.state == MP_SEAT_LEAVING;
  mp_roster_free(r, seat);
  if (serving) serving_died(r, was.slot, now - was.born_ms, e->answered, now);
  bool by_app = e->status.end == MP_END_EXIT && e->status.code == APP_FAILED;
  if (coming) boot_failed(r, was.slot, was.generation, by_app, now);
}

/* A reload takes slot 0 from whatever was coming there: an older probe, or a worker that does not get up. */
static void reload(struct mp_roster *r, unsigned workers, uint64_t now) {
  unsigned wanted = workers < MP_ROSTER_SLOTS ? workers : MP_ROSTER_SLOTS;
  r->newest++;
  r->boot_deaths = 0;
  mp_roster_send_away(r, r->slot[0].coming, now);
  r->slot[0].due_ms = 0;
  if (r->stage == MP_STAGE_BOOTING) {
    adopt_generation(r, r->newest, wanted);
    return;
  }
  r->probing = r->newest;
  r->wanted_next = wanted;
}

static void rest(struct mp_roster *r, uint64_t now) {
  if (r->stage != MP_STAGE_RUNNING) return;
  if (r->probing) {
    mp_roster_send_away(r, r->slot[0].coming, now);
    drop_generation(r);
  }
  r->resting = true;
}

/* What every event ends with: each slot gets what it lacks. */

static void shed(struct mp_roster *r, uint64_t now) {
  for (unsigned i = 0; i < MP_ROSTER_SLOTS; i++) {
    struct mp_slot *slot = &r->slot[i];
    if (i < r->wanted && !r->resting) continue;
    bool probe = slot->coming != MP_NONE && r->probing && r->seat[slot->coming].generation == r->probing;
    if (!probe) mp_roster_send_away(r, slot->coming, now);
    mp_roster_send_away(r, slot->serving, now);
    slot->tries = slot->swollen = 0;
    slot->due_ms = 0;
  }
}

static void fill_empty(struct mp_roster *r, uint64_t now) {
  if (r->resting) return;
  for (unsigned i = 0; i < r->wanted; i++)
    if (r->slot[i].serving == MP_NONE && may_start(r, i, now) && !(i == 0 && r->probing))
      start(r, i, r->generation, now);
}

static bool is_old(const struct mp_roster *r, unsigned slot) {
  int seat = r->slot[slot].serving;
  return seat != MP_NONE && r->seat[seat].generation != r->generation;
}

static bool renew_first(struct mp_roster *r, bool (*due)(const struct mp_roster *, unsigned), uint64_t now) {
  for (unsigned i = 0; i < r->wanted; i++) {
    if (!due(r, i) || !may_start(r, i, now)) continue;
    start(r, i, r->generation, now);
    return true;
  }
  return false;
}

/* One successor at a time; the others keep serving. */
static void renew_one(struct mp_roster *r, uint64_t now) {
  if (r->probing || r->resting) return;
  for (unsigned i = 0; i < r->wanted; i++)
    if (r->slot[i].serving != MP_NONE && r->slot[i].coming != MP_NONE) return;
  if (!renew_first(r, is_old, now)) renew_first(r, mp_roster_wants_successor, now);
}

static void tell_reloaded(struct mp_roster *r) {
  if (!r->reloading || r->probing || r->resting) return;
  for (unsigned i = 0; i < r->wanted; i++)
    if (r->slot[i].serving == MP_NONE || is_old(r, i)) return;
  r->reloading = r->mixed = false;
  mp_roster_say(r, MP_FACT_RELOADED)->generation = r->generation;
}

static void settle(struct mp_roster *r, uint64_t now) {
  if (r->stage == MP_STAGE_BOOTING) {
    if (may_start(r, 0, now)) start(r, 0, r->generation, now); /* the others wait for this one's word */
  } else if (r->stage == MP_STAGE_RUNNING) {
    shed(r, now);
    if (r->probing && may_start(r, 0, now)) start(r, 0, r->probing, now);
    fill_empty(r, now);
    renew_one(r, now);
    tell_reloaded(r);
  } else if (r->stage == MP_STAGE_STOPPING && living(r) == 0) {
    r->stage = MP_STAGE_OVER;
    mp_roster_act(r, MP_ACTION_EXIT)->code = r->exit_code;
  }
}

static void sooner(uint64_t *next, uint64_t due) {
  if (due && (!*next || due < *next)) *next = due;
}

/* A pause that is over needs no alarm: what its start still waits for is an event of its own. */
static void set_alarm(struct mp_roster *r, uint64_t now) {
  uint64_t next = 0;
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) {
    if (r->seat[i].state == MP_SEAT_FREE) continue;
    sooner(&next, mp_roster_end_at(&r->seat[i]));
    sooner(&next, mp_roster_old_at(r, &r->seat[i]));
  }
  bool starts = r->stage == MP_STAGE_BOOTING || r->stage == MP_STAGE_RUNNING;
  for (unsigned i = 0; starts && i < r->wanted; i++)
    if (r->slot[i].coming == MP_NONE && r->slot[i].due_ms > now) sooner(&next, r->slot[i].due_ms);
  mp_roster_act(r, MP_ACTION_WAKE)->ms = next;
}

/* The first word of its own to a pool that leaves to another master is no second one yet. */
static void stop(struct mp_roster *r, uint64_t now) {
  bool again = r->stage == MP_STAGE_STOPPING && !r->departing;
  r->departing = false;
  stop_all(r, now, 0, again ? mp_roster_halt : mp_roster_dismiss);
}

static void hand_over(struct mp_roster *r, uint64_t now) {
  if (r->stage == MP_STAGE_STOPPING) return;
  r->departing = true;
  stop_all(r, now, 0, mp_roster_send_away);
}

static void hear(struct mp_roster *r, const struct mp_event *e, uint64_t now) {
  bool stopping = r->stage == MP_STAGE_STOPPING;
  int seat = e->seat < MP_ROSTER_SEATS && r->seat[e->seat].state != MP_SEAT_FREE ? (int)e->seat : MP_NONE;
  switch (e->kind) {
  case MP_EVENT_BEGIN:
  case MP_EVENT_TICK:
    break;
  case MP_EVENT_START_FAILED:
    if (seat != MP_NONE) start_failed(r, seat, now);
    break;
  case MP_EVENT_READY:
    if (seat != MP_NONE) was_ready(r, seat, now);
    break;
  case MP_EVENT_STUCK:
    if (seat != MP_NONE) mp_roster_was_stuck(r, seat, now);
    break;
  case MP_EVENT_BACK:
    if (seat != MP_NONE) mp_roster_was_back(r, seat);
    break;
  case MP_EVENT_SILENT:
    if (seat != MP_NONE) mp_roster_was_silent(r, seat, e);
    break;
  case MP_EVENT_SPENT:
    if (seat != MP_NONE) mp_roster_was_spent(r, seat, e, now);
    break;
  case MP_EVENT_ENDED:
    if (seat != MP_NONE) has_ended(r, seat, e, now);
    break;
  case MP_EVENT_STOP:
    stop(r, now);
    break;
  case MP_EVENT_STOP_NOW:
    stop_all(r, now, 0, mp_roster_halt);
    break;
  case MP_EVENT_HAND_OVER:
    hand_over(r, now);
    break;
  case MP_EVENT_RELOAD:
    if (!stopping) reload(r, e->workers, now);
    break;
  case MP_EVENT_MORE:
    if (r->wanted < MP_ROSTER_SLOTS) r->wanted++;
    break;
  case MP_EVENT_FEWER:
    if (r->wanted > 1) r->wanted--;
    break;
  case MP_EVENT_REST:
    rest(r, now);
    break;
  }
}

bool mp_roster_manned(const struct mp_roster *r) {
  if (r->stage != MP_STAGE_RUNNING) return false;
  for (unsigned i = 0; i < r->wanted; i++)
    if (r->slot[i].serving == MP_NONE && r->slot[i].tries == 0) return false;
  return true;
}

bool mp_roster_reloads(const struct mp_roster *r) {
  return r->probing || (r->reloading && !r->mixed && !r->resting);
}

unsigned mp_roster_take(struct mp_roster *r, const struct mp_event *event, uint64_t now_ms) {
  r->n_actions = 0;
  if (r->stage == MP_STAGE_OVER) return 0;
  hear(r, event, now_ms);
  mp_roster_end_late(r, now_ms);
  mp_roster_see_ages(r, now_ms);
  settle(r, now_ms);
  set_alarm(r, now_ms);
  return r->n_actions;
}
