#include "base_store_checked.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static const uint64_t seed[2] = {1, 2};

static struct mp_store *new_store(size_t size) {
  struct mp_store *s = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(s, MAP_FAILED);
  assert_int_equal(mp_store_format(s, size, seed), 0);
  return s;
}

static void end_store(struct mp_store *s) {
  assert_null(check_store(s));
  munmap(s, s->size);
}

/* A store with room for so many blocks. */
static struct mp_store *store_of(uint32_t blocks) {
  size_t size = sizeof(struct mp_store) + 1024;
  struct mp_store *s;
  for (;; size += 64) {
    s = new_store(size);
    if (s->n_blocks >= blocks) return s;
    munmap(s, size);
  }
}

static struct mp_slice text(const char *s) {
  return mp_slice(s, strlen(s));
}
static struct mp_store_key key(const char *k) {
  return (struct mp_store_key){text("name"), text(k)};
}
static struct mp_store_value integer(int64_t n) {
  return (struct mp_store_value){.type = MP_STORE_INTEGER, .integer = n};
}
static struct mp_store_value text_value(struct mp_slice s) {
  return (struct mp_store_value){.type = MP_STORE_TEXT, .text = s};
}

static int set(struct mp_store *s, const char *k, struct mp_store_value v, uint64_t ttl, uint64_t now) {
  struct mp_store_key at = key(k);
  return mp_store_set(s, &at, &v, ttl, now);
}
static int set_text(struct mp_store *s, const char *k, size_t len, char fill, uint64_t ttl, uint64_t now) {
  char *bytes = malloc(len + 1);
  memset(bytes, fill, len);
  int err = set(s, k, text_value(mp_slice(bytes, len)), ttl, now);
  free(bytes);
  return err;
}
static int64_t get(struct mp_store *s, const char *k, uint64_t now) {
  struct mp_store_key at = key(k);
  struct mp_store_value v;
  int err = mp_store_get(s, &at, NULL, 0, now, &v);
  if (err < 0) return err;
  assert_int_equal(v.type, MP_STORE_INTEGER);
  return v.integer;
}
static bool has_text(struct mp_store *s, const char *k, size_t len, char fill, uint64_t now) {
  struct mp_store_key at = key(k);
  struct mp_store_value v;
  char *room = malloc(len + 1);
  bool same = mp_store_get(s, &at, room, len, now, &v) == 0 && v.type == MP_STORE_TEXT && v.text.len == len;
  for (size_t i = 0; same && i < len; i++) same = room[i] == fill;
  free(room);
  return same;
}
static bool is_there(struct mp_store *s, const char *k, uint64_t now) {
  struct mp_store_key at = key(k);
  uint64_t left;
  return mp_store_ttl(s, &at, now, &left) == 0;
}

static void keeps_values_of_each_type(void **state) {
  (void)state;
  struct mp_store *s = store_of(100);
  struct mp_store_value v, nan_value = {.type = MP_STORE_FLOAT, .real = NAN};
  struct mp_store_key odd = {text("n"), mp_slice("a\0b", 3)}, empty = {text("n"), mp_slice("", 0)};
  char room[8];
  assert_int_equal(mp_store_set(s, &odd, &(struct mp_store_value){.type = MP_STORE_TRUE}, 0, 1), 0);
  assert_int_equal(mp_store_set(s, &empty, &nan_value, 0, 1), 0);
  assert_int_equal(mp_store_get(s, &odd, room, sizeof room, 1, &v), 0);
  assert_int_equal(v.type, MP_STORE_TRUE);
  assert_int_equal(mp_store_get(s, &empty, room, sizeof room, 1, &v), 0);
  assert_true(v.type == MP_STORE_FLOAT && isnan(v.real));
  v = text_value(mp_slice("", 0));
  assert_int_equal(mp_store_set(s, &empty, &v, 0, 1), 0);
  assert_int_equal(mp_store_get(s, &empty, room, 0, 1, &v), 0);
  assert_true(v.type == MP_STORE_TEXT && v.text.len == 0);
  v = text_value(mp_slice("123456789", 9));
  assert_int_equal(mp_store_set(s, &odd, &v, 0, 1), 0);
  assert_int_equal(mp_store_get(s, &odd, room, sizeof room, 1, &v), -ENOBUFS);
  assert_int_equal(v.text.len, 9);
  end_store(s);
}

