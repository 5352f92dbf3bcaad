/* Files below a folder: what may be opened, what is kept, what a thread fetches, and how it is sent. */
#include "io_fixture.h"

#include "io/beneath.h"
#include "io/files.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct place {
  struct fixture *f;
  char dir[64], root[80];
  struct mp_files files;
};

static void run(const char *format, const char *where) {
  char command[2048];
  assert_true(snprintf(command, sizeof command, format, where, where, where, where) < (int)sizeof command);
  assert_int_equal(system(command), 0);
}

static int open_place(void **state) {
  struct place *p = calloc(1, sizeof *p);
  void *fixture = NULL;
  if (open_loop(&fixture) != 0) return -1;
  p->f = fixture;
  strcpy(p->dir, "/tmp/moonpool-unit-XXXXXX");
  if (!mkdtemp(p->dir)) return -1;
  snprintf(p->root, sizeof p->root, "%s/root", p->dir);
  run("cd %s && mkdir -p root/sub root/deep/er && echo secret > secret && printf 0123456789 > root/file && "
      "printf sub > root/sub/file && ln -s file root/link && ln -s ../secret root/out && ln -s /etc/passwd root/abs && "
      "ln -s sub/../file root/around && ln -s ../../secret root/sub/out && ln -s loop root/loop && "
      "ln -s .. root/up && ln -s /proc/self/root root/magic && ln -s deep/er root/short && printf deep > "
      "root/deep/er/file && "
      "ln -s ../.. root/deep/er/home && mkfifo root/fifo && head -c 3000000 /dev/zero > root/large && "
      "printf packed > root/file.gz && find root -exec touch -h -d '-1 hour' {} +",
      p->dir);
  sleep(3); /* what was changed just now is not held */
  if (mp_files_init(&p->files, &p->f->loop) != 0) return -1;
  *state = p;
  return 0;
}

static int close_place(void **state) {
  struct place *p = *state;
  void *fixture = p->f;
  mp_files_deinit(&p->files);
  run("rm -rf %s", p->dir);
  free(p);
  return close_loop(&fixture);
}

/* ---- beneath ---- */

static const struct {
  const char *path;
  int err;
} ways[] = {
    {"file", 0},
    {"sub/file", 0},
    {"./file", 0},
    {"sub/../file", 0},
    {"link", 0},
    {"around", 0},
    {"short/file", 0},
    {"short/home/file", 0},
    {"deep/er/home/sub/file", 0},
    {"../secret", -EXDEV},
    {"sub/../../secret", -EXDEV},
    {"short/home/../secret", -EXDEV},
    {"out", -EXDEV},
    {"sub/out", -EXDEV},
    {"abs", -EXDEV},
    {"/etc/passwd", -EXDEV},
    {"up/secret", -EXDEV},
    {"magic/etc/passwd", -EXDEV},
    {"loop", -ELOOP},
    {"nope", -ENOENT},
    {"nope/file", -ENOENT},
    {"", -ENOENT},
    {"file/", -ENOTDIR},
    {"file/x", -ENOTDIR},
    {"sub", -EISDIR},
    {"sub/", -EISDIR},
    {".", -EISDIR},
    {"fifo", -ENXIO},
};

static void ways_below(void **state, unsigned flags) {
  struct place *p = *state;
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    struct stat st;
    int fd = mp_beneath_open(p->root, ways[i].path, flags, &st);
    if (fd >= 0) close(fd);
    if ((fd < 0 ? fd : 0) != ways[i].err) fail_msg("%s: %d instead of %d", ways[i].path, fd, ways[i].err);
  }
}

static void nothing_leads_out_of_a_folder(void **state) {
  ways_below(state, 0);
}

static void nothing_leads_out_by_hand_either(void **state) {
  ways_below(state, MP_BENEATH_BY_HAND);
}

static void names_too_long_and_too_deep_are_refused(void **state) {
  struct place *p = *state;
  struct stat st;
  static char name[6000];
  for (unsigned flags = 0; flags <= MP_BENEATH_BY_HAND; flags += MP_BENEATH_BY_HAND) {
    memset(name, 'a', 300);
    name[300] = '\0';
    assert_int_equal(mp_beneath_open(p->root, name, flags, &st), -ENAMETOOLONG);
    for (int i = 0; i < 5990; i++) name[i] = i % 2 ? '/' : '.';
    name[5990] = '\0';
    assert_int_equal(mp_beneath_open(p->root, name, flags, &st), -ENAMETOOLONG);
  }
  assert_int_equal(mp_beneath_open("/nowhere", "file", 0, &st), -ENOENT);
  assert_int_equal(mp_beneath_open("/nowhere", "file", MP_BENEATH_BY_HAND, &st), -ENOENT);
}

