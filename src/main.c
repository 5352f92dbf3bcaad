/* The role table: what each first word starts. */
#include "base/self.h"
#include "bundle/bundle.h"
#include "cli/bundle.h"
#include "cli/ctl.h"
#include "cli/verbs.h"
#include <errno.h>
#include <string.h>

struct role {
  const char *word;
  int (*run)(int argc, char **argv);
};

#ifdef MOONPOOL_MINIMAL
static int left_out(int argc, char **argv) {
  (void)argc, (void)argv;
  return mp_usage("new and test are no part of this small build; what they make, it serves");
}
#define mp_verb_new left_out
#define mp_verb_test left_out
#endif

static const struct role roles[] = {
    {"serve", mp_verb_serve},       {"check", mp_verb_check},   {"version", mp_verb_version},
    {"--version", mp_verb_version}, {"help", mp_verb_help},     {"--help", mp_verb_help},
    {"-h", mp_verb_help},           {"-v", mp_verb_version},    {"worker", mp_role_worker},
    {"config", mp_role_config},     {"ctl", mp_verb_ctl},       {"report", mp_role_report},
    {"dev", mp_verb_dev},           {"new", mp_verb_new},       {"test", mp_verb_test},
    {"puppet", mp_role_puppet},     {"bundle", mp_verb_bundle},
};

static const struct role *role_of(const char *word) {
  for (unsigned i = 0; i < sizeof roles / sizeof *roles; i++)
    if (strcmp(word, roles[i].word) == 0) return &roles[i];
  return NULL;
}

static int run_verb(int argc, char **argv) {
  if (argc < 2)
    return mp_usage(
        "what is to be done? moonpool new NAME | dev | serve APP | check APP | test | bundle | ctl … | version | help");
  const struct role *role = role_of(argv[1]);
  if (role) return role->run(argc - 2, argv + 2);
  return mp_usage("unknown verb %.80s (new, dev, serve, check, test, bundle, ctl, version, help)", argv[1]);
}

/* The words that a bundle's own processes, and a new master, are started with. */
static bool is_internal(const char *word) {
  static const char *const words[] = {"worker", "config", "report", "puppet", "serve"};
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(word, words[i]) == 0) return true;
  return false;
}

int main(int argc, char **argv) {
  int is = mp_bundle_is_one(mp_self_path());
  if (is == -EBADMSG) return mp_bundle_complain("is damaged: it is cut short", is);
  if (is != 1 || (argc > 1 && is_internal(argv[1]))) return run_verb(argc, argv);
  if (argc > 1 && strcmp(argv[1], "moonpool") == 0) return run_verb(argc - 1, argv + 1);
  return mp_verb_serve(argc > 0 ? argc - 1 : 0, argc > 0 ? argv + 1 : argv);
}
