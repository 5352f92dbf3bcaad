#include "http/mime.h"
#include <stdlib.h>

#define TEXT(type) type "; charset=utf-8"

struct entry {
  const char *extension; /* in small letters */
  const char *type;
};

/* Sorted by extension. */
static const struct entry entries[] = {
    {"7z", "application/x-7z-compressed"},
    {"aac", "audio/aac"},
    {"apng", "image/apng"},
    {"atom", TEXT("application/atom+xml")},
    {"avi", "video/x-msvideo"},
    {"avif", "image/avif"},
    {"bmp", "image/bmp"},
    {"bz2", "application/x-bzip2"},
    {"css", TEXT("text/css")},
    {"csv", TEXT("text/csv")},
    {"deb", "application/vnd.debian.binary-package"},
    {"doc", "application/msword"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"eot", "application/vnd.ms-fontobject"},
    {"epub", "application/epub+zip"},
    {"flac", "audio/flac"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"htm", TEXT("text/html")},
    {"html", TEXT("text/html")},
    {"ico", "image/x-icon"},
    {"ics", TEXT("text/calendar")},
    {"jar", "application/java-archive"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", TEXT("text/javascript")},
    {"json", "application/json"},
    {"jsonld", "application/ld+json"},
    {"log", TEXT("text/plain")},
    {"lua", TEXT("text/plain")},
    {"m3u8", "application/vnd.apple.mpegurl"},
    {"m4a", "audio/mp4"},
    {"m4v", "video/mp4"},
    {"map", "application/json"},
    {"md", TEXT("text/markdown")},
    {"mid", "audio/midi"},
    {"mjs", TEXT("text/javascript")},
    {"mkv", "video/x-matroska"},
    {"mov", "video/quicktime"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"mpg", "video/mpeg"},
    {"odp", "application/vnd.oasis.opendocument.presentation"},
    {"ods", "application/vnd.oasis.opendocument.spreadsheet"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"oga", "audio/ogg"},
    {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},
    {"opus", "audio/ogg"},
    {"otf", "font/otf"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"ppt", "application/vnd.ms-powerpoint"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"rss", TEXT("application/rss+xml")},
    {"rtf", "application/rtf"},
    {"svg", TEXT("image/svg+xml")},
    {"tar", "application/x-tar"},
    {"tgz", "application/gzip"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"ts", "video/mp2t"},
    {"ttf", "font/ttf"},
    {"txt", TEXT("text/plain")},
    {"vtt", TEXT("text/vtt")},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"weba", "audio/webm"},
    {"webm", "video/webm"},
    {"webmanifest", "application/manifest+json"},
    {"webp", "image/webp"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"xhtml", TEXT("application/xhtml+xml")},
    {"xls", "application/vnd.ms-excel"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xml", TEXT("text/xml")},
    {"xz", "application/x-xz"},
    {"yaml", TEXT("application/yaml")},
    {"yml", TEXT("application/yaml")},
    {"zip", "application/zip"},
    {"zst", "application/zstd"},
};

enum { LONGEST = 11 };

static int compare(const void *key, const void *entry) {
  return strcmp(key, ((const struct entry *)entry)->extension);
}

struct mp_slice mp_mime_type(struct mp_slice path) {
  char extension[LONGEST + 1];
  size_t n = 0;
  while (n <= LONGEST && n < path.len && path.at[path.len - 1 - n] != '.' && path.at[path.len - 1 - n] != '/') n++;
  bool found = n > 0 && n <= LONGEST && n < path.len && path.at[path.len - 1 - n] == '.';
  for (size_t i = 0; found && i < n; i++) {
    char c = path.at[path.len - n + i];
    extension[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
  }
  extension[found ? n : 0] = '\0';
  const struct entry *entry = bsearch(extension, entries, sizeof entries / sizeof *entries, sizeof *entries, compare);
  const char *type = entry ? entry->type : "application/octet-stream";
  return mp_slice(type, strlen(type));
}
