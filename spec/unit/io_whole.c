#include "io_fixture.h"

#include "io/whole.h"
#include <fcntl.h>
#include <sys/stat.h>

struct end {
  bool done;
  int err;
  size_t len;
  char bytes[64];
};

static void on_done(struct mp_whole *whole) {
  struct end *end = whole->ctx;
  end->done = true;
  end->err = whole->err;
  end->len = whole->len;
  if (!whole->writes && whole->len < sizeof end->bytes)
    memcpy(end->bytes, whole->bytes ? whole->bytes : "", whole->len);
  mp_whole_let_go(whole);
}

static void never_done(struct mp_whole *whole) {
  (void)whole;
  fail_msg("a job that was let go of has spoken");
}

static struct end read_file(struct fixture *f, const char *path) {
  struct end end = {.done = false};
  assert_non_null(mp_whole_read(&f->loop, path, on_done, &end));
  assert_true(turn_until(&f->loop, &end.done, 20000));
  return end;
}

static struct end write_file(struct fixture *f, const char *path, struct mp_slice bytes) {
  struct end end = {.done = false};
  assert_non_null(mp_whole_write(&f->loop, path, bytes, on_done, &end));
  assert_true(turn_until(&f->loop, &end.done, 20000));
  return end;
}

static char *temporary(char path[32]) {
  snprintf(path, 32, "/tmp/moonpool-spec-XXXXXX");
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  return path;
}

static void reads_what_was_written(void **state) {
  char path[32];
  assert_int_equal(write_file(*state, temporary(path), MP_SLICE("a longer text\n")).err, 0);
  assert_int_equal(write_file(*state, path, MP_SLICE("two\0three")).err, 0);
  struct end end = read_file(*state, path);
  assert_int_equal(end.err, 0);
  assert_int_equal(end.len, 9);
  assert_memory_equal(end.bytes, "two\0three", 9);
  assert_int_equal(write_file(*state, path, mp_slice("", 0)).err, 0);
  assert_int_equal(read_file(*state, path).len, 0);
  unlink(path);
}

static void reads_what_the_kernel_makes_up(void **state) {
  struct end end = read_file(*state, "/proc/self/limits");
  assert_int_equal(end.err, 0);
  assert_in_range(end.len, sizeof end.bytes, 65536);
  assert_int_equal(read_file(*state, "/dev/null").len, 0);
}

static void says_why_it_cannot(void **state) {
  char path[32];
  assert_int_equal(read_file(*state, "/no/such/file").err, -ENOENT);
  assert_int_equal(read_file(*state, "/tmp").err, -EISDIR);
  assert_int_equal(write_file(*state, "/tmp", MP_SLICE("x")).err, -EISDIR);
  assert_int_equal(write_file(*state, "/dev/full", MP_SLICE("x")).err, -ENOSPC);
  unlink(temporary(path));
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_int_equal(read_file(*state, path).err, -EINVAL);
  assert_int_equal(write_file(*state, path, MP_SLICE("x")).err, -ENXIO);
  unlink(path);
}

static void refuses_what_has_no_end(void **state) {
  char path[32];
  assert_int_equal(read_file(*state, "/dev/zero").err, -EFBIG);
  int fd = open(temporary(path), O_WRONLY);
  assert_int_equal(ftruncate(fd, (off_t)MP_WHOLE_MOST + 1), 0); /* a hole: it takes no room */
  close(fd);
  assert_int_equal(read_file(*state, path).err, -EFBIG);
  unlink(path);
}

/* More than there are threads: some have begun, some have not; close_loop waits for them and counts descriptors. */
static void is_silent_once_let_go_of(void **state) {
  struct fixture *f = *state;
  struct mp_whole *jobs[12];
  for (int i = 0; i < 12; i++) jobs[i] = mp_whole_read(&f->loop, "/dev/zero", never_done, NULL);
  turn_for(&f->loop, 5);
  for (int i = 0; i < 12; i++) mp_whole_let_go(jobs[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LOOP_TEST(reads_what_was_written),  LOOP_TEST(reads_what_the_kernel_makes_up), LOOP_TEST(says_why_it_cannot),
      LOOP_TEST(refuses_what_has_no_end), LOOP_TEST(is_silent_once_let_go_of),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
