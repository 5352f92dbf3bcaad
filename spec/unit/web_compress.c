#include "web_toy.h"
#include <zlib.h>
#ifdef MOONPOOL_BROTLI
#include <brotli/decode.h>
#endif

/* ---- choices ---- */

static enum mp_coding for_fields(const char *first, const char *second) {
  struct mp_field fields[] = {{MP_SLICE("accept-encoding"), mp_slice(first, strlen(first))},
                              {MP_SLICE("Accept-Encoding"), mp_slice(second, strlen(second))}};
  struct mp_head head = {.fields = fields, .n_fields = 2};
  return mp_packing_accepted(&head);
}

static enum mp_coding for_field(const char *value) {
  return for_fields(value, "");
}

static void the_client_s_weights_decide(void **state) {
  (void)state;
  assert_int_equal(for_field(""), MP_CODING_NONE);
  assert_int_equal(for_field("gzip"), MP_CODING_GZIP);
  assert_int_equal(for_field("X-GZIP"), MP_CODING_GZIP);
  assert_int_equal(for_field("deflate"), MP_CODING_DEFLATE);
  assert_int_equal(for_field("deflate, gzip"), MP_CODING_GZIP);
  assert_int_equal(for_field("gzip;q=0.5, deflate;q=0.501"), MP_CODING_DEFLATE);
  assert_int_equal(for_field("gzip;q=0"), MP_CODING_NONE);
  assert_int_equal(for_field("gzip;q=0.000"), MP_CODING_NONE);
  assert_int_equal(for_field("gzip ; Q=1.000"), MP_CODING_GZIP);
  assert_int_equal(for_field("identity, gzip;q=0.9"), MP_CODING_NONE);
  assert_int_equal(for_field("identity;q=0.5, gzip;q=0.9"), MP_CODING_GZIP);
  assert_int_equal(for_field("compress, zstd"), MP_CODING_NONE);
  assert_int_not_equal(for_field("*"), MP_CODING_NONE);
  assert_int_equal(for_field("br;q=0, gzip;q=0, *"), MP_CODING_DEFLATE);
  assert_int_equal(for_field("*;q=0"), MP_CODING_NONE);
  assert_int_equal(for_fields("identity;q=0", "gzip"), MP_CODING_GZIP);
  assert_int_equal(for_field("gzip;q=0.3, br;q=0, deflate;q=0, *;q=0.5"), MP_CODING_NONE);
  assert_int_equal(for_field("identity;q=0, *;q=0"), MP_CODING_NONE);
  assert_int_equal(for_field("gzip;q=0.001"), MP_CODING_GZIP);
}

static void a_malformed_weight_is_none(void **state) {
  static const char *const weights[] = {"2", "1.1", "1.001", "0.1234", "0,5", "x", "", ".5", "-1", "0.5x", "0x1"};
  (void)state;
  for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
    char field[40];
    snprintf(field, sizeof field, "gzip;q=%s", weights[i]);
    assert_int_equal(for_field(field), MP_CODING_NONE);
  }
  assert_int_equal(for_field("gzip;level=9"), MP_CODING_NONE);
}

static bool packable(const char *type, const char *name, const char *value, uint64_t length) {
  struct mp_head head = {.method = MP_SLICE("GET"), .minor = 1};
  struct mp_reply reply = {0};
  mp_reply_init(&reply, &head);
  if (type) assert_int_equal(mp_reply_set(&reply, MP_SLICE("Content-Type"), mp_slice(type, strlen(type))), 0);
  if (name) mp_reply_set(&reply, mp_slice(name, strlen(name)), mp_slice(value, strlen(value)));
  bool is = mp_reply_is_packable(&reply, length);
  mp_reply_free(&reply);
  return is;
}

