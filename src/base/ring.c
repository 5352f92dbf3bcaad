#include "base/ring.h"
#include "base/check.h"
#include "base/robust.h"
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

enum { LOCK_MS = 1000, FREE = 0, ATTENDS, CUT };

struct seat {
  pthread_mutex_t presence; /* held by who attends, as long as it lives */
  uint32_t state;
  int32_t pid;
  uint64_t at;        /* what lies before it has been read */
  uint64_t blocks_ms; /* since then it has stood in a publisher's way; 0: it does not */
};

struct mp_ring {
  pthread_mutex_t lock; /* guards all below; each change is whole with its last store, so there is nothing to repair */
  uint64_t head;        /* where the next message will lie, counted from the beginning of time */
  uint32_t capacity, n_seats;
  uint32_t top;             /* no seat from here on is taken */
  uint32_t asleep, waiting; /* a reader, a publisher sleeps until the bell */
  struct seat seat[];
};

static char *bytes_of(struct mp_ring *r) {
  return (char *)&r->seat[r->n_seats];
}

static const char *const_bytes_of(const struct mp_ring *r) {
  return (const char *)&r->seat[r->n_seats];
}

size_t mp_ring_size(unsigned seats, uint32_t capacity) {
  return sizeof(struct mp_ring) + seats * sizeof(struct seat) + capacity;
}

size_t mp_ring_most(const struct mp_ring *r) {
  return r->capacity / 4 - sizeof(struct mp_ring_message) - 8;
}

int mp_ring_format(struct mp_ring *r, unsigned seats, uint32_t capacity) {
  r->capacity = capacity;
  r->n_seats = seats;
  int err = mp_robust_init(&r->lock);
  for (unsigned i = 0; i < seats && err == 0; i++) err = mp_robust_init(&r->seat[i].presence);
  return err;
}

/* ---- the lock and the bell ---- */

static void keep_order(void) {
  atomic_signal_fence(memory_order_seq_cst);
}

/* Whoever died may have been about to ring. */
static int enter(struct mp_ring *r) {
  int err = mp_robust_lock(&r->lock, LOCK_MS);
  if (err != -EOWNERDEAD) return err;
  r->asleep = r->waiting = 1;
  mp_robust_repaired(&r->lock);
  return 0;
}

static int leave(struct mp_ring *r, int result) {
  mp_robust_unlock(&r->lock);
  return result;
}

/* Before the change that it tells of: those who wake find the lock taken, and wait for it. Its counter has room for as
 * long as the machine will last. */
static void ring(uint32_t *sleeps, int bell) {
  const uint64_t one = 1;
  if (!*sleeps) return;
  while (write(bell, &one, sizeof one) < 0 && errno == EINTR) continue;
  keep_order();
  *sleeps = 0;
  keep_order();
}

/* ---- seats ---- */

static void vacate(struct mp_ring *r, struct seat *seat) {
  seat->state = FREE;
  while (r->top > 0 && r->seat[r->top - 1].state == FREE) r->top--;
}

/* Nobody who lives lets go of its presence. */
static bool has_died(struct seat *seat) {
  int err = mp_robust_try(&seat->presence);
  if (err == -EBUSY) return false;
  if (err == -EOWNERDEAD) mp_robust_repaired(&seat->presence);
  mp_robust_unlock(&seat->presence);
  return true;
}

static void take_presence(struct seat *seat) {
  int err = mp_robust_try(&seat->presence);
  MP_CHECK(err != -EBUSY);
  if (err == -EOWNERDEAD) mp_robust_repaired(&seat->presence);
}

int mp_ring_attend(struct mp_ring *r, unsigned number, uint64_t *head) {
  struct seat *seat = &r->seat[number];
  MP_CHECK(number < r->n_seats);
  int err = enter(r);
  if (err < 0) return err;
  take_presence(seat);
  seat->at = *head = r->head;
  seat->blocks_ms = 0;
  seat->pid = (int32_t)getpid();
  if (r->top <= number) r->top = number + 1;
  keep_order();
  seat->state = ATTENDS;
  return leave(r, 0);
}

/* Without the lock, should its holder have been stopped: then the seat is found empty, as one of somebody who died. */
void mp_ring_leave(struct mp_ring *r, unsigned number, int bell) {
  struct seat *seat = &r->seat[number];
  if (enter(r) == 0) {
    ring(&r->waiting, bell);
    vacate(r, seat);
    leave(r, 0);
  }
  mp_robust_unlock(&seat->presence);
}

