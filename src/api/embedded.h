/* embedded.h - Moonpool's own Lua, inside the binary; written by the build from lua/. */
#ifndef MP_API_EMBEDDED_H
#define MP_API_EMBEDDED_H

#include <stddef.h>

struct mp_embedded {
  const char *module; /* "moonpool.router"; NULL ends the table */
  const char *file;   /* "moonpool/router.lua" */
  const char *bytes;
  size_t len;
};

extern const struct mp_embedded mp_embedded_files[];

#endif
