#include "pool/roster.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The roster with a clock of our own. Every test speaks of the actions of the event told last. */
static struct mp_roster r;
static uint64_t now;

static int fresh(void **state) {
  (void)state;
  now = 1000;
  mp_roster_init(&r, 3, 60000, 30000);
  return 0;
}

static void tell(struct mp_event e) {
  mp_roster_take(&r, &e, now);
}

static void happens(enum mp_event_kind kind) {
  tell((struct mp_event){.kind = kind});
}

static void is_ready(unsigned seat) {
  tell((struct mp_event){.kind = MP_EVENT_READY, .seat = seat});
}

static void exits(unsigned seat, int code, uint64_t answered) {
  tell((struct mp_event){
      .kind = MP_EVENT_ENDED, .seat = seat, .status = {.end = MP_END_EXIT, .code = code}, .answered = answered});
}

static void crashes(unsigned seat, uint64_t answered) {
  tell((struct mp_event){
      .kind = MP_EVENT_ENDED, .seat = seat, .status = {.end = MP_END_SIGNAL, .signal = 11}, .answered = answered});
}

static void reloads(unsigned workers) {
  tell((struct mp_event){.kind = MP_EVENT_RELOAD, .workers = workers});
}

static unsigned count(enum mp_action_kind kind) {
  unsigned n = 0;
  for (unsigned i = 0; i < r.n_actions; i++) n += r.actions[i].kind == kind;
  return n;
}

/* The nth action of a kind; the test fails when there is none. */
static const struct mp_action *nth(enum mp_action_kind kind, unsigned n) {
  for (unsigned i = 0; i < r.n_actions; i++)
    if (r.actions[i].kind == kind && n-- == 0) return &r.actions[i];
  fail_msg("no such action: kind %d", (int)kind);
  return NULL;
}

static const struct mp_action *said(enum mp_fact fact) {
  for (unsigned i = 0; i < r.n_actions; i++)
    if (r.actions[i].kind == MP_ACTION_SAY && r.actions[i].fact == fact) return &r.actions[i];
  return NULL;
}

static uint64_t alarm_at(void) {
  return nth(MP_ACTION_WAKE, 0)->ms;
}

static void sleep_until_alarm(void) {
  assert_true(alarm_at() >= now);
  now = alarm_at();
  happens(MP_EVENT_TICK);
}

/* A pool of three that serves: seats 0, 1 and 2 in slots 0, 1 and 2. */
static void serve(void) {
  happens(MP_EVENT_BEGIN);
  is_ready(0);
  is_ready(1);
  is_ready(2);
  assert_int_equal(r.stage, MP_STAGE_RUNNING);
}

static void the_others_start_when_the_first_is_ready(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  assert_int_equal(count(MP_ACTION_START), 1);
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 0);
  now += 38;
  is_ready(0);
  assert_int_equal(said(MP_FACT_READY)->ms, 38);
  assert_int_equal(count(MP_ACTION_START), 2);
  assert_int_equal(nth(MP_ACTION_START, 1)->slot, 2);
}

static void an_app_that_fails_to_load_is_told_once_and_exits_3(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  exits(0, 3, 0);
  assert_int_equal(count(MP_ACTION_START), 0);
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 3);
}

static void five_deaths_at_boot_exit_5_with_pauses_between(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  for (unsigned i = 0; i < 4; i++) {
    crashes(0, 0);
    assert_int_equal(said(MP_FACT_AGAIN)->ms, 100u << i);
    assert_int_equal(count(MP_ACTION_START), 0);
    assert_int_equal(alarm_at(), now + (100u << i));
    sleep_until_alarm();
    assert_int_equal(count(MP_ACTION_START), 1);
  }
  crashes(0, 0);
  assert_int_equal(said(MP_FACT_GAVE_UP)->n, 5);
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 5);
}

static void starts_that_fail_count_as_deaths_at_boot(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  for (unsigned i = 0; i < 4; i++) {
    tell((struct mp_event){.kind = MP_EVENT_START_FAILED, .seat = 0, .err = -EAGAIN});
    assert_non_null(said(MP_FACT_START_FAILED));
    sleep_until_alarm();
  }
  tell((struct mp_event){.kind = MP_EVENT_START_FAILED, .seat = 0, .err = -EAGAIN});
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 5);
}

