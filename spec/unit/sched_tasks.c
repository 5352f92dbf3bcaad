/* What a task is to scripts: it runs, waits, ends once; its values and its error are kept for whoever asks. */
#include "sched_toy.h"

static void keeps_its_coroutine_while_somebody_holds_the_task(void **state) {
  (void)state;
  says("local t = spawn(function()"
       "  for i = 1, 3 do sleep(0.1) end "
       "  return 'still there' "
       "end) "
       "say(wait(t))",
       "still there");
}

static void cancel_own_scope(struct mp_task *task, enum mp_outcome outcome, int n_values) {
  (void)outcome, (void)n_values;
  mp_scope_cancel(task->scope);
}

static void may_have_its_scope_cancelled_by_its_own_end(void **state) {
  (void)state;
  struct toy *toy = toy_open();
  struct toy_scope *s = new_scope(toy);
  struct mp_task *task = mp_task_new(&toy->sched, &s->scope);
  load(toy, task->co, "say 'one'");
  task->on_end = cancel_own_scope;
  mp_scope_close(&s->scope);
  mp_task_run(task, 0);
  toy_start(toy, "sleep(60) say(now())");
  assert_int_equal(toy->sched.n_free, 0);
  toy_run(toy);
  toy_hears(toy, "one 60000");
  assert_int_equal(toy->sched.n_free, 1);
  toy_close(toy);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_its_coroutine_while_somebody_holds_the_task),
      cmocka_unit_test(may_have_its_scope_cancelled_by_its_own_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
