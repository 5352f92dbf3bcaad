#include "http/head.h"
#include "http/reply.h"
#include "worker/access.h"
#include "worker/atoms.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static struct mp_access_facts hello(void) {
  struct mp_access_facts facts = {.method = MP_SLICE("GET"),
                                  .target = MP_SLICE("/a?b=c"),
                                  .id = MP_SLICE("f00d01"),
                                  .minor = 1,
                                  .status = 200,
                                  .bytes = 12,
                                  .whole = true,
                                  .worker = 3,
                                  .took_ms = 45,
                                  .at = 1767323045};
  mp_address_parse(&facts.client, MP_SLICE("192.0.2.7"));
  return facts;
}

static const char *line_of(const struct mp_access_facts *facts, bool json) {
  static char text[2000];
  struct mp_buf out = {0};
  assert_int_equal(mp_access_line(&out, facts, (struct mp_access_form){.json = json}), 0);
  snprintf(text, sizeof text, "%.*s", (int)mp_buf_len(&out), mp_buf_at(&out));
  mp_buf_free(&out);
  return text;
}

static void a_line_is_in_the_combined_format_with_more_words_behind(void **state) {
  struct mp_access_facts facts = hello();
  (void)state;
  assert_string_equal(line_of(&facts, false),
                      "192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] \"GET /a?b=c HTTP/1.1\" 200 12 "
                      "\"-\" \"-\" id=f00d01 worker=3 took_ms=45\n");
}

static void what_is_not_known_is_a_dash(void **state) {
  struct mp_access_facts facts = {.minor = -1, .at = 1767323045};
  (void)state;
  assert_string_equal(line_of(&facts, false), "- - - [02/Jan/2026:03:04:05 +0000] \"-\" - 0 \"-\" \"-\" id=- worker=0 "
                                              "took_ms=0 broken\n");
  assert_string_equal(
      line_of(&facts, true),
      "{\"ts\":\"2026-01-02T03:04:05Z\",\"ip\":\"-\",\"method\":null,\"target\":null,\"version\":null,"
      "\"status\":null,\"bytes\":0,\"whole\":false,\"referer\":null,\"agent\":null,\"id\":null,\"trace\":null,"
      "\"worker\":0,\"took_ms\":0}\n");
}

static void a_json_line_is_one_object(void **state) {
  struct mp_access_facts facts = hello();
  (void)state;
  assert_string_equal(line_of(&facts, true),
                      "{\"ts\":\"2026-01-02T03:04:05Z\",\"ip\":\"192.0.2.7\",\"method\":\"GET\",\"target\":\"/a?b=c\","
                      "\"version\":\"1.1\",\"status\":200,\"bytes\":12,\"whole\":true,\"referer\":null,\"agent\":null,"
                      "\"id\":\"f00d01\",\"trace\":null,\"worker\":3,\"took_ms\":45}\n");
}

static void bytes_that_could_forge_are_escaped(void **state) {
  struct mp_access_facts facts = hello();
  (void)state;
  facts.agent = mp_slice("a\"\\\n\0\x1b\x7f\xff b", 10);
  assert_non_null(strstr(line_of(&facts, false), " \"a\\x22\\x5c\\x0a\\x00\\x1b\\x7f\\xff b\" id="));
  assert_non_null(strstr(line_of(&facts, true), ":\"a\\\"\\\\\\u000a\\u0000\\u001b\\u007f\\u00ff b\","));
}

static size_t size_of(const char *path) {
  FILE *f = fopen(path, "r");
  fseek(f, 0, SEEK_END);
  size_t n = (size_t)ftell(f);
  fclose(f);
  return n;
}

static void lines_are_written_when_the_turn_ends_or_many_have_come(void **state) {
  char path[] = "/tmp/worker_access.XXXXXX", moved[64];
  struct mp_log log = {.fd = 2, .least = MP_LOG_ERROR};
  struct mp_access_facts facts = hello();
  struct mp_loop loop;
  struct mp_access access;
  (void)state;
  close(mkstemp(path));
  assert_int_equal(mp_loop_init(&loop, &log), 0);
  assert_int_equal(mp_access_open(&access, &loop, &log, path, (struct mp_access_form){0}), 0);
  mp_access_add(&access, &facts);
  assert_int_equal(size_of(path), 0);
  uv_run(&loop.uv, UV_RUN_NOWAIT);
  size_t one = size_of(path);
  assert_true(one > 0);
  for (int i = 0; i < 1000; i++) mp_access_add(&access, &facts);
  assert_true(size_of(path) >= 64 * 1024);
  snprintf(moved, sizeof moved, "%s.1", path);
  rename(path, moved);
  assert_int_equal(mp_access_reopen(&access), 0);
  assert_int_equal(size_of(moved), 1001 * one);
  mp_access_add(&access, &facts);
  mp_access_close(&access);
  mp_access_close(&access);
  assert_int_equal(size_of(path), one);
  mp_loop_deinit(&loop);
  unlink(path);
  unlink(moved);
}

