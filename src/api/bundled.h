/* bundled.h - the app's files as Lua finds them when they lie in a bundle. */
#ifndef MP_API_BUNDLED_H
#define MP_API_BUNDLED_H

#include "bundle/bundle.h"
#include <lauxlib.h>

/* Puts app_file and is_app_folder into the table on top; nothing without a bundle. */
void mp_bundled_open(lua_State *L, const struct mp_bundle *bundle);

/* stack: searchers; the app's modules come at place `at`. Nothing without a bundle. */
void mp_bundled_search(lua_State *L, const struct mp_bundle *bundle, lua_Integer at);

/* Pushes a file of the bundle, or of the folder that wins over it: 1; 0: there is none, and nothing is pushed. */
int mp_bundled_push(lua_State *L, const struct mp_bundle *bundle, const char *path);

#endif
