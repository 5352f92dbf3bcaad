#include "base/check.h"
#include "base/hash.h"
#include "base/robust.h"
#include "base/store_inside.h"
#include <errno.h>
#include <time.h>

uint64_t mp_store_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_BOOTTIME, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- layout ---- */

enum { HEADER = (sizeof(struct mp_store) + MP_STORE_BLOCK - 1) / MP_STORE_BLOCK * MP_STORE_BLOCK };

static uint64_t round_up(uint64_t n) {
  return (n + MP_STORE_BLOCK - 1) / MP_STORE_BLOCK * MP_STORE_BLOCK;
}

/* A bucket for two blocks, a place in the heap for each: what is left after them is blocks. */
static void lay_out(struct mp_store *s, uint64_t size) {
  uint64_t n = size > HEADER ? (size - HEADER) / (MP_STORE_BLOCK + sizeof(uint32_t)) : 0;
  uint64_t buckets = 16, most = UINT32_MAX / 2;
  if (n > most) n = most;
  while (buckets < n / 2) buckets *= 2;
  s->buckets_at = HEADER;
  s->heap_at = s->buckets_at + buckets * sizeof(uint32_t);
  s->blocks_at = round_up(s->heap_at + n * sizeof(uint32_t));
  s->n_buckets = (uint32_t)buckets;
  uint64_t fit = size > s->blocks_at ? (size - s->blocks_at) / MP_STORE_BLOCK : 0;
  s->n_blocks = (uint32_t)(fit < n ? fit : n);
}

int mp_store_format(struct mp_store *s, uint64_t size, const uint64_t seed[2]) {
  if (size < HEADER + 16 * sizeof(uint32_t)) return -EINVAL;
  s->size = size;
  s->seed[0] = seed[0];
  s->seed[1] = seed[1];
  lay_out(s, size);
  s->fresh = 1;
  s->n_free = s->n_blocks;
  return mp_robust_init(&s->lock);
}

/* ---- one step at a time ---- */

static int enter(struct mp_store *s) {
  int err = mp_robust_lock(&s->lock, MP_STORE_PATIENCE_MS);
  if (err != -EOWNERDEAD) return err;
  mp_store_take_back(s);
  mp_robust_repaired(&s->lock);
  return 0;
}

static int leave(struct mp_store *s, int result) {
  mp_store_commit(s);
  mp_robust_unlock(&s->lock);
  return result;
}

/* ---- finding ---- */

static uint32_t hash_of(const struct mp_store *s, const struct mp_store_key *key) {
  const uint64_t seed[2] = {s->seed[0], s->seed[1] ^ mp_hash(s->seed, key->name)};
  return (uint32_t)mp_hash(seed, key->key);
}

static bool is(struct mp_store *s, uint32_t entry, const struct mp_store_key *key) {
  const struct mp_store_entry *e = mp_store_entry(s, entry);
  struct mp_store_cursor c;
  if (mp_store_name_len(e) != key->name.len || mp_store_key_len(e) != key->key.len) return false;
  mp_store_begin(s, entry, &c);
  return mp_store_same(&c, key->name) && mp_store_same(&c, key->key);
}

static uint32_t lookup(struct mp_store *s, const struct mp_store_key *key, uint32_t hash) {
  for (uint32_t at = *mp_store_bucket(s, hash); at; at = mp_store_entry(s, at)->beside)
    if (mp_store_entry(s, at)->hash == hash && is(s, at, key)) return at;
  return 0;
}

static void drop(struct mp_store *s, uint32_t entry) {
  struct mp_store_entry *e = mp_store_entry(s, entry);
  uint32_t *link = mp_store_bucket(s, e->hash);
  while (*link != entry) {
    MP_CHECK(*link != 0);
    link = &mp_store_entry(s, *link)->beside;
  }
  mp_store_age(s, entry, 0);
  mp_store_put32(s, link, e->beside);
  mp_store_put32(s, &s->n_entries, s->n_entries - 1);
  mp_store_give(s, entry, mp_store_blocks_of(e));
}

