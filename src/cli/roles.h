/* roles.h - the role of a worker in a program that embeds us. */
#ifndef MP_CLI_ROLES_H
#define MP_CLI_ROLES_H

struct mp_extension;

/* As mp_role_worker, with what the host adds to the Lua side; NULL: nothing. */
int mp_role_worker_with(int argc, char **argv, const struct mp_extension *extension);

#endif
