#include "http/multipart.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those above first */
#include <cmocka.h>

static const struct mp_multipart_limits limits = {.parts = 3, .head = 200, .name = 20};

/* What a body came to, as text: "[name|filename|type]content;" each, "." when it was whole, or "!status". */
struct told {
  struct mp_buf text; /* owned */
};

static void tell_part(struct mp_buf *text, const struct mp_part *part) {
  mp_buf_addf(text, "[%.*s|%.*s%s|%.*s]", (int)part->name.len, part->name.at, (int)part->filename.len,
              part->filename.len ? part->filename.at : "", part->is_file ? "?" : "", (int)part->type.len,
              part->type.len ? part->type.at : "");
}

/* Feeds one copy of exactly that size, so that a sanitizer sees every step beyond it. */
static enum mp_part_event feed_copy(struct mp_multipart *m, const char *bytes, size_t len, struct mp_buf *text) {
  char *copy = malloc(len ? len : 1);
  struct mp_refusal why = {0};
  enum mp_part_event event;
  size_t at = 0;
  memcpy(copy, bytes, len);
  do {
    struct mp_slice piece;
    size_t used;
    event = mp_multipart_feed(m, copy + at, len - at, &used, &piece, &why);
    at += used;
    if (event == MP_PART_BEGIN) tell_part(text, &m->part);
    if (event == MP_PART_DATA) {
      assert_true(piece.len > 0);
      mp_buf_add_slice(text, piece);
    }
    if (event == MP_PART_END) mp_buf_add(text, ";", 1);
  } while (event != MP_PART_MORE && event != MP_PART_REFUSE);
  if (event == MP_PART_REFUSE)
    mp_buf_addf(text, "!%d", why.status);
  else
    assert_int_equal(at, len);
  free(copy);
  return event;
}

static char *parse(const char *body, size_t len, size_t step) {
  struct mp_multipart m;
  struct mp_buf text = {0};
  enum mp_part_event event = MP_PART_MORE;
  mp_multipart_init(&m, MP_SLICE("b"), &limits);
  for (size_t at = 0; at < len && event != MP_PART_REFUSE; at += step)
    event = feed_copy(&m, body + at, len - at < step ? len - at : step, &text);
  mp_buf_add(&text, mp_multipart_is_whole(&m) ? "." : "", mp_multipart_is_whole(&m) ? 2 : 1);
  mp_multipart_free(&m);
  return text.mem;
}

static void comes_to(const char *body, const char *expected) {
  for (size_t step = 1; step <= strlen(body) + 1; step++) {
    char *told = parse(body, strlen(body), step);
    assert_string_equal(told, expected);
    free(told);
  }
}

#define FIELD(name) "Content-Disposition: form-data; name=" name "\r\n"
#define FILE_FIELD(name, file) "Content-Disposition: form-data; name=" name "; filename=" file "\r\n"

static void takes_a_form_apart_however_it_is_split(void **state) {
  (void)state;
  comes_to(
      "--b\r\n" FIELD("\"a\"") "\r\none\r\n--b\r\n" FILE_FIELD("f", "\"x.txt\"") "Content-Type: text/plain\r\n"
                                                                                 "\r\nline\r\nline\r\n\r\n--b--\r\n",
      "[a||]one;[f|x.txt?|text/plain]line\r\nline\r\n;.");
  comes_to("--b\r\n" FIELD("a") "\r\n\r\n--b--", "[a||];.");
  comes_to("--b--", ".");
}

static void gives_out_what_only_looks_like_a_boundary(void **state) {
  (void)state;
  comes_to("--b\r\n" FIELD("a") "\r\n\r\r\n-\r\n--c\r\n--\r\n\r\n--b--", "[a||]\r\r\n-\r\n--c\r\n--\r\n;.");
  comes_to("--b\r\n" FIELD("a") "\r\n--b\r\n\r\n--b--", "[a||]--b\r\n;.");
  comes_to("--b\r\n" FIELD("a") "\r\n\n--b\r\n--b--", "[a||]\n--b;.");
}

