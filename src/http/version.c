#include "http/version.h"
#include <http_parser.h>
#include <stdio.h>

const char *mp_http_library(char *out, unsigned size) {
  unsigned long v = http_parser_version();
  snprintf(out, size, "%lu.%lu.%lu", v >> 16 & 255, v >> 8 & 255, v & 255);
  return out;
}