static void without_a_folder_a_path_leads_anywhere_but_to_files_only(void **state) {
  (void)state;
  struct stat st;
  for (unsigned flags = 0; flags <= MP_BENEATH_BY_HAND; flags += MP_BENEATH_BY_HAND) {
    int fd = mp_beneath_open(NULL, "/etc/passwd", flags, &st);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(mp_beneath_open(NULL, "/dev/zero", flags, &st), -ENXIO);
    assert_int_equal(mp_beneath_open(NULL, "/tmp", flags, &st), -EISDIR);
  }
}

static void where_it_cannot_be_told_a_thread_is_asked(void **state) {
  struct place *p = *state;
  struct stat st;
  unsigned flags = MP_BENEATH_BY_HAND | MP_BENEATH_CACHED;
  assert_int_equal(mp_beneath_open(p->root, "file", flags, &st), -EAGAIN);
  assert_int_equal(mp_beneath_stat(p->root, "file", flags, &st), -EAGAIN);
}

/* ---- what is kept ---- */

struct fetched {
  bool done;
  int err;
  struct mp_asset *asset;
};

static void on_fetched(struct mp_files_job *job) {
  struct fetched *fetched = job->ctx;
  fetched->done = true;
  fetched->err = job->err;
  fetched->asset = job->err == 0 ? job->asset : NULL;
  if (job->err == 0) job->asset = NULL;
}

/* By whichever way it takes. */
static int get(struct place *p, const struct mp_files_ask *ask, struct mp_asset **asset) {
  struct fetched fetched = {0};
  *asset = NULL;
  int err = mp_files_get(&p->files, ask, asset);
  if (err != -EAGAIN) return err;
  assert_non_null(mp_files_fetch(&p->files, ask, on_fetched, &fetched));
  assert_true(turn_until(&p->f->loop, &fetched.done, 5000));
  *asset = fetched.asset;
  return fetched.err;
}

/* An overlay, say, cannot tell what is at hand: there every file is sent from its descriptor, and none is held. */
static void need_to_know_what_is_at_hand(struct place *p) {
  char path[96], byte;
  struct iovec to = {&byte, 1};
  snprintf(path, sizeof path, "%s/file", p->root);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool known = preadv2(fd, &to, 1, 0, RWF_NOWAIT) == 1;
  close(fd);
  if (!known) skip();
}

static void a_small_file_is_held_and_needs_no_descriptor(void **state) {
  struct place *p = *state;
  need_to_know_what_is_at_hand(p);
  struct mp_files_ask ask = {p->root, "file", true};
  struct mp_asset *asset, *again;
  assert_int_equal(get(p, &ask, &asset), 0);
  assert_true(asset->has[MP_FILE_PLAIN] && asset->has[MP_FILE_GZIP] && !asset->has[MP_FILE_BROTLI]);
  assert_int_equal(p->files.n_fds, 2);
  struct mp_slice content = mp_asset_content(asset, MP_FILE_PLAIN);
  assert_true(mp_slice_is(content, MP_SLICE("0123456789")));
  assert_int_equal(p->files.n_fds, 1);
  assert_int_equal(p->files.held, 10);
  assert_int_equal(get(p, &ask, &again), 0);
  assert_ptr_equal(asset, again);
  mp_asset_release(again);
  mp_asset_release(asset);
}

static void a_changed_file_is_another(void **state) {
  struct place *p = *state;
  struct mp_files_ask ask = {p->root, "file", false};
  struct mp_asset *asset, *again;
  assert_int_equal(get(p, &ask, &asset), 0);
  run("printf other > %s/file", p->root); /* under its open descriptor */
  assert_int_equal(get(p, &ask, &again), 0);
  assert_ptr_not_equal(asset, again);
  assert_int_equal(again->forms[0].size, 5);
  assert_null(mp_asset_content(again, MP_FILE_PLAIN).at); /* changed just now: not held */
  mp_asset_release(asset);
  mp_asset_release(again);
}

