#include "db/code.h"
#include <sqlite3.h>

#define NAMES(X)                                                                                                       \
  X(ERROR)                                                                                                             \
  X(INTERNAL)                                                                                                          \
  X(PERM)                                                                                                              \
  X(ABORT)                                                                                                             \
  X(BUSY)                                                                                                              \
  X(LOCKED)                                                                                                            \
  X(NOMEM)                                                                                                             \
  X(READONLY)                                                                                                          \
  X(INTERRUPT)                                                                                                         \
  X(IOERR)                                                                                                             \
  X(CORRUPT)                                                                                                           \
  X(NOTFOUND)                                                                                                          \
  X(FULL)                                                                                                              \
  X(CANTOPEN)                                                                                                          \
  X(PROTOCOL)                                                                                                          \
  X(EMPTY)                                                                                                             \
  X(SCHEMA)                                                                                                            \
  X(TOOBIG)                                                                                                            \
  X(CONSTRAINT)                                                                                                        \
  X(MISMATCH)                                                                                                          \
  X(MISUSE)                                                                                                            \
  X(NOLFS)                                                                                                             \
  X(AUTH)                                                                                                              \
  X(FORMAT)                                                                                                            \
  X(RANGE)                                                                                                             \
  X(NOTADB)

#define CONSTRAINTS(X)                                                                                                 \
  X(CONSTRAINT_CHECK)                                                                                                  \
  X(CONSTRAINT_COMMITHOOK)                                                                                             \
  X(CONSTRAINT_DATATYPE)                                                                                               \
  X(CONSTRAINT_FOREIGNKEY)                                                                                             \
  X(CONSTRAINT_FUNCTION)                                                                                               \
  X(CONSTRAINT_NOTNULL)                                                                                                \
  X(CONSTRAINT_PINNED)                                                                                                 \
  X(CONSTRAINT_PRIMARYKEY)                                                                                             \
  X(CONSTRAINT_ROWID)                                                                                                  \
  X(CONSTRAINT_TRIGGER)                                                                                                \
  X(CONSTRAINT_UNIQUE)                                                                                                 \
  X(CONSTRAINT_VTAB)

#define NAME(code)                                                                                                     \
  case SQLITE_##code:                                                                                                  \
    return "SQLITE_" #code;

static const char *primary_name(int code) {
  switch (code) { NAMES(NAME) }
  return "SQLITE_ERROR";
}

const char *mp_db_code_name(int code) {
  switch (code) { CONSTRAINTS(NAME) }
  return primary_name(code & 0xff);
}
