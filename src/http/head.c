#include "http/bytes.h"
#include "http/gate.h"
#include <http_parser.h>
#include <stdlib.h>

/* What the callbacks of http-parser write to. */
struct reading {
  struct mp_head *head; /* borrowed */
  struct mp_framing framing;
  struct mp_slice name; /* of the field under way */
  bool complete, no_memory;
};

static bool grow_fields(struct mp_head *head) {
  unsigned cap = head->cap_fields ? 2u * head->cap_fields : 16;
  if (cap > UINT16_MAX) cap = UINT16_MAX;
  if (cap == head->cap_fields) return false;
  struct mp_field *fields = realloc(head->fields, cap * sizeof *fields);
  if (!fields) return false;
  head->fields = fields;
  head->cap_fields = (uint16_t)cap;
  return true;
}

/* The head is executed in one piece, so that each name and each value comes in one piece too. http-parser 2.9.4 built
 * without its strict mode, as Debian does, lets a space pass in a name. */
static int on_name(http_parser *parser, const char *at, size_t len) {
  struct reading *reading = parser->data;
  reading->name = mp_slice(at, len);
  return mp_is_token(reading->name) ? 0 : -1;
}

static int on_value(http_parser *parser, const char *at, size_t len) {
  struct reading *reading = parser->data;
  struct mp_head *head = reading->head;
  if (head->n_fields == head->cap_fields && !grow_fields(head)) {
    reading->no_memory = true;
    return -1;
  }
  struct mp_field *field = &head->fields[head->n_fields++];
  field->name = reading->name;
  while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t')) len--; /* those ahead are left out already */
  field->value = mp_slice(at, len);
  mp_framing_note(&reading->framing, field->name, field->value);
  return 0;
}

/* 2: no body and no upgrade are looked for behind the head. */
static int on_complete(http_parser *parser) {
  struct reading *reading = parser->data;
  reading->complete = true;
  return 2;
}

static const http_parser_settings settings = {
    .on_header_field = on_name, .on_header_value = on_value, .on_headers_complete = on_complete};

/* A parser that stands behind a good request line. The real one has been read by then, byte for byte (target.c), and
 * more strictly than http-parser would: what it takes a third of its time for need not be done twice. */
static const http_parser *behind_request_line(void) {
  static _Thread_local http_parser made; /* always the same, so it is no state */
  static const http_parser_settings none = {0};
  if (made.http_major) return &made;
  http_parser_init(&made, HTTP_REQUEST);
  http_parser_execute(&made, &none, "GET / HTTP/1.1\r\n", sizeof "GET / HTTP/1.1\r\n" - 1);
  return &made;
}

static enum http_errno read_fields(struct reading *reading, struct mp_slice bytes) {
  http_parser parser = *behind_request_line();
  if (bytes.len > HTTP_MAX_HEADER_SIZE / 2) http_parser_set_max_header_size(UINT32_MAX); /* our own limits hold */
  parser.data = reading;
  size_t used = http_parser_execute(&parser, &settings, bytes.at, bytes.len);
  enum http_errno err = HTTP_PARSER_ERRNO(&parser);
  if (err == HPE_OK && (used != bytes.len || !reading->complete)) return HPE_UNKNOWN;
  return err;
}

bool mp_method_is_known(struct mp_slice method) {
  if (mp_slice_is(method, MP_SLICE("GET"))) return true;
  for (int i = 0; i <= HTTP_SOURCE; i++) {
    const char *name = http_method_str((enum http_method)i);
    if (mp_slice_is(method, mp_slice(name, strlen(name)))) return true;
  }
  return false;
}

/* Ours says what is wrong with framing more exactly, and is stricter; http-parser has a veto all the same. */
static enum mp_verdict judge(struct reading *reading, enum http_errno err, struct mp_refusal *why) {
  bool about_framing = err == HPE_UNEXPECTED_CONTENT_LENGTH || err == HPE_INVALID_TRANSFER_ENCODING;
  if (reading->no_memory) return mp_refuse(why, 503, "out of memory");
  if (err == HPE_CB_header_field) return mp_refuse(why, 400, "field name is not a token");
  if (err != HPE_OK && !about_framing) return mp_refuse(why, 400, http_errno_description(err));
  enum mp_verdict verdict = mp_framing_judge(&reading->framing, reading->head, why);
  if (verdict == MP_DONE && err != HPE_OK) return mp_refuse(why, 400, http_errno_description(err));
  return verdict;
}

void mp_head_forget(struct mp_head *head) {
  struct mp_field *fields = head->fields;
  uint16_t cap = head->cap_fields;
  *head = (struct mp_head){.fields = fields, .cap_fields = cap};
}

enum mp_verdict mp_head_parse(struct mp_head *head, struct mp_head_scan *scan, const char *bytes, size_t len,
                              const struct mp_http_limits *limits, size_t *used, struct mp_refusal *why) {
  enum mp_verdict verdict = mp_scan_lines(scan, bytes, len, limits, why);
  if (verdict != MP_DONE) return verdict;
  struct reading reading = {.head = head};
  size_t start = 2 * (size_t)scan->skipped;
  mp_head_forget(head);
  verdict = mp_request_line(head, mp_slice(bytes + start, scan->first_end - start), why);
  if (verdict == MP_DONE) {
    size_t fields = scan->first_end + 2; /* behind the request line's CRLF */
    head->known_method = mp_method_is_known(head->method);
    verdict = judge(&reading, read_fields(&reading, mp_slice(bytes + fields, scan->at - fields)), why);
  }
  if (verdict == MP_DONE) *used = scan->at;
  return verdict;
}

static void move_slice(struct mp_slice *s, const char *from, const char *to) {
  if (s->at) s->at = to + (s->at - from);
}

void mp_head_rebase(struct mp_head *head, const char *from, const char *to) {
  /* The path that an absolute target left out is not among its bytes. */
  if ((uintptr_t)head->path.at - (uintptr_t)head->target.at < head->target.len) move_slice(&head->path, from, to);
  move_slice(&head->method, from, to);
  move_slice(&head->target, from, to);
  move_slice(&head->query, from, to);
  move_slice(&head->host, from, to);
  for (unsigned i = 0; i < head->n_fields; i++) {
    move_slice(&head->fields[i].name, from, to);
    move_slice(&head->fields[i].value, from, to);
  }
}

const struct mp_field *mp_head_field(const struct mp_head *head, struct mp_slice name) {
  for (unsigned i = 0; i < head->n_fields; i++)
    if (mp_slice_is_nocase(head->fields[i].name, name)) return &head->fields[i];
  return NULL;
}

void mp_head_free(struct mp_head *head) {
  free(head->fields);
  *head = (struct mp_head){0};
}