static void a_held_file_is_looked_at_once_a_second(void **state) {
  struct place *p = *state;
  need_to_know_what_is_at_hand(p);
  struct mp_files_ask ask = {p->root, "sub/file", true};
  struct mp_asset *asset, *again;
  assert_int_equal(get(p, &ask, &asset), 0);
  assert_non_null(mp_asset_content(asset, MP_FILE_PLAIN).at);
  run("printf new > %s/sub/new && mv %s/sub/new %s/sub/file && printf gz > %s/sub/file.gz", p->root);
  assert_int_equal(get(p, &ask, &again), 0);
  assert_ptr_equal(asset, again);
  mp_asset_release(again);
  turn_for(&p->f->loop, 1100);
  assert_int_equal(get(p, &ask, &again), 0);
  assert_ptr_not_equal(asset, again);
  assert_true(again->has[MP_FILE_GZIP]);
  mp_asset_release(asset);
  mp_asset_release(again);
}

static void bounds_are_kept(void **state) {
  struct place *p = *state;
  struct mp_asset *asset;
  char name[32];
  run("cd %s && for i in $(seq 700); do printf $i > n$i; done", p->root);
  p->files.fds_most = 20;
  for (int i = 1; i <= 700; i++) {
    snprintf(name, sizeof name, "n%d", i);
    struct mp_files_ask ask = {p->root, name, false};
    assert_int_equal(get(p, &ask, &asset), 0);
    mp_asset_release(asset);
    assert_true(p->files.n_fds <= 20 && p->files.n_kept <= MP_FILES_KEPT);
  }
}

static void a_fetch_that_nobody_waits_for_leaves_nothing(void **state) {
  struct place *p = *state;
  struct mp_files_ask ask = {p->root, "file", true}, none = {p->root, "nope", true};
  struct fetched fetched = {0}, last = {0};
  struct mp_files_job *job = mp_files_fetch(&p->files, &ask, on_fetched, &fetched);
  mp_files_drop(job);
  turn_for(&p->f->loop, 100);
  assert_false(fetched.done);
  assert_non_null(mp_files_fetch(&p->files, &none, on_fetched, &last));
  assert_true(turn_until(&p->f->loop, &last.done, 5000));
  assert_int_equal(last.err, -ENOENT);
}

static void the_end_tells_who_waits(void **state) {
  struct place *p = *state;
  struct mp_files_ask ask = {p->root, "file", true};
  struct fetched fetched = {0};
  assert_non_null(mp_files_fetch(&p->files, &ask, on_fetched, &fetched));
  mp_files_deinit(&p->files);
  assert_true(fetched.done);
  assert_int_equal(fetched.err, -ECANCELED);
  turn_for(&p->f->loop, 50);
  assert_int_equal(mp_files_init(&p->files, &p->f->loop), 0);
}

/* ---- sending ---- */

struct pair {
  struct mp_stream stream;
  int other;
  bool closed, drained;
  uint64_t got;
};

static void on_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  (void)stream, (void)bytes, (void)n;
}
static void on_drained(struct mp_stream *stream) {
  MP_CONTAINER(stream, struct pair, stream)->drained = true;
}
static void on_broken(struct mp_stream *stream, int err) {
  (void)stream, (void)err;
}
static void on_closed(struct mp_stream *stream) {
  MP_CONTAINER(stream, struct pair, stream)->closed = true;
}
static const struct mp_stream_ops ops = {
    .on_read = on_read, .on_drained = on_drained, .on_broken = on_broken, .on_closed = on_closed};

static void open_pair(struct place *p, struct pair *pair) {
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  pair->other = fds[1];
  assert_int_equal(mp_stream_open(&pair->stream, &p->f->loop, fds[0], &ops), 0);
}

static void close_pair(struct place *p, struct pair *pair) {
  mp_stream_close(&pair->stream);
  assert_true(turn_until(&p->f->loop, &pair->closed, 1000));
  close(pair->other);
}

static void take_all(struct pair *pair) {
  static char bytes[65536];
  ssize_t n;
  while ((n = read(pair->other, bytes, sizeof bytes)) > 0) pair->got += (uint64_t)n;
}

