/* err.h - errno values as the names and sentences that people see. */
#ifndef MP_BASE_ERR_H
#define MP_BASE_ERR_H

/* "ENOENT" for ENOENT or -ENOENT; "EUNKNOWN" for a number without a name. Static. */
const char *mp_err_name(int err);

/* ENOENT for "ENOENT"; 0 when there is no such error. */
int mp_err_number(const char *name);

/* "no such file or directory": the system's sentence, its first letter small unless an abbreviation.
 * Written to `out`, which is returned. */
const char *mp_err_text(int err, char *out, unsigned size);

/* "SIGTERM" for 15; "SIGRTMIN+3" and the like; "signal 99" for what has no name. Written to `out` where needed. */
const char *mp_signal_name(int signo, char *out, unsigned size);

/* 15 for "SIGTERM" or "TERM" (any case); 0 when there is no such signal. */
int mp_signal_number(const char *name);

#endif
