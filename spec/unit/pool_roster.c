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

static void begin(unsigned workers, uint64_t boot_ms, uint64_t graceful_ms) {
  memset(&r, 0, sizeof r);
  mp_roster_init(&r, workers, boot_ms, graceful_ms);
}
static uint64_t now;

static int fresh(void **state) {
  (void)state;
  now = 1000;
  begin(3, 60000, 30000);
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
  begin(1, 0, 0);
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

/* ---- silent ---- */

static void is_silent(unsigned seat, uint64_t ms) {
  tell((struct mp_event){.kind = MP_EVENT_SILENT, .seat = seat, .ms = ms});
}

static void a_silent_worker_is_killed_when_its_time_and_a_second_are_over(void **state) {
  (void)state;
  r.timeout_ms = 30000;
  serve();
  is_silent(1, 30000 + MP_ROSTER_SILENCE_MS - 1);
  assert_int_equal(count(MP_ACTION_KILL), 0);
  is_silent(1, 30000 + MP_ROSTER_SILENCE_MS);
  assert_int_equal(said(MP_FACT_SILENT)->ms, 31000);
  assert_int_equal(nth(MP_ACTION_KILL, 0)->seat, 1);
  is_silent(1, 40000);
  assert_int_equal(r.n_actions, 1); /* the alarm */
  crashes(1, 7);
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 1);
}

static void a_silent_worker_is_not_killed_while_it_boots_or_without_a_timeout(void **state) {
  (void)state;
  happens(MP_EVENT_BEGIN);
  r.timeout_ms = 30000;
  is_silent(0, 50000);
  assert_int_equal(count(MP_ACTION_KILL), 0);
  is_ready(0);
  r.timeout_ms = 0;
  is_silent(0, 5000000);
  assert_int_equal(count(MP_ACTION_KILL), 0);
}

static void a_silent_worker_that_is_said_to_be_stuck_is_told_once(void **state) {
  (void)state;
  r.timeout_ms = 1000;
  serve();
  is_stuck(1);
  is_silent(1, 2000);
  assert_null(said(MP_FACT_SILENT));
  assert_int_equal(count(MP_ACTION_KILL), 0);
  sleep_until_alarm();
  assert_int_equal(count(MP_ACTION_KILL), 1);
}

static void a_silent_worker_that_leaves_is_not_waited_for(void **state) {
  (void)state;
  r.timeout_ms = 1000;
  serve();
  happens(MP_EVENT_STOP);
  is_silent(2, 2000);
  assert_int_equal(nth(MP_ACTION_KILL, 0)->seat, 2);
}

/* ---- limits ---- */

static void is_spent(unsigned seat, enum mp_limit limit) {
  tell((struct mp_event){.kind = MP_EVENT_SPENT, .seat = seat, .limit = limit, .figure = 1234});
}

static void a_worker_at_a_limit_serves_until_its_successor_is_ready(void **state) {
  (void)state;
  serve();
  is_spent(1, MP_LIMIT_REQUESTS);
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 1);
  assert_int_equal(nth(MP_ACTION_START, 0)->generation, 1);
  assert_int_equal(count(MP_ACTION_RETIRE), 0);
  is_spent(1, MP_LIMIT_REQUESTS); /* said again, it means the same */
  assert_int_equal(count(MP_ACTION_START), 0);
  is_ready(3);
  assert_int_equal(said(MP_FACT_RENEWED)->limit, MP_LIMIT_REQUESTS);
  assert_int_equal(said(MP_FACT_RENEWED)->figure, 1234);
  assert_int_equal(said(MP_FACT_RENEWED)->seat, 1);
  assert_int_equal(nth(MP_ACTION_RETIRE, 0)->seat, 1);
  exits(1, 0, 1234);
  assert_int_equal(count(MP_ACTION_START), 0);
}

static void workers_at_a_limit_are_replaced_one_after_the_other(void **state) {
  (void)state;
  serve();
  for (unsigned seat = 0; seat < 3; seat++) is_spent(seat, MP_LIMIT_REQUESTS);
  for (unsigned slot = 0; slot < 3; slot++) {
    assert_int_equal(r.slot[slot].coming, 3 + slot);
    if (slot < 2) assert_int_equal(r.slot[slot + 1].coming, -1);
    is_ready(3 + slot);
    assert_int_equal(nth(MP_ACTION_RETIRE, 0)->seat, slot);
  }
  assert_int_equal(count(MP_ACTION_START), 0);
}

static void a_slot_whose_last_worker_still_leaves_waits_with_the_next(void **state) {
  (void)state;
  serve();
  is_spent(0, MP_LIMIT_REQUESTS);
  is_ready(3);
  is_spent(3, MP_LIMIT_REQUESTS);
  assert_int_equal(count(MP_ACTION_START), 0);
  exits(0, 0, 9);
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 0);
}

