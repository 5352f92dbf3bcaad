#include "io/sink.h"
#include "io_fixture.h"
#include <fcntl.h>
#include <sys/stat.h>

struct file {
  struct mp_sink sink;
  bool idle, closed;
};

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/moonpool-spec-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

/* Fails when anything was left in it. */
static int remove_folder(void **state) {
  (void)state;
  return rmdir(folder);
}

static void on_idle(struct mp_sink *sink) {
  MP_CONTAINER(sink, struct file, sink)->idle = true;
}

static void on_sink_closed(struct mp_sink *sink) {
  MP_CONTAINER(sink, struct file, sink)->closed = true;
}

static void open_file(struct file *file, struct fixture *f, const char *where) {
  *file = (struct file){0};
  assert_int_equal(mp_sink_open(&file->sink, &f->loop, where, on_idle, on_sink_closed), 0);
}

static void settle(struct file *file, struct fixture *f) {
  if (!mp_sink_is_idle(&file->sink)) assert_true(turn_until(&f->loop, &file->idle, 5000));
  file->idle = false;
}

static void close_file(struct file *file, struct fixture *f) {
  mp_sink_close(&file->sink);
  mp_sink_close(&file->sink);
  assert_true(turn_until(&f->loop, &file->closed, 5000));
}

static const char *in_folder(const char *name) {
  static char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static int entries(void) {
  DIR *dir = opendir(folder);
  int n = -2;
  while (readdir(dir)) n++;
  closedir(dir);
  return n;
}

static void holds(const char *path, const char *text) {
  char got[64] = "";
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(read(fd, got, sizeof got - 1), strlen(text));
  assert_string_equal(got, text);
  close(fd);
}

static void a_file_is_placed_whole(void **state) {
  struct fixture *f = *state;
  struct file file;
  open_file(&file, f, folder);
  assert_int_equal(mp_sink_write(&file.sink, MP_SLICE("one,")), 0);
  settle(&file, f);
  assert_int_equal(entries(), 0);
  assert_int_equal(mp_sink_write(&file.sink, MP_SLICE("two")), 0);
  assert_int_equal(mp_sink_place(&file.sink, in_folder("placed")), 0);
  assert_int_equal(mp_sink_place(&file.sink, in_folder("twice")), -EALREADY);
  assert_int_equal(mp_sink_write(&file.sink, MP_SLICE("late")), -EALREADY);
  settle(&file, f);
  assert_int_equal(file.sink.err, 0);
  const char *path;
  assert_int_equal(mp_sink_name(&file.sink, &path), 0);
  assert_string_equal(path, in_folder("placed"));
  close_file(&file, f);
  holds(in_folder("placed"), "one,two");
  struct stat st;
  assert_int_equal(stat(in_folder("placed"), &st), 0);
  mode_t mask = umask(0);
  umask(mask);
  assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
  assert_int_equal(entries(), 1);
  unlink(in_folder("placed"));
}

static void it_takes_the_place_of_what_was_there(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < 2; i++) {
    struct file file;
    open_file(&file, f, folder);
    mp_sink_write(&file.sink, i ? MP_SLICE("second") : MP_SLICE("first"));
    mp_sink_place(&file.sink, in_folder("placed"));
    settle(&file, f);
    close_file(&file, f);
    holds(in_folder("placed"), i ? "second" : "first");
  }
  assert_int_equal(entries(), 1);
  unlink(in_folder("placed"));
}

static void a_name_lasts_until_it_is_closed(void **state) {
  struct fixture *f = *state;
  struct file file;
  const char *path, *again;
  open_file(&file, f, folder);
  assert_int_equal(mp_sink_name(&file.sink, &path), -EBUSY);
  mp_sink_write(&file.sink, MP_SLICE("named"));
  settle(&file, f);
  assert_int_equal(mp_sink_name(&file.sink, &path), 0);
  assert_int_equal(mp_sink_name(&file.sink, &again), 0);
  assert_ptr_equal(path, again);
  holds(path, "named");
  assert_int_equal(entries(), 1);
  close_file(&file, f);
  assert_int_equal(entries(), 0);
}

