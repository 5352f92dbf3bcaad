#include "base/ring.h"
#include "base_fork_with.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEATS = 8, SMALL = 4096 };

static int bell;

static void *shared(size_t size) {
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(at, MAP_FAILED);
  return at;
}

static struct mp_ring *new_ring(uint32_t capacity) {
  struct mp_ring *r = shared(mp_ring_size(SEATS, capacity));
  assert_int_equal(mp_ring_format(r, SEATS, capacity), 0);
  return r;
}

static void end_ring(struct mp_ring *r, uint32_t capacity) {
  munmap(r, mp_ring_size(SEATS, capacity));
}

static int publish_at(struct mp_ring *r, const char *topic, const char *value, uint64_t now, struct mp_ring_cut *cut) {
  return mp_ring_publish(r, mp_slice(topic, strlen(topic)), mp_slice(value, strlen(value)), now, bell, cut);
}
static int publish(struct mp_ring *r, const char *topic, const char *value) {
  struct mp_ring_cut cut;
  return publish_at(r, topic, value, 1, &cut);
}
static void attend(struct mp_ring *r, unsigned seat) {
  uint64_t head;
  assert_int_equal(mp_ring_attend(r, seat, &head), 0);
}
static bool has_rung(void) {
  uint64_t n;
  return read(bell, &n, sizeof n) > 0;
}

/* "topic=value " for each message. */
static const char *read_all(struct mp_ring *r, unsigned seat, size_t most) {
  static char text[2 * SMALL];
  struct mp_buf out = {0};
  size_t at = 0;
  int n;
  text[0] = '\0';
  while ((n = mp_ring_read(r, seat, &out, most, bell)) > 0)
    while (n-- > 0) {
      const struct mp_ring_message *m = (const void *)mp_buf_at(&out);
      struct mp_slice topic = mp_ring_topic(m), value = mp_ring_value(m);
      at += (size_t)snprintf(text + at, sizeof text - at, "%.*s=%.*s ", (int)topic.len, topic.at, (int)value.len,
                             value.at);
      mp_buf_take(&out, mp_ring_length(m));
    }
  assert_int_equal(mp_buf_len(&out), 0);
  mp_buf_free(&out);
  assert_int_equal(n, 0);
  return text;
}

static void everybody_hears_everything_in_order(void **state) {
  (void)state;
  struct mp_ring *r = new_ring(SMALL);
  assert_int_equal(publish(r, "t", "nobody hears it"), 0);
  attend(r, 0);
  attend(r, 5);
  assert_int_equal(publish(r, "t", "one"), 0);
  assert_int_equal(publish(r, "", ""), 0);
  assert_string_equal(read_all(r, 0, 1), "t=one = ");
  assert_int_equal(publish(r, "u", "three"), 0);
  attend(r, 2);
  assert_int_equal(publish(r, "u", "four"), 0);
  assert_string_equal(read_all(r, 0, SMALL), "u=three u=four ");
  assert_string_equal(read_all(r, 2, SMALL), "u=four ");
  assert_string_equal(read_all(r, 5, SMALL), "t=one = u=three u=four ");
  mp_ring_leave(r, 5, bell);
  mp_ring_leave(r, 0, bell);
  assert_int_equal(publish(r, "u", "five"), 0);
  assert_string_equal(read_all(r, 2, SMALL), "u=five ");
  mp_ring_leave(r, 2, bell);
  end_ring(r, SMALL);
}

static void a_full_ring_drops_nothing(void **state) {
  (void)state;
  struct mp_ring *r = new_ring(SMALL);
  char big[SMALL] = "";
  attend(r, 0);
  attend(r, 1);
  memset(big, 'b', mp_ring_most(r));
  assert_int_equal(publish(r, "t", big), -EMSGSIZE);
  big[mp_ring_most(r) - 1] = '\0';
  for (int round = 0; round < 50; round++) {
    int n = 0;
    while (publish(r, "t", big + round * 17) == 0) n++;
    assert_true(n >= 4);
    assert_int_equal(strlen(read_all(r, 0, SMALL)), (size_t)n * (strlen(big + round * 17) + 3));
    (void)read_all(r, 1, 1);
  }
  end_ring(r, SMALL);
}