static void a_worker_at_a_limit_whose_successor_fails_goes_on(void **state) {
  (void)state;
  serve();
  is_spent(2, MP_LIMIT_REQUESTS);
  exits(3, 3, 0);
  assert_int_equal(said(MP_FACT_KEPT)->slot, 2);
  assert_null(said(MP_FACT_MIXED));
  assert_int_equal(said(MP_FACT_AGAIN)->ms, 100);
  sleep_until_alarm();
  exits(3, 3, 0);
  assert_null(said(MP_FACT_KEPT)); /* told once */
  assert_int_equal(count(MP_ACTION_RETIRE) + count(MP_ACTION_EXIT), 0);
  sleep_until_alarm();
  is_ready(3);
  assert_int_equal(nth(MP_ACTION_RETIRE, 0)->seat, 2);
}

static void a_worker_at_a_limit_that_dies_is_replaced_like_any_other(void **state) {
  (void)state;
  serve();
  is_spent(2, MP_LIMIT_REQUESTS);
  crashes(2, 7);
  assert_int_equal(count(MP_ACTION_START), 0); /* its successor is on its way already */
  is_ready(3);
  assert_null(said(MP_FACT_RENEWED));
  assert_int_equal(r.slot[2].serving, 3);
}

static void a_reload_comes_before_limits(void **state) {
  (void)state;
  serve();
  reloads(3);
  is_spent(1, MP_LIMIT_REQUESTS);
  assert_int_equal(count(MP_ACTION_START), 0);
  is_ready(3);
  is_ready(4);
  assert_int_equal(nth(MP_ACTION_RETIRE, 0)->seat, 1);
  assert_null(said(MP_FACT_RENEWED)); /* the reload has done it */
  is_ready(5);
  assert_non_null(said(MP_FACT_RELOADED));
  assert_int_equal(count(MP_ACTION_START), 0);
}

static void a_lifetime_counts_from_being_ready(void **state) {
  (void)state;
  begin(1, 60000, 30000);
  r.lifetime_ms = 5000;
  happens(MP_EVENT_BEGIN);
  now += 4000;
  is_ready(0);
  assert_int_equal(alarm_at(), now + 5000);
  sleep_until_alarm();
  assert_int_equal(nth(MP_ACTION_START, 0)->slot, 0);
  now += 10;
  is_ready(1);
  assert_int_equal(said(MP_FACT_RENEWED)->limit, MP_LIMIT_AGE);
  assert_int_equal(said(MP_FACT_RENEWED)->figure, 5000);
  assert_true(alarm_at() <= now + 5000);
}

static void a_worker_that_is_too_large_at_once_is_replaced_ever_more_slowly(void **state) {
  static const uint64_t waits[] = {0, 1000, 2000, 4000, 8000, 10000, 10000};
  (void)state;
  begin(1, 60000, 30000);
  happens(MP_EVENT_BEGIN);
  is_ready(0);
  for (unsigned i = 0, seat = 0; i < 7; i++, seat = !seat) {
    if (waits[i]) {
      now += waits[i] - 1;
      is_spent(seat, MP_LIMIT_MEMORY);
      assert_int_equal(count(MP_ACTION_START), 0);
      now++;
    }
    is_spent(seat, MP_LIMIT_MEMORY);
    assert_int_equal(count(MP_ACTION_START), 1);
    is_ready(!seat);
    exits(seat, 0, 1);
  }
}

static void a_killed_worker_that_does_not_die_makes_no_further_noise(void **state) {
  (void)state;
  r.timeout_ms = 1000;
  serve();
  is_silent(1, 2000);
  assert_int_equal(count(MP_ACTION_KILL), 1);
  happens(MP_EVENT_STOP);
  assert_int_equal(count(MP_ACTION_FINISH), 2);
  exits(0, 0, 1);
  exits(2, 0, 1);
  assert_int_equal(alarm_at(), 0);
  now += 100000;
  happens(MP_EVENT_TICK);
  assert_null(said(MP_FACT_OVERDUE));
  assert_int_equal(r.n_actions, 1);
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
      TEST(a_silent_worker_is_killed_when_its_time_and_a_second_are_over),
      TEST(a_silent_worker_is_not_killed_while_it_boots_or_without_a_timeout),
      TEST(a_silent_worker_that_is_said_to_be_stuck_is_told_once),
      TEST(a_silent_worker_that_leaves_is_not_waited_for),
      TEST(a_worker_at_a_limit_serves_until_its_successor_is_ready),
      TEST(workers_at_a_limit_are_replaced_one_after_the_other),
      TEST(a_slot_whose_last_worker_still_leaves_waits_with_the_next),
      TEST(a_worker_at_a_limit_whose_successor_fails_goes_on),
      TEST(a_worker_at_a_limit_that_dies_is_replaced_like_any_other),
      TEST(a_reload_comes_before_limits),
      TEST(a_lifetime_counts_from_being_ready),
      TEST(a_worker_that_is_too_large_at_once_is_replaced_ever_more_slowly),
      TEST(a_killed_worker_that_does_not_die_makes_no_further_noise),
      TEST(a_pool_that_is_handed_over_retires_everybody_and_exits_0),
      TEST(one_that_is_handed_over_while_it_reloads_drops_what_comes),
      TEST(a_term_to_a_pool_that_is_handed_over_is_not_the_second),
      TEST(with_one_try_the_first_death_ends_the_boot),
      TEST(is_manned_once_every_slot_had_its_worker_or_its_failure),
      TEST(reloads_until_every_slot_is_new_or_one_cannot_be),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
