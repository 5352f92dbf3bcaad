/* Death in the middle: at every instruction of every kind of call, by single steps; then at random, by thousands. */
#include "base/robust.h"
#include "base_fork_with.h"
#include "base_store_checked.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const uint64_t seed[2] = {3, 4};

static void *shared(size_t size) {
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(at, MAP_FAILED);
  return at;
}

static struct mp_store *new_store(size_t size) {
  struct mp_store *s = shared(size);
  assert_int_equal(mp_store_format(s, size, seed), 0);
  return s;
}

static struct mp_store_key key(const char *k) {
  return (struct mp_store_key){MP_SLICE("n"), mp_slice(k, strlen(k))};
}
static int set_number(struct mp_store *s, const char *k, int64_t n, uint64_t ttl, uint64_t now) {
  struct mp_store_key at = key(k);
  struct mp_store_value v = {.type = MP_STORE_INTEGER, .integer = n};
  return mp_store_set(s, &at, &v, ttl, now);
}
static int set_text(struct mp_store *s, const char *k, char fill, size_t len, uint64_t ttl, uint64_t now) {
  char bytes[2000];
  struct mp_store_key at = key(k);
  struct mp_store_value v = {.type = MP_STORE_TEXT, .text = {bytes, len}};
  memset(bytes, fill, len);
  return mp_store_set(s, &at, &v, ttl, now);
}

/* ---- one instruction at a time ---- */

enum { SMALL = sizeof(struct mp_store) + 4096, SOON = 100 };

/* What the key has, as a text: to compare what was before and after. */
static void describe(struct mp_store *s, const char *k, char *out, size_t size) {
  struct mp_store_key at = key(k);
  struct mp_store_value v;
  char room[2000];
  uint64_t left = 0;
  int err = mp_store_get(s, &at, room, sizeof room, SOON, &v);
  if (err == 0) mp_store_ttl(s, &at, SOON, &left);
  if (err < 0)
    snprintf(out, size, "%d", err);
  else if (v.type == MP_STORE_INTEGER)
    snprintf(out, size, "number %lld for %llu", (long long)v.integer, (unsigned long long)left);
  else
    snprintf(out, size, "text %c %c %zu for %llu", room[0], room[v.text.len - 1], v.text.len, (unsigned long long)left);
}

/* Keys that are there before each of the calls below: some old, some aging, one expired; `free`: how much is left. */
static void furnish(struct mp_store *s, bool is_full) {
  char k[16];
  set_number(s, "stays", 7, 0, 1);
  set_text(s, "text", 'a', 200, 0, 1);
  set_text(s, "aging", 'b', 150, 5000, 1);
  set_number(s, "count", 41, 900, 1);
  set_number(s, "over", 1, 50, 1);
  for (int i = 0; i < 12; i++) {
    snprintf(k, sizeof k, "e%d", i);
    set_text(s, k, 'c', 50, (uint64_t)(1000 - 7 * i), 1);
  }
  for (int i = 0; is_full && s->n_free > 1; i++) {
    snprintf(k, sizeof k, "f%d", i);
    set_number(s, k, i, 0, 1);
  }
}

static void incr(struct mp_store *s, const char *k) {
  struct mp_store_key at = key(k);
  struct mp_store_value v = {.type = MP_STORE_INTEGER, .integer = 1};
  mp_store_incr(s, &at, &v, 70, SOON);
}

static void c_incr(struct mp_store *s) {
  incr(s, "count");
}
static void c_incr_new(struct mp_store *s) {
  incr(s, "new");
}
static void c_set_new(struct mp_store *s) {
  set_text(s, "new", 'n', 180, 30, SOON);
}
static void c_replace(struct mp_store *s) {
  set_text(s, "text", 'r', 300, 0, SOON);
}
static void c_replace_aging(struct mp_store *s) {
  set_text(s, "aging", 'r', 100, 7, SOON);
}
static void c_number_for_text(struct mp_store *s) {
  set_number(s, "text", 3, 60, SOON);
}
static void c_number_again(struct mp_store *s) {
  set_number(s, "count", 3, 0, SOON);
}
static void c_delete(struct mp_store *s) {
  struct mp_store_key at = key("aging");
  mp_store_delete(s, &at, SOON);
}
static void c_get(struct mp_store *s) {
  char out[100];
  describe(s, "aging", out, sizeof out);
}
static void c_get_expired(struct mp_store *s) {
  char out[100];
  describe(s, "over", out, sizeof out);
}

