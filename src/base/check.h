/* check.h - what to do when the program itself is wrong.
 * MP_CHECK: memory can no longer be trusted; say where and abort.
 * MP_BUG:   one call was wrong; say where on stderr and go on by refusing that call. */
#ifndef MP_BASE_CHECK_H
#define MP_BASE_CHECK_H

#include <stdbool.h>

_Noreturn void mp_check_failed(const char *what, const char *file, int line);
bool mp_bug_found(const char *what, const char *file, int line); /* true, so that it can stand in a condition */

#define MP_CHECK(truth) ((truth) ? (void)0 : mp_check_failed(#truth, __FILE__, __LINE__))
#define MP_BUG(wrong) (__builtin_expect(!!(wrong), 0) && mp_bug_found(#wrong, __FILE__, __LINE__))

#endif
