#include "base/emit.h"
#include "base/shm.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static struct mp_shm *shm;
static int fd;

static int begin(void **state) {
  (void)state;
  shm = mp_shm_create(4, &fd);
  return shm ? 0 : -1;
}

static int end(void **state) {
  (void)state;
  mp_shm_unmap(shm);
  return close(fd);
}

static void park(struct mp_view *view, unsigned i, uint64_t began_ns, uint64_t number, const char *line) {
  struct mp_view_request *r = &view->request[i];
  mp_view_write_begin(r);
  r->began_ns = began_ns;
  r->number = number;
  mp_view_set_line(r, mp_slice(line, strlen(line)));
  mp_view_write_end(r);
}

static void enter(struct mp_view *view, uint64_t began_ns, uint64_t number, const char *line) {
  view->current.number = number;
  mp_view_set_line(&view->current, mp_slice(line, strlen(line)));
  atomic_store(&view->current.began_ns, began_ns);
}

static void requests_in_flight_are_told_oldest_first(void **state) {
  struct mp_view *view = &shm->slot[0].view;
  struct mp_view_request list[8];
  int running = 7;
  (void)state;
  assert_int_equal(mp_view_in_flight(view, list, 8, &running), 0);
  assert_int_equal(running, -1);
  park(view, 3, 200, 2, "GET /b");
  park(view, 1, 100, 1, "GET /a");
  strcpy(view->id_prefix, "f00d");
  enter(view, 300, 3, "GET /c");
  assert_int_equal(mp_view_in_flight(view, list, 8, &running), 3);
  assert_int_equal(list[0].number, 1);
  assert_int_equal(list[2].number, 3);
  assert_memory_equal(list[2].line, "GET /c", 6);
  assert_string_equal(list[2].id, "f00d00000003");
  assert_int_equal(running, 2);
  atomic_store(&view->current.began_ns, 0);
  atomic_store(&view->running, 1);
  assert_int_equal(mp_view_in_flight(view, list, 8, &running), 2);
  assert_int_equal(running, 0);
}

static void with_little_room_the_oldest_and_the_running_one_are_told(void **state) {
  struct mp_view *view = &shm->slot[0].view;
  struct mp_view_request list[2];
  int running;
  (void)state;
  for (unsigned i = 0; i < 10; i++) park(view, i, 1000 - i, i + 1, "GET /");
  assert_int_equal(mp_view_in_flight(view, list, 2, &running), 2);
  assert_int_equal(list[0].began_ns, 991);
  assert_int_equal(list[1].began_ns, 992);
  enter(view, 2000, 11, "GET /now");
  assert_int_equal(mp_view_in_flight(view, list, 2, &running), 2);
  assert_int_equal(list[1].number, 11);
  assert_int_equal(running, 1);
}

static void one_that_is_being_parked_is_told_once(void **state) {
  struct mp_view *view = &shm->slot[0].view;
  struct mp_view_request list[4];
  int running;
  (void)state;
  enter(view, 100, 1, "GET /a");
  park(view, 0, 100, 1, "GET /a");
  assert_int_equal(mp_view_in_flight(view, list, 4, &running), 1);
  assert_int_equal(running, 0);
}

static void what_was_being_written_is_skipped_and_nothing_is_believed(void **state) {
  struct mp_view *view = &shm->slot[0].view;
  struct mp_view_request list[4], r;
  (void)state;
  park(view, 0, 100, 1, "GET /a");
  mp_view_write_begin(&view->request[0]);
  assert_int_equal(mp_view_in_flight(view, list, 4, NULL), 0);
  mp_view_write_end(&view->request[0]);
  view->request[0].len = 4000000000U;
  memset(view->request[0].id, 'x', MP_VIEW_ID);
  assert_true(mp_view_read(&view->request[0], &r));
  assert_int_equal(r.len, MP_VIEW_LINE);
  assert_int_equal(strlen(r.id), MP_VIEW_ID - 1);
  memset(view->id_prefix, 'y', sizeof view->id_prefix);
  enter(view, 50, 1000, "GET /b");
  assert_int_equal(mp_view_in_flight(view, list, 4, NULL), 2);
  assert_true(strlen(list[0].id) < MP_VIEW_ID);
}

static void a_line_is_cut(void **state) {
  struct mp_view *view = &shm->slot[0].view;
  char line[500];
  struct mp_view_request r;
  (void)state;
  memset(line, 'a', sizeof line - 1);
  line[sizeof line - 1] = '\0';
  park(view, 0, 1, 1, line);
  assert_true(mp_view_read(&view->request[0], &r));
  assert_int_equal(r.len, MP_VIEW_LINE);
}

static void latencies_go_to_the_first_bound_that_holds_them(void **state) {
  struct mp_view *view = &shm->slot[0].view;
  (void)state;
  mp_view_latency(view, 0);
  mp_view_latency(view, 1000000);
  mp_view_latency(view, 1000001);
  mp_view_latency(view, UINT64_C(11000000000));
  assert_int_equal(mp_counter_get(&view->count[MP_COUNT_LATENCY]), 2);
  assert_int_equal(mp_counter_get(&view->count[MP_COUNT_LATENCY + 1]), 1);
  assert_int_equal(mp_counter_get(&view->count[MP_COUNT_LATENCY + MP_VIEW_LATENCIES]), 1);
  assert_int_equal(mp_counter_get(&view->count[MP_COUNT_LATENCY_NS]), UINT64_C(11002000001));
}

