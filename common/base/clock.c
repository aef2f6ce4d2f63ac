#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#define MS_PER_DAY INT64_C(86400000)
#define EARLIEST_MS INT64_C(-62167219200000) /* 0000-01-01T00:00:00.000Z */

struct mono mono_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (struct mono){(uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec};
}

static struct wall read_wall(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (struct wall){(int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000};
}

struct wall wall_now(void)
{
    return read_wall(CLOCK_REALTIME);
}

struct wall wall_now_coarse(void)
{
    return read_wall(CLOCK_REALTIME_COARSE);
}

/* Years are counted from March here, so that the leap day is the last of its year; an era is the 400 years (146097 days)
 * after which the Gregorian calendar repeats. Day 0 is 1970-01-01, 719468 days after 0000-03-01. */

static int64_t day_from_date(int year, int month, int day)
{
    int y = month > 2 ? year : year - 1;
    int era = (y >= 0 ? y : y - 399) / 400;
    int year_of_era = y - era * 400;
    int month_from_march = (month + 9) % 12;
    int day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * 146097 + day_of_era - 719468;
}

static void date_from_day(int64_t day, int *year, int *month, int *day_of_month)
{
    int64_t d = day + 719468;
    int64_t era = (d >= 0 ? d : d - 146096) / 146097;
    int day_of_era = (int)(d - era * 146097);
    int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (5 * day_of_year + 2) / 153;
    *day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *year = (int)(era * 400) + year_of_era + (*month <= 2 ? 1 : 0);
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Takes exactly `digits` digits off *rest. */
static bool take_number(struct bytes *rest, size_t digits, int *out)
{
    if (rest->len < digits) {
        return false;
    }
    int n = 0;
    for (size_t i = 0; i < digits; i++) {
        if (rest->data[i] < '0' || rest->data[i] > '9') {
            return false;
        }
        n = n * 10 + (rest->data[i] - '0');
    }
    *rest = bytes_sub(*rest, digits, rest->len);
    *out = n;
    return true;
}

/* Takes one byte off *rest if it is one of `set`; returns it, or 0. */
static uint8_t take_any(struct bytes *rest, const char *set)
{
    uint8_t c = rest->len > 0 ? rest->data[0] : 0;
    if (c == 0 || !strchr(set, c)) {
        return 0;
    }
    *rest = bytes_sub(*rest, 1, rest->len);
    return c;
}

/* Year, month and day; *basic: without '-' between them. */
static bool take_date(struct bytes *rest, int64_t *day, bool *basic)
{
    int year;
    int month;
    int day_of_month;
    if (!take_number(rest, 4, &year)) {
        return false;
    }
    *basic = !take_any(rest, "-");
    if (!take_number(rest, 2, &month) || (!*basic && !take_any(rest, "-")) || !take_number(rest, 2, &day_of_month)) {
        return false;
    }
    if (month < 1 || month > 12 || day_of_month < 1 || day_of_month > days_in_month(year, month)) {
        return false;
    }
    *day = day_from_date(year, month, day_of_month);
    return true;
}

/* ".123" to milliseconds, any number of digits; 0 without. */
static bool take_fraction(struct bytes *rest, int *ms)
{
    *ms = 0;
    if (!take_any(rest, ".,")) {
        return true;
    }
    int digit;
    if (!take_number(rest, 1, &digit)) {
        return false;
    }
    int unit = 100;
    do {
        *ms += digit * unit;
        unit /= 10;
    } while (take_number(rest, 1, &digit));
    return true;
}

/* "05:54:46" and a fraction, or "05:54". Second 60 (RFC 3339: a leap second) is the first moment of the next minute, 24:00
 * that of the next day. */
static bool take_time(struct bytes *rest, bool basic, int64_t *ms)
{
    int hour;
    int minute;
    int second = 0;
    int fraction = 0;
    if (!take_number(rest, 2, &hour) || (!basic && !take_any(rest, ":")) || !take_number(rest, 2, &minute)) {
        return false;
    }
    bool seconds = basic ? rest->len > 0 && rest->data[0] >= '0' && rest->data[0] <= '9' : take_any(rest, ":") != 0;
    if (seconds && (!take_number(rest, 2, &second) || !take_fraction(rest, &fraction))) {
        return false;
    }
    *ms = ((hour * 60 + minute) * 60 + second) * INT64_C(1000) + fraction;
    return minute <= 59 && second <= 60 && (hour <= 23 || (hour == 24 && *ms == MS_PER_DAY));
}

/* "Z", "+01:00", "+0100", "+01" or nothing. */
static bool take_offset(struct bytes *rest, int64_t *ms)
{
    *ms = 0;
    if (rest->len == 0 || take_any(rest, "Zz")) {
        return true;
    }
    uint8_t sign = take_any(rest, "+-");
    int hour;
    int minute = 0;
    if (!sign || !take_number(rest, 2, &hour)) {
        return false;
    }
    if (rest->len > 0) {
        take_any(rest, ":");
        if (!take_number(rest, 2, &minute)) {
            return false;
        }
    }
    *ms = (hour * 60 + minute) * INT64_C(60000) * (sign == '-' ? -1 : 1);
    return hour <= 23 && minute <= 59;
}

enum err wall_parse_iso8601(struct bytes text, struct wall *out)
{
    int64_t day;
    int64_t time_ms = 0;
    int64_t offset_ms = 0;
    bool basic;
    if (!take_date(&text, &day, &basic)) {
        return E_MALFORMED;
    }
    if (text.len > 0 && (!take_any(&text, "Tt ") || !take_time(&text, basic, &time_ms) ||
                         !take_offset(&text, &offset_ms) || text.len > 0)) {
        return E_MALFORMED;
    }
    out->ms = day * MS_PER_DAY + time_ms - offset_ms;
    return E_OK;
}

void wall_format_iso8601(struct wall t, char out[WALL_ISO8601_SIZE])
{
    int64_t ms = t.ms < EARLIEST_MS ? EARLIEST_MS : (t.ms > WALL_LATEST_MS ? WALL_LATEST_MS : t.ms);
    int64_t day = (ms >= 0 ? ms : ms - (MS_PER_DAY - 1)) / MS_PER_DAY;
    unsigned in_day = (unsigned)(ms - day * MS_PER_DAY);
    int year;
    int month;
    int day_of_month;
    date_from_day(day, &year, &month, &day_of_month);
    /* The remainders change no value; they tell the compiler that each number fits its field. */
    snprintf(out, WALL_ISO8601_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)year % 10000u,
             (unsigned)month % 100u, (unsigned)day_of_month % 100u, in_day / 3600000u % 24u, in_day / 60000u % 60u,
             in_day / 1000u % 60u, in_day % 1000u);
}
