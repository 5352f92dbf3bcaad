#include "http/date.h"
#include "http/bytes.h"

static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static void two_digits(char *to, int n) {
  to[0] = (char)('0' + n / 10 % 10);
  to[1] = (char)('0' + n % 10);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
void mp_date_set(struct mp_date *date, time_t now) {
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

/* In `form`, "0" is a digit, "_" a digit or a space, "w" a letter; all else stands for itself. */
static bool has_form(struct mp_slice s, const char *form) {
  if (s.len != strlen(form)) return false;
  for (size_t i = 0; i < s.len; i++) {
    char c = s.at[i];
    bool digit = mp_byte_is(c, MP_BYTE_DIGIT), letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    switch (form[i]) {
    case '0':
      if (!digit) return false;
      break;
    case '_':
      if (!digit && c != ' ') return false;
      break;
    case 'w':
      if (!letter) return false;
      break;
    default:
      if (c != form[i]) return false;
    }
  }
  return true;
}

static int number(const char *at, int digits) {
  int n = 0;
  for (int i = 0; i < digits; i++) n = n * 10 + (at[i] == ' ' ? 0 : at[i] - '0');
  return n;
}

static int month(const char *at) {
  for (int i = 0; i < 12; i++)
    if (memcmp(months + 3 * i, at, 3) == 0) return i;
  return -1;
}

/* timegm moves days that do not exist on to the next month: then it was no date. */
static bool finish(struct tm tm, const char *clock, time_t *at) {
  int day = tm.tm_mday;
  tm.tm_hour = number(clock, 2);
  tm.tm_min = number(clock + 3, 2);
  tm.tm_sec = number(clock + 6, 2);
  if (tm.tm_mon < 0 || day < 1 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60) return false;
  bool leap_second = tm.tm_sec == 60;
  if (leap_second) tm.tm_sec = 59;
  *at = timegm(&tm) + leap_second;
  return tm.tm_mday == day;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT": the length of the day's name varies. */
static bool parse_rfc850(struct mp_slice s, time_t *at) {
  const char *comma = memchr(s.at, ',', s.len);
  size_t name = comma ? (size_t)(comma - s.at) : 0;
  if (name < 6 || name > 9 || !has_form(mp_slice(comma, s.len - name), ", 00-www-00 00:00:00 GMT")) return false;
  int year = number(comma + 9, 2);
  struct tm tm = {.tm_mday = number(comma + 2, 2), .tm_mon = month(comma + 5)};
  tm.tm_year = year < 70 ? year + 100 : year;
  return finish(tm, comma + 12, at);
}

bool mp_date_parse(struct mp_slice s, time_t *at) {
  const char *p = s.at;
  if (has_form(s, "www, 00 www 0000 00:00:00 GMT")) {
    struct tm tm = {.tm_mday = number(p + 5, 2), .tm_mon = month(p + 8), .tm_year = number(p + 12, 4) - 1900};
    return finish(tm, p + 17, at);
  }
  if (has_form(s, "www www _0 00:00:00 0000")) { /* asctime */
    struct tm tm = {.tm_mday = number(p + 8, 2), .tm_mon = month(p + 4), .tm_year = number(p + 20, 4) - 1900};
    return finish(tm, p + 11, at);
  }
  return s.len > 0 && parse_rfc850(s, at);
}
