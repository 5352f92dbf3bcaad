/* Routes with parameters: what a path leads to, and what is left to the router. */
#include "api/tree.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* As in the app: segments, :name, *name. */
static unsigned read_pattern(const char *pattern, struct mp_tree_segment *segments) {
  unsigned n = 0;
  while (*pattern == '/') {
    size_t len = strcspn(++pattern, "/");
    enum mp_tree_kind kind = *pattern == ':' ? MP_TREE_PARAM : *pattern == '*' ? MP_TREE_REST : MP_TREE_LITERAL;
    segments[n++] = (struct mp_tree_segment){kind, mp_slice(pattern, len)};
    pattern += len;
  }
  return n;
}

static void add(struct mp_tree *tree, const char *method, const char *pattern, int ref) {
  struct mp_tree_segment segments[40];
  unsigned n = read_pattern(pattern, segments);
  struct mp_tree_route route = {.handler_ref = ref, .names_ref = -ref};
  assert_int_equal(mp_tree_add(tree, mp_slice(method, strlen(method)), segments, n, route), 0);
}

static void add_mount(struct mp_tree *tree, const char *prefix) {
  struct mp_tree_segment segments[40];
  unsigned n = read_pattern(prefix, segments);
  assert_int_equal(mp_tree_add_mount(tree, segments, n), 0);
}

/* "7 a b" for route 7 with those values; "-" when the router must look. */
static void check(const struct mp_tree *tree, const char *method, const char *path, const char *expected) {
  struct mp_tree_match match;
  char got[2000] = "-";
  struct mp_slice bytes = mp_slice(path, strlen(path));
  if (mp_tree_find(tree, mp_slice(method, strlen(method)), bytes, &match)) {
    int n = snprintf(got, sizeof got, "%d", match.route.handler_ref);
    assert_int_equal(match.route.names_ref, -match.route.handler_ref);
    for (unsigned i = 0; i < match.n_values; i++)
      n += snprintf(got + n, sizeof got - (size_t)n, " %.*s", (int)match.values[i].len, match.values[i].at);
  }
  assert_string_equal(got, expected);
}

static void clear(struct mp_tree *tree) {
  mp_tree_clear(tree, NULL, NULL);
  assert_null(tree->root);
}

static void a_literal_comes_before_a_parameter_before_the_rest(void **state) {
  struct mp_tree tree = {0};
  (void)state;
  check(&tree, "GET", "/", "-");
  add(&tree, "GET", "/*all", 1);
  add(&tree, "GET", "/users/:id", 2);
  add(&tree, "GET", "/users/me", 3);
  check(&tree, "GET", "/users/me", "3");
  check(&tree, "GET", "/users/42", "2 42");
  check(&tree, "GET", "/users/", "1 users/");
  check(&tree, "GET", "/users", "1 users");
  check(&tree, "GET", "/", "1 ");
  clear(&tree);
}

static void a_choice_that_leads_nowhere_is_gone_back_on(void **state) {
  struct mp_tree tree = {0};
  (void)state;
  add(&tree, "GET", "/a/b/c", 1);
  add(&tree, "GET", "/:x/b/d", 2);
  add(&tree, "GET", "/a/*rest", 3);
  check(&tree, "GET", "/a/b/c", "1");
  check(&tree, "GET", "/a/b/d", "3 b/d");
  check(&tree, "GET", "/z/b/d", "2 z");
  check(&tree, "GET", "/z/b/c", "-");
  clear(&tree);
}

static void head_is_answered_by_get_and_any_method_by_a_star(void **state) {
  struct mp_tree tree = {0};
  (void)state;
  add(&tree, "GET", "/:a", 1);
  add(&tree, "*", "/:a/x", 2);
  add(&tree, "HEAD", "/:a/x", 3);
  check(&tree, "HEAD", "/v", "1 v");
  check(&tree, "POST", "/v", "-");
  check(&tree, "FROB", "/v/x", "2 v");
  check(&tree, "HEAD", "/v/x", "3 v");
  clear(&tree);
}

static void segments_are_decoded_after_the_path_was_split(void **state) {
  struct mp_tree tree = {0};
  (void)state;
  add(&tree, "GET", "/f/:name", 1);
  add(&tree, "GET", "/g/*rest", 2);
  add(&tree, "GET", "/a b", 3);
  check(&tree, "GET", "/f/a%2Fb", "1 a/b");
  check(&tree, "GET", "/f/a+b", "1 a+b");
  check(&tree, "GET", "/g/x/%41%2f/y", "2 x/A//y");
  check(&tree, "GET", "/a%20b", "3");
  check(&tree, "GET", "/f/%zz", "-");
  check(&tree, "GET", "/f/%00", "-");
  check(&tree, "GET", "/f/%", "-");
  clear(&tree);
}

static void what_may_lie_in_a_mount_is_the_routers(void **state) {
  struct mp_tree tree = {0};
  (void)state;
  add(&tree, "GET", "/*all", 1);
  add(&tree, "GET", "/admin/:id", 2);
  add_mount(&tree, "/admin");
  check(&tree, "GET", "/admin/42", "2 42");
  check(&tree, "GET", "/admin/42/more", "-");
  check(&tree, "GET", "/admin", "-");
  check(&tree, "POST", "/admin/42", "-");
  check(&tree, "GET", "/other", "1 other");
  clear(&tree);
}

static void very_deep_and_very_long_paths_are_the_routers(void **state) {
  struct mp_tree tree = {0};
  char path[MP_TREE_DECODED + 100];
  (void)state;
  add(&tree, "GET", "/*all", 1);
  memset(path, '/', sizeof path);
  path[MP_TREE_DEPTH] = '\0';
  check(&tree, "GET", path, "1 ///////////////////////////////");
  memset(path, '/', sizeof path);
  path[MP_TREE_DEPTH + 1] = '\0';
  check(&tree, "GET", path, "-");
  memset(path + 1, 'x', sizeof path - 1);
  path[MP_TREE_DECODED] = '\0';
  check(&tree, "GET", path, "-");
  check(&tree, "OPTIONS", "*", "-");
  check(&tree, "GET", "", "-");
  clear(&tree);
}

static void count_route(void *ctx, struct mp_tree_route route) {
  (void)route;
  ++*(unsigned *)ctx;
}

static void ten_thousand_routes_are_found_and_dropped(void **state) {
  struct mp_tree tree = {0};
  unsigned dropped = 0;
  char text[40], expected[40];
  (void)state;
  for (int i = 1; i <= 10000; i++) {
    snprintf(text, sizeof text, "/thing%d/:id", i);
    add(&tree, "GET", text, i);
    add(&tree, "GET", text, 77); /* the first one stays */
  }
  for (int i = 1; i <= 10000; i += 37) {
    snprintf(text, sizeof text, "/thing%d/v%d", i, i);
    snprintf(expected, sizeof expected, "%d v%d", i, i);
    check(&tree, "GET", text, expected);
  }
  check(&tree, "GET", "/thing10001/x", "-");
  mp_tree_clear(&tree, count_route, &dropped);
  assert_int_equal(dropped, 10000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_literal_comes_before_a_parameter_before_the_rest),
      cmocka_unit_test(a_choice_that_leads_nowhere_is_gone_back_on),
      cmocka_unit_test(head_is_answered_by_get_and_any_method_by_a_star),
      cmocka_unit_test(segments_are_decoded_after_the_path_was_split),
      cmocka_unit_test(what_may_lie_in_a_mount_is_the_routers),
      cmocka_unit_test(very_deep_and_very_long_paths_are_the_routers),
      cmocka_unit_test(ten_thousand_routes_are_found_and_dropped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
