/* text.h - small functions on strings that every app needs. */
#ifndef MP_API_TEXT_H
#define MP_API_TEXT_H

#include <lua.h>

/* Pushes a table of
 *   escape(s)               for HTML: text and attribute values in either quotes
 *   url_encode(s)           all but unreserved bytes as %XX
 *   url_decode(s[, plus])   or nil, message, "EINVAL" for a broken escape or %00; plus: "+" is a space
 *   random(n)               n random bytes, 1 to 1024, as 2n hex digits; raises when the kernel has none */
void mp_text_open(lua_State *L);

#endif