static void a_boot_that_takes_too_long_is_killed_and_counts_as_a_death(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  assert_int_equal(alarm_at(), now + 60000);
  sleep_until_alarm();
  assert_int_equal(said(MP_FACT_BOOT_TIMEOUT)->ms, 60000);
  assert_int_equal(nth(MP_ACTION_KILL, 0)->seat, 0);
  is_ready(0); /* its last word was under way */
  assert_int_equal(count(MP_ACTION_START), 0);
  crashes(0, 0);
  assert_int_equal(said(MP_FACT_AGAIN)->n, 1);
}

static void once_a_worker_was_ready_the_pool_never_gives_up(void **state) {
  (void)state;
  serve();
  for (unsigned i = 0; i < 40; i++) {
    exits(1, 3, 0);
    assert_int_equal(count(MP_ACTION_EXIT), 0);
    assert_true(said(MP_FACT_AGAIN)->ms <= 10000);
    sleep_until_alarm();
    assert_int_equal(nth(MP_ACTION_START, 0)->slot, 1);
  }
  assert_int_equal(r.slot[1].tries, 40);
}

static void a_worker_that_had_answered_is_replaced_at_once(void **state) {
  (void)state;
  serve();
  crashes(1, 0);
  sleep_until_alarm();
  is_ready(1);
  now += 500;
  crashes(1, 1);
  assert_int_equal(said(MP_FACT_ENDED)->ms, 500);
  assert_false(said(MP_FACT_ENDED)->asked);
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 1);
  assert_int_equal(r.slot[1].tries, 0);
}

static void ready_but_never_an_answer_is_a_death_with_a_pause(void **state) {
  (void)state;
  serve();
  for (unsigned i = 0; i < 9; i++) {
    crashes(2, 0);
    assert_int_equal(said(MP_FACT_AGAIN)->ms, i < 7 ? 100u << i : 10000);
    sleep_until_alarm();
    is_ready(2);
  }
  now += 10001;
  crashes(2, 0);
  assert_int_equal(said(MP_FACT_AGAIN)->ms, 100); /* it had lived for a while */
}

static void a_crash_looping_slot_leaves_the_others_alone(void **state) {
  (void)state;
  serve();
  crashes(1, 0);
  crashes(2, 7);
  assert_int_equal(count(MP_ACTION_START), 1);
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 2);
}

static void term_drains_everybody_and_exits_0(void **state) {
  (void)state;
  serve();
  happens(MP_EVENT_STOP);
  assert_int_equal(count(MP_ACTION_FINISH), 3);
  assert_int_equal(alarm_at(), now + 30000);
  exits(0, 0, 5);
  exits(1, 0, 5);
  assert_int_equal(count(MP_ACTION_START) + count(MP_ACTION_EXIT), 0);
  exits(2, 0, 5);
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 0);
}

static void a_worker_that_does_not_drain_in_time_is_killed(void **state) {
  (void)state;
  serve();
  happens(MP_EVENT_STOP);
  exits(0, 0, 5);
  sleep_until_alarm();
  assert_int_equal(count(MP_ACTION_KILL), 2);
  assert_int_equal(said(MP_FACT_OVERDUE)->ms, 30000);
  assert_int_equal(alarm_at(), 0);
  crashes(1, 0);
  crashes(2, 0);
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 0);
}

static void a_second_term_stops_at_once(void **state) {
  (void)state;
  serve();
  happens(MP_EVENT_STOP);
  happens(MP_EVENT_STOP);
  assert_int_equal(count(MP_ACTION_HALT), 3);
  sleep_until_alarm();
  assert_int_equal(count(MP_ACTION_KILL), 3);
}

static void int_halts_then_kills_what_does_not_go(void **state) {
  (void)state;
  serve();
  happens(MP_EVENT_STOP_NOW);
  assert_int_equal(count(MP_ACTION_HALT), 3);
  assert_int_equal(alarm_at(), now + MP_ROSTER_HALT_MS);
  happens(MP_EVENT_STOP_NOW); /* the second one does not wait */
  assert_int_equal(count(MP_ACTION_KILL), 3);
}

