/* lines.h - the log of another process, line by line as it comes, to our own. */
#ifndef MP_EMBED_LINES_H
#define MP_EMBED_LINES_H

#include "base/buf.h"
#include "base/log.h"

struct mp_log_lines {
  struct mp_log *to;    /* borrowed: its sink, or without one its descriptor */
  struct mp_buf held;   /* owned: what is not a whole line yet */
  struct mp_buf entry;  /* owned: the line under way, and its detail */
  size_t first_len;     /* of the line alone */
  char last_error[512]; /* what it complained of last */
};

void mp_log_lines_init(struct mp_log_lines *lines, struct mp_log *to);
void mp_log_lines_feed(struct mp_log_lines *lines, struct mp_slice bytes); /* what makes a whole line is told at once */
void mp_log_lines_end(struct mp_log_lines *lines);                         /* nothing more comes */
const char *mp_log_lines_last_error(const struct mp_log_lines *lines);     /* "": nothing */
void mp_log_lines_free(struct mp_log_lines *lines);

#endif