static void lines_that_are_lost_are_counted_and_said(void **state) {
  int said = memfd_create("log", 0);
  struct mp_log log = {.fd = said, .least = MP_LOG_ERROR};
  struct mp_access_facts facts = hello();
  struct mp_loop loop;
  struct mp_access access;
  char text[400] = "";
  (void)state;
  assert_int_equal(mp_loop_init(&loop, &log), 0);
  uv_update_time(&loop.uv);
  assert_int_equal(mp_access_open(&access, &loop, &log, "/dev/full", (struct mp_access_form){0}), 0);
  mp_access_add(&access, &facts);
  mp_access_add(&access, &facts);
  uv_run(&loop.uv, UV_RUN_NOWAIT);
  assert_true(pread(said, text, sizeof text - 1, 0) > 0);
  assert_non_null(strstr(text, "the access log cannot be written: "));
  assert_non_null(strstr(text, "lost=2"));
  mp_access_close(&access);
  mp_loop_deinit(&loop);
  close(said);
}

static const char *atoms_of(const char *format, const struct mp_access_facts *facts) {
  static char text[2000];
  struct mp_buf out = {0};
  assert_int_equal(mp_access_line(&out, facts, (struct mp_access_form){.atoms = format}), 0);
  snprintf(text, sizeof text, "%.*s", (int)mp_buf_len(&out), mp_buf_at(&out));
  mp_buf_free(&out);
  return text;
}

static void a_format_of_atoms_is_filled_in(void **state) {
  struct mp_field fields[] = {{MP_SLICE("X-A"), MP_SLICE("one\"two")}};
  struct mp_head head = {.fields = fields, .n_fields = 1};
  struct mp_reply reply = {0};
  struct mp_access_facts facts = hello();
  (void)state;
  facts.head = &head;
  facts.reply = &reply;
  facts.took_us = 1234567;
  facts.agent = MP_SLICE("curl\x1b[2J");
  assert_int_equal(mp_reply_set(&reply, MP_SLICE("X-B"), MP_SLICE("b")), 0);
  assert_string_equal(atoms_of("%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s", &facts),
                      "192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] \"GET /a?b=c HTTP/1.1\" 200 12\n");
  assert_string_equal(atoms_of("%(m)s|%(U)s|%(q)s|%(H)s|%(B)s|%(a)s|%(f)s", &facts),
                      "GET|/a|b=c|HTTP/1.1|12|curl\\x1b[2J|-\n");
  assert_string_equal(atoms_of("%(T)s %(M)s %(D)s %(L)s %(i)s %(x)s %(w)s 100%%", &facts),
                      "1 1234 1234567 1.234567 f00d01 - 3 100%\n");
  assert_string_equal(atoms_of("%({x-a}i)s %({none}i)s %({x-b}o)s %({none}o)s", &facts), "one\\x22two - b -\n");
  mp_reply_free(&reply);
}

static void atoms_of_what_was_no_request_are_dashes(void **state) {
  struct mp_access_facts facts = {.minor = -1, .at = 1767323045};
  (void)state;
  assert_string_equal(
      atoms_of("%(h)s %(r)s %(m)s %(U)s [%(q)s] %(H)s %(s)s %(b)s %(B)s %(i)s %({a}i)s %({a}o)s", &facts),
      "- - - - [] - - - 0 - - -\n");
}

static void what_is_no_atom_is_named(void **state) {
  static const char *const wrong[] = {"%",        "a %(h) b", "%h",         "%(y)s",  "%(h)d",  "%({}i)s",
                                      "%({a}x)s", "%({a}is",  "%({a",       "a\nb",   "%(",     "%(h",
                                      "%({a}e)s", "%()s",     "ok %(h)s %", "%(hh)s", "%({a}i)"};
  struct mp_slice bad;
  (void)state;
  for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(mp_atoms_check(wrong[i], &bad), -EINVAL);
    assert_true(bad.len > 0 && bad.at >= wrong[i] && bad.at + bad.len <= wrong[i] + strlen(wrong[i]));
  }
  assert_int_equal(mp_atoms_check("", &bad), 0);
  assert_int_equal(mp_atoms_check("%(h)s %% %({A-b}i)s x", &bad), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_format_of_atoms_is_filled_in),
      cmocka_unit_test(atoms_of_what_was_no_request_are_dashes),
      cmocka_unit_test(what_is_no_atom_is_named),
      cmocka_unit_test(a_line_is_in_the_combined_format_with_more_words_behind),
      cmocka_unit_test(what_is_not_known_is_a_dash),
      cmocka_unit_test(a_json_line_is_one_object),
      cmocka_unit_test(bytes_that_could_forge_are_escaped),
      cmocka_unit_test(lines_are_written_when_the_turn_ends_or_many_have_come),
      cmocka_unit_test(lines_that_are_lost_are_counted_and_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