static void text_of_some_length_is_packed(void **state) {
  static const char *const texts[] = {"text/plain",      "TEXT/html; charset=utf-8", "application/json",
                                      "image/svg+xml",   "application/ld+json",      "application/javascript ; x=y",
                                      "application/wasm"};
  static const char *const others[] = {"image/png", "application/octet-stream", "text/event-stream",
                                       "video/mp4", "application/zip",          "text/Event-Stream; charset=utf-8",
                                       "font/woff2"};
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) assert_true(packable(texts[i], NULL, NULL, 1024));
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(packable(others[i], NULL, NULL, 1024));
  assert_false(packable(NULL, NULL, NULL, 1024));
  assert_false(packable("text/plain", NULL, NULL, 1023));
  assert_true(packable("text/plain", NULL, NULL, UINT32_MAX));
  assert_true(packable("text/plain", NULL, NULL, MP_LENGTH_UNKNOWN));
}

static void what_forbids_it_is_heard(void **state) {
  (void)state;
  assert_false(packable("text/plain", "Content-Encoding", "br", 5000));
  assert_false(packable("text/plain", "Content-Range", "bytes 0-1/2", 5000));
  assert_false(packable("text/plain", "Cache-Control", "max-age=5, No-Transform", 5000));
  assert_true(packable("text/plain", "Cache-Control", "max-age=5", 5000));
  assert_false(packable("text/plain", "Content-Length", "5000", MP_LENGTH_UNKNOWN));
  assert_true(packable("text/plain", "Content-Length", "5000", 5000));
}

/* ---- whole answers ---- */

static struct mp_buf unzip(const char *bytes, size_t len) {
  struct mp_buf out = {0};
  z_stream z = {.next_in = (unsigned char *)(uintptr_t)bytes, .avail_in = (unsigned)len};
  assert_int_equal(inflateInit2(&z, 15 + 32), Z_OK);
  int err = Z_OK;
  while (err == Z_OK) {
    char *to = mp_buf_room(&out, 65536);
    z.next_out = (unsigned char *)to;
    z.avail_out = 65536;
    err = inflate(&z, Z_SYNC_FLUSH);
    mp_buf_grew(&out, 65536 - z.avail_out);
  }
  assert_int_equal(err, Z_STREAM_END);
  assert_int_equal(z.avail_in, 0);
  inflateEnd(&z);
  return out;
}

static struct mp_buf some_text(size_t len) {
  struct mp_buf text = {0};
  for (unsigned i = 0; mp_buf_len(&text) < len; i++) mp_buf_addf(&text, "line %u of a text\n", i * 2654435761U);
  text.end = (uint32_t)len;
  return text;
}

struct asked {
  struct toy *toy;
  struct client client;
  struct toy_call *call;
};

static struct mp_server_config packing(void) {
  struct mp_server_config config = toy_config;
  config.compress = true;
  return config;
}

static struct asked ask(const char *request) {
  struct mp_server_config config = packing();
  struct asked a = {.toy = toy_open(&config, NULL)};
  a.client = client_open(a.toy);
  say(&a.client, request);
  UNTIL(a.toy, a.toy->n_calls == 1);
  a.call = &a.toy->calls[0];
  return a;
}

static void set(struct asked *a, const char *name, const char *value) {
  assert_int_equal(mp_reply_set(&a->call->ex->reply, mp_slice(name, strlen(name)), mp_slice(value, strlen(value))), 0);
}

static void end(struct asked *a) {
  client_close(&a->client);
  toy_close(a->toy);
}

#define ASK(method, coding) method " /held HTTP/1.1\r\nHost: h\r\nAccept-Encoding: " coding "\r\n\r\n"

static struct mp_slice body_of(struct client *client) {
  const char *text = text_of(client), *at = strstr(text, "\r\n\r\n");
  assert_non_null(at);
  return mp_slice(at + 4, (size_t)(text + mp_buf_len(&client->got) - (at + 4)));
}

static void unpacks_to(struct mp_slice packed, const struct mp_buf *text) {
  struct mp_buf out = unzip(packed.at, packed.len);
  assert_int_equal(mp_buf_len(&out), mp_buf_len(text));
  assert_memory_equal(mp_buf_at(&out), mp_buf_at(text), mp_buf_len(text));
  mp_buf_free(&out);
}

