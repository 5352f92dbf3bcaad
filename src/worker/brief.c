#include "worker/brief.h"
#include <stdio.h>
#include <string.h>

static const char *colour_of(int status) {
  if (status == 0) return "\033[35m"; /* cut off: no answer */
  return status >= 500 ? "\033[31m" : status >= 400 ? "\033[33m" : status >= 300 ? "\033[36m" : "\033[32m";
}

int mp_brief_line(struct mp_buf *out, const struct mp_access_facts *f, bool colour) {
  static const char reserved[] = "/.moonpool/";
  char status[16] = "---";
  if (f->target.len >= sizeof reserved - 1 && memcmp(f->target.at, reserved, sizeof reserved - 1) == 0) return 0;
  if (f->status) snprintf(status, sizeof status, "%d", f->status);
  const char *on = colour ? colour_of(f->status) : "", *dim = colour ? "\033[2m" : "", *off = colour ? "\033[0m" : "";
  int err = mp_buf_addf(out, "%s%s%s ", on, status, off);
  if (err == 0 && f->method.len == 0) err = mp_buf_add_slice(out, MP_SLICE("(no request)"));
  if (err == 0) err = mp_access_escape(out, f->method);
  if (err == 0) err = mp_buf_add_slice(out, MP_SLICE(" "));
  if (err == 0) err = mp_access_escape(out, f->target);
  if (err == 0) err = mp_buf_addf(out, " %s%.1f ms%s\n", dim, (double)f->took_us / 1000, off);
  return err;
}
