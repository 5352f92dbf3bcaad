/* A small bundle, each bit of which is flipped in turn: every one is found. And what the fuzz target cannot judge: the
 * same folder makes the same bytes. */
#include "bundle/make.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
  char folder[32], app[64], program[64], out[64];
};

static void write_file(const char *path, const void *bytes, size_t len) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, len), len);
  close(fd);
}

static void add_app_file(const struct place *p, const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", p->app, name);
  write_file(path, text, strlen(text));
}

/* The least that is a program to a bundle: a header, something in it, and the section headers last. */
static void write_program(const char *path) {
  struct {
    Elf64_Ehdr head;
    char text[200];
    Elf64_Shdr sections[2];
  } program = {.head = {.e_ident = ELFMAG, .e_shnum = 2, .e_shentsize = sizeof(Elf64_Shdr)}};
  program.head.e_ident[EI_CLASS] = ELFCLASS64;
  program.head.e_shoff = offsetof(__typeof__(program), sections);
  for (size_t i = 0; i < sizeof program.text; i++) program.text[i] = (char)(i * 7);
  write_file(path, &program, sizeof program);
}

static int lay_out(void **state) {
  struct place *p = calloc(1, sizeof *p);
  assert_non_null(p);
  snprintf(p->folder, sizeof p->folder, "/tmp/moonpool-spec-XXXXXX");
  assert_non_null(mkdtemp(p->folder));
  snprintf(p->app, sizeof p->app, "%s/app", p->folder);
  snprintf(p->program, sizeof p->program, "%s/program", p->folder);
  snprintf(p->out, sizeof p->out, "%s/out", p->folder);
  assert_int_equal(mkdir(p->app, 0755), 0);
  add_app_file(p, "app.lua", "return function(req, res) res:text \"hello\" end\n");
  add_app_file(p, "page.html", "<p>a page</p>\n");
  add_app_file(p, "empty", "");
  write_program(p->program);
  *state = p;
  return 0;
}

static int clear(void **state) {
  struct place *p = *state;
  char command[64];
  snprintf(command, sizeof command, "rm -rf %s", p->folder);
  int failed = system(command); /* NOLINT(cert-env33-c): of our own folder */
  free(p);
  return failed;
}

static void make(struct place *p) {
  struct mp_make m = {.program = p->program, .out = p->out, .gather.root = p->app};
  assert_int_equal(mp_make_run(&m), 0);
  mp_gather_free(&m.gather);
}

/* What --verify judges. */
static int judge(const char *path) {
  char why[MP_BUNDLE_WHY] = "";
  struct mp_bundle b;
  int err = mp_bundle_open(&b, path, true, why);
  if (err == 0) err = mp_bundle_verify(&b, why);
  mp_bundle_close(&b);
  if (err < 0) assert_true(why[0]);
  return err;
}

static size_t read_all(const char *path, char *bytes, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = read(fd, bytes, size);
  close(fd);
  assert_true(n > 0 && (size_t)n < size);
  return (size_t)n;
}

static void every_flipped_bit_is_found(void **state) {
  struct place *p = *state;
  char bytes[8192];
  make(p);
  assert_int_equal(judge(p->out), 0);
  size_t len = read_all(p->out, bytes, sizeof bytes);
  int fd = open(p->out, O_WRONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  for (size_t at = 0; at < len; at++) {
    for (unsigned bit = 0; bit < 8; bit++) {
      char changed = (char)(bytes[at] ^ 1 << bit);
      assert_int_equal(pwrite(fd, &changed, 1, (off_t)at), 1);
      if (judge(p->out) != -EBADMSG) fail_msg("bit %u of byte %zu of %zu is not missed", bit, at, len);
    }
    assert_int_equal(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
  }
  assert_int_equal(judge(p->out), 0);
  close(fd);
  print_message("%zu bytes, each bit of them\n", len);
}

static void every_shorter_and_longer_one_is_found(void **state) {
  struct place *p = *state;
  char bytes[8192];
  make(p);
  size_t len = read_all(p->out, bytes, sizeof bytes - 1);
  for (size_t n = 0; n < len; n++) {
    write_file(p->out, bytes, n);
    if (judge(p->out) != -EBADMSG) fail_msg("%zu bytes of %zu pass", n, len);
  }
  bytes[len] = 0;
  write_file(p->out, bytes, len + 1);
  assert_int_equal(judge(p->out), -EBADMSG);
}

static void the_same_folder_makes_the_same_bytes(void **state) {
  struct place *p = *state;
  char one[8192], two[8192], path[128];
  make(p);
  size_t len = read_all(p->out, one, sizeof one);
  snprintf(path, sizeof path, "%s/page.html", p->app);
  assert_int_equal(unlink(path), 0); /* another place in its folder, another time */
  add_app_file(p, "zzz", "");
  add_app_file(p, "page.html", "<p>a page</p>\n");
  snprintf(path, sizeof path, "%s/zzz", p->app);
  assert_int_equal(unlink(path), 0);
  make(p);
  assert_int_equal(read_all(p->out, two, sizeof two), len);
  assert_memory_equal(one, two, len);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_flipped_bit_is_found),
                                     cmocka_unit_test(every_shorter_and_longer_one_is_found),
                                     cmocka_unit_test(the_same_folder_makes_the_same_bytes)};
  return cmocka_run_group_tests(tests, lay_out, clear);
}