static void who_does_not_read_is_cut_off_in_time(void **state) {
  (void)state;
  struct mp_ring *r = new_ring(SMALL);
  struct mp_ring_cut cut;
  struct mp_buf out = {0};
  char value[500] = "";
  memset(value, 'v', sizeof value - 1);
  attend(r, 0);
  attend(r, 1);
  while (publish(r, "t", value) == 0) (void)read_all(r, 1, SMALL);
  assert_int_equal(publish_at(r, "t", value, 4000, &cut), -EAGAIN);
  assert_int_equal(publish_at(r, "t", value, 1 + MP_RING_PATIENCE_MS - 1, &cut), -EAGAIN);
  assert_int_equal(cut.n, 0);
  assert_int_equal(publish_at(r, "t", value, 1 + MP_RING_PATIENCE_MS, &cut), 0);
  assert_true(cut.n == 1 && cut.pid == getpid());
  assert_int_equal(strlen(read_all(r, 1, SMALL)), 502);
  assert_int_equal(mp_ring_read(r, 0, &out, SMALL, bell), -EPIPE);
  attend(r, 0);
  assert_int_equal(publish(r, "t", "again"), 0);
  assert_string_equal(read_all(r, 0, SMALL), "t=again ");
  mp_buf_free(&out);
  end_ring(r, SMALL);
}

static void who_reads_a_little_is_waited_for(void **state) {
  (void)state;
  struct mp_ring *r = new_ring(SMALL);
  struct mp_ring_cut cut;
  struct mp_buf out = {0};
  attend(r, 0);
  for (uint64_t now = 1; now < 10 * MP_RING_PATIENCE_MS; now += MP_RING_PATIENCE_MS - 1) {
    while (publish_at(r, "t", "a value of some length", now, &cut) == 0) assert_int_equal(cut.n, 0);
    assert_int_equal(mp_ring_read(r, 0, &out, 1, bell), 1);
  }
  mp_buf_free(&out);
  end_ring(r, SMALL);
}

static void who_has_died_holds_up_nobody(void **state) {
  (void)state;
  struct mp_ring *r = new_ring(SMALL);
  attend(r, 0);
  pid_t pid = fork_with();
  if (pid == 0) {
    attend(r, 3);
    kill(getpid(), SIGKILL);
  }
  waitpid(pid, NULL, 0);
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(publish(r, "t", "some value"), 0);
    assert_string_equal(read_all(r, 0, SMALL), "t=some value ");
  }
  attend(r, 3); /* its seat is another's */
  assert_int_equal(publish(r, "t", "x"), 0);
  assert_string_equal(read_all(r, 3, SMALL), "t=x ");
  end_ring(r, SMALL);
}

static void the_bell_rings_for_those_who_sleep(void **state) {
  (void)state;
  struct mp_ring *r = new_ring(SMALL);
  while (has_rung()) continue;
  attend(r, 0);
  assert_int_equal(publish(r, "t", "x"), 0);
  assert_false(has_rung()); /* it has not said that it sleeps */
  (void)read_all(r, 0, SMALL);
  assert_int_equal(publish(r, "t", "x"), 0);
  assert_int_equal(publish(r, "t", "x"), 0);
  assert_true(has_rung());
  while (publish(r, "t", "x") == 0) continue;
  assert_false(has_rung());
  (void)read_all(r, 0, 1); /* a publisher waits for room */
  assert_true(has_rung());
  while (publish(r, "t", "x") == 0) continue;
  while (has_rung()) continue;
  mp_ring_leave(r, 0, bell);
  assert_true(has_rung());
  end_ring(r, SMALL);
}

/* ---- death in every state ---- */

