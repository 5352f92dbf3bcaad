#include "web/static.h"
#include "http/coding.h"
#include "http/conditional.h"
#include "http/mime.h"
#include "http/status.h"
#include "http/url.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* ---- paths ---- */

static bool is_servable(struct mp_slice segment, bool dotfiles) {
  if (segment.len == 0) return false;
  if (segment.at[0] == '.') {
    bool dots = segment.len == 1 || (segment.len == 2 && segment.at[1] == '.');
    if (dots || !dotfiles) return false;
  }
  for (size_t i = 0; i < segment.len; i++) {
    unsigned char c = (unsigned char)segment.at[i];
    if (c < 32 || c == 127 || c == '/' || c == '\\') return false;
  }
  return true;
}

static struct mp_slice take_segment(struct mp_slice *rest) {
  const char *slash = rest->len ? memchr(rest->at, '/', rest->len) : NULL;
  struct mp_slice segment = mp_slice(rest->at, slash ? (size_t)(slash - rest->at) : rest->len);
  size_t step = slash ? segment.len + 1 : segment.len;
  *rest = mp_slice(rest->at + step, rest->len - step);
  return segment;
}

int mp_static_path(struct mp_slice sent, bool dotfiles, char *out, size_t size) {
  char *to = out;
  bool folder = sent.len == 0 || sent.at[sent.len - 1] == '/';
  if (sent.len + 1 >= size) return -ENAMETOOLONG;
  while (sent.len > 0) {
    ssize_t n = mp_url_decode(to, take_segment(&sent), false);
    if (n < 0 || !is_servable(mp_slice(to, (size_t)n), dotfiles)) return -ENOENT;
    to += n;
    if (sent.len > 0 || folder) *to++ = '/';
  }
  *to = '\0';
  return 0;
}

bool mp_static_is_straight(struct mp_slice path) {
  if (memchr(path.at, '\0', path.len)) return false;
  while (path.len > 0)
    if (mp_slice_is(take_segment(&path), MP_SLICE(".."))) return false;
  return true;
}

int mp_static_status(int err) {
  switch (err) {
  case -ENOENT:
  case -ENOTDIR:
  case -EISDIR:
  case -ENXIO:
  case -ENODEV:
  case -EXDEV:
  case -ELOOP:
  case -EINVAL:
  case -EILSEQ:
  case -ENAMETOOLONG:
    return 404;
  case -EACCES:
  case -EPERM:
    return 403;
  case -EMFILE:
  case -ENFILE:
  case -ENOMEM:
    return 503;
  default:
    return 500;
  }
}

/* ---- packed forms (RFC 9110 12.5.3) ---- */

static const enum mp_coding codings[MP_FILE_FORMS] = {MP_CODING_NONE, MP_CODING_GZIP, MP_CODING_BROTLI};

static enum mp_file_form choose_form(const struct mp_head *head, const struct mp_asset *asset) {
  unsigned offered = 0;
  for (int i = 1; i < MP_FILE_FORMS; i++)
    if (asset->has[i]) offered |= MP_CODING_BIT(codings[i]);
  if (offered == 0) return MP_FILE_PLAIN;
  switch (mp_coding_accepted(head, offered)) {
  case MP_CODING_GZIP:
    return MP_FILE_GZIP;
  case MP_CODING_BROTLI:
    return MP_FILE_BROTLI;
  default:
    return MP_FILE_PLAIN;
  }
}

/* ---- fields ---- */

#define ACCEPTS "Accept-Ranges: bytes\r\n"
#define NOSNIFF "X-Content-Type-Options: nosniff\r\n"

/* Kept with the form, for they are the same in every answer: first the validators, then what only 200 has. A packed
 * form is another representation, so its tag differs even where size and time are the same (RFC 9110 8.8.3.3). */
