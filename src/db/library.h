/* library.h - SQLite's own C library, found when it is first wanted: a worker that never asks for it does not load it.
 *
 * Built with MOONPOOL_SQLITE_STATIC it is part of the executable, and nothing is looked for. */
#ifndef MP_DB_LIBRARY_H
#define MP_DB_LIBRARY_H

#include <sqlite3.h>

/* What is used of it, each without its prefix. */
#define MP_SQLITE_FUNCTIONS(X)                                                                                         \
  X(bind_blob64)                                                                                                       \
  X(bind_double)                                                                                                       \
  X(bind_int64)                                                                                                        \
  X(bind_null)                                                                                                         \
  X(bind_parameter_count)                                                                                              \
  X(bind_parameter_name)                                                                                               \
  X(bind_text64)                                                                                                       \
  X(busy_handler)                                                                                                      \
  X(changes)                                                                                                           \
  X(clear_bindings)                                                                                                    \
  X(close_v2)                                                                                                          \
  X(column_blob)                                                                                                       \
  X(column_bytes)                                                                                                      \
  X(column_count)                                                                                                      \
  X(column_double)                                                                                                     \
  X(column_int64)                                                                                                      \
  X(column_name)                                                                                                       \
  X(column_text)                                                                                                       \
  X(column_type)                                                                                                       \
  X(errmsg)                                                                                                            \
  X(errstr)                                                                                                            \
  X(exec)                                                                                                              \
  X(extended_errcode)                                                                                                  \
  X(extended_result_codes)                                                                                             \
  X(finalize)                                                                                                          \
  X(get_autocommit)                                                                                                    \
  X(last_insert_rowid)                                                                                                 \
  X(limit)                                                                                                             \
  X(open_v2)                                                                                                           \
  X(prepare_v3)                                                                                                        \
  X(progress_handler)                                                                                                  \
  X(reset)                                                                                                             \
  X(step)                                                                                                              \
  X(stmt_readonly)                                                                                                     \
  X(threadsafe)                                                                                                        \
  X(total_changes)

#define MP_SQLITE_MEMBER(name) __typeof__(sqlite3_##name) *(name);
struct mp_sqlite {
  MP_SQLITE_FUNCTIONS(MP_SQLITE_MEMBER)
  int (*error_offset)(sqlite3 *db); /* since 3.38; NULL before */
};
#undef MP_SQLITE_MEMBER

/* 0; or -ENOENT: it is not there, -ENOSYS: it is no use, and `why` says which package is wanted. */
int mp_sqlite_load(struct mp_sqlite *library, char *why, unsigned size);

#endif