static void passes_over_what_stands_before_and_behind(void **state) {
  (void)state;
  comes_to("hello\r\n--\r\n--b \t\r\n" FIELD("a") "\r\nx\r\n--b-- and more\r\n--b\r\n", "[a||]x;.");
  comes_to("\r\n--b--\r\n", ".");
}

static void is_not_whole_before_the_last_boundary(void **state) {
  (void)state;
  comes_to("", "");
  comes_to("nothing of it", "");
  comes_to("--b\r\n" FIELD("a") "\r\nx", "[a||]x");
  comes_to("--b\r\n" FIELD("a") "\r\nx\r\n--b", "[a||]x;");
  comes_to("--b\r\n" FIELD("a") "\r\nx\r\n--b-", "[a||]x;");
}

static void reads_names_with_their_escapes(void **state) {
  (void)state;
  comes_to("--b\r\n" FILE_FIELD("\"a\\\"b\"", "\"C:\\dir\\x\\\\y\"") "\r\n\r\n--b--", "[a\"b|C:\\dir\\x\\y?|];.");
  comes_to("--b\r\n" FILE_FIELD("\"\"", "\"\"") "\r\n\r\n--b--", "[|?|];.");
  comes_to("--b\r\ncontent-disposition:FORM-DATA;NAME=\"a\" ; x=y;\r\nX-Other: 1\r\n\r\n\r\n--b--", "[a||];.");
  comes_to("--b\r\n" FILE_FIELD("a", "\"../../x;y\"; filename*=UTF-8''evil") "\r\n\r\n--b--", "[a|../../x;y?|];.");
  comes_to("--b\r\nContent-Transfer-Encoding: 8BIT\r\n" FIELD("\xc3\xa9") "\r\n\r\n--b--", "!400");
  comes_to("--b\r\nContent-Transfer-Encoding: 8BIT\r\n" FIELD("\"\xc3\xa9\"") "\r\n\r\n--b--", "[\xc3\xa9||];.");
}

static void refuses_what_is_malformed(void **state) {
  static const char *const heads[] = {"\r\n",
                                      "X: 1\r\n\r\n",
                                      "no colon\r\n\r\n",
                                      ": x\r\n\r\n",
                                      " folded: x\r\n\r\n",
                                      FIELD("a") " folded\r\n\r\n",
                                      FIELD("a") FIELD("b") "\r\n",
                                      "Content-Disposition: form-data\r\n\r\n",
                                      "Content-Disposition: form-data; filename=x\r\n\r\n",
                                      "Content-Disposition: attachment; name=a\r\n\r\n",
                                      "Content-Disposition: form-data; name=a; name=b\r\n\r\n",
                                      "Content-Disposition: form-data; name=a; filename=b; filename=c\r\n\r\n",
                                      "Content-Disposition: form-data; name\r\n\r\n",
                                      "Content-Disposition: form-data; name=\r\n\r\n",
                                      "Content-Disposition: form-data; name=\"a\r\n\r\n",
                                      "Content-Disposition: form-data; name=\"a\" b\r\n\r\n",
                                      "Content-Disposition: form-data name=a\r\n\r\n",
                                      "Content-Disposition: form-data; name=\"\x01\"\r\n\r\n",
                                      "Content-Disposition: form-data; name=a\n\r\n",
                                      "Content-Disposition: form-data; name=a\r \r\n"};
  (void)state;
  for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
    char body[300];
    snprintf(body, sizeof body, "--b\r\n%s", heads[i]);
    comes_to(body, "!400");
  }
  comes_to("--bc\r\n", "!400");
  comes_to("--b\n", "!400");
  comes_to("--b \tx", "!400");
  comes_to("--b-x", "!400");
  comes_to("--b\rx", "!400");
  comes_to("--b\r\nContent-Transfer-Encoding: base64\r\n" FIELD("a") "\r\n", "!415");
}

