#include "base/check.h"
#include "pool/roster_inside.h"

struct mp_action *mp_roster_act(struct mp_roster *r, enum mp_action_kind kind) {
  MP_CHECK(r->n_actions < MP_ROSTER_ACTIONS);
  struct mp_action *a = &r->actions[r->n_actions++];
  *a = (struct mp_action){.kind = kind};
  return a;
}

struct mp_action *mp_roster_act_on(struct mp_roster *r, enum mp_action_kind kind, int seat) {
  struct mp_action *a = mp_roster_act(r, kind);
  a->seat = (unsigned)seat;
  a->slot = r->seat[seat].slot;
  a->generation = r->seat[seat].generation;
  return a;
}

struct mp_action *mp_roster_say(struct mp_roster *r, enum mp_fact fact) {
  struct mp_action *a = mp_roster_act(r, MP_ACTION_SAY);
  a->fact = fact;
  return a;
}

struct mp_action *mp_roster_say_of(struct mp_roster *r, enum mp_fact fact, int seat) {
  struct mp_action *a = mp_roster_act_on(r, MP_ACTION_SAY, seat);
  a->fact = fact;
  return a;
}

/* Endings. */

void mp_roster_unslot(struct mp_roster *r, int seat) {
  struct mp_slot *slot = &r->slot[r->seat[seat].slot];
  if (slot->serving == seat) slot->serving = MP_NONE;
  if (slot->coming == seat) slot->coming = MP_NONE;
}

void mp_roster_free(struct mp_roster *r, int seat) {
  struct mp_seat *s = &r->seat[seat];
  mp_roster_unslot(r, seat);
  if (s->state == MP_SEAT_LEAVING) r->slot[s->slot].leaving--;
  s->state = MP_SEAT_FREE;
}

static void kill_seat(struct mp_roster *r, int seat) {
  struct mp_seat *s = &r->seat[seat];
  s->due_ms = 0; /* harder than that it cannot be told */
  if (s->killed) return;
  s->killed = true;
  mp_roster_act_on(r, MP_ACTION_KILL, seat);
}

static void goes(struct mp_roster *r, int seat, uint64_t now) {
  struct mp_seat *s = &r->seat[seat];
  mp_roster_unslot(r, seat);
  if (s->state != MP_SEAT_LEAVING) r->slot[s->slot].leaving++;
  s->state = MP_SEAT_LEAVING;
  s->left_ms = now;
}

static void leave(struct mp_roster *r, int seat, uint64_t now, uint64_t within_ms, enum mp_action_kind how) {
  struct mp_seat *s = &r->seat[seat];
  goes(r, seat, now);
  if (s->killed) return;
  s->due_ms = now + within_ms;
  mp_roster_act_on(r, how, seat);
}

void mp_roster_send_away(struct mp_roster *r, int seat, uint64_t now) {
  if (seat == MP_NONE) return;
  if (r->seat[seat].state == MP_SEAT_SERVING) {
    leave(r, seat, now, r->graceful_ms, MP_ACTION_RETIRE);
  } else if (r->seat[seat].state == MP_SEAT_STARTING) {
    goes(r, seat, now);
    kill_seat(r, seat);
  }
}

void mp_roster_dismiss(struct mp_roster *r, int seat, uint64_t now) {
  if (r->seat[seat].state == MP_SEAT_SERVING)
    leave(r, seat, now, r->graceful_ms, MP_ACTION_FINISH);
  else
    mp_roster_send_away(r, seat, now);
}

void mp_roster_halt(struct mp_roster *r, int seat, uint64_t now) {
  struct mp_seat *s = &r->seat[seat];
  if (s->state != MP_SEAT_STARTING && !s->halted) {
    s->halted = true;
    leave(r, seat, now, MP_ROSTER_HALT_MS, MP_ACTION_HALT);
    return;
  }
  goes(r, seat, now);
  kill_seat(r, seat);
}

void mp_roster_was_stuck(struct mp_roster *r, int seat, uint64_t now) {
  struct mp_seat *s = &r->seat[seat];
  if (s->killed || s->stuck_ms) return;
  s->stuck_ms = now;
  mp_roster_say_of(r, MP_FACT_STUCK, seat);
}

void mp_roster_was_back(struct mp_roster *r, int seat) {
  struct mp_seat *s = &r->seat[seat];
  if (s->killed || !s->stuck_ms) return;
  s->stuck_ms = 0;
  mp_roster_say_of(r, MP_FACT_BACK, seat);
}

/* One that boots has its own deadline, and holds up nobody. */
static uint64_t hung_at(const struct mp_seat *s) {
  return s->stuck_ms && !s->killed && s->state != MP_SEAT_STARTING ? s->stuck_ms + MP_ROSTER_STUCK_MS : 0;
}

/* Neither the word of its watchdog nor the end of its time to leave is waited for: it may be able to say nothing. */
void mp_roster_was_silent(struct mp_roster *r, int seat, const struct mp_event *e) {
  const struct mp_seat *s = &r->seat[seat];
  if (!r->timeout_ms || s->killed || s->stuck_ms || s->state == MP_SEAT_STARTING) return;
  if (e->ms < r->timeout_ms + MP_ROSTER_SILENCE_MS) return;
  mp_roster_say_of(r, MP_FACT_SILENT, seat)->ms = e->ms;
  kill_seat(r, seat);
}

/* It keeps its slot, and its end is a failure like any other. */
static void end_hung(struct mp_roster *r, uint64_t now) {
  for (int i = 0; i < MP_ROSTER_SEATS; i++) {
    const struct mp_seat *s = &r->seat[i];
    if (s->state == MP_SEAT_FREE || !hung_at(s) || hung_at(s) > now) continue;
    mp_roster_say_of(r, MP_FACT_HUNG, i)->ms = now - s->stuck_ms;
    kill_seat(r, i);
  }
}

static void end_overdue(struct mp_roster *r, uint64_t now) {
  for (int i = 0; i < MP_ROSTER_SEATS; i++) {
    struct mp_seat *s = &r->seat[i];
    if (s->state == MP_SEAT_FREE || !s->due_ms || s->due_ms > now) continue;
    bool booting = s->state == MP_SEAT_STARTING;
    mp_roster_say_of(r, booting ? MP_FACT_BOOT_TIMEOUT : MP_FACT_OVERDUE, i)->ms =
        now - (booting ? s->born_ms : s->left_ms);
    kill_seat(r, i); /* a start keeps its slot: its end will count as a death at boot */
  }
}

void mp_roster_end_late(struct mp_roster *r, uint64_t now) {
  end_hung(r, now);
  end_overdue(r, now);
}

uint64_t mp_roster_end_at(const struct mp_seat *s) {
  uint64_t hung = hung_at(s);
  return hung && (!s->due_ms || hung < s->due_ms) ? hung : s->due_ms;
}
