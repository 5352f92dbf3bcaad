#include "http/mime.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void has(const char *path, const char *want) {
  struct mp_slice type = mp_mime_type(mp_slice(path, strlen(path)));
  if (!mp_slice_is(type, mp_slice(want, strlen(want)))) print_error("%s: %.*s\n", path, (int)type.len, type.at);
  assert_true(mp_slice_is(type, mp_slice(want, strlen(want))));
}

static void the_last_extension_tells_the_type(void **state) {
  (void)state;
  has("index.html", "text/html; charset=utf-8");
  has("/a.b/c/INDEX.HtM", "text/html; charset=utf-8");
  has("app.min.js", "text/javascript; charset=utf-8");
  has("a.7z", "application/x-7z-compressed");
  has("a.zst", "application/zstd");
  has("a.svg", "image/svg+xml; charset=utf-8");
  has("a.json", "application/json");
  has("a.webmanifest", "application/manifest+json");
  has("a.tar.gz", "application/gzip");
  has("a.woff2", "font/woff2");
  has("a.mp4", "video/mp4");
  has("a.jpg", "image/jpeg");
}

static void what_is_not_known_is_bytes(void **state) {
  (void)state;
  has("", "application/octet-stream");
  has("html", "application/octet-stream");
  has("a.html/b", "application/octet-stream");
  has("a.", "application/octet-stream");
  has("a.webmanifests", "application/octet-stream");
  has("a.h\xc3\xa9", "application/octet-stream");
  has("a.[]", "application/octet-stream");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_last_extension_tells_the_type),
      cmocka_unit_test(what_is_not_known_is_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
