#include "worker/atoms.h"
#include "http/head.h"
#include "http/reply.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* One piece of a format. */
struct atom {
  struct mp_slice text; /* as it stands there, when `letter` is 0 */
  struct mp_slice name; /* of {name}i and {name}o */
  char letter;
};

static const char letters[] = "hlutrmUqHsBbfaTMDLpixw";

/* Behind "%": "%", "(x)s" or "({name}i)s". How long it is; 0: it is none. */
static size_t read_atom(const char *at, struct atom *atom) {
  *atom = (struct atom){.letter = at[0] ? at[1] : '\0'};
  if (at[0] == '%') {
    *atom = (struct atom){.text = mp_slice(at, 1)};
    return 1;
  }
  if (at[0] != '(') return 0;
  if (at[1] != '{') return at[1] && strchr(letters, at[1]) && at[2] == ')' && at[3] == 's' ? 4 : 0;
  size_t len = strcspn(at + 2, "}");
  const char *behind = at + 2 + len;
  if (len == 0 || behind[0] != '}' || (behind[1] != 'i' && behind[1] != 'o')) return 0;
  if (behind[2] != ')' || behind[3] != 's') return 0;
  *atom = (struct atom){.name = mp_slice(at + 2, len), .letter = behind[1] == 'i' ? 'I' : 'O'};
  return 4 + len + 2;
}

/* The next piece of the format; false at its end. `*bad`: it begins with what is no atom. */
static bool next(const char **format, struct atom *atom, bool *bad) {
  size_t plain = strcspn(*format, "%");
  *bad = false;
  if (!**format) return false;
  if (plain > 0) {
    *atom = (struct atom){.text = mp_slice(*format, plain)};
    *format += plain;
    return true;
  }
  size_t n = read_atom(*format + 1, atom);
  *bad = n == 0;
  *format += 1 + n;
  return true;
}

int mp_atoms_check(const char *format, struct mp_slice *bad) {
  struct atom atom;
  bool wrong;
  const char *at = format;
  for (const char *c = format; *c; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f) return *bad = mp_slice(c, 1), -EINVAL;
  while (next(&format, &atom, &wrong)) {
    if (wrong) return *bad = mp_slice(at, strcspn(at, " ") ? strcspn(at, " ") : 1), -EINVAL;
    at = format;
  }
  return 0;
}

/* ---- values ---- */

static int add_text(struct mp_buf *out, struct mp_slice s) {
  return s.len ? mp_access_escape(out, s) : mp_buf_add_slice(out, MP_SLICE("-"));
}

static int add_field(struct mp_buf *out, const struct mp_head *head, struct mp_slice name) {
  const struct mp_field *field = head ? mp_head_field(head, name) : NULL;
  return add_text(out, field ? field->value : MP_SLICE(""));
}

static int add_reply_field(struct mp_buf *out, const struct mp_reply *reply, struct mp_slice name) {
  struct mp_slice value;
  bool there = reply && mp_reply_get(reply, name, &value);
  return add_text(out, there ? value : MP_SLICE(""));
}

static int add_request(struct mp_buf *out, const struct mp_access_facts *f) {
  if (f->minor < 0) return add_text(out, MP_SLICE(""));
  int err = mp_access_escape(out, f->method);
  if (err == 0) err = mp_buf_add_slice(out, MP_SLICE(" "));
  if (err == 0) err = mp_access_escape(out, f->target);
  return err < 0 ? err : mp_buf_addf(out, " HTTP/1.%d", f->minor);
}

static int add_bytes(struct mp_buf *out, uint64_t n, bool dash) {
  return dash && n == 0 ? mp_buf_add_slice(out, MP_SLICE("-")) : mp_buf_addf(out, "%llu", (unsigned long long)n);
}

static int add_time_taken(struct mp_buf *out, char letter, uint64_t us) {
  unsigned long long n = us;
  if (letter == 'L') return mp_buf_addf(out, "%llu.%06llu", n / 1000000, n % 1000000);
  return mp_buf_addf(out, "%llu", letter == 'T' ? n / 1000000 : letter == 'M' ? n / 1000 : n);
}

static int add_path(struct mp_buf *out, struct mp_slice target, bool query) {
  const char *mark = target.len ? memchr(target.at, '?', target.len) : NULL;
  size_t len = mark ? (size_t)(mark - target.at) : target.len;
  if (!query) return add_text(out, mp_slice(target.at, len));
  return mark ? mp_access_escape(out, mp_slice(mark + 1, target.len - len - 1)) : 0;
}

static int add_address(struct mp_buf *out, const struct mp_address *address) {
  char text[MP_ADDRESS_TEXT];
  mp_address_text(address, text);
  return add_text(out, mp_slice(text, strlen(text)));
}

static int add_value(struct mp_buf *out, const struct atom *atom, const struct mp_access_facts *f) {
  switch (atom->letter) {
  case 'h':
    return add_address(out, &f->client);
  case 't':
    return mp_access_stamp(out, f->at);
  case 'r':
    return add_request(out, f);
  case 'm':
    return add_text(out, f->method);
  case 'U':
  case 'q':
    return add_path(out, f->target, atom->letter == 'q');
  case 'H':
    return f->minor < 0 ? add_text(out, MP_SLICE("")) : mp_buf_addf(out, "HTTP/1.%d", f->minor);
  case 's':
    return f->status ? mp_buf_addf(out, "%d", f->status) : add_text(out, MP_SLICE(""));
  case 'B':
  case 'b':
    return add_bytes(out, f->bytes, atom->letter == 'b');
  case 'f':
    return add_text(out, f->referer);
  case 'a':
    return add_text(out, f->agent);
  case 'T':
  case 'M':
  case 'D':
  case 'L':
    return add_time_taken(out, atom->letter, f->took_us);
  case 'p':
    return mp_buf_addf(out, "%d", (int)getpid());
  case 'i':
    return add_text(out, f->id);
  case 'x':
    return add_text(out, f->trace);
  case 'w':
    return mp_buf_addf(out, "%u", f->worker);
  case 'I':
    return add_field(out, f->head, atom->name);
  case 'O':
    return add_reply_field(out, f->reply, atom->name);
  default: /* l, u: nobody here knows */
    return add_text(out, MP_SLICE(""));
  }
}

int mp_atoms_line(struct mp_buf *out, const char *format, const struct mp_access_facts *facts) {
  struct atom atom;
  bool wrong;
  int err = 0;
  while (err == 0 && next(&format, &atom, &wrong))
    err = atom.letter ? add_value(out, &atom, facts) : mp_buf_add_slice(out, atom.text);
  return err < 0 ? err : mp_buf_add_slice(out, MP_SLICE("\n"));
}
