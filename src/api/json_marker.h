/* json_marker.h - the metatable that says "I am an array"; one a Lua state, kept in its registry. */
#ifndef MP_API_JSON_MARKER_H
#define MP_API_JSON_MARKER_H

#include <lua.h>
#include <stdbool.h>

/* Pushes the metatable, making it at the first call; may raise for want of memory. */
void mp_json_push_marker(lua_State *L);

/* Whether the table on top of the stack has it. Never raises; needs two free slots. */
bool mp_json_is_marked(lua_State *L);

#endif
