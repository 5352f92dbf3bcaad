#include "http/coding.h"
#include "http/bytes.h"

enum { UNNAMED = -1, LEAST = 1, ALL = 1000 /* weights are thousandths */ };

struct wishes {
  int of[MP_CODINGS];
  int other; /* "*" */
};

struct mp_slice mp_coding_name(enum mp_coding coding) {
  static const struct mp_slice names[MP_CODINGS] = {{"identity", 8}, {"deflate", 7}, {"gzip", 4}, {"br", 2}};
  return names[coding];
}

/* A weight (12.4.2); malformed: 0, so that it is not used. */
static int weight_of(struct mp_slice s) {
  int value = 0, place = ALL;
  if (s.len == 0 || s.len > 5 || (s.at[0] != '0' && s.at[0] != '1') || (s.len > 1 && s.at[1] != '.')) return 0;
  for (size_t i = 0; i < s.len; i++) {
    if (i == 1) continue;
    if (!mp_byte_is(s.at[i], MP_BYTE_DIGIT)) return 0;
    value += (s.at[i] - '0') * place;
    place /= 10;
  }
  return value > ALL ? 0 : value;
}

/* Takes ";q=0.5" off the end. */
static int split_weight(struct mp_slice *element) {
  const char *semicolon = memchr(element->at, ';', element->len);
  if (!semicolon) return ALL;
  size_t len = (size_t)(semicolon - element->at);
  struct mp_slice rest = mp_slice_trim(mp_slice(semicolon + 1, element->len - len - 1));
  *element = mp_slice_trim(mp_slice(element->at, len));
  if (rest.len < 2 || (rest.at[0] | 0x20) != 'q' || rest.at[1] != '=') return 0;
  return weight_of(mp_slice(rest.at + 2, rest.len - 2));
}

static void note(struct wishes *wishes, struct mp_slice element) {
  int weight = split_weight(&element);
  if (mp_slice_is(element, MP_SLICE("*"))) wishes->other = weight;
  if (mp_slice_is_nocase(element, MP_SLICE("x-gzip"))) element = mp_coding_name(MP_CODING_GZIP);
  for (int i = 0; i < MP_CODINGS; i++)
    if (mp_slice_is_nocase(element, mp_coding_name((enum mp_coding)i))) wishes->of[i] = weight;
}

static struct wishes read_wishes(const struct mp_head *head) {
  struct wishes wishes = {{UNNAMED, UNNAMED, UNNAMED, UNNAMED}, UNNAMED};
  for (unsigned i = 0; i < head->n_fields; i++) {
    struct mp_slice rest = head->fields[i].value, element;
    if (!mp_slice_is_nocase(head->fields[i].name, MP_SLICE("Accept-Encoding"))) continue;
    while (mp_list_next(&rest, &element)) note(&wishes, element);
  }
  return wishes;
}

/* As it is goes everything, unless something else is asked for. */
static int weight_for(const struct wishes *wishes, enum mp_coding coding) {
  if (wishes->of[coding] != UNNAMED) return wishes->of[coding];
  if (wishes->other > 0) return wishes->other;
  return coding == MP_CODING_NONE ? LEAST : 0;
}

enum mp_coding mp_coding_accepted(const struct mp_head *head, unsigned offered) {
  struct wishes wishes = read_wishes(head);
  enum mp_coding best = MP_CODING_NONE;
  int most = weight_for(&wishes, best);
  for (enum mp_coding i = best + 1; i < MP_CODINGS; i++) {
    int weight = offered & MP_CODING_BIT(i) ? weight_for(&wishes, i) : 0;
    if (weight == 0 || weight < most) continue;
    best = i;
    most = weight;
  }
  return best;
}
