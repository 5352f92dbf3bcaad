#include "embed/lines.h"
#include <stdio.h>
#include <unistd.h>

void mp_log_lines_init(struct mp_log_lines *lines, struct mp_log *to) {
  *lines = (struct mp_log_lines){.to = to};
}

/* The next word of a line, taken off it. */
static struct mp_slice next_word(struct mp_slice *line) {
  const char *space = memchr(line->at, ' ', line->len);
  size_t n = space ? (size_t)(space - line->at) : line->len;
  struct mp_slice word = mp_slice(line->at, n);
  *line = mp_slice(line->at + n + (space != NULL), line->len - n - (space != NULL));
  return word;
}

/* "2026-01-02T03:04:05.678Z pool info message"; anything else is what a program wrote by itself. */
static void take_apart(struct mp_slice line, char *room, size_t size, enum mp_log_level *level, struct mp_slice *text) {
  char name[16];
  struct mp_slice rest = line, stamp = next_word(&rest), who = next_word(&rest), how = next_word(&rest);
  snprintf(name, sizeof name, "%.*s", (int)how.len, how.at);
  bool known = stamp.len == 24 && stamp.at[10] == 'T' && mp_log_level_named(name, level);
  if (!known) *level = MP_LOG_INFO;
  *text = known ? rest : line;
  snprintf(room, size, "%.*s", known ? (int)who.len : 6, known ? who.at : "stderr");
}

static void note_error(struct mp_log_lines *lines, enum mp_log_level level, const char *room, struct mp_slice text) {
  static const char prefix[] = "moonpool: ";
  bool plain = strcmp(room, "stderr") == 0;
  if (plain && (text.len < sizeof prefix || memcmp(text.at, prefix, sizeof prefix - 1) != 0)) return;
  if (!plain && level < MP_LOG_ERROR) return;
  size_t skip = plain ? sizeof prefix - 1 : 0;
  snprintf(lines->last_error, sizeof lines->last_error, "%.*s", (int)(text.len - skip), text.at + skip);
}

/* The entry under way is whole. */
static void tell(struct mp_log_lines *lines) {
  char room[32];
  enum mp_log_level level;
  struct mp_slice whole = mp_buf_slice(&lines->entry), text;
  if (whole.len == 0) return;
  take_apart(mp_slice(whole.at, lines->first_len), room, sizeof room, &level, &text);
  note_error(lines, level, room, text);
  struct mp_slice detail = mp_slice(whole.at + lines->first_len, whole.len - lines->first_len);
  if (lines->to->sink)
    lines->to->sink(lines->to->sink_ctx, level, room, text, detail);
  else if (mp_buf_add(&lines->entry, "\n", 1) == 0 &&
           write(lines->to->fd, mp_buf_at(&lines->entry), mp_buf_len(&lines->entry)) < 0)
    lines->to->lost++;
  mp_buf_reset(&lines->entry, 4096);
}

/* A tab begins a line of detail. Without memory a line is lost, and counted. */
static void take_line(struct mp_log_lines *lines, struct mp_slice line) {
  bool more = line.len > 0 && line.at[0] == '\t' && mp_buf_len(&lines->entry) > 0;
  if (!more) tell(lines);
  int err = more ? mp_buf_add(&lines->entry, "\n", 1) : 0;
  if (err == 0) err = mp_buf_add(&lines->entry, line.at, line.len);
  if (err < 0) lines->to->lost++;
  if (!more) lines->first_len = mp_buf_len(&lines->entry);
}

void mp_log_lines_feed(struct mp_log_lines *lines, struct mp_slice bytes) {
  if (mp_buf_add(&lines->held, bytes.at, bytes.len) < 0) {
    lines->to->lost++;
    return;
  }
  const char *nl;
  while (mp_buf_len(&lines->held) > 0 && (nl = memchr(mp_buf_at(&lines->held), '\n', mp_buf_len(&lines->held)))) {
    size_t n = (size_t)(nl - mp_buf_at(&lines->held));
    take_line(lines, mp_slice(mp_buf_at(&lines->held), n));
    mp_buf_take(&lines->held, n + 1);
  }
  if (mp_buf_len(&lines->held) == 0) tell(lines); /* a line and its detail come in one piece */
}

void mp_log_lines_end(struct mp_log_lines *lines) {
  if (mp_buf_len(&lines->held) > 0) take_line(lines, mp_buf_slice(&lines->held));
  mp_buf_reset(&lines->held, 0);
  tell(lines);
}

const char *mp_log_lines_last_error(const struct mp_log_lines *lines) {
  return lines->last_error;
}

void mp_log_lines_free(struct mp_log_lines *lines) {
  mp_buf_free(&lines->held);
  mp_buf_free(&lines->entry);
}
