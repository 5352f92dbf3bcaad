/* ctl.h - `moonpool ctl`: one question to the control socket of a server. */
#ifndef MP_CLI_CTL_H
#define MP_CLI_CTL_H

#include "base/buf.h"

/* The verb: exit code 0; 1 no server answers, or it says no; 2 wrong usage. */
int mp_verb_ctl(int argc, char **argv);

/* ctl_show.c: the answer to `what` as text for people, on stdout. 0; -EPROTO: it is not what was expected; -ENOMEM. */
int mp_ctl_show(const char *what, struct mp_slice json);
/* The server's own complaint in the answer, appended to `why`. True: there is one. */
bool mp_ctl_complaint(struct mp_slice json, struct mp_buf *why);

#endif
