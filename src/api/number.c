#include "api/number.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The least and the greatest power of ten that are written without an exponent. */
enum { PLAIN_LEAST = -5, PLAIN_GREATEST = 15 };

struct decimal {
  char digits[20];
  int n;
  int power; /* of ten, of the first digit */
};

static size_t write_unsigned(char *out, uint64_t n) {
  size_t len = 1;
  for (uint64_t more = 10; len < 20 && n >= more; more *= 10) len++; /* wraps only behind 20 digits, the most */
  for (char *at = out + len; at > out; n /= 10) *--at = (char)('0' + n % 10);
  return len;
}

size_t mp_number_integer(char *out, int64_t n) {
  if (n >= 0) return write_unsigned(out, (uint64_t)n);
  *out = '-';
  return 1 + write_unsigned(out + 1, 0 - (uint64_t)n);
}

/* `n` / 10^places, `places` of at least 1. */
static size_t write_fixed(char *out, uint64_t n, uint64_t scale, int places) {
  size_t len = write_unsigned(out, n / scale);
  uint64_t rest = n % scale;
  out[len] = '.';
  for (int i = places; i > 0; i--, rest /= 10) out[len + (size_t)i] = (char)('0' + rest % 10);
  return len + 1 + (size_t)places;
}

/* Most floats that people write have few places. n and scale are exact and division rounds correctly, so n / scale is
 * what reading the digits gives; 15 digits or fewer name one double each, so the first that fits is the shortest.
 * 0: not so simple a number. */
static size_t write_simple(char *out, double d) {
  uint64_t scale = 1;
  if (d >= 1e9) return 0;
  for (int places = 0; places <= 6; places++, scale *= 10) {
    uint64_t n = (uint64_t)(d * (double)scale + 0.5);
    if ((double)n / (double)scale != d) continue;
    return places ? write_fixed(out, n, scale, places) : write_fixed(out, n * 10, 10, 1);
  }
  return 0;
}

static void drop_zeros(struct decimal *it) {
  while (it->n > 1 && it->digits[it->n - 1] == '0') it->n--;
}

/* `d` to 17 digits, which always read back the same. The locale's point is passed over. */
static void find_digits(struct decimal *it, double d) {
  char text[64];
  const char *at = text;
  snprintf(text, sizeof text, "%.16e", d);
  for (it->n = 0; *at != 'e'; at++)
    if (*at >= '0' && *at <= '9') it->digits[it->n++] = *at;
  it->power = (int)strtol(at + 1, NULL, 10);
  drop_zeros(it);
}

/* The first `n` of more digits, the last of them one `up` or as it is. */
static void cut_to(struct decimal *it, int n, bool up) {
  it->n = n;
  for (int i = n - 1; up && i >= 0; i--) {
    up = it->digits[i] == '9';
    it->digits[i] = up ? '0' : (char)(it->digits[i] + 1);
  }
  if (up) {
    it->digits[0] = '1';
    it->power++;
  }
  drop_zeros(it);
}

/* Without a point, so that the locale has no say. */
static bool reads_as(const struct decimal *it, double d) {
  char text[MP_NUMBER_MAX];
  size_t n = (size_t)it->n;
  memcpy(text, it->digits, n);
  text[n++] = 'e';
  n += mp_number_integer(text + n, it->power - it->n + 1);
  text[n] = '\0';
  return strtod(text, NULL) == d;
}

static bool fits_in(struct decimal *it, int n, bool up, double d) {
  struct decimal shorter = *it;
  cut_to(&shorter, n, up);
  if (!reads_as(&shorter, d)) return false;
  *it = shorter;
  return true;
}

/* 15 digits or 16, where they suffice. A cut at a 5 may be a cut just below one, rounded before: then either side may
 * be the nearer. */
static void shorten(struct decimal *it, double d) {
  for (int n = 15; n <= 16 && n < it->n; n++) {
    bool up = it->digits[n] >= '5';
    if (fits_in(it, n, up, d)) return;
    if (it->digits[n] == '5' && fits_in(it, n, false, d)) return;
  }
}

static size_t write_exponent(char *out, const struct decimal *it) {
  size_t len = 0;
  out[len++] = it->digits[0];
  if (it->n > 1) {
    out[len++] = '.';
    memcpy(out + len, it->digits + 1, (size_t)it->n - 1);
    len += (size_t)it->n - 1;
  }
  out[len++] = 'e';
  return len + mp_number_integer(out + len, it->power);
}

/* Places count from the first digit; those on either side are zeros. The one at `power` is the units. */
static char digit_at(const struct decimal *it, int place) {
  return place >= 0 && place < it->n ? it->digits[place] : '0';
}

static size_t write_plain(char *out, const struct decimal *it) {
  size_t len = 0;
  int last = it->n - 1 > it->power ? it->n - 1 : it->power + 1; /* at least one behind the point */
  for (int place = it->power < 0 ? it->power : 0; place <= last; place++) {
    out[len++] = digit_at(it, place);
    if (place == it->power) out[len++] = '.';
  }
  return len;
}

size_t mp_number_float(char *out, double d) {
  struct decimal it = {.n = 0};
  size_t len = 0, simple;
  if (signbit(d)) {
    out[len++] = '-';
    d = -d;
  }
  simple = write_simple(out + len, d);
  if (simple) return len + simple;
  find_digits(&it, d);
  shorten(&it, d);
  if (it.power < PLAIN_LEAST || it.power > PLAIN_GREATEST) return len + write_exponent(out + len, &it);
  return len + write_plain(out + len, &it);
}