static bool came_whole(struct client *client) {
  const char *text = text_of(client), *length = text ? strstr(text, "Content-Length: ") : NULL;
  const char *at = length ? strstr(length, "\r\n\r\n") : NULL;
  return at && mp_buf_len(&client->got) - (size_t)(at + 4 - text) >= (size_t)atol(length + 16);
}

static void a_whole_answer_is_packed(void **state) {
  (void)state;
  struct mp_buf text = some_text(200 * 1000);
  struct asked a = ask(ASK("GET", "gzip"));
  set(&a, "Content-Type", "text/plain");
  set(&a, "Content-Length", "200000");
  set(&a, "ETag", "\"abc\"");
  set(&a, "Accept-Ranges", "bytes");
  set(&a, "Vary", "Cookie");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
  finish(a.call, false);
  UNTIL(a.toy, came_whole(&a.client));
  assert_true(heard(&a.client, "Content-Encoding: gzip\r\n"));
  assert_true(heard(&a.client, "ETag: W/\"abc\"\r\n"));
  assert_true(heard(&a.client, "Vary: Accept-Encoding\r\n") && heard(&a.client, "Vary: Cookie\r\n"));
  assert_false(heard(&a.client, "Accept-Ranges"));
  assert_false(heard(&a.client, "200000"));
  unpacks_to(body_of(&a.client), &text);
  mp_buf_free(&text);
  end(&a);
}

static void deflate_is_the_zlib_format(void **state) {
  (void)state;
  struct mp_buf text = some_text(5000);
  struct asked a = ask(ASK("GET", "deflate"));
  set(&a, "Content-Type", "text/plain");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
  finish(a.call, false);
  UNTIL(a.toy, came_whole(&a.client));
  assert_true(heard(&a.client, "Content-Encoding: deflate\r\n"));
  unpacks_to(body_of(&a.client), &text);
  mp_buf_free(&text);
  end(&a);
}

#ifdef MOONPOOL_BROTLI
static void brotli_is_liked_best(void **state) {
  (void)state;
  struct mp_buf text = some_text(50000);
  struct asked a = ask(ASK("GET", "gzip, br"));
  set(&a, "Content-Type", "text/plain");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
  finish(a.call, false);
  UNTIL(a.toy, came_whole(&a.client));
  assert_true(heard(&a.client, "Content-Encoding: br\r\n"));
  struct mp_slice packed = body_of(&a.client);
  static uint8_t out[50001];
  size_t len = sizeof out;
  assert_int_equal(BrotliDecoderDecompress(packed.len, (const uint8_t *)packed.at, &len, out),
                   BROTLI_DECODER_RESULT_SUCCESS);
  assert_int_equal(len, 50000);
  assert_memory_equal(out, mp_buf_at(&text), len);
  mp_buf_free(&text);
  end(&a);
}
#endif

static void others_are_told_that_it_varies(void **state) {
  (void)state;
  struct mp_buf text = some_text(5000);
  struct asked a = ask(ASK("GET", "identity"));
  set(&a, "Content-Type", "text/plain");
  set(&a, "ETag", "\"abc\"");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
  finish(a.call, false);
  UNTIL(a.toy, came_whole(&a.client));
  assert_true(heard(&a.client, "Vary: Accept-Encoding\r\n") && heard(&a.client, "ETag: \"abc\"\r\n"));
  assert_true(heard(&a.client, "Content-Length: 5000\r\n"));
  assert_false(heard(&a.client, "Content-Encoding"));
  mp_buf_free(&text);
  end(&a);
}

static void head_tells_the_same_as_get(void **state) {
  (void)state;
  char lengths[2][40] = {"", ""};
  struct mp_buf text = some_text(5000);
  for (int i = 0; i < 2; i++) {
    struct asked a = ask(i ? ASK("HEAD", "gzip") : ASK("GET", "gzip"));
    set(&a, "Content-Type", "text/plain");
    assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
    finish(a.call, false);
    UNTIL(a.toy, heard(&a.client, "Content-Encoding: gzip\r\n"));
    sscanf(strstr(text_of(&a.client), "Content-Length: "), "%39[^\r]", lengths[i]);
    if (i) assert_int_equal(body_of(&a.client).len, 0);
    end(&a);
  }
  assert_string_equal(lengths[0], lengths[1]);
  mp_buf_free(&text);
}