/* 0: it is not there, or is no more from now on. */
static uint32_t find(struct mp_store *s, const struct mp_store_key *key, uint32_t hash, uint64_t now_ms) {
  uint32_t entry = lookup(s, key, hash);
  if (!entry || !mp_store_expired(mp_store_entry(s, entry), now_ms)) return entry;
  drop(s, entry);
  mp_store_commit(s);
  return 0;
}

/* ---- making room ---- */

static bool can_have(struct mp_store *s, uint64_t n, uint32_t keep) {
  const struct mp_store_entry *e = keep ? mp_store_entry(s, keep) : NULL;
  uint64_t kept = e && e->heap ? mp_store_blocks_of(e) : 0;
  return n <= s->n_free + (uint64_t)s->aging_blocks - kept;
}

static void make_room(struct mp_store *s, uint64_t n, uint32_t keep, uint64_t now_ms) {
  while (s->n_free < n) {
    uint32_t goes = mp_store_first_to_go(s, now_ms, keep);
    MP_CHECK(goes != 0);
    drop(s, goes);
    mp_store_commit(s); /* one by one: each is a step */
  }
}

/* Room for `n` blocks with *old still there, if it can be; else in its place, and then *old is 0. */
static int reserve(struct mp_store *s, uint64_t n, uint32_t *old, uint64_t now_ms) {
  if (!can_have(s, n, *old)) {
    uint64_t freed = *old ? mp_store_blocks_of(mp_store_entry(s, *old)) : 0;
    if (freed == 0 || !can_have(s, n > freed ? n - freed : 0, *old)) return -ENOSPC;
    drop(s, *old);
    mp_store_commit(s);
    *old = 0;
  }
  make_room(s, n, *old, now_ms);
  return 0;
}

/* ---- values ---- */

static uint64_t number_of(const struct mp_store_value *v) {
  uint64_t bits = 0;
  if (v->type == MP_STORE_TEXT) return v->text.len;
  if (v->type == MP_STORE_INTEGER) memcpy(&bits, &v->integer, sizeof bits);
  if (v->type == MP_STORE_FLOAT) memcpy(&bits, &v->real, sizeof bits);
  return bits;
}

static void read_number(const struct mp_store_entry *e, struct mp_store_value *v) {
  v->type = mp_store_type_of(e);
  if (v->type == MP_STORE_INTEGER) memcpy(&v->integer, &e->number, sizeof v->integer);
  if (v->type == MP_STORE_FLOAT) memcpy(&v->real, &e->number, sizeof v->real);
}

static uint64_t end_of(uint64_t ttl_ms, uint64_t now_ms) {
  if (ttl_ms == 0) return 0;
  return ttl_ms < MP_STORE_NEVER - now_ms ? now_ms + ttl_ms : MP_STORE_NEVER;
}

/* What is written straight into its blocks is seen by nobody before it is linked. */
static uint32_t build(struct mp_store *s, const struct mp_store_key *key, uint32_t hash,
                      const struct mp_store_value *value, uint32_t n) {
  uint32_t entry = mp_store_take(s, n);
  struct mp_store_entry *e = mp_store_entry(s, entry);
  struct mp_store_cursor c;
  e->hash = hash;
  e->heap = e->newer = e->older = 0;
  e->expires_ms = 0;
  e->number = number_of(value);
  e->shape = mp_store_shape(value->type, key->name.len, key->key.len);
  mp_store_begin(s, entry, &c);
  mp_store_write(&c, key->name);
  mp_store_write(&c, key->key);
  if (value->type == MP_STORE_TEXT) mp_store_write(&c, value->text);
  return entry;
}

static void link_entry(struct mp_store *s, uint32_t entry) {
  struct mp_store_entry *e = mp_store_entry(s, entry);
  uint32_t *bucket = mp_store_bucket(s, e->hash);
  e->beside = *bucket;
  mp_store_put32(s, bucket, entry);
  mp_store_put32(s, &s->n_entries, s->n_entries + 1);
}

static bool is_text(const struct mp_store_entry *e) {
  return mp_store_type_of(e) == MP_STORE_TEXT;
}

