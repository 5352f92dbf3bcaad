/* value.h - SQLite's five kinds of values as bytes, on their way between the loop and a connection's thread. */
#ifndef MP_DB_VALUE_H
#define MP_DB_VALUE_H

#include "base/buf.h"

enum mp_db_type {
  MP_DB_NULL = 'n',
  MP_DB_INTEGER = 'i',
  MP_DB_REAL = 'd',
  MP_DB_TEXT = 's',
  MP_DB_BLOB = 'b',
  MP_DB_NAME = 'k' /* of the value that follows: of a parameter or of a column */
};

struct mp_db_value {
  enum mp_db_type type;
  int64_t integer;
  double real;
  struct mp_slice bytes; /* borrowed: of text, blob and name */
};

int mp_db_put(struct mp_buf *to, const struct mp_db_value *value); /* 0 or -ENOMEM */

/* Takes the first of `rest`, which was written by mp_db_put; false: there is none. */
bool mp_db_get(struct mp_slice *rest, struct mp_db_value *value);

#endif