static void methods_and_refusals_have_their_places(void **state) {
  (void)state;
  assert_int_equal(mp_view_method(MP_SLICE("GET")), MP_VIEW_GET);
  assert_string_equal(mp_view_method_name[mp_view_method(MP_SLICE("DELETE"))], "DELETE");
  assert_int_equal(mp_view_method(MP_SLICE("get")), MP_VIEW_OTHER);
  assert_int_equal(mp_view_method(MP_SLICE("GEX")), MP_VIEW_OTHER);
  assert_int_equal(mp_view_method(MP_SLICE("")), MP_VIEW_OTHER);
  assert_int_equal(mp_view_method(MP_SLICE("other")), MP_VIEW_OTHER);
  assert_string_equal(mp_view_refusal_name[mp_view_refusal(431)], "431");
  assert_string_equal(mp_view_refusal_name[mp_view_refusal(418)], "other");
}

static void counters_of_the_dead_stay_with_the_pool(void **state) {
  uint64_t total[MP_COUNTS];
  (void)state;
  atomic_store(&shm->top, 2);
  mp_counter_add(&shm->slot[0].view.count[MP_COUNT_BYTES], 5);
  mp_counter_add(&shm->slot[1].view.count[MP_COUNT_BYTES], 7);
  mp_shm_totals(shm, total);
  assert_int_equal(total[MP_COUNT_BYTES], 12);
  park(&shm->slot[0].view, 0, 1, 1, "GET /");
  mp_shm_fold(shm, 0);
  mp_shm_totals(shm, total);
  assert_int_equal(total[MP_COUNT_BYTES], 12);
  assert_int_equal(mp_view_in_flight(&shm->slot[0].view, &(struct mp_view_request){0}, 1, NULL), 1);
  mp_view_clear(&shm->slot[0].view);
  mp_counter_add(&shm->slot[0].view.count[MP_COUNT_BYTES], 1);
  mp_shm_totals(shm, total);
  assert_int_equal(total[MP_COUNT_BYTES], 13);
  assert_int_equal(mp_view_in_flight(&shm->slot[0].view, &(struct mp_view_request){0}, 1, NULL), 0);
}

static void a_master_that_stands_still_in_the_middle_is_not_waited_for(void **state) {
  uint64_t total[MP_COUNTS];
  (void)state;
  atomic_store(&shm->top, 4000000000U); /* nor believed */
  atomic_fetch_add(&shm->pool.seq, 1);
  mp_counter_add(&shm->slot[3].view.count[MP_COUNT_BYTES], 9);
  mp_shm_totals(shm, total);
  assert_int_equal(total[MP_COUNT_BYTES], 9);
}

static void json_is_written_with_its_commas_and_escapes(void **state) {
  struct mp_buf out = {0};
  struct mp_emit e = {.out = &out};
  (void)state;
  mp_emit_begin(&e, NULL, '{');
  mp_emit_text(&e, "a\"b", mp_slice("x\"\\\n\x7f\xff\0y", 8));
  mp_emit_begin(&e, "list", '[');
  mp_emit_count(&e, NULL, UINT64_MAX);
  mp_emit_number(&e, NULL, 0.25);
  mp_emit_begin(&e, NULL, '{');
  mp_emit_end(&e, '}');
  mp_emit_begin(&e, NULL, '[');
  mp_emit_end(&e, ']');
  mp_emit_flag(&e, NULL, true);
  mp_emit_null(&e, NULL);
  mp_emit_end(&e, ']');
  mp_emit_raw(&e, "raw", MP_SLICE("[1]"));
  mp_emit_end(&e, '}');
  assert_int_equal(e.err, 0);
  assert_int_equal(mp_buf_add(&out, "", 1), 0);
  assert_string_equal(
      mp_buf_at(&out),
      "{\"a\\\"b\":\"x\\\"\\\\\\u000a\\u007f\\u00ff\\u0000y\",\"list\":[18446744073709551615,0.250,{},[],"
      "true,null],\"raw\":[1]}");
  mp_buf_free(&out);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
      TEST(requests_in_flight_are_told_oldest_first),
      TEST(with_little_room_the_oldest_and_the_running_one_are_told),
      TEST(one_that_is_being_parked_is_told_once),
      TEST(what_was_being_written_is_skipped_and_nothing_is_believed),
      TEST(a_line_is_cut),
      TEST(latencies_go_to_the_first_bound_that_holds_them),
      TEST(methods_and_refusals_have_their_places),
      TEST(counters_of_the_dead_stay_with_the_pool),
      TEST(a_master_that_stands_still_in_the_middle_is_not_waited_for),
      TEST(json_is_written_with_its_commas_and_escapes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
