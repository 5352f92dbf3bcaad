/* json.h - Lua values to JSON and back (RFC 8259), by one rule:
 *
 *   integer   64 bits, never a float          float    survives a round trip, and stays a float ("1.0", "1e20")
 *   string    must be UTF-8                   null     the light userdata NULL (lua-cjson's null is the same value)
 *   array     keys exactly 1..n, or marked by moonpool.json.array (then also when empty)
 *   object    keys are strings; a bare {} is one
 *
 * Tables are walked raw: no metamethod runs, so that a metatable other than the array marker changes nothing.
 * Refused, naming the place as in `cannot encode a function at $.users[3].name`: nil, functions, threads, userdata,
 * NaN, infinities, strings that are not UTF-8, holes, mixed keys, keys that are neither string nor index, cycles,
 * nesting beyond MP_JSON_DEPTH. */
#ifndef MP_API_JSON_H
#define MP_API_JSON_H

#include "base/buf.h"
#include <lua.h>

enum { MP_JSON_DEPTH = 1000 }; /* arrays and objects within each other */

/* Appends the JSON of the value at `index`. 0; or -EINVAL (refused) or -ENOMEM, then the buffer is as it was and a
 * message is pushed. Never raises. Needs four free slots. */
int mp_json_encode(lua_State *L, int index, struct mp_buf *out);

/* Pushes the value of one JSON text: 0. Or pushes a message: -EINVAL (as in `line 1 column 5: …`), or -ENOMEM.
 * Of equal keys the last wins; arrays come marked; integers beyond 64 bits and floats beyond a double's range are
 * errors, and so is \u0000 within a key. Never raises. Needs four free slots. */
int mp_json_decode(lua_State *L, const char *text, size_t len);

/* Pushes { encode, decode, null, array }. */
void mp_json_open(lua_State *L);

#endif
