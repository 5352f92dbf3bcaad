/* files.h - the files that one worker sends: found below folders, opened, and kept for a while, so that what is asked
 * for often costs no system call but a look once a second.
 *
 * Nothing here makes the loop wait. mp_files_get says -EAGAIN where it would; mp_files_fetch does the same on a thread
 * of the pool. Kept are at most MP_FILES_KEPT files, some descriptors, 16 MiB of content, and nothing that nobody has
 * asked for in ten seconds. */
#ifndef MP_IO_FILES_H
#define MP_IO_FILES_H

#include "io/source.h"

enum { MP_FILES_BUCKETS = 256, MP_FILES_KEPT = 512 };

/* Forms of one file: as it is, and packed beforehand, as NAME.gz and NAME.br beside it. */
enum mp_file_form { MP_FILE_PLAIN, MP_FILE_GZIP, MP_FILE_BROTLI, MP_FILE_FORMS };

/* A file as it was when last looked at, for as long as somebody holds a reference. */
struct mp_asset {
  struct mp_list node;    /* of files->used, latest last */
  struct mp_asset *next;  /* of the bucket */
  struct mp_files *files; /* borrowed; NULL when not kept (any more) */
  unsigned refs;
  bool has[MP_FILE_FORMS]; /* the first always */
  struct mp_source forms[MP_FILE_FORMS];
  struct mp_buf note[MP_FILE_FORMS]; /* owned: of the room above, kept with it */
  uint64_t checked_ms, used_ms;
  size_t held; /* bytes of content, as counted in files->held */
  unsigned n_fds;
  bool siblings;
  bool bundled; /* all that it has lies in the bundle */
  uint32_t hash;
  char *root; /* borrowed from names; NULL: none */
  char *path; /* borrowed from names */
  char names[];
};

struct mp_files {
  struct mp_loop *loop;           /* borrowed */
  const struct mp_bundle *bundle; /* borrowed: its files come before the disk's; NULL: none */
  struct mp_asset *buckets[MP_FILES_BUCKETS];
  struct mp_list used; /* what is kept, each by one reference */
  struct mp_list jobs; /* on threads of the pool */
  unsigned n_kept, n_fds, fds_most;
  size_t held;
  struct mp_timer sweep; /* while anything is kept */
  unsigned flags;        /* of mp_beneath_open, for tests */
};

int mp_files_init(struct mp_files *files, struct mp_loop *loop);
/* Gives everything back. What is on a thread ends by itself; who waits for it is told -ECANCELED now. */
void mp_files_deinit(struct mp_files *files);

struct mp_files_ask {
  const char *root; /* borrowed; NULL: the path leads anywhere */
  const char *path; /* borrowed */
  bool siblings;    /* look for packed forms too */
};

/* 0 and a reference; -EAGAIN: fetch it; else -errno as of mp_beneath_open, -EMFILE, -ENOMEM. */
int mp_files_get(struct mp_files *files, const struct mp_files_ask *ask, struct mp_asset **asset);
void mp_asset_release(struct mp_asset *asset);

/* All of a small file, borrowed from the asset, when it can be held; at is NULL when not. */
struct mp_slice mp_asset_content(struct mp_asset *asset, enum mp_file_form form);

/* Work on a thread. on_done comes once, not from within, unless it is dropped before. */
struct mp_files_job {
  uv_work_t work;
  struct mp_list node;    /* of files->jobs */
  struct mp_files *files; /* borrowed; NULL once that is gone */
  struct mp_asset *asset; /* owned reference: what was fetched, or is being warmed */
  enum mp_file_form form; /* to be warmed */
  uint64_t at, len;
  char *content; /* owned: read by the thread */
  int found;     /* what the thread has to say: 0 or -errno */
  int err;       /* 0, or why there is no asset */
  bool warms;
  unsigned flags;
  void (*on_done)(struct mp_files_job *job); /* NULL: dropped */
  void *ctx;                                 /* borrowed: of on_done */
};

/* NULL: out of memory. In on_done `err` tells; `asset` may be kept by taking the reference (and leaving NULL). */
struct mp_files_job *mp_files_fetch(struct mp_files *files, const struct mp_files_ask *ask,
                                    void (*on_done)(struct mp_files_job *job), void *ctx);

/* Brings bytes of a form at hand; a small file is held afterwards where that can be. */
struct mp_files_job *mp_files_warm(struct mp_files *files, struct mp_asset *asset, enum mp_file_form form, uint64_t at,
                                   uint64_t len, void (*on_done)(struct mp_files_job *job), void *ctx);
void mp_files_drop(struct mp_files_job *job); /* nobody waits for it any more */

#endif
