/* number.h - numbers as JSON writes them: the shortest digits that read back the same, whatever the locale. */
#ifndef MP_API_NUMBER_H
#define MP_API_NUMBER_H

#include <stddef.h>
#include <stdint.h>

enum { MP_NUMBER_MAX = 32 }; /* bytes that suffice for any number */

/* Both return how many bytes they wrote, without NUL. A float is finite, and keeps a point or an exponent. */
size_t mp_number_integer(char *out, int64_t n);
size_t mp_number_float(char *out, double d);

#endif