static void what_does_not_shrink_stays(void **state) {
  (void)state;
  struct asked a = ask(ASK("GET", "gzip"));
  char noise[2000];
  uint32_t x = 1;
  for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
  set(&a, "Content-Type", "text/plain");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_slice(noise, sizeof noise)), 0);
  finish(a.call, false);
  UNTIL(a.toy, heard(&a.client, "Content-Length: 2000\r\n"));
  assert_false(heard(&a.client, "Content-Encoding"));
  end(&a);
}

static void identity_turns_it_off_and_is_not_sent(void **state) {
  (void)state;
  struct mp_buf text = some_text(5000);
  struct asked a = ask(ASK("GET", "gzip"));
  set(&a, "Content-Type", "text/plain");
  set(&a, "Content-Encoding", "identity");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
  finish(a.call, false);
  UNTIL(a.toy, came_whole(&a.client));
  assert_false(heard(&a.client, "Content-Encoding"));
  assert_false(heard(&a.client, "Vary"));
  mp_buf_free(&text);
  end(&a);
}

static void a_wrong_length_is_still_an_error(void **state) {
  (void)state;
  struct mp_buf text = some_text(5000);
  struct asked a = ask(ASK("GET", "gzip"));
  set(&a, "Content-Type", "text/plain");
  set(&a, "Content-Length", "4000");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), -EMSGSIZE);
  finish(a.call, true);
  UNTIL(a.toy, saw_end(&a.client));
  mp_buf_free(&text);
  end(&a);
}

/* ---- streams ---- */

/* The bytes of the chunks that have come, put together. */
static struct mp_buf unchunk(struct client *client) {
  struct mp_slice rest = body_of(client);
  struct mp_buf out = {0};
  char *end;
  for (;;) {
    size_t n = strtoul(rest.at, &end, 16);
    if (n == 0 || rest.len == 0) return out;
    size_t used = (size_t)(end + 2 - rest.at) + n + 2;
    if (used > rest.len) return out;
    mp_buf_add(&out, end + 2, n);
    rest = mp_slice(rest.at + used, rest.len - used);
  }
}

/* What a client can unpack of what has come so far. */
static size_t unpacked_so_far(struct client *client, char *out, size_t size) {
  struct mp_buf packed = unchunk(client);
  z_stream z = {.next_in = (unsigned char *)packed.mem, .avail_in = (unsigned)mp_buf_len(&packed)};
  assert_int_equal(inflateInit2(&z, 15 + 32), Z_OK);
  z.next_out = (unsigned char *)out;
  z.avail_out = (unsigned)size;
  (void)inflate(&z, Z_SYNC_FLUSH);
  inflateEnd(&z);
  mp_buf_free(&packed);
  return size - z.avail_out;
}

static bool chunks_have_ended(struct client *client) {
  const char *text = text_of(client);
  size_t len = mp_buf_len(&client->got);
  return len > 5 && memcmp(text + len - 5, "0\r\n\r\n", 5) == 0;
}

static void each_piece_of_a_stream_comes_at_once(void **state) {
  (void)state;
  char out[1000];
  struct asked a = ask(ASK("GET", "gzip"));
  set(&a, "Content-Type", "text/plain");
  assert_int_equal(mp_exchange_write(a.call->ex, MP_SLICE("first,")), 0);
  UNTIL(a.toy, heard(&a.client, "\r\n\r\n") && unpacked_so_far(&a.client, out, sizeof out) == 6);
  assert_true(heard(&a.client, "Content-Encoding: gzip\r\n") && heard(&a.client, "Vary: Accept-Encoding\r\n"));
  assert_int_equal(mp_exchange_write(a.call->ex, MP_SLICE("")), 0);
  assert_int_equal(mp_exchange_write(a.call->ex, MP_SLICE("second")), 0);
  UNTIL(a.toy, unpacked_so_far(&a.client, out, sizeof out) == 12);
  assert_memory_equal(out, "first,second", 12);
  assert_int_equal(mp_exchange_end(a.call->ex), 0);
  finish(a.call, false);
  UNTIL(a.toy, chunks_have_ended(&a.client));
  struct mp_buf packed = unchunk(&a.client), text = {0};
  mp_buf_add(&text, "first,second", 12);
  unpacks_to(mp_buf_slice(&packed), &text);
  mp_buf_free(&packed);
  mp_buf_free(&text);
  end(&a);
}

