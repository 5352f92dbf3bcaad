#include "http/traceparent.h"

enum { VERSION = 0, TRACE_ID = 3, PARENT_ID = 36, FLAGS = 53, LENGTH = 55, MOST = 256 };

static bool is_hex(const char *at, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f'))) return false;
  return true;
}

static bool is_id(const char *at, size_t n) {
  bool zero = true;
  for (size_t i = 0; i < n; i++) zero = zero && at[i] == '0';
  return !zero && is_hex(at, n);
}

static bool is_extension(const char *at, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (at[i] != '-' && !is_hex(at + i, 1)) return false;
  return at[0] == '-';
}

bool mp_traceparent_is(struct mp_slice value) {
  const char *at = value.at;
  if (value.len < LENGTH || value.len > MOST) return false;
  if (at[TRACE_ID - 1] != '-' || at[PARENT_ID - 1] != '-' || at[FLAGS - 1] != '-') return false;
  if (!is_hex(at + VERSION, 2) || (at[0] == 'f' && at[1] == 'f')) return false;
  if (!is_id(at + TRACE_ID, 32) || !is_id(at + PARENT_ID, 16) || !is_hex(at + FLAGS, 2)) return false;
  if (value.len == LENGTH) return true;
  bool first = at[0] == '0' && at[1] == '0'; /* which says exactly that much */
  return !first && is_extension(at + LENGTH, value.len - LENGTH);
}

struct mp_slice mp_traceparent_of(const struct mp_head *head) {
  const struct mp_field *found = NULL;
  for (unsigned i = 0; i < head->n_fields; i++) {
    if (!mp_slice_is_nocase(head->fields[i].name, MP_SLICE("traceparent"))) continue;
    if (found) return mp_slice(NULL, 0);
    found = &head->fields[i];
  }
  return found && mp_traceparent_is(found->value) ? found->value : mp_slice(NULL, 0);
}

struct mp_slice mp_traceparent_id(struct mp_slice traceparent) {
  return traceparent.len < LENGTH ? mp_slice("", 0) : mp_slice(traceparent.at + TRACE_ID, 32);
}