static void a_named_file_is_moved(void **state) {
  struct fixture *f = *state;
  struct file file;
  const char *path;
  open_file(&file, f, folder);
  mp_sink_write(&file.sink, MP_SLICE("named"));
  settle(&file, f);
  assert_int_equal(mp_sink_name(&file.sink, &path), 0);
  assert_int_equal(mp_sink_place(&file.sink, in_folder("placed")), 0);
  settle(&file, f);
  assert_int_equal(file.sink.err, 0);
  close_file(&file, f);
  assert_int_equal(entries(), 1);
  holds(in_folder("placed"), "named");
  unlink(in_folder("placed"));
}

/* From a file system to another, with and without a name of its own. */
static void it_is_copied_where_it_cannot_be_moved(void **state) {
  struct fixture *f = *state;
  struct stat here, there;
  if (stat("/dev/shm", &there) < 0 || stat(folder, &here) < 0 || here.st_dev == there.st_dev) skip();
  for (int i = 0; i < 2; i++) {
    struct file file;
    const char *path;
    open_file(&file, f, "/dev/shm");
    mp_sink_write(&file.sink, MP_SLICE("far"));
    settle(&file, f);
    if (i) assert_int_equal(mp_sink_name(&file.sink, &path), 0);
    mp_sink_place(&file.sink, in_folder("placed"));
    settle(&file, f);
    assert_int_equal(file.sink.err, 0);
    close_file(&file, f);
    holds(in_folder("placed"), "far");
    assert_int_equal(entries(), 1);
    unlink(in_folder("placed"));
  }
}

static void it_fails_by_name(void **state) {
  struct fixture *f = *state;
  struct file file;
  open_file(&file, f, "/nowhere/at/all");
  assert_int_equal(mp_sink_write(&file.sink, MP_SLICE("x")), 0);
  settle(&file, f);
  assert_int_equal(file.sink.err, -ENOENT);
  assert_int_equal(mp_sink_write(&file.sink, MP_SLICE("x")), -ENOENT);
  assert_int_equal(mp_sink_place(&file.sink, in_folder("x")), 0);
  assert_true(mp_sink_is_idle(&file.sink));
  close_file(&file, f);
  open_file(&file, f, folder);
  mp_sink_place(&file.sink, in_folder("none/x"));
  settle(&file, f);
  assert_int_equal(file.sink.err, -ENOENT);
  close_file(&file, f);
  open_file(&file, f, folder);
  mp_sink_place(&file.sink, folder);
  settle(&file, f);
  assert_true(file.sink.err < 0);
  close_file(&file, f);
  assert_int_equal(entries(), 0);
}

static void a_full_disk_is_told(void **state) {
  struct fixture *f = *state;
  struct file file;
  open_file(&file, f, folder);
  settle(&file, f);
  int full = open("/dev/full", O_RDWR | O_CLOEXEC);
  assert_int_equal(dup3(full, file.sink.fd, O_CLOEXEC), file.sink.fd);
  close(full);
  mp_sink_write(&file.sink, MP_SLICE("x"));
  settle(&file, f);
  assert_int_equal(file.sink.err, -ENOSPC);
  close_file(&file, f);
}

static void closing_waits_for_the_thread_and_nobody_else(void **state) {
  struct fixture *f = *state;
  static char much[1 << 20];
  struct file file;
  open_file(&file, f, folder);
  for (int i = 0; i < 8; i++) assert_int_equal(mp_sink_write(&file.sink, mp_slice(much, sizeof much)), 0);
  assert_true(mp_sink_pending(&file.sink) > 0);
  mp_sink_place(&file.sink, in_folder("never"));
  close_file(&file, f);
  assert_int_equal(entries(), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LOOP_TEST(a_file_is_placed_whole),
      LOOP_TEST(it_takes_the_place_of_what_was_there),
      LOOP_TEST(a_name_lasts_until_it_is_closed),
      LOOP_TEST(a_named_file_is_moved),
      LOOP_TEST(it_is_copied_where_it_cannot_be_moved),
      LOOP_TEST(it_fails_by_name),
      LOOP_TEST(a_full_disk_is_told),
      LOOP_TEST(closing_waits_for_the_thread_and_nobody_else),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
