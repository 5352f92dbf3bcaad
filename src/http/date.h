/* date.h - HTTP dates (RFC 9110 5.6.7). */
#ifndef MP_HTTP_DATE_H
#define MP_HTTP_DATE_H

#include "base/slice.h"
#include <time.h>

/* The Date field's value of one second, made once a second by whoever has a clock. */
struct mp_date {
  time_t at;
  char text[30];
};
void mp_date_set(struct mp_date *date, time_t now); /* does nothing while the second is the same */

/* Any of the three forms; false for what is none of them, or no day of the calendar. */
bool mp_date_parse(struct mp_slice s, time_t *at);

#endif
