#include "http/reply.h"

static void two_digits(char *to, int n) {
  to[0] = (char)('0' + n / 10 % 10);
  to[1] = (char)('0' + n % 10);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
void mp_date_set(struct mp_date *date, time_t now) {
  static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  struct tm tm;
  if (date->at == now && date->text[0]) return;
  if (!gmtime_r(&now, &tm)) return; /* a year that no int holds: the last second that was right stays */
  memcpy(date->text, "Day, 00 Mon 0000 00:00:00 GMT", sizeof date->text);
  memcpy(date->text, days + 3 * tm.tm_wday, 3);
  memcpy(date->text + 8, months + 3 * tm.tm_mon, 3);
  two_digits(date->text + 5, tm.tm_mday);
  two_digits(date->text + 12, (tm.tm_year + 1900) / 100);
  two_digits(date->text + 14, (tm.tm_year + 1900) % 100);
  two_digits(date->text + 17, tm.tm_hour);
  two_digits(date->text + 20, tm.tm_min);
  two_digits(date->text + 23, tm.tm_sec);
  date->at = now;
}
