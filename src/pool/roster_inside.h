/* roster_inside.h - what the files of the roster share. */
#ifndef MP_POOL_ROSTER_INSIDE_H
#define MP_POOL_ROSTER_INSIDE_H

#include "pool/roster.h"

enum { MP_NONE = -1 /* of seats */ };

/* Actions; the caller fills in what else belongs to them. */
struct mp_action *mp_roster_act(struct mp_roster *r, enum mp_action_kind kind);
struct mp_action *mp_roster_act_on(struct mp_roster *r, enum mp_action_kind kind, int seat);
struct mp_action *mp_roster_say(struct mp_roster *r, enum mp_fact fact);
struct mp_action *mp_roster_say_of(struct mp_roster *r, enum mp_fact fact, int seat);

/* roster_ends.c. A worker loses its slot before it is told to go, so that its end is nobody's failure. */
void mp_roster_unslot(struct mp_roster *r, int seat);
void mp_roster_free(struct mp_roster *r, int seat); /* it is gone */
/* What serves drains; what is not ready yet has nothing to finish. Harmless on MP_NONE. */
void mp_roster_send_away(struct mp_roster *r, int seat, uint64_t now);
/* The whole pool goes. Who is on the way out already keeps its deadline. */
void mp_roster_dismiss(struct mp_roster *r, int seat, uint64_t now);
void mp_roster_halt(struct mp_roster *r, int seat, uint64_t now);

void mp_roster_was_stuck(struct mp_roster *r, int seat, uint64_t now);
void mp_roster_was_back(struct mp_roster *r, int seat);
void mp_roster_was_silent(struct mp_roster *r, int seat, const struct mp_event *e);
void mp_roster_end_late(struct mp_roster *r, uint64_t now); /* hung ones, and those past their deadline */
uint64_t mp_roster_end_at(const struct mp_seat *s);         /* the next time for the line above; 0: none */

/* roster_limits.c. */
void mp_roster_was_spent(struct mp_roster *r, int seat, const struct mp_event *e, uint64_t now);
void mp_roster_see_ages(struct mp_roster *r, uint64_t now);
uint64_t mp_roster_old_at(const struct mp_roster *r, const struct mp_seat *s); /* 0: never, or seen already */
bool mp_roster_wants_successor(const struct mp_roster *r, unsigned slot);      /* for a limit */
void mp_roster_renewed(struct mp_roster *r, int seat, uint64_t now);           /* its successor is ready */

#endif