static void names_are_maps_of_their_own(void **state) {
  (void)state;
  struct mp_store *s = store_of(100);
  struct mp_store_key a = {text("ab"), text("c")}, b = {text("a"), text("bc")};
  struct mp_store_value one = integer(1), two = integer(2), v;
  assert_int_equal(mp_store_set(s, &a, &one, 0, 1), 0);
  assert_int_equal(mp_store_set(s, &b, &two, 0, 1), 0);
  assert_int_equal(mp_store_get(s, &a, NULL, 0, 1, &v), 0);
  assert_int_equal(v.integer, 1);
  assert_int_equal(mp_store_delete(s, &a, 1), 0);
  assert_int_equal(mp_store_delete(s, &a, 1), -ENOENT);
  assert_int_equal(mp_store_get(s, &b, NULL, 0, 1, &v), 0);
  assert_int_equal(v.integer, 2);
  end_store(s);
}

static void adds_up(void **state) {
  (void)state;
  struct mp_store *s = store_of(100);
  struct mp_store_key k = key("n");
  struct mp_store_value v = integer(INT64_MAX);
  assert_int_equal(mp_store_incr(s, &k, &v, 0, 1), 0);
  v = integer(1);
  assert_int_equal(mp_store_incr(s, &k, &v, 0, 1), 0);
  assert_true(v.integer == INT64_MIN);
  v = (struct mp_store_value){.type = MP_STORE_FLOAT, .real = 0.5};
  assert_int_equal(mp_store_incr(s, &k, &v, 0, 1), 0);
  assert_true(v.type == MP_STORE_FLOAT && v.real == (double)INT64_MIN + 0.5);
  assert_int_equal(set(s, "n", (struct mp_store_value){.type = MP_STORE_TRUE}, 0, 1), 0);
  assert_int_equal(mp_store_incr(s, &k, &v, 0, 1), -EINVAL);
  end_store(s);
}

static void a_time_to_live_is_set_by_what_makes_the_key(void **state) {
  (void)state;
  struct mp_store *s = store_of(100);
  struct mp_store_key k = key("hits");
  struct mp_store_value v = integer(1);
  uint64_t left;
  assert_int_equal(mp_store_incr(s, &k, &v, 100, 1000), 0);
  v = integer(1);
  assert_int_equal(mp_store_incr(s, &k, &v, 100, 1050), 0);
  assert_int_equal(v.integer, 2);
  assert_int_equal(mp_store_ttl(s, &k, 1060, &left), 0);
  assert_int_equal(left, 40);
  assert_int_equal(get(s, "hits", 1099), 2);
  assert_int_equal(get(s, "hits", 1100), -ENOENT);
  v = integer(1);
  assert_int_equal(mp_store_incr(s, &k, &v, 100, 1100), 0);
  assert_int_equal(v.integer, 1);
  assert_int_equal(set(s, "hits", integer(9), 0, 1101), 0);
  assert_int_equal(get(s, "hits", 999999), 9);
  end_store(s);
}

static void adds_only_what_is_absent(void **state) {
  (void)state;
  struct mp_store *s = store_of(100);
  struct mp_store_key k = key("lock");
  struct mp_store_value v = integer(1);
  assert_int_equal(mp_store_add(s, &k, &v, 100, 1000), 0);
  assert_int_equal(mp_store_add(s, &k, &v, 100, 1099), -EEXIST);
  assert_int_equal(mp_store_add(s, &k, &v, MP_STORE_NEVER, 1100), 0);
  assert_int_equal(mp_store_add(s, &k, &v, 1, UINT64_MAX / 2), -EEXIST);
  end_store(s);
}

static void what_lasts_is_never_given_up(void **state) {
  (void)state;
  struct mp_store *s = store_of(20);
  char k[16];
  int n = 0;
  do snprintf(k, sizeof k, "k%d", n);
  while (set(s, k, integer(n), 0, 1) == 0 && ++n);
  assert_int_equal(n, s->n_blocks);
  assert_int_equal(set_text(s, "k0", 1000, 'x', 0, 1), -ENOSPC);
  for (int i = 0; i < n; i++) {
    snprintf(k, sizeof k, "k%d", i);
    assert_int_equal(get(s, k, 1), i);
  }
  end_store(s);
}