/* Both are no texts: the new one has room where the old one is. */
static void overwrite(struct mp_store *s, uint32_t entry, const struct mp_store_value *value) {
  struct mp_store_entry *e = mp_store_entry(s, entry);
  mp_store_put64(s, &e->number, number_of(value));
  mp_store_put32(s, &e->shape, mp_store_shape(value->type, mp_store_name_len(e), mp_store_key_len(e)));
}

/* `old`: what is there under that key, or 0. */
static int put_value(struct mp_store *s, const struct mp_store_key *key, uint32_t hash, uint32_t old,
                     const struct mp_store_value *value, uint64_t expires_ms, uint64_t now_ms) {
  if (old && !is_text(mp_store_entry(s, old)) && value->type != MP_STORE_TEXT) {
    overwrite(s, old, value);
    mp_store_age(s, old, expires_ms);
    return 0;
  }
  uint64_t text = value->type == MP_STORE_TEXT ? value->text.len : 0;
  uint64_t n = mp_store_blocks_for(key->name.len + key->key.len + text);
  int err = reserve(s, n, &old, now_ms);
  if (err < 0) return err;
  uint32_t entry = build(s, key, hash, value, (uint32_t)n);
  if (old) drop(s, old);
  link_entry(s, entry);
  mp_store_age(s, entry, expires_ms);
  return 0;
}

/* ---- calls ---- */

int mp_store_set(struct mp_store *s, const struct mp_store_key *key, const struct mp_store_value *value,
                 uint64_t ttl_ms, uint64_t now_ms) {
  uint32_t hash = hash_of(s, key);
  int err = enter(s);
  if (err < 0) return err;
  uint32_t old = find(s, key, hash, now_ms);
  return leave(s, put_value(s, key, hash, old, value, end_of(ttl_ms, now_ms), now_ms));
}

int mp_store_add(struct mp_store *s, const struct mp_store_key *key, const struct mp_store_value *value,
                 uint64_t ttl_ms, uint64_t now_ms) {
  uint32_t hash = hash_of(s, key);
  int err = enter(s);
  if (err < 0) return err;
  if (find(s, key, hash, now_ms)) return leave(s, -EEXIST);
  return leave(s, put_value(s, key, hash, 0, value, end_of(ttl_ms, now_ms), now_ms));
}

static double real_of(const struct mp_store_value *v) {
  return v->type == MP_STORE_FLOAT ? v->real : (double)v->integer;
}

static void sum_up(struct mp_store_value *value, const struct mp_store_value *there) {
  if (value->type == MP_STORE_INTEGER && there->type == MP_STORE_INTEGER) {
    value->integer = (int64_t)((uint64_t)value->integer + (uint64_t)there->integer);
    return;
  }
  value->real = real_of(value) + real_of(there);
  value->type = MP_STORE_FLOAT;
}

int mp_store_incr(struct mp_store *s, const struct mp_store_key *key, struct mp_store_value *value, uint64_t ttl_ms,
                  uint64_t now_ms) {
  uint32_t hash = hash_of(s, key);
  int err = enter(s);
  if (err < 0) return err;
  uint32_t entry = find(s, key, hash, now_ms);
  if (!entry) return leave(s, put_value(s, key, hash, 0, value, end_of(ttl_ms, now_ms), now_ms));
  struct mp_store_value there;
  read_number(mp_store_entry(s, entry), &there);
  if (there.type != MP_STORE_INTEGER && there.type != MP_STORE_FLOAT) return leave(s, -EINVAL);
  sum_up(value, &there);
  overwrite(s, entry, value);
  mp_store_use(s, entry);
  return leave(s, 0);
}

int mp_store_get(struct mp_store *s, const struct mp_store_key *key, char *room, size_t size, uint64_t now_ms,
                 struct mp_store_value *value) {
  uint32_t hash = hash_of(s, key);
  int err = enter(s);
  if (err < 0) return err;
  uint32_t entry = find(s, key, hash, now_ms);
  if (!entry) return leave(s, -ENOENT);
  const struct mp_store_entry *e = mp_store_entry(s, entry);
  read_number(e, value);
  if (value->type == MP_STORE_TEXT) {
    struct mp_store_cursor c;
    value->text = mp_slice(room, e->number);
    if (e->number > size) return leave(s, -ENOBUFS);
    mp_store_begin(s, entry, &c);
    mp_store_read(&c, NULL, mp_store_name_len(e) + mp_store_key_len(e));
    mp_store_read(&c, room, e->number);
  }
  mp_store_use(s, entry);
  return leave(s, 0);
}

