#include "worker/tell.h"
#include <stdio.h>
#include <stdlib.h>

enum { PIECE = 96 /* a word of the pair is short */, QUEUED_MOST = 4 * 1024 * 1024 };

static int say(struct mp_stream *control, const char *word, size_t len) {
  return mp_stream_write(control, mp_slice(word, len));
}

static int say_parts(struct mp_stream *control, unsigned long id, struct mp_slice json) {
  char word[PIECE + 32];
  int err = 0;
  for (size_t at = 0; at < json.len && err == 0; at += PIECE) {
    size_t n = json.len - at < PIECE ? json.len - at : PIECE;
    int len = snprintf(word, sizeof word, "part %lu %.*s\n", id, (int)n, json.at + at);
    err = say(control, word, (size_t)len);
  }
  int len = snprintf(word, sizeof word, "end %lu %zu\n", id, json.len);
  return err < 0 ? err : say(control, word, (size_t)len);
}

/* Without memory, or with a master that does not read, nothing is said: it goes by that. */
void mp_tell(struct mp_stream *control, struct mp_api *api, const char *question) {
  struct mp_buf json = {0};
  char *what;
  unsigned long id = strtoul(question, &what, 10);
  if (*what != ' ' || mp_stream_queued(control) > QUEUED_MOST) return;
  if (mp_api_describe(api, what + 1, &json) == 0 && say_parts(control, id, mp_buf_slice(&json)) == 0)
    mp_stream_flush(control);
  mp_buf_free(&json);
}