static int make_note(struct mp_asset *asset, enum mp_file_form form) {
  const struct mp_source *file = &asset->forms[form];
  char text[MP_ETAG_SIZE];
  struct mp_slice etag = mp_etag_of_file(text, file->size, file->modified.tv_sec, (uint32_t)file->modified.tv_nsec);
  static const char *const marks[MP_FILE_FORMS] = {"", "-gz", "-br"};
  struct mp_date date = {.at = -1};
  mp_date_set(&date, file->modified.tv_sec);
  return mp_buf_addf(&asset->note[form], "ETag: %.*s%s\"\r\nLast-Modified: %s\r\n" ACCEPTS, (int)etag.len - 1, etag.at,
                     marks[form], date.text);
}

/* The tag within the note. */
static struct mp_slice etag_of(const struct mp_asset *asset, enum mp_file_form form) {
  struct mp_slice note = mp_buf_slice(&asset->note[form]);
  const char *end = memchr(note.at, '\r', note.len);
  return mp_slice(note.at + 6, (size_t)(end - note.at) - 6);
}

/* With `all`, what only 200 has, too. A date in the future is not sent (RFC 9110 8.8.2.1), and the tag is enough. */
static int add_note(struct mp_reply *reply, const struct mp_asset *asset, enum mp_file_form form, bool all,
                    time_t now) {
  static const uint64_t tag = MP_REPLY_NAME("ETag"), date = MP_REPLY_NAME("Last-Modified"),
                        accepts_name = MP_REPLY_NAME("Accept-Ranges");
  struct mp_slice note = mp_buf_slice(&asset->note[form]);
  size_t accepts = sizeof ACCEPTS - 1, validators = note.len - accepts;
  if (asset->forms[form].modified.tv_sec <= now)
    return mp_reply_add_lines(reply, mp_slice(note.at, all ? note.len : validators), tag | date | accepts_name);
  const char *end = memchr(note.at, '\n', note.len);
  int err = mp_reply_add_lines(reply, mp_slice(note.at, (size_t)(end + 1 - note.at)), tag);
  if (err < 0 || !all) return err;
  return mp_reply_add_lines(reply, mp_slice(note.at + validators, accepts), accepts_name);
}

static int add_line_unless_set(struct mp_reply *reply, struct mp_slice name, struct mp_slice value) {
  struct mp_slice ignored;
  if (mp_buf_len(&reply->fields) && mp_reply_get(reply, name, &ignored)) return 0;
  return mp_reply_add(reply, name, value);
}

static int add_cache_control(struct mp_reply *reply, int64_t max_age_s) {
  char value[40];
  if (max_age_s < 0) return 0;
  int n = snprintf(value, sizeof value, "max-age=%" PRId64, max_age_s);
  return add_line_unless_set(reply, MP_SLICE("Cache-Control"), mp_slice(value, (size_t)n));
}

/* RFC 6266 4.3: a name in ASCII for everybody, and the real one where that is another. */
static int add_download(struct mp_reply *reply, struct mp_slice name) {
  struct mp_buf value = {0};
  bool same = true;
  int err = mp_buf_add_slice(&value, MP_SLICE("attachment; filename=\""));
  for (size_t i = 0; err == 0 && i < name.len; i++) {
    char c = name.at[i];
    bool plain = c >= 32 && c < 127 && c != '"' && c != '\\' && c != '%' && c != '/';
    same &= plain;
    err = mp_buf_add(&value, plain ? &c : "_", 1);
  }
  if (err == 0) err = mp_buf_add_slice(&value, MP_SLICE("\""));
  if (err == 0 && !same) err = mp_buf_add_slice(&value, MP_SLICE("; filename*=UTF-8''"));
  if (err == 0 && !same) err = mp_url_encode(&value, name);
  if (err == 0) err = add_line_unless_set(reply, MP_SLICE("Content-Disposition"), mp_buf_slice(&value));
  mp_buf_free(&value);
  return err;
}

static int add_vary(struct mp_reply *reply, const struct mp_asset *asset) {
  if (!asset->has[MP_FILE_GZIP] && !asset->has[MP_FILE_BROTLI]) return 0;
  return mp_reply_add_lines(reply, MP_SLICE("Vary: Accept-Encoding\r\n"), MP_REPLY_NAME("Vary"));
}

