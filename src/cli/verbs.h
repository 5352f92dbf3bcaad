/* verbs.h - what the program does, by its first word. Each gets the words behind it and returns the exit code. */
#ifndef MP_CLI_VERBS_H
#define MP_CLI_VERBS_H

enum { MP_EXIT_WELL, MP_EXIT_INTERNAL, MP_EXIT_USAGE, MP_EXIT_APP };

int mp_verb_serve(int argc, char **argv);
int mp_verb_dev(int argc, char **argv); /* serve for one who writes the app: error pages, reload on save */
int mp_verb_new(int argc, char **argv); /* new.c: a new project */
int mp_verb_check(int argc, char **argv);
int mp_verb_test(int argc, char **argv);
int mp_verb_version(int argc, char **argv);
int mp_verb_help(int argc, char **argv);

/* Roles of our own processes, started by exec from our own executable. */
int mp_role_worker(int argc, char **argv);
int mp_role_config(int argc, char **argv);
int mp_role_puppet(int argc, char **argv);
int mp_role_report(int argc, char **argv);

/* Wrong usage: one line on stderr that ends with where help is. */
int mp_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
