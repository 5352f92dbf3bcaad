#include "api/tree.h"
#include "http/url.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

/* One method of one pattern. */
struct leaf {
  struct leaf *next; /* owned */
  struct mp_tree_route route;
  size_t len;
  char method[];
};

/* An edge to a child: a literal segment. */
struct edge {
  struct mp_tree_node *to; /* owned; NULL: an empty place */
  char *text;              /* owned */
  size_t len;
  uint32_t hash;
};

struct mp_tree_node {
  struct edge *edges;         /* owned; cap is a power of 2, or 0, and never full */
  struct mp_tree_node *param; /* owned */
  struct leaf *leaf, *rest;   /* owned: of what ends here; of *name from here on */
  uint32_t n, cap;
  bool mount;
};

/* ---- literals ---- */

/* Where it stands, or the empty place where it would. */
static struct edge *place_of(const struct mp_tree_node *node, struct mp_slice text, uint32_t hash) {
  for (uint32_t i = hash;; i++) {
    struct edge *edge = &node->edges[i & (node->cap - 1)];
    if (!edge->to || (edge->hash == hash && mp_slice_is(mp_slice(edge->text, edge->len), text))) return edge;
  }
}

static const struct mp_tree_node *literal_child(const struct mp_tree_node *node, struct mp_slice text) {
  return node->n ? place_of(node, text, mp_slice_hash(text))->to : NULL;
}

static bool grow(struct mp_tree_node *node) {
  if (node->n * 2 < node->cap) return true;
  struct mp_tree_node wider = {.cap = node->cap ? node->cap * 2 : 4};
  wider.edges = calloc(wider.cap, sizeof *wider.edges);
  if (!wider.edges) return false;
  for (uint32_t i = 0; i < node->cap; i++) {
    const struct edge *edge = &node->edges[i];
    if (edge->to) *place_of(&wider, mp_slice(edge->text, edge->len), edge->hash) = *edge;
  }
  free(node->edges);
  node->edges = wider.edges;
  node->cap = wider.cap;
  return true;
}

static struct mp_tree_node *make_literal(struct mp_tree_node *node, struct mp_slice text) {
  uint32_t hash = mp_slice_hash(text);
  if (!grow(node)) return NULL;
  struct edge *edge = place_of(node, text, hash);
  if (edge->to) return edge->to;
  char *copy = malloc(text.len + 1);
  struct mp_tree_node *to = copy ? calloc(1, sizeof *to) : NULL;
  if (!to) {
    free(copy);
    return NULL;
  }
  memcpy(copy, text.at, text.len);
  *edge = (struct edge){.to = to, .text = copy, .len = text.len, .hash = hash};
  node->n++;
  return to;
}

/* ---- adding ---- */

static struct mp_tree_node *make_node(struct mp_tree_node **at) {
  if (!*at) *at = calloc(1, sizeof **at);
  return *at;
}

/* The node behind all segments but a last *name. NULL: out of memory. */
static struct mp_tree_node *make_way(struct mp_tree *tree, const struct mp_tree_segment *segments, unsigned n) {
  struct mp_tree_node *node = make_node(&tree->root);
  for (unsigned i = 0; node && i < n && segments[i].kind != MP_TREE_REST; i++)
    node = segments[i].kind == MP_TREE_PARAM ? make_node(&node->param) : make_literal(node, segments[i].text);
  return node;
}

static const struct leaf *leaf_for(const struct leaf *leaf, struct mp_slice method) {
  while (leaf && !mp_slice_is(mp_slice(leaf->method, leaf->len), method)) leaf = leaf->next;
  return leaf;
}

int mp_tree_add(struct mp_tree *tree, struct mp_slice method, const struct mp_tree_segment *segments, unsigned n,
                struct mp_tree_route route) {
  struct mp_tree_node *node = make_way(tree, segments, n);
  if (!node) return -ENOMEM;
  struct leaf **to = n > 0 && segments[n - 1].kind == MP_TREE_REST ? &node->rest : &node->leaf;
  if (leaf_for(*to, method)) return 0;
  struct leaf *leaf = malloc(sizeof *leaf + method.len);
  if (!leaf) return -ENOMEM;
  leaf->next = *to;
  leaf->route = route;
  leaf->len = method.len;
  memcpy(leaf->method, method.at, method.len);
  *to = leaf;
  return 0;
}

int mp_tree_add_mount(struct mp_tree *tree, const struct mp_tree_segment *segments, unsigned n) {
  struct mp_tree_node *node = make_way(tree, segments, n);
  if (!node) return -ENOMEM;
  node->mount = true;
  return 0;
}

