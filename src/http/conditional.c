#include "http/conditional.h"
#include "http/bytes.h"
#include "http/date.h"

static bool is_weak(struct mp_slice tag) {
  return tag.len > 2 && tag.at[0] == 'W' && tag.at[1] == '/';
}

static struct mp_slice opaque(struct mp_slice tag) {
  return is_weak(tag) ? mp_slice(tag.at + 2, tag.len - 2) : tag;
}

/* RFC 9110 8.8.3.2: weakly, the opaque parts are the same; strongly, neither is weak besides. */
static bool tags_match(struct mp_slice a, struct mp_slice b, bool strongly) {
  if (strongly && (is_weak(a) || is_weak(b))) return false;
  return a.len > 0 && mp_slice_is(opaque(a), opaque(b));
}

/* Takes the next entity-tag off the front of a list. A comma may stand within the quotes, so this is no plain list.
 * False at the end, or where no tag is. */
static bool take_tag(struct mp_slice *rest, struct mp_slice *tag) {
  size_t i = 0, n = rest->len;
  while (i < n && (rest->at[i] == ',' || rest->at[i] == ' ' || rest->at[i] == '\t')) i++;
  size_t start = i;
  if (n - i > 2 && rest->at[i] == 'W' && rest->at[i + 1] == '/') i += 2;
  if (i >= n || rest->at[i] != '"') return false;
  const char *close = memchr(rest->at + i + 1, '"', n - i - 1);
  if (!close) return false;
  size_t end = (size_t)(close + 1 - rest->at);
  *tag = mp_slice(rest->at + start, end - start);
  *rest = mp_slice(rest->at + end, n - end);
  return rest->len == 0 || rest->at[0] == ',' || rest->at[0] == ' ' || rest->at[0] == '\t';
}

static bool list_names(struct mp_slice list, struct mp_slice etag, bool strongly) {
  struct mp_slice tag;
  if (mp_slice_is(list, MP_SLICE("*"))) return true;
  while (take_tag(&list, &tag))
    if (tags_match(tag, etag, strongly)) return true;
  return false;
}

enum answer { NOT_ASKED, NO, YES };

/* Whether any line of the field names the tag; a list may come in several lines. */
static enum answer names_tag(const struct mp_head *head, struct mp_slice field, struct mp_slice etag, bool strongly) {
  enum answer answer = NOT_ASKED;
  for (unsigned i = 0; i < head->n_fields; i++) {
    if (!mp_slice_is_nocase(head->fields[i].name, field)) continue;
    if (list_names(head->fields[i].value, etag, strongly)) return YES;
    answer = NO;
  }
  return answer;
}

/* What is no date, or comes twice, is as if it were not there (13.1.3, 13.1.4). */
static enum answer changed_since(const struct mp_head *head, struct mp_slice field, time_t modified) {
  const struct mp_field *found = NULL;
  time_t since;
  for (unsigned i = 0; i < head->n_fields; i++) {
    if (!mp_slice_is_nocase(head->fields[i].name, field)) continue;
    if (found) return NOT_ASKED;
    found = &head->fields[i];
  }
  if (!found || modified == -1 || !mp_date_parse(found->value, &since)) return NOT_ASKED;
  return modified > since ? YES : NO;
}

static bool only_reads(const struct mp_head *head) {
  return mp_slice_is(head->method, MP_SLICE("GET")) || mp_slice_is(head->method, MP_SLICE("HEAD"));
}

int mp_conditional_status(const struct mp_head *head, const struct mp_validators *now) {
  enum answer match = names_tag(head, MP_SLICE("If-Match"), now->etag, true);
  if (match == NO) return 412;
  if (match == NOT_ASKED && changed_since(head, MP_SLICE("If-Unmodified-Since"), now->modified) == YES) return 412;
  enum answer has = names_tag(head, MP_SLICE("If-None-Match"), now->etag, false);
  if (has == YES) return only_reads(head) ? 304 : 412;
  if (has == NOT_ASKED && only_reads(head) && changed_since(head, MP_SLICE("If-Modified-Since"), now->modified) == NO)
    return 304;
  return 0;
}

bool mp_conditional_range(const struct mp_head *head, const struct mp_validators *now) {
  const struct mp_field *condition = mp_head_field(head, MP_SLICE("If-Range"));
  time_t date;
  if (!condition) return true;
  if (memchr(condition->value.at, '"', condition->value.len)) return tags_match(condition->value, now->etag, true);
  return now->modified != -1 && mp_date_parse(condition->value, &date) && date == now->modified;
}

static char *put_hex(char *to, uint64_t n) {
  static const char digits[] = "0123456789abcdef";
  int shift = 60;
  while (shift > 0 && !(n >> shift)) shift -= 4;
  for (; shift >= 0; shift -= 4) *to++ = digits[n >> shift & 15];
  return to;
}

struct mp_slice mp_etag_of_file(char out[MP_ETAG_SIZE], uint64_t size, int64_t s, uint32_t ns) {
  char *to = out;
  *to++ = '"';
  to = put_hex(to, (uint64_t)s);
  *to++ = '.';
  to = put_hex(to, ns);
  *to++ = '-';
  to = put_hex(to, size);
  *to++ = '"';
  return mp_slice(out, (size_t)(to - out));
}