static void a_stop_while_booting_kills_what_is_not_ready(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  happens(MP_EVENT_STOP);
  assert_int_equal(nth(MP_ACTION_KILL, 0)->seat, 0);
  crashes(0, 0);
  assert_null(said(MP_FACT_AGAIN));
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 0);
}

static void a_stop_with_nobody_there_exits_at_once(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  crashes(0, 0);
  happens(MP_EVENT_STOP);
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 0);
}

static void a_reload_goes_slot_by_slot_each_successor_ready_first(void **state) {
  (void)state;
  serve();
  reloads(3);
  assert_int_equal(count(MP_ACTION_START), 1);
  assert_int_equal(count(MP_ACTION_RETIRE), 0);
  assert_int_equal(nth(MP_ACTION_START, 0)->generation, 2);
  for (unsigned slot = 0; slot < 3; slot++) {
    is_ready(3 + slot);
    assert_int_equal(nth(MP_ACTION_RETIRE, 0)->seat, slot);
    assert_int_equal(count(MP_ACTION_START), slot < 2);
    if (slot == 0) assert_int_equal(said(MP_FACT_ADOPTED)->generation, 2);
  }
  assert_int_equal(said(MP_FACT_RELOADED)->generation, 2);
  exits(0, 0, 9);
  assert_true(said(MP_FACT_ENDED)->asked);
  assert_int_equal(count(MP_ACTION_START), 0);
}

static void a_reload_whose_probe_fails_changes_nothing(void **state) {
  (void)state;
  serve();
  reloads(1);
  exits(3, 3, 0);
  assert_int_equal(said(MP_FACT_DROPPED)->generation, 2);
  assert_int_equal(count(MP_ACTION_RETIRE) + count(MP_ACTION_START) + count(MP_ACTION_EXIT), 0);
  assert_int_equal(r.generation, 1);
  assert_int_equal(r.wanted, 3);
  crashes(1, 1);
  assert_int_equal(nth(MP_ACTION_START, 0)->generation, 1);
  reloads(3);
  assert_int_equal(nth(MP_ACTION_START, 0)->generation, 3); /* no number twice */
}

static void a_probe_that_never_gets_ready_is_dropped(void **state) {
  (void)state;
  serve();
  reloads(3);
  sleep_until_alarm();
  assert_int_equal(nth(MP_ACTION_KILL, 0)->seat, 3);
  crashes(3, 0);
  assert_int_equal(said(MP_FACT_DROPPED)->generation, 2);
}

static void a_later_slot_that_fails_keeps_its_old_worker_and_tries_again(void **state) {
  (void)state;
  serve();
  reloads(3);
  is_ready(3);
  crashes(4, 0); /* slot 1 */
  assert_int_equal(said(MP_FACT_MIXED)->slot, 1);
  assert_int_equal(count(MP_ACTION_RETIRE), 0);
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 2); /* the others go on meanwhile */
  unsigned seat = nth(MP_ACTION_START, 0)->seat;
  is_ready(seat);
  sleep_until_alarm();
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 1);
  crashes(nth(MP_ACTION_START, 0)->seat, 0);
  assert_null(said(MP_FACT_MIXED)); /* told once */
  assert_int_equal(said(MP_FACT_AGAIN)->ms, 200);
  sleep_until_alarm();
  is_ready(nth(MP_ACTION_START, 0)->seat);
  assert_int_equal(nth(MP_ACTION_RETIRE, 0)->seat, 1);
  assert_int_equal(said(MP_FACT_RELOADED)->generation, 2);
}

static void an_old_worker_that_dies_during_a_reload_gets_a_new_one(void **state) {
  (void)state;
  serve();
  reloads(3);
  crashes(2, 4);
  assert_int_equal(nth(MP_ACTION_START, 0)->generation, 1); /* nothing is proven yet */
  is_ready(nth(MP_ACTION_START, 0)->seat);
  is_ready(3);
  crashes(1, 4);
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 2); /* the successor in slot 1 is on its way already */
  is_ready(r.slot[1].coming);
  is_ready(r.slot[2].coming);
  assert_int_equal(said(MP_FACT_RELOADED)->generation, 2);
}

