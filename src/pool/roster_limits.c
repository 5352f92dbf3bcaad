#include "pool/roster_inside.h"

/* Workers that are well and have reached a limit. They serve until a successor does. */

static void note(struct mp_seat *s, enum mp_limit limit, uint64_t figure) {
  s->limit = limit;
  s->figure = figure;
}

/* A fresh worker that is too large already would be replaced for ever: the next one of its slot is given time. */
static uint64_t time_to_swell(const struct mp_slot *slot) {
  if (slot->swollen == 0) return 0;
  uint64_t ms = slot->swollen < 5 ? UINT64_C(1000) << (slot->swollen - 1) : MP_ROSTER_LONGEST_PAUSE_MS;
  return ms < MP_ROSTER_LONGEST_PAUSE_MS ? ms : MP_ROSTER_LONGEST_PAUSE_MS;
}

void mp_roster_was_spent(struct mp_roster *r, int seat, const struct mp_event *e, uint64_t now) {
  struct mp_seat *s = &r->seat[seat];
  if (s->state != MP_SEAT_SERVING || s->limit) return;
  if (e->limit == MP_LIMIT_MEMORY && now < s->ready_ms + time_to_swell(&r->slot[s->slot])) return;
  note(s, e->limit, e->figure);
}

uint64_t mp_roster_old_at(const struct mp_roster *r, const struct mp_seat *s) {
  return r->lifetime_ms && s->state == MP_SEAT_SERVING && !s->limit ? s->ready_ms + r->lifetime_ms : 0;
}

void mp_roster_see_ages(struct mp_roster *r, uint64_t now) {
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) {
    struct mp_seat *s = &r->seat[i];
    uint64_t old_at = mp_roster_old_at(r, s);
    if (old_at && old_at <= now) note(s, MP_LIMIT_AGE, now - s->ready_ms);
  }
}

/* Slow to leave, as with long answers: they must not pile up. */
bool mp_roster_wants_successor(const struct mp_roster *r, unsigned slot) {
  int seat = r->slot[slot].serving;
  return seat != MP_NONE && r->seat[seat].limit && r->slot[slot].leaving == 0;
}

void mp_roster_renewed(struct mp_roster *r, int seat, uint64_t now) {
  const struct mp_seat *s = &r->seat[seat];
  struct mp_slot *slot = &r->slot[s->slot];
  struct mp_action *a = mp_roster_say_of(r, MP_FACT_RENEWED, seat);
  a->limit = s->limit;
  a->figure = s->figure;
  bool soon = s->limit == MP_LIMIT_MEMORY && now - s->ready_ms < 2 * MP_ROSTER_LONGEST_PAUSE_MS;
  slot->swollen = soon ? slot->swollen + 1 : 0;
  slot->tries = 0;
}
