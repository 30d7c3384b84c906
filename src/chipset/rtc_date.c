#include "chipset/rtc_date.h"

enum {
    SECONDS_A_DAY = 86400,
    DAYS_400_YEARS = 146097,
    DAYS_TO_1970 = 719468, /* from 1 March of the year 0 */
    PM = 0x80,
};

uint8_t rtc_encode(unsigned value, struct rtc_format format)
{
    return (uint8_t)(format.binary ? value : value / 10 << 4 | value % 10);
}

unsigned rtc_decode(uint8_t value, struct rtc_format format)
{
    return format.binary ? value : (value >> 4) * 10u + (value & 15u);
}

uint8_t rtc_encode_hours(unsigned hours, struct rtc_format format)
{
    if (format.hours24)
        return rtc_encode(hours, format);
    unsigned shown = hours % 12 == 0 ? 12 : hours % 12;
    return (uint8_t)(rtc_encode(shown, format) | (hours >= 12 ? PM : 0));
}

unsigned rtc_decode_hours(uint8_t value, struct rtc_format format)
{
    if (format.hours24)
        return rtc_decode(value, format);
    return rtc_decode(value & (uint8_t)~PM, format) % 12 + ((value & PM) != 0 ? 12 : 0);
}

/*
 * Days since 1970 of a date in the proleptic Gregorian calendar. Years begin in March here, so that
 * the leap day is the last of its year and months before it have a regular pattern of lengths.
 */
static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    if (month <= 2)
        year--;
    unsigned march_month = (month + 9) % 12;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * march_month + 2) / 5;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_400_YEARS + day_of_era - DAYS_TO_1970 + ((int64_t)day - 1);
}

int64_t rtc_date_to_seconds(const struct rtc_date *date, struct rtc_format format)
{
    int64_t year =
        rtc_decode(date->century, format) * INT64_C(100) + rtc_decode(date->year, format);
    unsigned month = rtc_decode(date->month, format);
    month = month < 1 ? 1 : month;
    year += (month - 1) / 12;
    int64_t days = days_from_civil(year, (month - 1) % 12 + 1, rtc_decode(date->day, format));
    return days * SECONDS_A_DAY + rtc_decode_hours(date->hours, format) * INT64_C(3600) +
           rtc_decode(date->minutes, format) * INT64_C(60) + rtc_decode(date->seconds, format);
}

/* The year, and the day in it counted from 1 March; `days` from 1 March of the year 0, not below.
 */
static int64_t split_year(int64_t days, unsigned *ret_day_of_year)
{
    int64_t era = days / DAYS_400_YEARS;
    unsigned day_of_era = (unsigned)(days % DAYS_400_YEARS);
    /* Taking out the leap days passed so far makes all years 365 days long. */
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    *ret_day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    return era * 400 + year_of_era;
}

struct rtc_date rtc_date_from_seconds(int64_t seconds, struct rtc_format format)
{
    const int64_t first = days_from_civil(0, 3, 1) * SECONDS_A_DAY;
    const int64_t last = days_from_civil(10000, 1, 1) * SECONDS_A_DAY - 1;
    seconds = seconds < first ? first : seconds > last ? last : seconds;

    int64_t days = (seconds - first) / SECONDS_A_DAY;
    unsigned second_of_day = (unsigned)((seconds - first) % SECONDS_A_DAY);
    unsigned day_of_year;
    unsigned year = (unsigned)split_year(days, &day_of_year);
    unsigned march_month = (5 * day_of_year + 2) / 153;
    unsigned month = march_month < 10 ? march_month + 3 : march_month - 9;
    year += month <= 2 ? 1 : 0;
    return (struct rtc_date){
        .seconds = rtc_encode(second_of_day % 60, format),
        .minutes = rtc_encode(second_of_day / 60 % 60, format),
        .hours = rtc_encode_hours(second_of_day / 3600, format),
        .weekday = rtc_encode((unsigned)((days + 3) % 7) + 1, format), /* it was a Wednesday */
        .day = rtc_encode(day_of_year - (153 * march_month + 2) / 5 + 1, format),
        .month = rtc_encode(month, format),
        .year = rtc_encode(year % 100, format),
        .century = rtc_encode(year / 100, format),
    };
}