static void a_second_reload_takes_the_place_of_the_first(void **state) {
  (void)state;
  serve();
  reloads(3);
  reloads(3);
  assert_int_equal(nth(MP_ACTION_KILL, 0)->seat, 3);
  assert_int_equal(nth(MP_ACTION_START, 0)->generation, 3);
  unsigned probe = nth(MP_ACTION_START, 0)->seat;
  crashes(3, 0);
  assert_null(said(MP_FACT_DROPPED));
  is_ready(probe);
  assert_int_equal(said(MP_FACT_ADOPTED)->generation, 3);
}

static void a_reload_mends_a_pool_whose_workers_keep_dying(void **state) {
  (void)state;
  serve();
  crashes(0, 0);
  crashes(1, 0);
  crashes(2, 0);
  reloads(3);
  assert_int_equal(nth(MP_ACTION_START, 0)->generation, 2); /* no pause for the probe */
  is_ready(nth(MP_ACTION_START, 0)->seat);
  now += 100;
  happens(MP_EVENT_TICK);
  assert_int_equal(count(MP_ACTION_START), 2);
  assert_int_equal(nth(MP_ACTION_START, 1)->generation, 2);
}

static void a_reload_before_the_first_worker_is_ready_starts_over(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  crashes(0, 0);
  reloads(2);
  assert_int_equal(nth(MP_ACTION_START, 0)->generation, 2);
  assert_int_equal(said(MP_FACT_ADOPTED)->generation, 2);
  exits(nth(MP_ACTION_START, 0)->seat, 3, 0);
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 3);
}

static void a_reload_may_change_the_number_of_workers(void **state) {
  (void)state;
  serve();
  reloads(1);
  is_ready(3);
  assert_int_equal(count(MP_ACTION_RETIRE), 3);
  assert_int_equal(said(MP_FACT_RELOADED)->generation, 2);
  reloads(4);
  is_ready(nth(MP_ACTION_START, 0)->seat);
  assert_int_equal(count(MP_ACTION_START), 3);
}

static void ttin_and_ttou_add_and_take_one(void **state) {
  (void)state;
  serve();
  happens(MP_EVENT_MORE);
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 3);
  is_ready(3);
  happens(MP_EVENT_FEWER);
  assert_int_equal(nth(MP_ACTION_RETIRE, 0)->seat, 3);
  happens(MP_EVENT_FEWER);
  happens(MP_EVENT_FEWER);
  happens(MP_EVENT_FEWER);
  assert_int_equal(r.wanted, 1); /* the last one stays */
}

static void winch_retires_the_workers_until_a_reload(void **state) {
  (void)state;
  serve();
  happens(MP_EVENT_REST);
  assert_int_equal(count(MP_ACTION_RETIRE), 3);
  for (unsigned i = 0; i < 3; i++) exits(i, 0, 1);
  assert_int_equal(count(MP_ACTION_START) + count(MP_ACTION_EXIT), 0);
  reloads(2);
  assert_int_equal(count(MP_ACTION_START), 1);
  is_ready(nth(MP_ACTION_START, 0)->seat);
  assert_int_equal(count(MP_ACTION_START), 1);
}

static void no_time_to_drain_means_at_once(void **state) {
  (void)state;
  mp_roster_init(&r, 1, 0, 0);
  happens(MP_EVENT_BEGIN);
  assert_int_equal(alarm_at(), 0); /* a boot may take for ever */
  is_ready(0);
  happens(MP_EVENT_STOP);
  assert_int_equal(count(MP_ACTION_KILL), 1);
}

static void words_about_an_empty_seat_change_nothing(void **state) {
  (void)state;
  serve();
  is_ready(77);
  crashes(400, 0);
  crashes(100000, 0);
  tell((struct mp_event){.kind = MP_EVENT_START_FAILED, .seat = 9});
  assert_int_equal(r.n_actions, 1); /* the alarm */
}

/* A world of processes that boot, serve, drain and die as a seed has it; the rules are checked after every event. */
static uint64_t seed;

static unsigned chance(unsigned of) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (unsigned)(seed >> 33) % of;
}

