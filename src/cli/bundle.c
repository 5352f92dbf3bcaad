#include "cli/bundle.h"
#include "base/self.h"
#include "bundle/make.h"
#include "cli/conf.h"
#include "cli/verbs.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int mp_own_bundle(struct mp_bundle *b, const char *override, bool checks, char *why) {
  *b = (struct mp_bundle){.fd = -1};
  int is = mp_bundle_is_one(mp_self_path());
  if (is == 0 || is == -ENOEXEC || is == -ENOENT || is == -EACCES) return 0; /* without /proc nobody can look */
  int err = mp_bundle_open(b, mp_self_path(), checks, why);
  if (err == 0 && override && !(b->override = strdup(override))) {
    snprintf(why, MP_BUNDLE_WHY, "out of memory");
    err = -ENOMEM;
  }
  if (err == 0) return 1;
  mp_bundle_close(b);
  return err;
}

int mp_bundle_complain(const char *why, int err) {
  fprintf(stderr, "moonpool: the bundle %s\n", why);
  return err == -EBADMSG ? MP_EXIT_APP : MP_EXIT_INTERNAL;
}

struct words {
  struct mp_make make;
  char *app;                        /* borrowed */
  char *list, *verify, *public_key; /* borrowed */
  char *key_file;                   /* borrowed */
  char key[128];
};

static const char usage[] =
    "usage: moonpool bundle APP -o FILE [options]   one file that holds the program and the app in the folder APP\n"
    "       moonpool bundle --list FILE             what is in it\n"
    "       moonpool bundle --verify FILE           is each byte as it was made? exit 0, or 3\n\n"
    "  --dotfiles          take files that begin with a dot, too\n"
    "  --exclude PATTERN   leave these out; may be repeated, and be lines of .moonpoolignore in APP\n"
    "  --program FILE      the executable that goes in front (this one)\n"
    "  --sign FILE         sign with the key in FILE: 64 hexadecimal digits, as of `openssl rand -hex 32`\n"
    "  --public-key HEX    with --verify: signed by this key\n";

static char **place_of(struct words *w, const char *word) {
  const struct {
    const char *word;
    char **place;
  } places[] = {{"-o", (char **)&w->make.out},
                {"--output", (char **)&w->make.out},
                {"--list", &w->list},
                {"--verify", &w->verify},
                {"--public-key", &w->public_key},
                {"--sign", &w->key_file},
                {"--program", (char **)&w->make.program}};
  for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
    if (strcmp(word, places[i].word) == 0) return places[i].place;
  return NULL;
}

/* 0 or what to exit with, after a sentence. */
static int take_word(struct words *w, char **argv, int *i) {
  char *word = argv[*i], **place = place_of(w, word);
  bool pattern = strcmp(word, "--exclude") == 0;
  if (strcmp(word, "--dotfiles") == 0) {
    w->make.gather.dotfiles = true;
  } else if (place || pattern) {
    if (!argv[*i + 1]) return mp_usage("bundle: %s needs a value", word);
    char *value = argv[++*i];
    if (place)
      *place = value;
    else if (mp_gather_exclude(&w->make.gather, value) < 0)
      return mp_usage("bundle: out of memory");
  } else if (word[0] == '-' || w->app) {
    return mp_usage("bundle: what is %.80s? (moonpool bundle --help)", word);
  } else {
    w->app = word;
  }
  return 0;
}

/* A name without what a terminal would obey. */
static void show_name(const char *name) {
  for (; *name; name++) {
    unsigned char c = (unsigned char)*name;
    if (c < 32 || c == 127)
      printf("\\x%02x", c);
    else
      putchar(c);
  }
  putchar('\n');
}

static int open_other(struct mp_bundle *b, const char *path, bool checks) {
  char why[MP_BUNDLE_WHY];
  int err = mp_bundle_open(b, path, checks, why);
  if (err == 0) return 0;
  mp_bundle_close(b);
  return mp_bundle_complain(why, err);
}