static bool step(pid_t pid, int *status) {
  if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0) return false;
  waitpid(pid, status, 0);
  return WIFSTOPPED(*status);
}

static pid_t start_traced(struct mp_ring *r, bool reads) {
  pid_t pid = fork_with();
  if (pid != 0) return pid;
  struct mp_buf out = {0};
  if (reads) attend(r, 1);
  if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) _exit(77);
  raise(SIGSTOP);
  if (reads)
    mp_ring_read(r, 1, &out, SMALL, bell);
  else
    publish(r, "t", "the one that counts");
  _exit(0);
}

/* Killed once it has changed the ring so many times, and just before it does so again: whatever it was at, the others
 * hear of all that was published. False: it has ended before. */
static bool dies_after(int changes, bool reads) {
  struct mp_ring *r = new_ring(SMALL), *seen = shared(mp_ring_size(SEATS, SMALL));
  int status;
  attend(r, 0);
  assert_string_equal(read_all(r, 0, SMALL), ""); /* it sleeps */
  pid_t pid = start_traced(r, reads);
  waitpid(pid, &status, 0);
  if (WIFEXITED(status)) skip();
  while (has_rung()) continue;
  memcpy((void *)seen, r, mp_ring_size(SEATS, SMALL));
  while (changes > 0 && step(pid, &status)) {
    if (memcmp(seen, r, mp_ring_size(SEATS, SMALL)) == 0) continue;
    memcpy((void *)seen, r, mp_ring_size(SEATS, SMALL));
    changes--;
  }
  bool alive = WIFSTOPPED(status);
  kill(pid, SIGKILL);
  if (alive) waitpid(pid, NULL, 0);
  bool rung = has_rung();
  const char *heard = read_all(r, 0, SMALL);
  assert_true(*heard == '\0' || strcmp(heard, "t=the one that counts ") == 0);
  assert_true(*heard == '\0' || rung);
  if (!reads && !alive) assert_string_equal(heard, "t=the one that counts ");
  assert_int_equal(publish(r, "t", "next"), 0);
  assert_true(has_rung());
  assert_string_equal(read_all(r, 0, SMALL), "t=next ");
  munmap(seen, mp_ring_size(SEATS, SMALL));
  end_ring(r, SMALL);
  return alive;
}

static void death_in_any_state_leaves_nobody_asleep(void **state) {
  (void)state;
  int n = 0;
  for (int reads = 0; reads < 2; reads++)
    for (int changes = 0; dies_after(changes, reads); changes++) n++;
  print_message("%d states\n", n);
  assert_true(n > 10);
}

/* ---- at random ---- */

enum { PUBLISHERS = 3, READERS = 3, LARGE = 64 * 1024 };

struct tally {
  _Atomic uint64_t said[PUBLISHERS]; /* acknowledged, of all its lives */
  _Atomic uint64_t heard[READERS];
  _Atomic bool all_said, over;
};

static _Noreturn void give_up(const char *why) {
  fprintf(stderr, "%d: %s\n", (int)getpid(), why);
  abort();
}

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static _Noreturn void talk(struct mp_ring *r, unsigned me, struct tally *tally, uint64_t life) {
  char value[600];
  struct mp_ring_cut cut;
  memset(value, 'x', sizeof value);
  for (uint64_t n = 1;; n++) {
    uint64_t what[3] = {me, life, n};
    memcpy(value, what, sizeof what);
    size_t len = sizeof what + (size_t)(n * 7919 % 500);
    while (mp_ring_publish(r, MP_SLICE("talk"), mp_slice(value, len), now_ms(), bell, &cut) == -EAGAIN) {
      if (cut.n) give_up("a reader was cut off");
      usleep(50);
    }
    tally->said[me]++;
    if (tally->all_said) _exit(0);
  }
}

