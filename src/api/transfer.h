/* transfer.h - Lua values as bytes, on their way from one Lua state to another in this process.
 *
 * Cross as they are: nil, booleans, integers, floats, strings, plain tables (what is shared, or leads back to itself,
 * still does on the other side), moonpool.cancelled, JSON's null and its array marker, results of processes.
 * Lua functions cross with their upvalues, copied; two functions that share a variable share the copy.
 * What both states have of their own crosses by name: modules (what require gives), the functions of Lua's libraries,
 * of moonpool and of modules written in C.
 * Channels cross by a carrier, who knows them by number.
 * All else is refused, and so is nesting beyond MP_TRANSFER_DEPTH. The bytes hold addresses of nothing. */
#ifndef MP_API_TRANSFER_H
#define MP_API_TRANSFER_H

#include "base/buf.h"
#include <lua.h>

enum { MP_TRANSFER_DEPTH = 1000 }; /* tables and functions within each other */

/* How channels cross: each has a number in both states. All that crosses for one job goes through one carrier. */
struct mp_carrier {
  /* Is the userdata at `index` a channel? Then its number, and whoever carries holds on to it. May raise. */
  bool (*take)(lua_State *L, int index, uint64_t *number, void *ctx);
  void (*give)(lua_State *L, uint64_t number, void *ctx); /* pushes it; may raise */
  void *ctx;                                              /* borrowed */
};

/* How a refusal names things: `offload: upvalue 'x' of argument 2 is a userdata; only nil, ... cross`. */
struct mp_transfer_words {
  const char *what;                 /* "offload" */
  const char *item;                 /* "argument": followed by the number */
  int number;                       /* of the first; 0: that one is called `name` */
  const char *name;                 /* of what has no number; all without `item` */
  const struct mp_carrier *carrier; /* borrowed; NULL: channels do not cross */
};

/* Appends `n` values from stack place `first` on. Raises what it refuses, and for want of memory; `out` then holds
 * whatever was written. */
void mp_transfer_pack(lua_State *L, int first, int n, const struct mp_transfer_words *words, struct mp_buf *out);

/* The same for one error value, without refusing: tables lose their metatables; what cannot cross becomes a text that
 * says so. */
void mp_transfer_pack_error(lua_State *L, int index, struct mp_buf *out);

/* Pushes the values, returns how many. May raise: memory, a module that cannot be required. `carrier`: NULL where no
 * channel was taken. */
int mp_transfer_unpack(lua_State *L, struct mp_slice bytes, const struct mp_carrier *carrier);

/* One string, as if packed: 0 or -ENOMEM. And back: false if it is anything else. `text` is borrowed from the bytes. */
int mp_transfer_put_text(struct mp_buf *out, struct mp_slice text);
bool mp_transfer_is_text(struct mp_slice bytes, struct mp_slice *text);

/* transfer_names.c: pushes the name of what both sides have, with NUL between its parts ("string\0format"); or nothing
 * (false). `names`: where mp_transfer_names has put its table. */
void mp_transfer_names(lua_State *L);
bool mp_transfer_name_of(lua_State *L, int names, int index);

enum mp_transfer_tag {
  MP_TAG_NIL = 'n',
  MP_TAG_FALSE = 'f',
  MP_TAG_TRUE = 't',
  MP_TAG_INTEGER = 'i',
  MP_TAG_FLOAT = 'd',
  MP_TAG_STRING = 's',
  MP_TAG_TABLE = 'T',    /* kind, array and hash sizes, pairs, MP_TAG_END; is numbered */
  MP_TAG_FUNCTION = 'F', /* code, upvalues; is numbered */
  MP_TAG_AGAIN = 'a',    /* the number of a table or function that stands in the bytes already */
  MP_TAG_SHARED = 'S',   /* an upvalue: that of a function that stands in the bytes already, number and place */
  MP_TAG_NAMED = 'N',    /* known to both sides by this name */
  MP_TAG_NULL = '0',
  MP_TAG_CANCELLED = 'c',
  MP_TAG_CHANNEL = 'C', /* its number */
  MP_TAG_END = 'e'
};
enum mp_transfer_table { MP_TABLE_PLAIN, MP_TABLE_ARRAY, MP_TABLE_RESULT };

#endif
