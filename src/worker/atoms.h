/* atoms.h - a line of the access log in a form of the operator's: text with Gunicorn's atoms, such as %(h)s.
 *
 *   h address   l -   u -   t [time]   r "METHOD target HTTP/1.1"   m method   U path   q query   H protocol   s status
 *   B bytes   b bytes or -   f referer   a agent   T seconds   M milliseconds   D microseconds   L seconds.microseconds
 *   p pid   {name}i a field of the request   {name}o of the answer   and ours: i id, x trace, w worker
 *
 * What a client has sent is escaped as elsewhere in the log; what is not known is "-". %% is a percent sign. */
#ifndef MP_WORKER_ATOMS_H
#define MP_WORKER_ATOMS_H

#include "worker/access.h"

/* 0; or -EINVAL, and `bad` (borrowed from the format) is what is no atom. */
int mp_atoms_check(const char *format, struct mp_slice *bad);

/* Appends the line, with its end. The format was checked. 0 or -ENOMEM. */
int mp_atoms_line(struct mp_buf *out, const char *format, const struct mp_access_facts *facts);

#endif