/* Within a life each number follows the one before, whoever publishes in between. */
static void hear(const struct mp_ring_message *m, uint64_t lives[PUBLISHERS][2], bool from_the_beginning) {
  uint64_t what[3];
  memcpy(what, mp_ring_value(m).at, sizeof what);
  uint64_t *last = lives[what[0]];
  bool first = last[0] != what[1];
  if (!first && what[2] != last[1] + 1) give_up("a message is missing");
  if (first && (last[0] || from_the_beginning) && what[2] != 1) give_up("the first message is missing");
  last[0] = what[1];
  last[1] = what[2];
}

static _Noreturn void listen_to(struct mp_ring *r, unsigned me, struct tally *tally) {
  uint64_t lives[PUBLISHERS][2] = {{0}};
  struct mp_buf out = {0};
  attend(r, me);
  for (tally->heard[me] = 0;;) {
    bool over = tally->over;
    int n = mp_ring_read(r, me, &out, 8192, bell);
    if (n < 0) give_up(strerror(-n));
    if (n == 0 && over) _exit(0);
    if (n == 0) usleep(50);
    for (; n > 0; n--) {
      const struct mp_ring_message *m = (const void *)mp_buf_at(&out);
      hear(m, lives, me == 0);
      tally->heard[me]++;
      mp_buf_take(&out, mp_ring_length(m));
    }
  }
}

static pid_t start(struct mp_ring *r, bool talks, unsigned me, struct tally *tally, uint64_t life) {
  pid_t pid = fork_with();
  if (pid == 0 && talks) talk(r, me, tally, life);
  if (pid == 0) listen_to(r, me, tally);
  assert_true(pid > 0);
  return pid;
}

static void ends_well(pid_t pid) {
  int status;
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void deaths_lose_nothing_for_those_who_live(void **state) {
  (void)state;
  const char *wanted = getenv("SPEC_KILLS");
  unsigned kills = wanted ? (unsigned)strtoul(wanted, NULL, 10) : 300;
  struct mp_ring *r = new_ring(LARGE);
  struct tally *tally = shared(sizeof *tally);
  pid_t talkers[PUBLISHERS], readers[READERS];
  int status;
  for (unsigned i = 0; i < READERS; i++) readers[i] = start(r, false, i, tally, 0);
  usleep(200000);
  for (unsigned i = 0; i < PUBLISHERS; i++) talkers[i] = start(r, true, i, tally, 1);
  for (unsigned i = 0; i < kills; i++) {
    bool talks = i % 3 != 0;
    unsigned who = talks ? i % PUBLISHERS : 1 + i / 3 % (READERS - 1); /* reader 0 lives through it all */
    pid_t *pid = talks ? &talkers[who] : &readers[who];
    usleep(1000 + i * 7919 % 997);
    kill(*pid, SIGKILL);
    waitpid(*pid, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    *pid = start(r, talks, who, tally, i + 2);
  }
  tally->all_said = true;
  for (unsigned i = 0; i < PUBLISHERS; i++) ends_well(talkers[i]);
  tally->over = true;
  for (unsigned i = 0; i < READERS; i++) ends_well(readers[i]);
  uint64_t said = tally->said[0] + tally->said[1] + tally->said[2];
  print_message("%u deaths, %llu messages acknowledged, %llu heard\n", kills, (unsigned long long)said,
                (unsigned long long)tally->heard[0]);
  assert_true(tally->heard[0] >= said && tally->heard[0] <= said + kills);
  munmap(tally, sizeof *tally);
  end_ring(r, LARGE);
}

int main(void) {
  bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everybody_hears_everything_in_order),
      cmocka_unit_test(a_full_ring_drops_nothing),
      cmocka_unit_test(who_does_not_read_is_cut_off_in_time),
      cmocka_unit_test(who_reads_a_little_is_waited_for),
      cmocka_unit_test(who_has_died_holds_up_nobody),
      cmocka_unit_test(the_bell_rings_for_those_who_sleep),
      cmocka_unit_test(death_in_any_state_leaves_nobody_asleep),
      cmocka_unit_test(deaths_lose_nothing_for_those_who_live),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
