/* list.h - a doubly linked list through a node inside each member.
 * A node that stands in no list points to itself, so unlinking twice is harmless. */
#ifndef MP_BASE_LIST_H
#define MP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_list {
  struct mp_list *next; /* borrowed, as long as the member is linked */
  struct mp_list *prev; /* borrowed, as long as the member is linked */
};

#define MP_CONTAINER(node, type, member) ((type *)(void *)((char *)(uintptr_t)(node)-offsetof(type, member)))

static inline void mp_list_init(struct mp_list *l) {
  l->next = l->prev = l;
}

static inline bool mp_list_empty(const struct mp_list *l) {
  return l->next == l;
}

static inline void mp_list_append(struct mp_list *l, struct mp_list *node) {
  node->next = l;
  node->prev = l->prev;
  l->prev->next = node;
  l->prev = node;
}

static inline void mp_list_unlink(struct mp_list *node) {
  node->prev->next = node->next;
  node->next->prev = node->prev;
  mp_list_init(node);
}

/* The first node, unlinked; NULL when there is none. */
static inline struct mp_list *mp_list_pop(struct mp_list *l) {
  struct mp_list *first = l->next;
  if (first == l) return NULL;
  mp_list_unlink(first);
  return first;
}

/* All members of `from` move to the end of `to`. */
static inline void mp_list_splice(struct mp_list *to, struct mp_list *from) {
  if (mp_list_empty(from)) return;
  from->next->prev = to->prev;
  from->prev->next = to;
  to->prev->next = from->next;
  to->prev = from->prev;
  mp_list_init(from);
}

/* The body may unlink `node`, and no other member. */
#define MP_LIST_EACH(node, list)                                                                                       \
  for (struct mp_list *node = (list)->next, *node##_next = node->next; node != (list);                                 \
       node = node##_next, node##_next = node->next)

#endif