/* The last that has come; before it may be bytes of any kind. */
static bool ends_with(struct client *client, const char *words) {
  const struct mp_buf *got = &client->got;
  size_t len = strlen(words);
  (void)text_of(client);
  return mp_buf_len(got) >= len && memcmp(mp_buf_at(got) + mp_buf_len(got) - len, words, len) == 0;
}

static bool ended(struct client *client) {
  return ends_with(client, "0\r\n\r\n");
}

static void a_large_answer_is_packed_while_others_are_served(void **state) {
  (void)state;
  struct mp_buf text = some_text(3000 * 1000);
  struct asked a = ask(ASK("GET", "gzip") ASK("GET", "gzip"));
  set(&a, "Content-Type", "text/plain");
  set(&a, "Content-Length", "3000000");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), -EALREADY);
  finish(a.call, false);
  struct client other = client_open(a.toy);
  say(&other, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
  UNTIL(a.toy, heard(&other, "/hello"));
  assert_false(ended(&a.client));
  UNTIL(a.toy, a.toy->n_calls == 3);
  UNTIL(a.toy, ended(&a.client));
  assert_true(heard(&a.client, "Content-Encoding: gzip\r\n") && heard(&a.client, "chunked"));
  assert_false(heard(&a.client, "Content-Length"));
  struct mp_buf packed = unchunk(&a.client);
  unpacks_to(mp_buf_slice(&packed), &text);
  answer(&a.toy->calls[2], "next"); /* to the request behind it */
  UNTIL(a.toy, ends_with(&a.client, "next"));
  client_close(&other);
  mp_buf_free(&packed);
  mp_buf_free(&text);
  end(&a);
}