int mp_store_delete(struct mp_store *s, const struct mp_store_key *key, uint64_t now_ms) {
  uint32_t hash = hash_of(s, key);
  int err = enter(s);
  if (err < 0) return err;
  uint32_t entry = find(s, key, hash, now_ms);
  if (!entry) return leave(s, -ENOENT);
  drop(s, entry);
  return leave(s, 0);
}

int mp_store_ttl(struct mp_store *s, const struct mp_store_key *key, uint64_t now_ms, uint64_t *left_ms) {
  uint32_t hash = hash_of(s, key);
  int err = enter(s);
  if (err < 0) return err;
  uint32_t entry = find(s, key, hash, now_ms);
  if (!entry) return leave(s, -ENOENT);
  uint64_t end = mp_store_entry(s, entry)->expires_ms;
  *left_ms = end == 0 || end == MP_STORE_NEVER ? end : end - now_ms;
  return leave(s, 0);
}

/* ---- keys ---- */

struct listing {
  const struct mp_store_key *wanted; /* borrowed */
  char *room;                        /* borrowed */
  size_t size, used;
  uint64_t now_ms;
};

/* False: there is no room for it. */
static bool list_entry(struct mp_store *s, uint32_t entry, struct listing *l) {
  const struct mp_store_entry *e = mp_store_entry(s, entry);
  uint16_t len = (uint16_t)mp_store_key_len(e);
  struct mp_store_cursor c;
  if (mp_store_name_len(e) != l->wanted->name.len || len < l->wanted->key.len) return true;
  if (mp_store_expired(e, l->now_ms)) return true;
  mp_store_begin(s, entry, &c);
  if (!mp_store_same(&c, l->wanted->name)) return true;
  struct mp_store_cursor key = c;
  if (!mp_store_same(&c, l->wanted->key)) return true;
  if (l->size - l->used < sizeof len + len) return false;
  memcpy(l->room + l->used, &len, sizeof len);
  mp_store_read(&key, l->room + l->used + sizeof len, len);
  l->used += sizeof len + len;
  return true;
}

static bool list_bucket(struct mp_store *s, uint32_t bucket, struct listing *l) {
  size_t before = l->used;
  for (uint32_t at = *mp_store_bucket(s, bucket); at; at = mp_store_entry(s, at)->beside) {
    if (list_entry(s, at, l)) continue;
    l->used = before;
    return false;
  }
  return true;
}

long mp_store_keys(struct mp_store *s, const struct mp_store_key *key, uint32_t *bucket, char *room, size_t size,
                   uint64_t now_ms) {
  enum { AT_ONCE = 2048 }; /* buckets: others may go in between */
  struct listing l = {.wanted = key, .room = room, .size = size, .now_ms = now_ms};
  bool fits = true;
  while (fits && l.used == 0 && *bucket < s->n_buckets) {
    int err = enter(s);
    if (err < 0) return err;
    for (uint32_t i = 0; i < AT_ONCE && *bucket < s->n_buckets; i++) {
      if (!(fits = list_bucket(s, *bucket, &l))) break;
      ++*bucket;
    }
    leave(s, 0);
  }
  return fits || l.used > 0 ? (long)l.used : -ENOBUFS;
}

int mp_store_look(struct mp_store *s, struct mp_store_facts *facts) {
  int err = enter(s);
  if (err < 0) return err;
  *facts = (struct mp_store_facts){.size = (uint64_t)s->n_blocks * MP_STORE_BLOCK,
                                   .used = (uint64_t)(s->n_blocks - s->n_free) * MP_STORE_BLOCK,
                                   .entries = s->n_entries,
                                   .aging = s->n_aging};
  return leave(s, 0);
}
