/* conf.h - the role `config`: runs moonpool.conf.lua and prints its settings, one key=value a line.
 * A list is its key again on each line; `\\` and `\n` in a value stand for a backslash and a line end; the key `app`
 * (moonpool.settings) is JSON. This is a process of its own, so that the master never opens a Lua state; whoever
 * starts it limits its time. The file sees the functions of Lua's base library that touch nothing outside, string,
 * table, math, utf8 and os.getenv; what it assigns to globals are the settings. */
#ifndef MP_CLI_CONF_H
#define MP_CLI_CONF_H

#include "bundle/seal.h"

#define MP_CONF_NAME "moonpool.conf.lua"

/* The exit code: 0; 1; or 2 with one line on stderr that names file and line. */
int mp_conf_run(const char *file, struct mp_slice text); /* `text`: what is in it; at NULL: it is read */

/* The key `bundle` = { name = …, version = … } alone, into the seal. The exit code. */
int mp_conf_bundle(const char *file, struct mp_seal *seal);

/* "Lua 5.4.4". Static. */
const char *mp_conf_language(void);

#endif
