#include "io_fixture.h"

#include "io/exec.h"
#include "io/pidfd.h"
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>

extern char **environ;

enum { WHY = 256 };

static int read_id(struct mp_identity *id, const char *user, const char *group, const char *umask, char *why) {
  why[0] = '\0';
  return mp_identity_read(id, user, group, umask, why, WHY);
}

static void nothing_said_is_as_we_are(void **state) {
  struct mp_identity id;
  char why[WHY];
  (void)state;
  assert_int_equal(read_id(&id, NULL, NULL, NULL, why), 0);
  assert_false(id.set_user || id.set_umask || id.no_new_privs);
  mp_identity_free(&id);
  mp_identity_free(&id);
}

static void a_user_brings_its_groups(void **state) {
  struct mp_identity id;
  char why[WHY];
  (void)state;
  if (geteuid() != 0) skip();
  const struct passwd *nobody = getpwnam("nobody");
  if (!nobody) skip();
  uid_t uid = nobody->pw_uid;
  gid_t gid = nobody->pw_gid;
  assert_int_equal(read_id(&id, "nobody", NULL, NULL, why), 0);
  assert_true(id.set_user && id.uid == uid && id.gid == gid && id.n_groups >= 1);
  mp_identity_free(&id);
  assert_int_equal(read_id(&id, "nobody", "54321", NULL, why), 0);
  assert_true(id.uid == uid && id.gid == 54321);
  bool has_its_group = false;
  for (unsigned i = 0; i < id.n_groups; i++) has_its_group |= id.groups[i] == 54321;
  assert_true(has_its_group);
  mp_identity_free(&id);
}

static void refuses(const char *user, const char *group, const char *umask, const char *names) {
  struct mp_identity id;
  char why[WHY];
  assert_int_equal(read_id(&id, user, group, umask, why), -EINVAL);
  assert_non_null(strstr(why, names));
  mp_identity_free(&id);
}

static void names_what_there_is_not(void **state) {
  (void)state;
  refuses("no-such-user", NULL, NULL, "no-such-user");
  refuses(NULL, "no-such-group", NULL, "no-such-group");
  refuses("3999999999", NULL, NULL, "3999999999"); /* a number, but whose group? */
  refuses("4294967295", NULL, NULL, "4294967295"); /* the kernel's word for nobody */
  refuses("-1", NULL, NULL, "-1");
  refuses("", NULL, NULL, "user");
}

static void an_umask_is_octal_and_at_most_777(void **state) {
  static const char *const bad[] = {"8", "0o22", "-1", "1000", "22x", " 22", ""};
  struct mp_identity id;
  char why[WHY];
  (void)state;
  assert_int_equal(read_id(&id, NULL, NULL, "0027", why), 0);
  assert_true(id.set_umask && id.umask == 027);
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) refuses(NULL, NULL, bad[i], "umask");
}

static void without_the_right_only_what_we_are_already_will_do(void **state) {
  struct mp_identity id;
  char why[WHY], self[24];
  (void)state;
  if (geteuid() == 0 && seteuid(65534) < 0) skip();
  refuses("54321", "54321", NULL, "only root");
  refuses(NULL, "54321", NULL, "only root");
  snprintf(self, sizeof self, "%u", (unsigned)getegid());
  assert_int_equal(read_id(&id, NULL, self, NULL, why), 0);
  assert_false(id.set_user);
  mp_identity_free(&id);
  if (getuid() == 0) assert_int_equal(seteuid(0), 0);
}

/* What the status file of a process says that has put it on. */
static void is_put_on_before_the_program_runs(void **state) {
  gid_t groups[] = {54322, 54323};
  struct mp_identity id = {.set_user = true,
                           .uid = 54321,
                           .gid = 54322,
                           .groups = groups,
                           .n_groups = 2,
                           .set_umask = true,
                           .umask = 031,
                           .no_new_privs = true};
  char *argv[] = {"/bin/sh", "-c",
                  "test \"$(id -u) $(id -g) $(id -G) $(umask)\" = '54321 54322 54322 54323 0031' && "
                  "grep -q 'NoNewPrivs:.1' /proc/self/status && test $(stat -c %u /proc/self/fd) = 54321",
                  NULL};
  struct mp_exec exec = {.argv = argv, .envp = environ, .stdio = {-1, 1, 2}, .own_group = true, .identity = &id};
  struct mp_started p;
  struct mp_status status;
  enum mp_exec_step step;
  (void)state;
  if (geteuid() != 0) skip();
  prctl(PR_SET_DUMPABLE, 1);
  for (unsigned old = 0; old < 2; old++) {
    mp_exec_pretend_old(old);
    assert_int_equal(mp_exec(&exec, &p, &step), 0);
    assert_int_equal(mp_pidfd_wait(&p, 20000, &status), 1);
    mp_pidfd_close(&p);
    assert_int_equal(status.end, MP_END_EXIT);
    assert_int_equal(status.code, 0);
  }
  mp_exec_pretend_old(0);
  assert_int_equal(geteuid(), 0);
  assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
}

static void a_file_is_opened_with_the_rights_of_the_user_alone(void **state) {
  char folder[] = "/tmp/moonpool-unit-XXXXXX", path[64];
  gid_t group = 54322;
  struct mp_identity id = {.set_user = true, .uid = 54321, .gid = 54322, .groups = &group, .n_groups = 1};
  struct stat st;
  (void)state;
  if (geteuid() != 0) skip();
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/log", folder);
  assert_int_equal(mp_identity_open(&id, path, O_WRONLY | O_CREAT, 0600), -EACCES);
  assert_int_equal(chown(folder, 54321, 0), 0);
  int fd = mp_identity_open(&id, path, O_WRONLY | O_CREAT, 0600);
  assert_true(fd >= 0);
  assert_int_equal(fstat(fd, &st), 0);
  assert_true(st.st_uid == 54321 && st.st_gid == 54322);
  close(fd);
  assert_int_equal(setfsuid((uid_t)-1), 0); /* and we are who we were */
  assert_int_equal(access("/etc/shadow", R_OK), 0);
  unlink(path);
  rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_said_is_as_we_are),
      cmocka_unit_test(a_user_brings_its_groups),
      cmocka_unit_test(names_what_there_is_not),
      cmocka_unit_test(an_umask_is_octal_and_at_most_777),
      cmocka_unit_test(without_the_right_only_what_we_are_already_will_do),
      cmocka_unit_test(is_put_on_before_the_program_runs),
      cmocka_unit_test(a_file_is_opened_with_the_rights_of_the_user_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