static bool alive[MP_ROSTER_SEATS], leaving[MP_ROSTER_SEATS], ready[MP_ROSTER_SEATS];
static unsigned over;

static void do_actions(void) {
  for (unsigned i = 0; i < r.n_actions; i++) {
    const struct mp_action *a = &r.actions[i];
    if (a->kind == MP_ACTION_START) {
      assert_false(alive[a->seat]);
      alive[a->seat] = true;
      leaving[a->seat] = ready[a->seat] = false;
    }
    if (a->kind == MP_ACTION_RETIRE || a->kind == MP_ACTION_FINISH || a->kind == MP_ACTION_HALT ||
        a->kind == MP_ACTION_KILL) {
      assert_true(alive[a->seat]);
      leaving[a->seat] = true;
    }
    if (a->kind == MP_ACTION_EXIT) over++;
    if (a->kind == MP_ACTION_WAKE && a->ms) assert_true(a->ms >= now);
  }
}

static void check_rules(void) {
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) assert_int_equal(alive[i], r.seat[i].state != MP_SEAT_FREE);
  for (unsigned i = 0; i < MP_ROSTER_SLOTS; i++) {
    const struct mp_slot *s = &r.slot[i];
    assert_true(s->serving < 0 || r.seat[s->serving].state == MP_SEAT_SERVING);
    assert_true(s->coming < 0 || r.seat[s->coming].state == MP_SEAT_STARTING);
    assert_true(s->due_ms <= now + MP_ROSTER_LONGEST_PAUSE_MS);
  }
}

static void something_happens(void) {
  unsigned seat = chance(24);
  struct mp_event e = {.kind = MP_EVENT_TICK, .seat = seat, .answered = chance(2)};
  unsigned dice = chance(1000);
  if (dice < 400 && alive[seat] && !leaving[seat]) {
    e.kind = MP_EVENT_READY;
    ready[seat] = true;
  } else if (dice < 700 && alive[seat] && (leaving[seat] || chance(4) == 0)) {
    e.kind = MP_EVENT_ENDED;
    e.status = (struct mp_status){.end = MP_END_EXIT, .code = (int)chance(4)};
    alive[seat] = false;
  } else if (dice < 720 && alive[seat] && !ready[seat]) {
    e.kind = MP_EVENT_START_FAILED;
    alive[seat] = false;
  } else if (dice < 740) {
    static const enum mp_event_kind rare[] = {MP_EVENT_RELOAD, MP_EVENT_MORE, MP_EVENT_FEWER, MP_EVENT_REST};
    e.kind = rare[chance(4)];
    e.workers = 1 + chance(6);
  }
  tell(e);
}

static void calm_down(void) {
  reloads(3);
  do_actions();
  for (unsigned turn = 0; turn < 400; turn++) {
    unsigned seat = turn % 32;
    if (alive[seat] && leaving[seat]) {
      alive[seat] = false;
      exits(seat, 0, 1);
    } else if (alive[seat] && !ready[seat]) {
      ready[seat] = true;
      is_ready(seat);
    } else {
      now += 500;
      happens(MP_EVENT_TICK);
    }
    do_actions();
  }
}

static void comes_to_rest_with_all_slots_filled_whatever_has_happened(void **state) {
  (void)state;
  for (unsigned run = 1; run <= 60; run++) {
    seed = run * 0x9e3779b97f4a7c15u;
    now = 1000;
    over = 0;
    memset(alive, 0, sizeof alive);
    mp_roster_init(&r, 1 + chance(6), 60000, 30000);
    happens(MP_EVENT_BEGIN);
    for (unsigned i = 0; i < 2000 && !over; i++) {
      do_actions();
      check_rules();
      now += chance(300);
      something_happens();
    }
    do_actions();
    if (over) continue; /* it gave up at boot, as it should */
    calm_down();
    for (unsigned i = 0; i < 3; i++)
      if (r.slot[i].serving < 0 || r.seat[r.slot[i].serving].generation != r.newest) fail_msg("run %u", run);
    for (unsigned i = 3; i < MP_ROSTER_SLOTS; i++) assert_true(r.slot[i].serving < 0 && r.slot[i].coming < 0);
  }
}

#define TEST(f) cmocka_unit_test_setup(f, fresh)
/* ---- stuck ---- */

