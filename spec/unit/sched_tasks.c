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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_its_coroutine_while_somebody_holds_the_task),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