static const struct {
  const char *name, *key; /* the one that it is about */
  void (*run)(struct mp_store *s);
  bool is_full;
} calls[] = {{"incr", "count", c_incr, false},
             {"incr of a new one", "new", c_incr_new, false},
             {"set of a new one", "new", c_set_new, false},
             {"set that evicts", "new", c_set_new, true},
             {"a longer text", "text", c_replace, false},
             {"a longer text that evicts", "text", c_replace, true},
             {"a shorter text with another time", "aging", c_replace_aging, false},
             {"a number for a text", "text", c_number_for_text, false},
             {"a number for a number", "count", c_number_again, false},
             {"delete", "aging", c_delete, false},
             {"get", "aging", c_get, false},
             {"get of one that has expired", "over", c_get_expired, false}};

/* The copy of a dead process's store, as the next one finds it. */
static void take_over(struct mp_store *copy) {
  mp_store_take_back(copy);
  mp_robust_init(&copy->lock);
}

struct expectation {
  char before[100], after[100];
  long steps, states; /* states: of the memory, that were looked at */
};

static void judge(const struct mp_store *found, unsigned call, struct expectation *x) {
  static struct mp_store *copy;
  char now[100], stays[100];
  if (!copy) copy = shared(SMALL);
  memcpy((void *)copy, found, SMALL);
  take_over(copy);
  const char *wrong = check_store(copy);
  describe(copy, calls[call].key, now, sizeof now);
  describe(copy, "stays", stays, sizeof stays);
  if (!wrong && strcmp(now, x->before) != 0 && strcmp(now, x->after) != 0) wrong = now;
  if (!wrong && strcmp(stays, "number 7 for 0") != 0) wrong = stays;
  if (!wrong) wrong = check_store(copy);
  if (wrong)
    fail_msg("%s, step %ld: %s (before: %s, after: %s)", calls[call].name, x->steps, wrong, x->before, x->after);
  x->states++;
}

static pid_t start_traced(struct mp_store *s, unsigned call) {
  pid_t pid = fork_with();
  if (pid != 0) return pid;
  if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) _exit(77);
  raise(SIGSTOP);
  calls[call].run(s);
  raise(SIGSTOP);
  _exit(0);
}

/* False: this system does not let us. */
static bool walk(unsigned call, struct expectation *x) {
  struct mp_store *s = new_store(SMALL), *seen = shared(SMALL);
  int status;
  furnish(s, calls[call].is_full);
  memcpy((void *)seen, s, SMALL);
  pid_t pid = start_traced(s, call);
  waitpid(pid, &status, 0);
  if (WIFEXITED(status)) return false;
  do {
    if (memcmp(seen, s, SMALL) != 0) {
      memcpy((void *)seen, s, SMALL);
      judge(s, call, x);
    }
    x->steps++;
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0) return false;
    waitpid(pid, &status, 0);
    assert_true(WIFSTOPPED(status));
  } while (WSTOPSIG(status) != SIGSTOP);
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  munmap(seen, SMALL);
  munmap(s, SMALL);
  return true;
}

static void death_at_any_instruction_is_repaired(void **state) {
  (void)state;
  for (unsigned call = 0; call < sizeof calls / sizeof *calls; call++) {
    struct expectation x = {.steps = 0};
    struct mp_store *s = new_store(SMALL);
    furnish(s, calls[call].is_full);
    describe(s, calls[call].key, x.before, sizeof x.before);
    munmap(s, SMALL);
    s = new_store(SMALL);
    furnish(s, calls[call].is_full);
    calls[call].run(s);
    describe(s, calls[call].key, x.after, sizeof x.after);
    assert_null(check_store(s));
    munmap(s, SMALL);
    if (!walk(call, &x)) {
      print_message("no process may be traced here\n");
      skip();
    }
    print_message("%-33s %6ld instructions, %4ld states\n", calls[call].name, x.steps, x.states);
    assert_true(x.states > 5);
  }
}

/* ---- at random ---- */

static unsigned kills(void) {
  const char *wanted = getenv("SPEC_KILLS");
  return wanted ? (unsigned)strtoul(wanted, NULL, 10) : 300;
}

static uint64_t now_ms(void) {
  return mp_store_now();
}

/* Tells in `acknowledged` what it was told. */
static _Noreturn void churn(struct mp_store *s, unsigned me, _Atomic int64_t *acknowledged) {
  char own[16], k[16];
  unsigned random = (unsigned)getpid() * 2654435761u;
  snprintf(own, sizeof own, "own%u", me);
  for (unsigned i = 0;; i++) {
    struct mp_store_key at = key(own);
    struct mp_store_value v = {.type = MP_STORE_INTEGER, .integer = 1};
    if (mp_store_incr(s, &at, &v, 0, now_ms()) == 0) *acknowledged = v.integer;
    random = random * 1103515245u + 12345u;
    snprintf(k, sizeof k, "k%u", random >> 16 & 63);
    at = key(k);
    if (i % 3 == 0)
      mp_store_delete(s, &at, now_ms());
    else
      set_text(s, k, 'x', random >> 22, random >> 20 & 1 ? 1 + (random >> 24) : 0, now_ms());
  }
}

