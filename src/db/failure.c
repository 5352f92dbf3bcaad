#include "db/code.h"
#include "db/inside.h"
#include <stdarg.h>
#include <stdio.h>

static void set_message(struct mp_db_answer *answer, const char *format, va_list args) {
  vsnprintf(answer->message, sizeof answer->message, format, args);
}

bool mp_db_fail_with(struct mp_db_answer *answer, const char *code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  set_message(answer, format, args);
  va_end(args);
  answer->outcome = MP_DB_FAILED;
  answer->code = code;
  return false;
}

bool mp_db_misuse(struct mp_db_answer *answer, const char *format, ...) {
  va_list args;
  va_start(args, format);
  set_message(answer, format, args);
  va_end(args);
  answer->outcome = MP_DB_MISUSED;
  return false;
}

/* Lines and columns count from 1; a column is a character of UTF-8. */
static void place_of(struct mp_slice sql, size_t offset, unsigned *line, unsigned *column) {
  *line = *column = 1;
  for (size_t i = 0; i < offset && i < sql.len; i++) {
    if (sql.at[i] == '\n') {
      ++*line;
      *column = 1;
    } else if (((unsigned char)sql.at[i] & 0xc0) != 0x80) {
      ++*column;
    }
  }
}

bool mp_db_fail(struct mp_db *db, int code, struct mp_slice sql, size_t begun, struct mp_db_answer *answer) {
  const char *text = db->sqlite ? db->lib.errmsg(db->sqlite) : db->lib.errstr(code);
  int offset = db->sqlite && db->lib.error_offset ? db->lib.error_offset(db->sqlite) : -1;
  unsigned line, column;
  if (db->ended == MP_DB_BY_TIMEOUT)
    return mp_db_fail_with(answer, "timeout", "it took longer than %g s and was stopped",
                           (double)db->settings->timeout_ms / 1000);
  if (offset < 0) return mp_db_fail_with(answer, mp_db_code_name(code), "%s", text);
  place_of(sql, begun + (size_t)offset, &line, &column);
  return mp_db_fail_with(answer, mp_db_code_name(code), "%s (line %u, column %u of the SQL)", text, line, column);
}