static void is_stuck(unsigned seat) {
  tell((struct mp_event){.kind = MP_EVENT_STUCK, .seat = seat});
}

static unsigned facts(enum mp_fact fact) {
  unsigned n = 0;
  for (unsigned i = 0; i < r.n_actions; i++) n += r.actions[i].kind == MP_ACTION_SAY && r.actions[i].fact == fact;
  return n;
}

static void a_stuck_worker_is_named_at_once_and_killed_half_a_second_later(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  is_ready(0);
  is_stuck(0);
  assert_int_equal(facts(MP_FACT_STUCK), 1);
  assert_int_equal(count(MP_ACTION_KILL), 0);
  assert_int_equal(nth(MP_ACTION_WAKE, 0)->ms, now + MP_ROSTER_STUCK_MS);
  is_stuck(0);
  assert_int_equal(facts(MP_FACT_STUCK), 0);
  now += MP_ROSTER_STUCK_MS;
  happens(MP_EVENT_TICK);
  assert_int_equal(facts(MP_FACT_HUNG), 1);
  assert_int_equal(count(MP_ACTION_KILL), 1);
  happens(MP_EVENT_TICK);
  assert_int_equal(count(MP_ACTION_KILL), 0);
  tell((struct mp_event){
      .kind = MP_EVENT_ENDED, .seat = 0, .status = {.end = MP_END_SIGNAL, .signal = 9}, .answered = 7});
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 0);
}

static void a_stuck_worker_that_comes_back_in_time_lives(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  is_ready(0);
  is_stuck(0);
  now += MP_ROSTER_STUCK_MS - 1;
  tell((struct mp_event){.kind = MP_EVENT_BACK, .seat = 0});
  assert_int_equal(facts(MP_FACT_BACK), 1);
  now += MP_ROSTER_STUCK_MS;
  happens(MP_EVENT_TICK);
  assert_int_equal(count(MP_ACTION_KILL), 0);
}

static void a_worker_stuck_while_it_boots_has_the_time_of_its_boot(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  is_stuck(0);
  now += 2 * MP_ROSTER_STUCK_MS;
  happens(MP_EVENT_TICK);
  assert_int_equal(count(MP_ACTION_KILL), 0);
  now += 60000;
  happens(MP_EVENT_TICK);
  assert_int_equal(count(MP_ACTION_KILL), 1);
}

static void a_stuck_worker_that_was_told_to_leave_is_not_waited_for(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  is_ready(0);
  happens(MP_EVENT_STOP);
  is_stuck(0);
  now += MP_ROSTER_STUCK_MS;
  happens(MP_EVENT_TICK);
  assert_int_equal(count(MP_ACTION_KILL), 1);
}

static void is_handed_over(void) {
  happens(MP_EVENT_HAND_OVER);
}

static void a_pool_that_is_handed_over_retires_everybody_and_exits_0(void **state) {
  (void)state;
  serve();
  is_handed_over();
  assert_int_equal(count(MP_ACTION_RETIRE), 3);
  assert_int_equal(count(MP_ACTION_FINISH) + count(MP_ACTION_KILL) + count(MP_ACTION_START), 0);
  assert_int_equal(said(MP_FACT_STOPPING)->n, 3);
  is_handed_over();
  reloads(3);
  assert_int_equal(count(MP_ACTION_RETIRE) + count(MP_ACTION_START), 0);
  for (unsigned seat = 0; seat < 3; seat++) exits(seat, 0, 1);
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 0);
}

static void one_that_is_handed_over_while_it_reloads_drops_what_comes(void **state) {
  (void)state;
  serve();
  reloads(3);
  assert_int_equal(nth(MP_ACTION_START, 0)->seat, 3);
  is_handed_over();
  assert_int_equal(count(MP_ACTION_RETIRE), 3);
  assert_int_equal(nth(MP_ACTION_KILL, 0)->seat, 3);
}

static void a_term_to_a_pool_that_is_handed_over_is_not_the_second(void **state) {
  (void)state;
  serve();
  is_handed_over();
  happens(MP_EVENT_STOP);
  assert_int_equal(count(MP_ACTION_HALT) + count(MP_ACTION_KILL), 0);
  happens(MP_EVENT_STOP);
  assert_int_equal(count(MP_ACTION_HALT), 3);
}