int mp_ring_head(struct mp_ring *r, uint64_t *head) {
  int err = enter(r);
  if (err < 0) return err;
  *head = r->head;
  return leave(r, 0);
}

/* ---- bytes, round and round ---- */

static void put(struct mp_ring *r, uint64_t at, const void *from, size_t n) {
  size_t where = at % r->capacity, here = r->capacity - where;
  if (n == 0) return;
  if (here > n) here = n;
  memcpy(bytes_of(r) + where, from, here);
  if (n > here) memcpy(bytes_of(r), (const char *)from + here, n - here);
}

static void get(const struct mp_ring *r, uint64_t at, void *to, size_t n) {
  size_t where = at % r->capacity, here = r->capacity - where;
  if (here > n) here = n;
  memcpy(to, const_bytes_of(r) + where, here);
  if (n > here) memcpy((char *)to + here, const_bytes_of(r), n - here);
}

/* ---- publishing ---- */

static bool is_in_the_way(const struct mp_ring *r, const struct seat *seat, size_t length) {
  return seat->state == ATTENDS && r->head + length - seat->at > r->capacity;
}

static bool anybody_attends(const struct mp_ring *r) {
  for (uint32_t i = 0; i < r->top; i++)
    if (r->seat[i].state == ATTENDS) return true;
  return false;
}

/* True: it is in nobody's way any more. */
static bool push_aside(struct mp_ring *r, struct seat *seat, uint64_t now_ms, struct mp_ring_cut *cut) {
  if (has_died(seat)) {
    vacate(r, seat);
    return true;
  }
  if (!seat->blocks_ms) seat->blocks_ms = now_ms;
  if (now_ms < seat->blocks_ms + MP_RING_PATIENCE_MS) return false; /* clocks are read before the lock is had */
  seat->state = CUT;
  cut->n++;
  cut->pid = seat->pid;
  return true;
}

static bool make_room(struct mp_ring *r, size_t length, uint64_t now_ms, struct mp_ring_cut *cut) {
  bool room = true;
  for (uint32_t i = 0; i < r->top; i++)
    if (is_in_the_way(r, &r->seat[i], length) && !push_aside(r, &r->seat[i], now_ms, cut)) room = false;
  return room;
}

int mp_ring_publish(struct mp_ring *r, struct mp_slice topic, struct mp_slice value, uint64_t now_ms, int bell,
                    struct mp_ring_cut *cut) {
  *cut = (struct mp_ring_cut){0};
  if (topic.len + value.len > mp_ring_most(r)) return -EMSGSIZE;
  int err = enter(r);
  if (err < 0) return -EAGAIN;
  struct mp_ring_message m = {.at = r->head, .topic_len = (uint32_t)topic.len, .value_len = (uint32_t)value.len};
  if (!anybody_attends(r)) return leave(r, 0);
  if (!make_room(r, mp_ring_length(&m), now_ms, cut)) {
    r->waiting = 1;
    return leave(r, -EAGAIN);
  }
  put(r, m.at, &m, sizeof m);
  put(r, m.at + sizeof m, topic.at, topic.len);
  put(r, m.at + sizeof m + topic.len, value.at, value.len);
  ring(&r->asleep, bell);
  r->head += mp_ring_length(&m);
  return leave(r, 0);
}

/* ---- reading ---- */

static int copy_out(struct mp_ring *r, uint64_t *at, struct mp_buf *out, size_t most) {
  int n = 0;
  for (size_t used = 0; *at < r->head; n++) {
    struct mp_ring_message m;
    get(r, *at, &m, sizeof m);
    MP_CHECK(m.at == *at);
    size_t length = mp_ring_length(&m);
    if (n > 0 && used + length > most) break;
    char *room = mp_buf_room(out, length);
    if (!room) return n > 0 ? n : -ENOMEM;
    get(r, *at, room, length);
    mp_buf_grew(out, length);
    used += length;
    *at += length;
  }
  return n;
}

int mp_ring_read(struct mp_ring *r, unsigned number, struct mp_buf *out, size_t most, int bell) {
  struct seat *seat = &r->seat[number];
  int err = enter(r);
  if (err < 0) return err;
  if (seat->state != ATTENDS) {
    vacate(r, seat);
    leave(r, 0);
    mp_robust_unlock(&seat->presence);
    return -EPIPE;
  }
  uint64_t at = seat->at;
  int n = copy_out(r, &at, out, most);
  if (n == 0) r->asleep = 1;
  if (n > 0) {
    ring(&r->waiting, bell);
    seat->blocks_ms = 0;
    seat->at = at;
  }
  return leave(r, n);
}