static void the_expired_go_first_then_the_least_recently_used(void **state) {
  (void)state;
  struct mp_store *s = store_of(20);
  char k[16];
  int n = (int)s->n_blocks;
  for (int i = 0; i < n; i++) {
    snprintf(k, sizeof k, "k%d", i);
    assert_int_equal(set(s, k, integer(i), i == n - 1 ? 10 : i == 3 ? 0 : 1000, 1), 0);
  }
  get(s, "k0", 2);
  assert_int_equal(set(s, "a", integer(1), 0, 50), 0); /* in the place of the last, which has expired */
  for (int i = 0; i < n - 1; i++) {
    snprintf(k, sizeof k, "k%d", i);
    assert_true(is_there(s, k, 50));
  }
  assert_int_equal(set(s, "b", integer(1), 0, 50), 0);
  assert_false(is_there(s, "k1", 50));
  assert_true(is_there(s, "k0", 50) && is_there(s, "k2", 50));
  assert_int_equal(set_text(s, "c", 20 + 60 * ((size_t)n - 4) - 10, 'x', 1000, 60), 0); /* all that may go, goes */
  assert_true(is_there(s, "a", 60) && is_there(s, "b", 60) && is_there(s, "k3", 60) && is_there(s, "c", 60));
  assert_false(is_there(s, "k0", 60));
  end_store(s);
}

static void what_is_free_is_of_use(void **state) {
  (void)state;
  struct mp_store *s = store_of(5000);
  char k[16];
  unsigned random = 7;
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < 400; i++) {
      snprintf(k, sizeof k, "r%d", i);
      struct mp_store_key at = key(k);
      random = random * 1103515245u + 12345u;
      if (random >> 16 & 1)
        mp_store_delete(s, &at, 1);
      else
        set_text(s, k, (random >> 17) % 1200, 'y', 0, 1);
    }
    size_t all = 20 + 60 * ((size_t)s->n_free - 1) - 7; /* name and key are 7 bytes */
    assert_int_equal(set_text(s, "all", all, 'z', 0, 1), 0);
    assert_int_equal(s->n_free, 0);
    assert_true(has_text(s, "all", all, 'z', 1));
    assert_int_equal(set_text(s, "all", all, 'w', 0, 1), 0); /* there is no room for two of it */
    assert_true(has_text(s, "all", all, 'w', 1));
    assert_int_equal(set_text(s, "all", all + 1, 'v', 0, 1), -ENOSPC);
    assert_true(has_text(s, "all", all, 'w', 1));
    assert_int_equal(mp_store_delete(s, &(struct mp_store_key){text("name"), text("all")}, 1), 0);
    assert_null(check_store(s));
  }
  end_store(s);
}

static void too_little_memory_is_always_full(void **state) {
  (void)state;
  struct mp_store *s = new_store(sizeof(struct mp_store) + 128);
  assert_int_equal(s->n_blocks, 0);
  assert_int_equal(set(s, "k", integer(1), 1, 1), -ENOSPC);
  assert_int_equal(get(s, "k", 1), -ENOENT);
  end_store(s);
  char small[64];
  assert_int_equal(mp_store_format((struct mp_store *)(void *)small, sizeof small, seed), -EINVAL);
}

static size_t list(struct mp_store *s, const char *prefix, size_t size, unsigned char *found, size_t n_found) {
  struct mp_store_key wanted = key(prefix);
  char *room = malloc(size);
  uint32_t bucket = 0;
  long n;
  size_t total = 0;
  while ((n = mp_store_keys(s, &wanted, &bucket, room, size, 1)) > 0)
    for (long at = 0; at < n; total++) {
      uint16_t len;
      memcpy(&len, room + at, 2);
      size_t number = (size_t)strtoul(room + at + 2 + 1, NULL, 10);
      assert_true(number < n_found);
      found[number]++;
      at += 2 + len;
    }
  assert_int_equal(n, 0);
  free(room);
  return total;
}

static void lists_keys_by_their_beginning(void **state) {
  (void)state;
  struct mp_store *s = store_of(6000);
  static unsigned char found[3000];
  char k[300] = "";
  for (int i = 0; i < 3000; i++) {
    snprintf(k, sizeof k, "%c%d ", i % 3 ? 'x' : 'y', i);
    assert_int_equal(set(s, k, integer(i), i % 5 == 0 ? 1 : 0, 0), 0);
  }
  assert_int_equal(list(s, "x", 4096, found, 3000), 1600); /* those that have expired are not */
  for (int i = 0; i < 3000; i++) assert_int_equal(found[i], i % 3 && i % 5);
  assert_int_equal(list(s, "z", 4096, found, 3000), 0);
  assert_int_equal(list(s, "", 64, found, 3000), 2400);
  memset(k, 'k', 299);
  assert_int_equal(set(s, k, integer(1), 0, 0), 0);
  char room[64];
  uint32_t bucket = 0;
  assert_int_equal(mp_store_keys(s, &(struct mp_store_key){text("name"), text("kk")}, &bucket, room, sizeof room, 1),
                   -ENOBUFS);
  end_store(s);
}

