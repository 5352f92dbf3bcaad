#include "api/api.h"
#include "http/url.h"

/* core.match(req, node, method, path): the route for a path as sent, in the tree that lua/moonpool/router.lua made,
 * with its parameters set on `req`; nil when there is none, or when only the router can tell: a mount, a malformed
 * path, a very deep one. It walks as the router does: literal, :name, *name, and back where a choice leads nowhere. */

enum { DEPTH_MOST = 32 };

/* Upvalues: the keys of a node and of a route. */
enum { K_LITERALS = 1, K_LEAF, K_PARAM, K_REST, K_MOUNT, K_NAMES, K_ANY, K_HEAD, K_GET, N_KEYS = K_GET };
static const char *const key_names[] = {"literals", "leaf", "param", "rest", "mount", "names", "*", "HEAD", "GET"};

enum found { NOTHING, ROUTE, ROUTER_MUST }; /* ROUTE: it is at the top of the stack */

struct walk {
  int method;           /* stack place */
  struct mp_slice path; /* behind the first "/" */
  bool escaped;
  int values[DEPTH_MOST]; /* stack places of the parameters' values */
  int n_values;
};

static int push_field(lua_State *L, int node, int key) {
  lua_pushvalue(L, lua_upvalueindex(key));
  return lua_rawget(L, node);
}

static bool push_decoded(lua_State *L, const struct walk *w, struct mp_slice s) {
  if (!w->escaped) {
    lua_pushlstring(L, s.at, s.len);
    return true;
  }
  luaL_Buffer b;
  char *room = luaL_buffinitsize(L, &b, s.len + 1);
  ssize_t n = mp_url_decode(room, s, false);
  luaL_pushresultsize(&b, n < 0 ? 0 : (size_t)n);
  return n >= 0;
}

/* The leaf at the top: the route for the method, HEAD by GET, or for any. */
static enum found pick(lua_State *L, const struct walk *w) {
  int leaf = lua_gettop(L);
  lua_pushvalue(L, w->method);
  if (lua_rawget(L, leaf) == LUA_TTABLE) return ROUTE;
  if (lua_rawequal(L, w->method, lua_upvalueindex(K_HEAD)) && push_field(L, leaf, K_GET) == LUA_TTABLE) return ROUTE;
  return push_field(L, leaf, K_ANY) == LUA_TTABLE ? ROUTE : NOTHING;
}

static bool has_mount(lua_State *L, int node) {
  return push_field(L, node, K_MOUNT) != LUA_TNIL;
}

static enum found at_end(lua_State *L, const struct walk *w, int node) {
  if (push_field(L, node, K_LEAF) == LUA_TTABLE && pick(L, w) == ROUTE) return ROUTE;
  return has_mount(L, node) ? ROUTER_MUST : NOTHING;
}

/* `at`: where the next segment begins in the path; behind its end there is none. What is pushed stays until the whole
 * walk is over. */
static enum found walk(lua_State *L, struct walk *w, int node, size_t at, int depth) {
  if (at > w->path.len) return at_end(L, w, node);
  if (depth == DEPTH_MOST) return ROUTER_MUST;
  luaL_checkstack(L, 12, "too deep a path");
  const char *slash = memchr(w->path.at + at, '/', w->path.len - at);
  size_t len = slash ? (size_t)(slash - w->path.at) - at : w->path.len - at, next = at + len + 1;
  if (!push_decoded(L, w, mp_slice(w->path.at + at, len))) return ROUTER_MUST;
  int segment = lua_gettop(L), n_values = w->n_values;
  push_field(L, node, K_LITERALS);
  lua_pushvalue(L, segment);
  if (lua_rawget(L, -2) == LUA_TTABLE) {
    enum found found = walk(L, w, lua_gettop(L), next, depth + 1);
    if (found != NOTHING) return found;
  }
  w->n_values = n_values;
  if (len > 0 && push_field(L, node, K_PARAM) == LUA_TTABLE) {
    w->values[w->n_values++] = segment;
    enum found found = walk(L, w, lua_gettop(L), next, depth + 1);
    if (found != NOTHING) return found;
  }
  w->n_values = n_values;
  if (push_field(L, node, K_REST) == LUA_TTABLE) {
    int rest = lua_gettop(L);
    if (!push_decoded(L, w, mp_slice(w->path.at + at, w->path.len - at))) return ROUTER_MUST;
    w->values[w->n_values++] = rest + 1;
    lua_pushvalue(L, rest);
    if (pick(L, w) == ROUTE) return ROUTE;
  }
  return has_mount(L, node) ? ROUTER_MUST : NOTHING;
}

/* The route is at the top. */
static void push_params(lua_State *L, const struct walk *w) {
  push_field(L, lua_gettop(L), K_NAMES);
  int names = lua_gettop(L);
  lua_createtable(L, 0, w->n_values);
  for (int i = 0; i < w->n_values; i++) {
    lua_rawgeti(L, names, i + 1);
    lua_pushvalue(L, w->values[i]);
    lua_rawset(L, -3);
  }
}

static int l_match(lua_State *L) {
  struct walk w = {.method = 3};
  lua_settop(L, 4);
  w.path.at = luaL_checklstring(L, 4, &w.path.len);
  luaL_checktype(L, 2, LUA_TTABLE);
  if (w.path.len == 0 || w.path.at[0] != '/') return 0;
  w.path = mp_slice(w.path.at + 1, w.path.len - 1);
  w.escaped = memchr(w.path.at, '%', w.path.len) != NULL;
  if (walk(L, &w, 2, 0, 0) != ROUTE) return 0;
  int route = lua_gettop(L);
  if (w.n_values > 0) {
    push_params(L, &w);
    mp_request_set_params(L);
  }
  lua_pushvalue(L, route);
  return 1;
}

void mp_match_open(lua_State *L) {
  for (int i = 0; i < N_KEYS; i++) lua_pushstring(L, key_names[i]);
  lua_pushcclosure(L, l_match, N_KEYS);
  lua_setfield(L, -2, "match");
}