static void bounds_parts_heads_and_names(void **state) {
  char body[1000], filler[300];
  (void)state;
  comes_to("--b\r\n" FIELD("a") "\r\n\r\n--b\r\n" FIELD("a") "\r\n\r\n--b\r\n" FIELD("a") "\r\n\r\n--b\r\n" FIELD("a"),
           "[a||];[a||];[a||];!413");
  comes_to("--b\r\n" FIELD("a23456789012345678901") "\r\n", "!413");
  memset(filler, 'x', sizeof filler);
  snprintf(body, sizeof body, "--b\r\n" FIELD("a") "X: %.*s\r\n\r\n\r\n--b--", 156, filler);
  comes_to(body, "[a||];.");
  snprintf(body, sizeof body, "--b\r\n" FIELD("a") "X: %.*s\r\n\r\n\r\n--b--", 157, filler);
  comes_to(body, "!413");
  snprintf(body, sizeof body, "--b\r\n%.*s", 201, filler);
  comes_to(body, "!413");
}

static void content_may_hold_any_byte(void **state) {
  static const char head[] = "--b\r\n" FIELD("a") "\r\n", end[] = "\r\n--b--";
  char body[sizeof head + 600 + sizeof end], *at = body;
  (void)state;
  memcpy(at, head, sizeof head - 1), at += sizeof head - 1;
  for (int i = 0; i < 600; i++) *at++ = (char)i;
  memcpy(at, end, sizeof end - 1), at += sizeof end - 1;
  for (size_t step = 1; step < 60; step++) {
    char *told = parse(body, (size_t)(at - body), step);
    assert_memory_equal(told, "[a||]", 5);
    assert_memory_equal(told + 5, body + sizeof head - 1, 600);
    assert_string_equal(told + 605, ";.");
    free(told);
  }
}

static void boundary_is(const char *type, const char *expected) {
  char room[MP_BOUNDARY_MOST];
  struct mp_slice boundary;
  assert_int_equal(mp_multipart_boundary(mp_slice(type, strlen(type)), room, &boundary), 0);
  assert_true(mp_slice_is(boundary, mp_slice(expected, strlen(expected))));
}

static int boundary_error(const char *type) {
  char room[MP_BOUNDARY_MOST];
  struct mp_slice boundary;
  return mp_multipart_boundary(mp_slice(type, strlen(type)), room, &boundary);
}

static void finds_the_boundary_in_the_type(void **state) {
  (void)state;
  boundary_is("multipart/form-data; boundary=abc", "abc");
  boundary_is("Multipart/Form-Data;charset=utf-8;BOUNDARY=\"a b=c\"", "a b=c");
  boundary_is("multipart/form-data; boundary=----=_Part/1?:", "----=_Part/1?:");
  assert_int_equal(boundary_error("multipart/mixed; boundary=a"), -ENOENT);
  assert_int_equal(boundary_error(""), -ENOENT);
  assert_int_equal(boundary_error("multipart/form-data"), -EINVAL);
  assert_int_equal(boundary_error("multipart/form-data; boundary="), -EINVAL);
  assert_int_equal(boundary_error("multipart/form-data; boundary=\"\""), -EINVAL);
  assert_int_equal(boundary_error("multipart/form-data; boundary=\"a \""), -EINVAL);
  assert_int_equal(boundary_error("multipart/form-data; boundary=\"a\"\"b\""), -EINVAL);
  assert_int_equal(boundary_error("multipart/form-data; boundary=a; boundary=a"), -EINVAL);
  assert_int_equal(boundary_error("multipart/form-data; boundary=a\\b"), -EINVAL);
  assert_int_equal(boundary_error("multipart/form-data; boundary=\"a\r\nb\""), -EINVAL);
  assert_int_equal(boundary_error("multipart/form-data; boundary=1234567890123456789012345678901234567890123456789012"
                                  "3456789012345678901"),
                   -EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(takes_a_form_apart_however_it_is_split),
      cmocka_unit_test(gives_out_what_only_looks_like_a_boundary),
      cmocka_unit_test(passes_over_what_stands_before_and_behind),
      cmocka_unit_test(is_not_whole_before_the_last_boundary),
      cmocka_unit_test(reads_names_with_their_escapes),
      cmocka_unit_test(refuses_what_is_malformed),
      cmocka_unit_test(bounds_parts_heads_and_names),
      cmocka_unit_test(content_may_hold_any_byte),
      cmocka_unit_test(finds_the_boundary_in_the_type),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