/* Where nobody has set a field before. The type was checked where it came from. */
static int add_type(struct mp_reply *reply, struct mp_slice type) {
  struct mp_slice name = MP_SLICE(NOSNIFF "Content-Type: ");
  char *to = mp_buf_room(&reply->fields, name.len + type.len + 2);
  if (!to) return -ENOMEM;
  memcpy(to, name.at, name.len);
  memcpy(to + name.len, type.at, type.len);
  memcpy(to + name.len + type.len, "\r\n", 2);
  mp_buf_grew(&reply->fields, name.len + type.len + 2);
  reply->name_lengths |= MP_REPLY_NAME("X-Content-Type-Options") | MP_REPLY_NAME("Content-Type");
  return 0;
}

/* What describes the content: not for 304 (RFC 9110 15.4.5). */
static int add_description(const struct mp_static *plan, struct mp_reply *reply, const struct mp_static_options *o,
                           bool untouched) {
  int err;
  if (untouched && plan->ranges.n < 2)
    err = add_type(reply, plan->type);
  else
    err = add_line_unless_set(reply, MP_SLICE("X-Content-Type-Options"), MP_SLICE("nosniff"));
  if (err == 0 && !untouched && plan->ranges.n < 2)
    err = add_line_unless_set(reply, MP_SLICE("Content-Type"), plan->type);
  if (err == 0 && plan->form != MP_FILE_PLAIN)
    err = mp_reply_set(reply, MP_SLICE("Content-Encoding"), mp_coding_name(codings[plan->form]));
  if (err == 0 && o->download.at) err = add_download(reply, o->download);
  return err;
}

static int add_range(const struct mp_static *plan, struct mp_reply *reply) {
  char value[80];
  struct mp_ranges ranges = plan->ranges;
  struct mp_range r = {0, 0};
  (void)mp_ranges_next(&ranges, &r);
  int n =
      snprintf(value, sizeof value, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, r.first, r.first + r.len - 1, plan->size);
  return mp_reply_set(reply, MP_SLICE("Content-Range"), mp_slice(value, (size_t)n));
}

/* Of a handler that has set such fields itself: they would describe another content. */
static void remove_others(struct mp_reply *reply) {
  static const struct mp_slice names[] = {
      {"ETag", 4}, {"Last-Modified", 13}, {"Accept-Ranges", 13}, {"Content-Length", 14}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) (void)mp_reply_remove(reply, names[i]);
}

static int add_fields(const struct mp_static *plan, struct mp_exchange *ex, const struct mp_static_options *o) {
  struct mp_reply *reply = &ex->reply;
  bool untouched = mp_buf_len(&reply->fields) == 0, all = reply->status == 200;
  int err = 0;
  if (!untouched) remove_others(reply);
  if (all || reply->status == 206 || reply->status == 304)
    err = add_note(reply, plan->asset, plan->form, all, ex->server->date.at);
  if (err == 0) err = add_cache_control(reply, o->max_age_s);
  if (err == 0) err = add_vary(reply, plan->asset);
  if (err == 0 && reply->status != 304) err = add_description(plan, reply, o, untouched);
  if (err == 0 && plan->ranges.n == 1) err = add_range(plan, reply);
  return err;
}

/* ---- what to send ---- */

/* RFC 9110 14.2: only of GET. */
static const struct mp_field *range_of(const struct mp_head *head) {
  return mp_slice_is(head->method, MP_SLICE("GET")) ? mp_head_field(head, MP_SLICE("Range")) : NULL;
}

static bool only_reads(const struct mp_head *head) {
  return mp_slice_is(head->method, MP_SLICE("GET")) || mp_slice_is(head->method, MP_SLICE("HEAD"));
}

/* Most requests ask for nothing of that: "If-…" or Range is among the fields, or something else that begins like them.
 */
static bool may_ask(const struct mp_head *head) {
  for (unsigned i = 0; i < head->n_fields; i++) {
    char first = head->fields[i].name.at[0] | 0x20;
    if (first == 'i' || first == 'r') return true;
  }
  return false;
}

