/* tree.h - routes with parameters: a tree of segments, walked without a call into Lua.
 *
 * It follows the order of the router in lua/moonpool/router.lua: a literal, :name, *name, and back where a choice leads
 * nowhere. It is sure of what it finds; what it does not find may still be a mount, a folder, a method that is not
 * allowed or a malformed path, which the router tells apart. */
#ifndef MP_API_TREE_H
#define MP_API_TREE_H

#include "base/slice.h"
#include <stdbool.h>

enum { MP_TREE_DEPTH = 32, MP_TREE_DECODED = 1024 /* bytes of an escaped path */ };
enum mp_tree_kind { MP_TREE_LITERAL, MP_TREE_PARAM, MP_TREE_REST };

struct mp_tree_node;

struct mp_tree {
  struct mp_tree_node *root; /* owned; NULL: no routes */
};

/* Registry references, which go with the state or are dropped by whoever empties the tree. */
struct mp_tree_route {
  int handler_ref, names_ref;
};

struct mp_tree_segment {
  enum mp_tree_kind kind;
  struct mp_slice text; /* of a literal */
};

struct mp_tree_match {
  struct mp_tree_route route;
  struct mp_slice values[MP_TREE_DEPTH]; /* borrowed from the path, or from `decoded`; in the order of their names */
  unsigned n_values;
  char decoded[MP_TREE_DECODED];
};

/* A route that stands there already for that method stays. 0 or -ENOMEM. */
int mp_tree_add(struct mp_tree *tree, struct mp_slice method, const struct mp_tree_segment *segments, unsigned n,
                struct mp_tree_route route);

/* What no route takes at that prefix and below is not ours to look for. 0 or -ENOMEM. */
int mp_tree_add_mount(struct mp_tree *tree, const struct mp_tree_segment *segments, unsigned n);

/* `path` as sent. False: the router must look. */
bool mp_tree_find(const struct mp_tree *tree, struct mp_slice method, struct mp_slice path,
                  struct mp_tree_match *match);

/* Empties it; `drop` is told of each route, and may be NULL. */
void mp_tree_clear(struct mp_tree *tree, void (*drop)(void *ctx, struct mp_tree_route route), void *ctx);

#endif
