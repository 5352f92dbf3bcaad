#include "web/compress.h"
#include "http/bytes.h"
#include "http/status.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <zlib.h>
#ifdef MOONPOOL_BROTLI
#include "web/brotli.h"
#endif

enum {
  LEVEL = 5,
  LEVEL_OF_MUCH = 1, /* for one piece above MUCH: it is packed while the loop waits */
  MUCH = 256 * 1024,
  BROTLI_QUALITY = 4,
  BROTLI_WINDOW = 18,  /* bits: a stream holds as much memory */
  GZIP_BITS = 15 + 16, /* zlib: a gzip wrapper around the largest window */
  DEFLATE_BITS = 15,
  STEP = 16 * 1024,
  SPARE = 64 /* what a flush may add */
};

/* ---- what the client takes ---- */

enum mp_coding mp_packing_accepted(const struct mp_head *head) {
  const unsigned zlib = MP_CODING_BIT(MP_CODING_GZIP) | MP_CODING_BIT(MP_CODING_DEFLATE);
#ifdef MOONPOOL_BROTLI
  /* Asked for only by who would get it: the library is not looked for before. */
  enum mp_coding coding = mp_coding_accepted(head, zlib | MP_CODING_BIT(MP_CODING_BROTLI));
  if (coding != MP_CODING_BROTLI || mp_brotli()) return coding;
#endif
  return mp_coding_accepted(head, zlib);
}

/* ---- what is worth it ---- */

static bool begins_with(struct mp_slice s, struct mp_slice with) {
  return s.len >= with.len && mp_slice_is_nocase(mp_slice(s.at, with.len), with);
}

static bool ends_with(struct mp_slice s, struct mp_slice with) {
  return s.len >= with.len && mp_slice_is_nocase(mp_slice(s.at + s.len - with.len, with.len), with);
}

static bool is_text(struct mp_slice type) {
  static const char *const others[] = {"application/json",
                                       "application/javascript",
                                       "application/xml",
                                       "application/wasm",
                                       "application/x-ndjson",
                                       "application/x-javascript",
                                       "image/bmp",
                                       "image/x-icon",
                                       "image/vnd.microsoft.icon",
                                       "font/ttf",
                                       "font/otf",
                                       "application/rtf"};
  const char *semicolon = type.len ? memchr(type.at, ';', type.len) : NULL;
  if (semicolon) type = mp_slice_trim(mp_slice(type.at, (size_t)(semicolon - type.at)));
  if (mp_slice_is_nocase(type, MP_SLICE("text/event-stream"))) return false; /* small, and read at once */
  if (begins_with(type, MP_SLICE("text/"))) return true;
  if (ends_with(type, MP_SLICE("+json")) || ends_with(type, MP_SLICE("+xml"))) return true;
  for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
    if (mp_slice_is_nocase(type, mp_slice(others[i], strlen(others[i])))) return true;
  return false;
}

/* Is `word` among the elements of all lines of that name? */
static bool lists(const struct mp_reply *reply, struct mp_slice name, struct mp_slice word) {
  struct mp_slice rest, element;
  if (!mp_reply_get(reply, name, &rest)) return false;
  while (mp_list_next(&rest, &element))
    if (mp_slice_is_nocase(element, word)) return true;
  return false;
}

bool mp_reply_is_packable(const struct mp_reply *reply, uint64_t length) {
  struct mp_slice value;
  bool streams = length == MP_LENGTH_UNKNOWN;
  if (!streams && length < MP_PACK_LEAST) return false;
  if (streams && reply->has_length) return false;
  if (mp_status_bodiless(reply->status) || reply->status == 205 || reply->status == 206) return false;
  if (!mp_reply_get(reply, MP_SLICE("Content-Type"), &value) || !is_text(value)) return false;
  if (mp_reply_get(reply, MP_SLICE("Content-Encoding"), &value)) return false;
  if (mp_reply_get(reply, MP_SLICE("Content-Range"), &value)) return false;
  return !lists(reply, MP_SLICE("Cache-Control"), MP_SLICE("no-transform"));
}

void mp_reply_forget_identity(struct mp_reply *reply) {
  struct mp_slice value;
  if (!mp_reply_get(reply, MP_SLICE("Content-Encoding"), &value)) return;
  if (mp_slice_is_nocase(value, MP_SLICE("identity"))) (void)mp_reply_remove(reply, MP_SLICE("Content-Encoding"));
}

/* ---- fields ---- */

int mp_reply_varies(struct mp_reply *reply) {
  struct mp_slice name = MP_SLICE("Vary");
  if (lists(reply, name, MP_SLICE("*")) || lists(reply, name, MP_SLICE("Accept-Encoding"))) return 0;
  return mp_reply_add(reply, name, MP_SLICE("Accept-Encoding"));
}

/* The packed bytes are others than those that a strong tag stands for (RFC 9110 8.8.1). */
static int weaken_tag(struct mp_reply *reply) {
  struct mp_slice tag;
  struct mp_buf weak = {0};
  if (!mp_reply_get(reply, MP_SLICE("ETag"), &tag) || begins_with(tag, MP_SLICE("W/"))) return 0;
  int err = mp_buf_addf(&weak, "W/%.*s", (int)tag.len, tag.at);
  if (err == 0) err = mp_reply_set(reply, MP_SLICE("ETag"), mp_buf_slice(&weak));
  mp_buf_free(&weak);
  return err;
}