/* ---- against a model ---- */

struct model {
  bool there;
  size_t len; /* of a text; numbers: SIZE_MAX */
  int64_t value;
  uint64_t expires; /* 0: never */
};

static unsigned random_state;
static unsigned any(unsigned n) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state % n;
}

/* What has a time to live may be gone before it; what has none may not. */
static void compare(struct mp_store *s, struct model *m, const char *k, uint64_t now) {
  struct mp_store_key at = key(k);
  struct mp_store_value v;
  char room[700];
  int err = mp_store_get(s, &at, room, sizeof room, now, &v);
  if (err == -ENOENT) {
    assert_true(!m->there || m->expires);
    m->there = false;
    return;
  }
  assert_int_equal(err, 0);
  assert_true(m->there && (!m->expires || m->expires > now));
  if (m->len == SIZE_MAX)
    assert_true(v.type == MP_STORE_INTEGER && v.integer == m->value);
  else
    assert_true(v.type == MP_STORE_TEXT && v.text.len == m->len && (m->len == 0 || room[m->len - 1] == (char)m->value));
}

static void change(struct mp_store *s, struct model *m, const char *k, uint64_t now) {
  uint64_t ttl = any(3) ? 1 + any(200) : 0;
  bool numeric = any(3) == 0;
  size_t len = numeric ? SIZE_MAX : any(any(4) ? 100 : 700);
  int64_t value = (int64_t)any(100) + 1;
  uint32_t may_go = s->aging_blocks, is_free = s->n_free;
  int err = numeric ? set(s, k, integer(value), ttl, now) : set_text(s, k, len, (char)value, ttl, now);
  if (err == 0) {
    *m = (struct model){true, len, value, ttl ? now + ttl : 0};
    return;
  }
  assert_int_equal(err, -ENOSPC);
  uint64_t wanted = mp_store_blocks_for(4 + strlen(k) + (numeric ? 0 : len));
  assert_true(wanted > is_free || wanted > may_go); /* what is held by `k` itself may count for it or not */
}

static void does_as_a_model_does(void **state) {
  (void)state;
  enum { KEYS = 40, STEPS = 60000 };
  struct mp_store *s = store_of(150);
  struct model model[KEYS] = {{0}};
  const char *wanted = getenv("SPEC_SEED");
  random_state = wanted ? (unsigned)strtoul(wanted, NULL, 10) : 20261122;
  print_message("SPEC_SEED=%u\n", random_state);
  uint64_t now = 1;
  for (int i = 0; i < STEPS; i++) {
    unsigned n = any(KEYS);
    char k[16];
    snprintf(k, sizeof k, "%u", n);
    struct mp_store_key at = key(k);
    now += any(4);
    unsigned what = any(10);
    if (what < 5)
      change(s, &model[n], k, now);
    else if (what < 7)
      compare(s, &model[n], k, now);
    else if (what < 8 && mp_store_delete(s, &at, now) == 0)
      model[n].there = false;
    if (what >= 8) compare(s, &model[n], k, now);
    if (what == 9 && model[n].there && model[n].len == SIZE_MAX) {
      struct mp_store_value v = integer(1);
      assert_int_equal(mp_store_incr(s, &at, &v, 5, now), 0);
      assert_int_equal(v.integer, ++model[n].value);
    }
    if (i % 50 == 0) assert_null(check_store(s));
  }
  end_store(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_values_of_each_type),
      cmocka_unit_test(names_are_maps_of_their_own),
      cmocka_unit_test(adds_up),
      cmocka_unit_test(a_time_to_live_is_set_by_what_makes_the_key),
      cmocka_unit_test(adds_only_what_is_absent),
      cmocka_unit_test(what_lasts_is_never_given_up),
      cmocka_unit_test(the_expired_go_first_then_the_least_recently_used),
      cmocka_unit_test(what_is_free_is_of_use),
      cmocka_unit_test(too_little_memory_is_always_full),
      cmocka_unit_test(lists_keys_by_their_beginning),
      cmocka_unit_test(does_as_a_model_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
