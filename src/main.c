/* The role table: what each first word starts. */
#include "cli/ctl.h"
#include "cli/verbs.h"
#include <string.h>

static const struct {
  const char *word;
  int (*run)(int argc, char **argv);
} roles[] = {
    {"serve", mp_verb_serve},       {"check", mp_verb_check}, {"version", mp_verb_version},
    {"--version", mp_verb_version}, {"help", mp_verb_help},   {"--help", mp_verb_help},
    {"-h", mp_verb_help},           {"-v", mp_verb_version},  {"worker", mp_role_worker},
    {"config", mp_role_config},     {"ctl", mp_verb_ctl},     {"report", mp_role_report},
    {"dev", mp_verb_dev},           {"new", mp_verb_new},     {"test", mp_verb_test},
    {"puppet", mp_role_puppet},
};

int main(int argc, char **argv) {
  if (argc < 2)
    return mp_usage(
        "what is to be done? moonpool new NAME | dev | serve APP | check APP | test | ctl … | version | help");
  for (unsigned i = 0; i < sizeof roles / sizeof *roles; i++)
    if (strcmp(argv[1], roles[i].word) == 0) return roles[i].run(argc - 2, argv + 2);
  return mp_usage("unknown verb %.80s (new, dev, serve, check, test, ctl, version, help)", argv[1]);
}