int mp_reply_is_packed(struct mp_reply *reply, enum mp_coding coding) {
  int err = mp_reply_set(reply, MP_SLICE("Content-Encoding"), mp_coding_name(coding));
  if (err == 0) err = weaken_tag(reply);
  if (err == 0) err = mp_reply_remove(reply, MP_SLICE("Content-Length"));
  if (err == 0) err = mp_reply_remove(reply, MP_SLICE("Accept-Ranges")); /* of the bytes that are not sent */
  return err;
}

/* ---- packing ---- */

struct mp_packer {
  enum mp_coding coding;
  int level; /* of zlib, now */
  z_stream z;
#ifdef MOONPOOL_BROTLI
  BrotliEncoderState *brotli; /* owned; NULL: zlib packs */
#endif
};

#ifdef MOONPOOL_BROTLI
static struct mp_packer *open_brotli(void) {
  struct mp_packer *packer = calloc(1, sizeof *packer);
  if (!packer) return NULL;
  const struct mp_brotli *library = mp_brotli();
  packer->coding = MP_CODING_BROTLI;
  packer->brotli = library ? library->CreateInstance(NULL, NULL, NULL) : NULL;
  if (!packer->brotli) {
    free(packer);
    return NULL;
  }
  library->SetParameter(packer->brotli, BROTLI_PARAM_QUALITY, BROTLI_QUALITY);
  library->SetParameter(packer->brotli, BROTLI_PARAM_LGWIN, BROTLI_WINDOW);
  return packer;
}

static int add_brotli(BrotliEncoderState *state, struct mp_slice piece, bool last, struct mp_buf *out) {
  const struct mp_brotli *library = mp_brotli();
  BrotliEncoderOperation op = last ? BROTLI_OPERATION_FINISH : BROTLI_OPERATION_FLUSH;
  const uint8_t *in = (const uint8_t *)piece.at;
  size_t left = piece.len;
  do {
    size_t room = STEP;
    char *to = mp_buf_room(out, room);
    uint8_t *next = (uint8_t *)to;
    if (!to || !library->CompressStream(state, op, &left, &in, &room, &next, NULL)) return -ENOMEM;
    mp_buf_grew(out, STEP - room);
  } while (left > 0 || library->HasMoreOutput(state) || (last && !library->IsFinished(state)));
  return 0;
}
#endif

static struct mp_packer *open_zlib(enum mp_coding coding) {
  struct mp_packer *packer = calloc(1, sizeof *packer);
  if (!packer) return NULL;
  packer->coding = coding;
  packer->level = LEVEL;
  int bits = coding == MP_CODING_GZIP ? GZIP_BITS : DEFLATE_BITS;
  if (deflateInit2(&packer->z, LEVEL, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY) == Z_OK) return packer;
  free(packer);
  return NULL;
}

struct mp_packer *mp_packer_open(enum mp_coding coding, struct mp_packer **keep) {
  struct mp_packer *kept = *keep;
#ifdef MOONPOOL_BROTLI
  if (coding == MP_CODING_BROTLI) return open_brotli();
#endif
  if (!kept || kept->coding != coding) return open_zlib(coding);
  *keep = NULL;
  return kept;
}

void mp_packer_free(struct mp_packer *packer) {
  if (!packer) return;
#ifdef MOONPOOL_BROTLI
  if (packer->brotli)
    mp_brotli()->DestroyInstance(packer->brotli);
  else
#endif
    deflateEnd(&packer->z);
  free(packer);
}

/* gzip's is the one that nearly every client asks for. */
void mp_packer_close(struct mp_packer *packer, struct mp_packer **keep) {
  if (!packer) return;
  if (!*keep && packer->coding == MP_CODING_GZIP && deflateReset(&packer->z) == Z_OK)
    *keep = packer;
  else
    mp_packer_free(packer);
}

static int add_zlib(z_stream *z, struct mp_slice piece, bool last, struct mp_buf *out) {
  int flush = last ? Z_FINISH : Z_SYNC_FLUSH;
  z->next_in = (unsigned char *)(uintptr_t)piece.at;
  z->avail_in = (uInt)piece.len;
  do {
    size_t room = STEP + SPARE;
    char *to = mp_buf_room(out, room);
    if (!to) return -ENOMEM;
    z->next_out = (unsigned char *)to;
    z->avail_out = (uInt)room;
    if (deflate(z, flush) == Z_STREAM_ERROR) return -ENOMEM;
    mp_buf_grew(out, room - z->avail_out);
  } while (z->avail_out == 0);
  return 0;
}

/* A change of level may write out what came before. */
static int set_level(struct mp_packer *packer, int level, struct mp_buf *out) {
  z_stream *z = &packer->z;
  if (packer->level == level) return 0;
  char *to = mp_buf_room(out, STEP);
  if (!to) return -ENOMEM;
  z->next_in = NULL;
  z->avail_in = 0;
  z->next_out = (unsigned char *)to;
  z->avail_out = STEP;
  if (deflateParams(z, level, Z_DEFAULT_STRATEGY) == Z_STREAM_ERROR) return -ENOMEM;
  mp_buf_grew(out, STEP - z->avail_out);
  packer->level = level;
  return 0;
}

int mp_packer_add(struct mp_packer *packer, struct mp_slice piece, bool last, struct mp_buf *out) {
#ifdef MOONPOOL_BROTLI
  if (packer->brotli) return add_brotli(packer->brotli, piece, last, out);
#endif
  if (piece.len > UINT_MAX) return -ENOMEM;
  int err = set_level(packer, piece.len > MUCH ? LEVEL_OF_MUCH : LEVEL, out);
  if (err == 0) err = add_zlib(&packer->z, piece, last, out);
  return err;
}
