/* embedded.h - Moonpool's own Lua, inside the binary; the table is written by the build from lua/ (cmake/embed.lua). */
#ifndef MP_API_EMBEDDED_H
#define MP_API_EMBEDDED_H

#include <lua.h>
#include <stddef.h>

struct mp_embedded {
  const char *module;          /* "moonpool.router"; NULL ends the table */
  const char *file;            /* "moonpool/router.lua" */
  const unsigned char *packed; /* a raw deflate stream of what is below: compiled, or text */
  size_t packed_len, len;
};

extern const struct mp_embedded mp_embedded_files[];

/* NULL: there is no such module. */
const struct mp_embedded *mp_embedded_find(const char *module);
/* Its bytes, of which there are `len`, on the stack as a userdata; raises when memory is short. */
const char *mp_embedded_unpack(lua_State *L, const struct mp_embedded *file);

#endif