static void a_large_file_goes_out_in_slices_and_waits_for_its_reader(void **state) {
  struct place *p = *state;
  struct mp_files_ask ask = {p->root, "large", false};
  struct mp_source_cursor cursor = {.end = 3000000};
  struct mp_asset *asset;
  struct pair pair = {0};
  open_pair(p, &pair);
  assert_int_equal(get(p, &ask, &asset), 0);
  int waits = 0;
  while (cursor.at < cursor.end) {
    ssize_t n = mp_source_push(&asset->forms[0], &cursor, &pair.stream);
    assert_true(n > 0 && n <= MP_SOURCE_SLICE);
    while (mp_stream_queued(&pair.stream)) {
      waits++;
      assert_true(mp_stream_queued(&pair.stream) <= 16 * 1024);
      take_all(&pair);
      pair.drained = false;
      assert_true(turn_until(&p->f->loop, &pair.drained, 5000));
    }
  }
  take_all(&pair);
  assert_true(waits > 0);
  assert_int_equal(pair.got, 3000000);
  mp_asset_release(asset);
  close_pair(p, &pair);
}

static void a_file_that_has_become_shorter_says_so(void **state) {
  struct place *p = *state;
  struct mp_files_ask ask = {p->root, "large", false};
  struct mp_source_cursor cursor = {.at = 2000, .end = 3000000};
  struct mp_asset *asset;
  struct pair pair = {0};
  open_pair(p, &pair);
  assert_int_equal(get(p, &ask, &asset), 0);
  run("truncate -s 1000 %s/large", p->root);
  assert_int_equal(mp_source_push(&asset->forms[0], &cursor, &pair.stream), 0);
  mp_asset_release(asset);
  close_pair(p, &pair);
}

struct warmed {
  bool done;
};
static void on_warm(struct mp_files_job *job) {
  ((struct warmed *)job->ctx)->done = true;
}

static void bytes_not_at_hand_are_fetched_by_a_thread(void **state) {
  struct place *p = *state;
  struct mp_files_ask small = {p->root, "file", false}, large = {p->root, "large", false};
  struct warmed warmed = {0};
  struct mp_asset *asset;
  assert_int_equal(get(p, &small, &asset), 0);
  assert_non_null(mp_files_warm(&p->files, asset, MP_FILE_PLAIN, 0, 10, on_warm, &warmed));
  assert_null(mp_asset_content(asset, MP_FILE_PLAIN).at); /* the thread may read the descriptor now */
  mp_asset_release(asset);
  assert_true(turn_until(&p->f->loop, &warmed.done, 5000));
  assert_int_equal(get(p, &small, &asset), 0);
  assert_int_equal(asset->forms[0].fd, -1); /* held by then */
  mp_asset_release(asset);
  warmed.done = false;
  assert_int_equal(get(p, &large, &asset), 0);
  mp_files_drop(mp_files_warm(&p->files, asset, MP_FILE_PLAIN, 0, 1000000, on_warm, &warmed));
  mp_asset_release(asset);
  turn_for(&p->f->loop, 50);
  assert_false(warmed.done);
}

#define PLACE_TEST(f) cmocka_unit_test_setup_teardown(f, open_place, close_place)

int main(void) {
  const struct CMUnitTest tests[] = {
      PLACE_TEST(nothing_leads_out_of_a_folder),
      PLACE_TEST(nothing_leads_out_by_hand_either),
      PLACE_TEST(names_too_long_and_too_deep_are_refused),
      PLACE_TEST(without_a_folder_a_path_leads_anywhere_but_to_files_only),
      PLACE_TEST(where_it_cannot_be_told_a_thread_is_asked),
      PLACE_TEST(a_small_file_is_held_and_needs_no_descriptor),
      PLACE_TEST(a_changed_file_is_another),
      PLACE_TEST(a_held_file_is_looked_at_once_a_second),
      PLACE_TEST(bounds_are_kept),
      PLACE_TEST(a_fetch_that_nobody_waits_for_leaves_nothing),
      PLACE_TEST(the_end_tells_who_waits),
      PLACE_TEST(a_large_file_goes_out_in_slices_and_waits_for_its_reader),
      PLACE_TEST(a_file_that_has_become_shorter_says_so),
      PLACE_TEST(bytes_not_at_hand_are_fetched_by_a_thread),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
