/* local.h - listening sockets with a name on this machine; for listen.c alone. */
#ifndef MP_IO_LOCAL_H
#define MP_IO_LOCAL_H

/* What stands behind "unix:": PATH, PATH?mode=660&group=NAME or @NAME (a name without a file). A listening descriptor,
 * or -errno; `*text` may be set to a sentence that says more. */
int mp_listen_local(const char *name, int backlog, const char **text);

#endif