/* ---- finding ---- */

enum found { NOTHING, ROUTE, ROUTER_MUST };

struct walk {
  struct mp_tree_match *match; /* borrowed */
  struct mp_slice method;
  const char *end;                         /* of the last segment */
  struct mp_slice segments[MP_TREE_DEPTH]; /* decoded */
  unsigned n;
};

/* HEAD is answered by GET. */
static bool pick(struct walk *w, const struct leaf *leaves) {
  const struct leaf *leaf = leaf_for(leaves, w->method);
  if (!leaf && mp_slice_is(w->method, MP_SLICE("HEAD"))) leaf = leaf_for(leaves, MP_SLICE("GET"));
  if (!leaf) leaf = leaf_for(leaves, MP_SLICE("*"));
  if (leaf) w->match->route = leaf->route;
  return leaf != NULL;
}

static void take_value(struct walk *w, struct mp_slice value) {
  w->match->values[w->match->n_values++] = value;
}

static enum found walk(struct walk *w, const struct mp_tree_node *node, unsigned at) {
  enum found otherwise = node->mount ? ROUTER_MUST : NOTHING, found;
  if (at == w->n) return node->leaf && pick(w, node->leaf) ? ROUTE : otherwise;
  struct mp_slice segment = w->segments[at];
  unsigned n_values = w->match->n_values;
  const struct mp_tree_node *literal = literal_child(node, segment);
  if (literal && (found = walk(w, literal, at + 1)) != NOTHING) return found;
  w->match->n_values = n_values;
  if (node->param && segment.len > 0) {
    take_value(w, segment);
    if ((found = walk(w, node->param, at + 1)) != NOTHING) return found;
    w->match->n_values = n_values;
  }
  if (!node->rest || !pick(w, node->rest)) return otherwise;
  take_value(w, mp_slice(segment.at, (size_t)(w->end - segment.at)));
  return ROUTE;
}

/* Decoded segments stand in `decoded` with slashes between them, as the rest of a path is given to *name. */
static bool decode(struct walk *w) {
  char *to = w->match->decoded;
  for (unsigned i = 0; i < w->n; i++) {
    ssize_t len = mp_url_decode(to, w->segments[i], false);
    if (len < 0) return false;
    w->segments[i] = mp_slice(to, (size_t)len);
    to += len;
    w->end = to;
    *to++ = '/';
  }
  return true;
}

/* Split as sent; only then decoded. */
static bool split(struct walk *w, struct mp_slice path) {
  const char *at = path.at + 1;
  w->end = path.at + path.len;
  for (w->n = 0; w->n < MP_TREE_DEPTH; at++) {
    const char *slash = memchr(at, '/', (size_t)(w->end - at));
    const char *end = slash ? slash : w->end;
    w->segments[w->n++] = mp_slice(at, (size_t)(end - at));
    if (!slash) return true;
    at = end;
  }
  return false;
}

bool mp_tree_find(const struct mp_tree *tree, struct mp_slice method, struct mp_slice path,
                  struct mp_tree_match *match) {
  struct walk w;
  if (!tree->root || path.len == 0 || path.at[0] != '/' || path.len >= MP_TREE_DECODED) return false;
  w.match = match;
  w.method = method;
  match->n_values = 0;
  if (!split(&w, path)) return false;
  if (memchr(path.at, '%', path.len) && !decode(&w)) return false;
  return walk(&w, tree->root, 0) == ROUTE;
}

/* ---- emptying ---- */

static void free_leaves(struct leaf *leaf, void (*drop)(void *ctx, struct mp_tree_route route), void *ctx) {
  while (leaf) {
    struct leaf *next = leaf->next;
    if (drop) drop(ctx, leaf->route);
    free(leaf);
    leaf = next;
  }
}

/* As deep as the deepest pattern. */
static void free_node(struct mp_tree_node *node, void (*drop)(void *ctx, struct mp_tree_route route), void *ctx) {
  if (!node) return;
  for (uint32_t i = 0; i < node->cap; i++) {
    free_node(node->edges[i].to, drop, ctx);
    free(node->edges[i].text);
  }
  free_node(node->param, drop, ctx);
  free_leaves(node->leaf, drop, ctx);
  free_leaves(node->rest, drop, ctx);
  free(node->edges);
  free(node);
}

void mp_tree_clear(struct mp_tree *tree, void (*drop)(void *ctx, struct mp_tree_route route), void *ctx) {
  free_node(tree->root, drop, ctx);
  tree->root = NULL;
}
