/* args.h - the table that scripts hand to spawn and run, read into a spec.
 * Everything lies in scratch memory on the Lua stack (a userdata, with the strings it points to anchored behind it): a
 * mistake raises and nothing is held. */
#ifndef MP_API_ARGS_H
#define MP_API_ARGS_H

#include "api/api.h"
#include "io/child.h"

enum mp_stdio {
  MP_STDIO_NULL,
  MP_STDIO_PIPE,
  MP_STDIO_INHERIT,
  MP_STDIO_LOG,
  MP_STDIO_FILE,
  MP_STDIO_STDOUT,
  MP_STDIO_COLLECT
};

enum { MP_MAX_RLIMITS = 8 };

struct mp_args {
  struct mp_child_spec spec; /* exec.stdio of files and what is inherited is filled in by mp_args_prepare */
  struct mp_api *api;        /* borrowed */
  const char *what;          /* "spawn" or "run": begins every message; static */
  uint8_t stdio[3];          /* enum mp_stdio */
  const char *path[3];       /* with MP_STDIO_FILE; borrowed from the anchors */
  bool append[3];
  int opened[3]; /* owned until started; -1: none */
  struct mp_exec_rlimit rlimits[MP_MAX_RLIMITS];
  double queue_timeout_s; /* negative: for ever */
  bool check, detach;
  int puppet_fd;             /* owned: of a process that a test fakes, else -1 */
  char puppet_text[12];      /* its number */
  char *puppet_argv[4];      /* borrowed */
  struct mp_entrant entrant; /* its place among max_procs: given back unless a process has taken it over */
};

/* Reads the table at `index`; leaves the userdata on the stack. Raises on a mistake, naming it. */
struct mp_args *mp_args_read(lua_State *L, int index, const char *what, bool collects);

/* Right before the start: takes the worker's environment unless there is one already, and opens the files that stdio
 * goes to. 0, or -errno and `*which` (the file, 1 or 2; 0: none of them). */
int mp_args_prepare(struct mp_args *args, int *which);
void mp_args_close_files(struct mp_args *args);

/* nil, "spawn: nope: no such file or directory", "ENOENT": what kept it from starting, and in which step. */
int mp_args_push_failure(lua_State *L, const struct mp_args *args, int err, enum mp_exec_step step);

#endif
