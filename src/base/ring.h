/* ring.h - messages from any process to every process, in one order for all, through memory that they share.
 *
 *                 head
 *   … | message | ─► |            who attends has a seat: how far it has read
 *         ▲ seat 1   ▲ seat 0
 *
 * A message leaves when every attendant has read it. Without room a publisher tries again later: nothing is ever
 * dropped. Who has stood in its way for MP_RING_PATIENCE_MS without reading anything is cut off, and told when it reads
 * next; who has died is passed over at once.
 *
 * Who has read everything, and who waits for room, goes to sleep until the bell rings: an eventfd that all processes
 * hear. Anybody may die at any instruction: a message is there whole, or it was never published, and nobody sleeps on.
 */
#ifndef MP_BASE_RING_H
#define MP_BASE_RING_H

#include "base/buf.h"

enum { MP_RING_PATIENCE_MS = 5000 };

struct mp_ring;

/* A message as mp_ring_read gives it; topic and value follow. */
struct mp_ring_message {
  uint64_t at; /* its place in the order */
  uint32_t topic_len, value_len;
};

static inline struct mp_slice mp_ring_topic(const struct mp_ring_message *m) {
  return mp_slice((const char *)(m + 1), m->topic_len);
}
static inline struct mp_slice mp_ring_value(const struct mp_ring_message *m) {
  return mp_slice((const char *)(m + 1) + m->topic_len, m->value_len);
}
/* Bytes to the next message. */
static inline size_t mp_ring_length(const struct mp_ring_message *m) {
  return (sizeof *m + m->topic_len + m->value_len + 7) / 8 * 8;
}

size_t mp_ring_size(unsigned seats, uint32_t capacity);
/* The memory is all zero. `capacity`: bytes, a multiple of 8. 0 or -errno. */
int mp_ring_format(struct mp_ring *ring, unsigned seats, uint32_t capacity);

/* The largest topic and value together: a quarter of the capacity. */
size_t mp_ring_most(const struct mp_ring *ring);

/* From now on, the calling thread attends in that seat, which nobody else sits in. `*head`: what comes is behind it.
 * 0 or -ETIMEDOUT (somebody who was stopped holds the lock). By the same thread: */
int mp_ring_attend(struct mp_ring *ring, unsigned seat, uint64_t *head);
void mp_ring_leave(struct mp_ring *ring, unsigned seat, int bell); /* by one who attends */
int mp_ring_head(struct mp_ring *ring, uint64_t *head);            /* as attend, for one who does */

/* Who has been cut off by a call: how many, and one of them. */
struct mp_ring_cut {
  unsigned n;
  int32_t pid;
};

/* 0, also when nobody attends; -EAGAIN: no room, the bell rings when there may be some, but try again soon in any case;
 * -EMSGSIZE. `cut` is filled whatever comes of it. `now_ms`: monotonic, and of this moment. */
int mp_ring_publish(struct mp_ring *ring, struct mp_slice topic, struct mp_slice value, uint64_t now_ms, int bell,
                    struct mp_ring_cut *cut);

/* Appends the next messages to `out`, at least one if there is any, as long as they have room in `most` bytes. How
 * many; 0: that was all, and the bell rings when there are more; -EPIPE: cut off, it attends no more; -ENOMEM;
 * -ETIMEDOUT. */
int mp_ring_read(struct mp_ring *ring, unsigned seat, struct mp_buf *out, size_t most, int bell);

#endif