static pid_t start_churn(struct mp_store *s, unsigned me, _Atomic int64_t *acknowledged) {
  pid_t pid = fork_with();
  if (pid == 0) churn(s, me, acknowledged);
  assert_true(pid > 0);
  return pid;
}

static void look_at(struct mp_store *s, unsigned me, int64_t acknowledged) {
  char own[16];
  struct mp_store_value v;
  snprintf(own, sizeof own, "own%u", me);
  struct mp_store_key at = key(own);
  int err = mp_store_get(s, &at, NULL, 0, now_ms(), &v); /* repairs, should that be needed */
  if (err == -ENOENT) {
    assert_int_equal(acknowledged, 0);
    return;
  }
  assert_int_equal(err, 0);
  assert_true(v.integer == acknowledged || v.integer == acknowledged + 1);
  assert_int_equal(mp_robust_lock(&s->lock, 5000), 0);
  const char *wrong = check_store(s);
  mp_robust_unlock(&s->lock);
  if (wrong) fail_msg("%s", wrong);
}

static void thousands_of_deaths_lose_nothing(void **state) {
  (void)state;
  enum { CHURNS = 3 };
  struct mp_store *s = new_store(sizeof(struct mp_store) + 64 * 300);
  _Atomic int64_t *acknowledged = shared(4096);
  pid_t pids[CHURNS];
  unsigned repaired = 0;
  for (unsigned i = 0; i < CHURNS; i++) pids[i] = start_churn(s, i, &acknowledged[i]);
  for (unsigned i = 0; i < kills(); i++) {
    unsigned who = i % CHURNS;
    struct timespec pause = {.tv_nsec = 300000 + (long)(i * 7919 % 997) * 1000};
    nanosleep(&pause, NULL);
    kill(pids[who], SIGKILL);
    waitpid(pids[who], NULL, 0);
    repaired += s->n_undo > 0;
    look_at(s, who, acknowledged[who]);
    pids[who] = start_churn(s, who, &acknowledged[who]);
  }
  for (unsigned i = 0; i < CHURNS; i++) {
    kill(pids[i], SIGKILL);
    waitpid(pids[i], NULL, 0);
    look_at(s, i, acknowledged[i]);
  }
  print_message("%u deaths, at %u of them a step was under way\n", kills(), repaired);
  munmap((void *)(uintptr_t)acknowledged, 4096);
  munmap(s, s->size);
}

/* ---- and the sum is right ---- */

static pid_t start_adding(struct mp_store *s, unsigned n, _Atomic int64_t *acknowledged) {
  pid_t pid = fork_with();
  assert_true(pid >= 0);
  if (pid > 0) return pid;
  for (unsigned i = 0; i < n; i++) {
    incr(s, "sum");
    ++*acknowledged;
  }
  _exit(0);
}

static void four_processes_add_up(void **state) {
  (void)state;
  const char *wanted = getenv("SPEC_ADDS");
  unsigned n = wanted ? (unsigned)strtoul(wanted, NULL, 10) : 10000;
  struct mp_store *s = new_store(1 << 20);
  _Atomic int64_t *acknowledged = shared(4096);
  pid_t pids[4];
  struct timespec from, to;
  set_number(s, "sum", 0, 0, 1);
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (unsigned i = 0; i < 4; i++) pids[i] = start_adding(s, n, &acknowledged[i]);
  while (acknowledged[3] < n / 2) usleep(100);
  kill(pids[3], SIGKILL);
  for (unsigned i = 0; i < 4; i++) waitpid(pids[i], NULL, 0);
  clock_gettime(CLOCK_MONOTONIC, &to);
  struct mp_store_key at = key("sum");
  struct mp_store_value v;
  assert_int_equal(mp_store_get(s, &at, NULL, 0, 1, &v), 0);
  int64_t sum = acknowledged[0] + acknowledged[1] + acknowledged[2] + acknowledged[3];
  assert_int_equal(acknowledged[0], n);
  assert_true(v.integer == sum || v.integer == sum + 1);
  double s_taken = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
  print_message("%lld additions by four processes, %lld acknowledged, %.3f us each\n", (long long)v.integer,
                (long long)sum, s_taken * 1e6 / (double)sum);
  munmap((void *)(uintptr_t)acknowledged, 4096);
  munmap(s, 1 << 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(death_at_any_instruction_is_repaired),
      cmocka_unit_test(thousands_of_deaths_lose_nothing),
      cmocka_unit_test(four_processes_add_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
