/* settings.h - all sources of settings read together: flags and variables here, the file by a helper process.
 *
 *   read ─ no file ───────────────────────────────────────────► done
 *     └──── `moonpool config FILE`, 5 s, its lines checked ──────┘
 *
 * The same at the start (on a loop of its own) and at a reload (on the master's). */
#ifndef MP_CLI_SETTINGS_H
#define MP_CLI_SETTINGS_H

#include "bundle/bundle.h"
#include "cli/inherited.h"
#include "io/child.h"

/* Owned by the caller; may be freed when no read is under way. */
struct mp_settings {
  int argc;
  char *const *argv;                      /* borrowed: the words behind the verb */
  char *const *envp;                      /* borrowed */
  const struct mp_inheritance *inherited; /* borrowed; NULL: nothing */
  const struct mp_bundle *bundle;         /* borrowed: it has the app; NULL: the words name one */
  char *here; /* owned: the folder where relative names begin, whatever the process does later */
  struct mp_options options;
  struct mp_child helper;
  struct mp_soon soon;
  char *file; /* owned: the file being read */
  char why[MP_WHY];
  bool dev;      /* moonpool dev: other defaults */
  bool app_here; /* the app is the current folder where none is named */
  bool reading, has_helper, failed;
  bool file_is_bundled;
  /* `options` is valid during the call and whoever wants it takes it (leaving zeroes); or NULL and a sentence. */
  void (*done)(struct mp_settings *settings, struct mp_options *options, const char *why);
  void *ctx; /* borrowed: of done */
};

int mp_settings_init(struct mp_settings *s, int argc, char *const *argv, char *const *envp); /* 0 or -errno */
void mp_settings_free(struct mp_settings *s);

/* 0: done follows, never from within. -EBUSY while a read is under way, -ENOMEM. */
int mp_settings_read(struct mp_settings *s, struct mp_loop *loop);
void mp_settings_stop(struct mp_settings *s); /* done follows soon, with NULL; harmless when none is under way */

static inline bool mp_settings_owns(const struct mp_settings *s, pid_t pid) {
  return s->has_helper && s->helper.proc.pid == pid;
}

/* The same, waiting for it. 0; or -EINVAL with s->why. Then s->options is the caller's. */
int mp_settings_read_now(struct mp_settings *s, struct mp_log *log);

/* The folder of the app: itself when it is one. NULL: out of memory. */
char *mp_app_folder(const char *app);

#endif