static int list(const char *path) {
  struct mp_bundle b;
  int code = open_other(&b, path, true);
  if (code) return code;
  for (unsigned i = 0; i < b.n_files; i++) {
    printf("%10zu %08x ", b.files[i].bytes.len, (unsigned)b.files[i].crc);
    show_name(b.files[i].name);
  }
  mp_bundle_close(&b);
  return MP_EXIT_WELL;
}

const char *mp_bundle_judgement(int err) {
  if (err == -EINVAL) return "--public-key: 64 hexadecimal digits are wanted";
  if (err == -ENOKEY) return "is not signed";
  if (err == -ENOSYS) return "cannot be checked: libsodium.so.23 is not on this machine";
  return "was not signed by this key";
}

static int verify(const struct words *w) {
  struct mp_bundle b;
  char why[MP_BUNDLE_WHY];
  int code = open_other(&b, w->verify, true);
  if (code) return code;
  int err = mp_bundle_verify(&b, why);
  if (err < 0) {
    code = mp_bundle_complain(why, err);
  } else if (w->public_key && (err = mp_seal_check(&b.seal, w->public_key)) < 0) {
    fprintf(stderr, "moonpool: the bundle %s: %s\n", w->verify, mp_bundle_judgement(err));
    code = err == -EINVAL ? MP_EXIT_USAGE : MP_EXIT_APP;
  } else {
    printf("ok: %u files, program %.16s, files %.16s%s\n", b.n_files, b.seal.program_sum, b.seal.files_sum,
           w->public_key         ? ", signed by this key"
           : b.seal.signature[0] ? ", signed"
                                 : "");
  }
  mp_bundle_close(&b);
  return code;
}

static int read_key(struct words *w) {
  FILE *file = fopen(w->key_file, "re");
  bool read = file && fgets(w->key, sizeof w->key, file);
  if (file) fclose(file);
  if (!read) return mp_usage("bundle: --sign %.200s: no key can be read there", w->key_file);
  w->make.secret = w->key;
  return 0;
}

/* Name and version are what the app's own configuration says. */
static int read_conf(struct words *w) {
  char *path = NULL;
  if (asprintf(&path, "%s/moonpool.conf.lua", w->app) < 0) return MP_EXIT_INTERNAL;
  int code = access(path, F_OK) < 0 ? 0 : mp_conf_bundle(path, &w->make.seal);
  free(path);
  return code;
}

static int make(struct words *w) {
  struct mp_make *m = &w->make;
  if (!w->app || !m->out) return mp_usage("bundle: which app, and where to? moonpool bundle APP -o FILE");
  if (!m->program) m->program = mp_self_path();
  m->gather.root = w->app;
  int code = w->key_file ? read_key(w) : 0;
  if (code == 0) code = read_conf(w);
  if (code) return code;
  int err = mp_make_run(m);
  explicit_bzero(w->key, sizeof w->key);
  if (err < 0) fprintf(stderr, "moonpool: no bundle: %s\n", m->why);
  if (err < 0)
    return err == -EBADMSG || err == -ENOENT ? MP_EXIT_APP : err == -EINVAL ? MP_EXIT_USAGE : MP_EXIT_INTERNAL;
  uint64_t size = m->seal.program + m->seal.files + MP_SEAL_SIZE;
  printf("%s: %u files, %" PRIu64 " bytes\n", m->out, m->gather.n_names, size);
  if (m->secret) printf("public key: %s\n", m->public_key);
  return MP_EXIT_WELL;
}

int mp_verb_bundle(int argc, char **argv) {
  struct words w = {0};
  int code = 0;
  if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
    fputs(usage, stdout);
    return MP_EXIT_WELL;
  }
  for (int i = 0; code == 0 && i < argc; i++) code = take_word(&w, argv, &i);
  if (code == 0) code = w.list ? list(w.list) : w.verify ? verify(&w) : make(&w);
  mp_gather_free(&w.make.gather);
  return code;
}
