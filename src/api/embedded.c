#include "api/embedded.h"
#include <lauxlib.h>
#include <string.h>
#include <zlib.h>

const struct mp_embedded *mp_embedded_find(const char *module) {
  for (const struct mp_embedded *file = mp_embedded_files; file->module; file++)
    if (strcmp(file->module, module) == 0) return file;
  return NULL;
}

static int inflate_whole(const struct mp_embedded *file, unsigned char *out) {
  z_stream z = {.next_in = (z_const Bytef *)file->packed,
                .avail_in = (uInt)file->packed_len,
                .next_out = out,
                .avail_out = (uInt)file->len};
  int status = inflateInit2(&z, -MAX_WBITS);
  if (status != Z_OK) return status;
  status = inflate(&z, Z_FINISH);
  inflateEnd(&z);
  return status;
}

const char *mp_embedded_unpack(lua_State *L, const struct mp_embedded *file) {
  unsigned char *bytes = lua_newuserdatauv(L, file->len, 0);
  if (inflate_whole(file, bytes) != Z_STREAM_END) luaL_error(L, "no memory to unpack %s", file->file);
  return (const char *)bytes;
}