/* 200, 206, 304, 412 or 416. */
static int judge(struct mp_static *plan, const struct mp_head *head) {
  if (!may_ask(head)) return 200;
  const struct mp_source *file = &plan->asset->forms[plan->form];
  struct mp_validators now = {etag_of(plan->asset, plan->form), file->modified.tv_sec};
  int status = only_reads(head) ? mp_conditional_status(head, &now) : 0;
  const struct mp_field *range = status ? NULL : range_of(head);
  if (!range || !mp_conditional_range(head, &now)) return status ? status : 200;
  int n = mp_ranges_read(&plan->ranges, range->value, plan->size);
  if (n <= 0) plan->ranges = (struct mp_ranges){0};
  if (n == -ERANGE) return 416;
  return n > 0 ? 206 : 200;
}

void mp_static_drop(struct mp_static *plan) {
  mp_asset_release(plan->asset);
  plan->asset = NULL;
}

int mp_static_prepare(struct mp_static *plan, struct mp_exchange *ex, struct mp_asset *asset,
                      const struct mp_static_options *options) {
  struct mp_slice path = mp_slice(asset->path, strlen(asset->path));
  int err = 0;
  plan->asset = asset;
  plan->ranges = (struct mp_ranges){0};
  plan->form = choose_form(&ex->head, asset);
  plan->size = asset->forms[plan->form].size;
  plan->type = options->type.len ? mp_slice_trim(options->type) : mp_mime_type(path);
  if (mp_buf_len(&asset->note[plan->form]) == 0) err = make_note(asset, plan->form);
  int status = err == 0 && ex->reply.status == 200 ? judge(plan, &ex->head) : ex->reply.status;
  bool refused = err == 0 && ex->reply.status == 200 && (status == 412 || status == 416);
  if (err == 0 && !refused) {
    ex->reply.status = (uint16_t)status;
    err = add_fields(plan, ex, options);
  }
  if (err < 0 || refused) mp_static_drop(plan);
  return err < 0 ? err : refused ? status : 0;
}

/* ---- sending ---- */

/* The head alone, with the length that GET would have. */
static int send_no_body(struct mp_exchange *ex, uint64_t size) {
  int err = mp_exchange_head(ex, mp_status_bodiless(ex->reply.status) ? 0 : size);
  return err < 0 ? err : mp_exchange_end(ex);
}

/* Held in memory: all of it, or one part. */
static int send_held(struct mp_exchange *ex, const struct mp_static *plan, struct mp_slice content) {
  struct mp_ranges ranges = plan->ranges;
  struct mp_range r;
  if (mp_ranges_next(&ranges, &r)) content = mp_slice(content.at + r.first, r.len);
  return mp_exchange_send_as_is(ex, content);
}

static int send_parts(struct mp_exchange *ex, struct mp_static *plan) {
  int err = mp_parts_send(ex, plan->asset, plan->form, &plan->ranges, plan->type);
  if (err == 0) plan->asset = NULL;
  return err;
}

int mp_static_send(struct mp_static *plan, struct mp_exchange *ex) {
  int err;
  struct mp_slice content = mp_slice(NULL, 0);
  if (ex->reply.head_only || mp_status_bodiless(ex->reply.status)) {
    err = send_no_body(ex, plan->size);
  } else {
    if (plan->size <= MP_SOURCE_SMALL) content = mp_asset_content(plan->asset, plan->form);
    if ((content.at && plan->ranges.n < 2) || plan->size == 0)
      err = send_held(ex, plan, content.at ? content : MP_SLICE(""));
    else
      err = send_parts(ex, plan);
  }
  mp_static_drop(plan);
  return err;
}

int mp_static_redirect(struct mp_exchange *ex) {
  const struct mp_head *head = &ex->head;
  struct mp_buf to = {0};
  int err = mp_buf_add_slice(&to, head->path);
  if (err == 0) err = mp_buf_add_slice(&to, MP_SLICE("/"));
  if (err == 0 && head->query.at) err = mp_buf_add_slice(&to, MP_SLICE("?"));
  if (err == 0 && head->query.at) err = mp_buf_add_slice(&to, head->query);
  if (err == 0) err = mp_reply_set(&ex->reply, MP_SLICE("Location"), mp_buf_slice(&to));
  mp_buf_free(&to);
  if (err < 0) return err;
  ex->reply.status = 301;
  return mp_exchange_send(ex, MP_SLICE(""));
}