static void with_one_try_the_first_death_ends_the_boot(void **state) {
  (void)state;
  r.boot_tries = 1;
  happens(MP_EVENT_BEGIN);
  crashes(0, 0);
  assert_int_equal(nth(MP_ACTION_EXIT, 0)->code, 5);
}

static void is_manned_once_every_slot_had_its_worker_or_its_failure(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  assert_false(mp_roster_manned(&r));
  is_ready(0);
  is_ready(1);
  assert_false(mp_roster_manned(&r));
  crashes(2, 0);
  assert_true(mp_roster_manned(&r));
  sleep_until_alarm();
  is_ready(2);
  assert_true(mp_roster_manned(&r));
}

static void reloads_until_every_slot_is_new_or_one_cannot_be(void **state) {
  (void)state;
  serve();
  assert_false(mp_roster_reloads(&r));
  reloads(3);
  assert_true(mp_roster_reloads(&r));
  is_ready(3);
  assert_true(mp_roster_reloads(&r));
  crashes(nth(MP_ACTION_START, 0)->seat, 0);
  assert_non_null(said(MP_FACT_MIXED));
  assert_false(mp_roster_reloads(&r));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_others_start_when_the_first_is_ready),
      TEST(an_app_that_fails_to_load_is_told_once_and_exits_3),
      TEST(five_deaths_at_boot_exit_5_with_pauses_between),
      TEST(starts_that_fail_count_as_deaths_at_boot),
      TEST(a_boot_that_takes_too_long_is_killed_and_counts_as_a_death),
      TEST(once_a_worker_was_ready_the_pool_never_gives_up),
      TEST(a_worker_that_had_answered_is_replaced_at_once),
      TEST(ready_but_never_an_answer_is_a_death_with_a_pause),
      TEST(a_crash_looping_slot_leaves_the_others_alone),
      TEST(term_drains_everybody_and_exits_0),
      TEST(a_worker_that_does_not_drain_in_time_is_killed),
      TEST(a_second_term_stops_at_once),
      TEST(int_halts_then_kills_what_does_not_go),
      TEST(a_stop_while_booting_kills_what_is_not_ready),
      TEST(a_stop_with_nobody_there_exits_at_once),
      TEST(a_reload_goes_slot_by_slot_each_successor_ready_first),
      TEST(a_reload_whose_probe_fails_changes_nothing),
      TEST(a_probe_that_never_gets_ready_is_dropped),
      TEST(a_later_slot_that_fails_keeps_its_old_worker_and_tries_again),
      TEST(an_old_worker_that_dies_during_a_reload_gets_a_new_one),
      TEST(a_second_reload_takes_the_place_of_the_first),
      TEST(a_reload_mends_a_pool_whose_workers_keep_dying),
      TEST(a_reload_before_the_first_worker_is_ready_starts_over),
      TEST(a_reload_may_change_the_number_of_workers),
      TEST(ttin_and_ttou_add_and_take_one),
      TEST(winch_retires_the_workers_until_a_reload),
      TEST(no_time_to_drain_means_at_once),
      TEST(words_about_an_empty_seat_change_nothing),
      TEST(a_stuck_worker_is_named_at_once_and_killed_half_a_second_later),
      TEST(a_stuck_worker_that_comes_back_in_time_lives),
      TEST(a_worker_stuck_while_it_boots_has_the_time_of_its_boot),
      TEST(a_stuck_worker_that_was_told_to_leave_is_not_waited_for),
      TEST(a_pool_that_is_handed_over_retires_everybody_and_exits_0),
      TEST(one_that_is_handed_over_while_it_reloads_drops_what_comes),
      TEST(a_term_to_a_pool_that_is_handed_over_is_not_the_second),
      TEST(with_one_try_the_first_death_ends_the_boot),
      TEST(is_manned_once_every_slot_had_its_worker_or_its_failure),
      TEST(reloads_until_every_slot_is_new_or_one_cannot_be),
      TEST(comes_to_rest_with_all_slots_filled_whatever_has_happened),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