static void a_large_answer_to_head_or_to_an_old_client(void **state) {
  (void)state;
  struct mp_buf text = some_text(600 * 1000);
  struct asked a = ask(ASK("HEAD", "gzip"));
  set(&a, "Content-Type", "text/plain");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
  finish(a.call, false);
  UNTIL(a.toy, heard(&a.client, "\r\n\r\n"));
  assert_true(heard(&a.client, "Content-Encoding: gzip\r\n"));
  assert_int_equal(body_of(&a.client).len, 0);
  end(&a);
  a = ask("GET /held HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
  set(&a, "Content-Type", "text/plain");
  assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
  finish(a.call, false);
  UNTIL(a.toy, saw_end(&a.client));
  unpacks_to(body_of(&a.client), &text);
  end(&a);
  mp_buf_free(&text);
}

static void a_large_answer_whose_client_goes_away_leaks_nothing(void **state) {
  (void)state;
  struct mp_buf text = some_text(3000 * 1000);
  for (int i = 0; i < 2; i++) {
    struct asked a = ask(ASK("GET", "gzip, br"));
    set(&a, "Content-Type", "text/plain");
    assert_int_equal(mp_exchange_send(a.call->ex, mp_buf_slice(&text)), 0);
    if (i) finish(a.call, false);
    UNTIL(a.toy, heard(&a.client, "Content-Encoding"));
    client_close(&a.client);
    if (!i) UNTIL(a.toy, a.call->gone);
    if (a.call->ex) finish(a.call, false);
    toy_close(a.toy);
  }
  mp_buf_free(&text);
}

static void a_large_stream_is_whole(void **state) {
  (void)state;
  struct mp_buf text = some_text(2 * 1000 * 1000);
  struct asked a = ask(ASK("GET", "gzip"));
  set(&a, "Content-Type", "text/plain");
  for (size_t at = 0; at < mp_buf_len(&text);) {
    size_t n = at % 3 == 0 ? 300 * 1000 : 1000, left = mp_buf_len(&text) - at;
    if (n > left) n = left;
    assert_int_equal(mp_exchange_write(a.call->ex, mp_slice(mp_buf_at(&text) + at, n)), 0);
    at += n;
  }
  finish(a.call, false); /* ends it, too */
  UNTIL(a.toy, chunks_have_ended(&a.client));
  struct mp_buf packed = unchunk(&a.client);
  unpacks_to(mp_buf_slice(&packed), &text);
  mp_buf_free(&packed);
  mp_buf_free(&text);
  end(&a);
}

static void a_stream_for_head_is_its_head(void **state) {
  (void)state;
  struct asked a = ask(ASK("HEAD", "gzip"));
  set(&a, "Content-Type", "text/plain");
  assert_int_equal(mp_exchange_write(a.call->ex, MP_SLICE("first")), 0);
  assert_int_equal(mp_exchange_end(a.call->ex), 0);
  finish(a.call, false);
  UNTIL(a.toy, heard(&a.client, "Content-Encoding: gzip\r\n"));
  assert_int_equal(body_of(&a.client).len, 0);
  end(&a);
}

static void a_stream_that_is_cut_or_lost_leaks_nothing(void **state) {
  (void)state;
  struct asked a = ask(ASK("GET", "gzip"));
  set(&a, "Content-Type", "text/plain");
  assert_int_equal(mp_exchange_write(a.call->ex, MP_SLICE("first")), 0);
  finish(a.call, true);
  UNTIL(a.toy, saw_end(&a.client));
  assert_false(chunks_have_ended(&a.client));
  end(&a);
  a = ask(ASK("GET", "gzip, br"));
  set(&a, "Content-Type", "text/plain");
  assert_int_equal(mp_exchange_write(a.call->ex, MP_SLICE("first")), 0);
  client_reset(&a.client);
  UNTIL(a.toy, a.call->gone);
  end(&a);
}

static void an_old_client_s_stream_ends_by_close(void **state) {
  (void)state;
  struct asked a = ask("GET /held HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
  set(&a, "Content-Type", "text/plain");
  struct mp_buf text = some_text(3000);
  assert_int_equal(mp_exchange_write(a.call->ex, mp_buf_slice(&text)), 0);
  finish(a.call, false);
  UNTIL(a.toy, saw_end(&a.client));
  unpacks_to(body_of(&a.client), &text);
  mp_buf_free(&text);
  end(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_client_s_weights_decide),
      cmocka_unit_test(a_malformed_weight_is_none),
      cmocka_unit_test(text_of_some_length_is_packed),
      cmocka_unit_test(what_forbids_it_is_heard),
      cmocka_unit_test(a_whole_answer_is_packed),
      cmocka_unit_test(deflate_is_the_zlib_format),
#ifdef MOONPOOL_BROTLI
      cmocka_unit_test(brotli_is_liked_best),
#endif
      cmocka_unit_test(others_are_told_that_it_varies),
      cmocka_unit_test(head_tells_the_same_as_get),
      cmocka_unit_test(what_does_not_shrink_stays),
      cmocka_unit_test(identity_turns_it_off_and_is_not_sent),
      cmocka_unit_test(a_wrong_length_is_still_an_error),
      cmocka_unit_test(each_piece_of_a_stream_comes_at_once),
      cmocka_unit_test(a_large_answer_is_packed_while_others_are_served),
      cmocka_unit_test(a_large_answer_to_head_or_to_an_old_client),
      cmocka_unit_test(a_large_answer_whose_client_goes_away_leaks_nothing),
      cmocka_unit_test(a_large_stream_is_whole),
      cmocka_unit_test(a_stream_for_head_is_its_head),
      cmocka_unit_test(a_stream_that_is_cut_or_lost_leaks_nothing),
      cmocka_unit_test(an_old_client_s_stream_ends_by_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
