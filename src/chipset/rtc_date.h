/* The date in the registers of an MC146818, and the same as seconds since 1970. Pure functions. */
#ifndef CHIPSET_RTC_DATE_H
#define CHIPSET_RTC_DATE_H

#include <stdbool.h>
#include <stdint.h>

/* Registers 0x00, 0x02, 0x04, 0x06 to 0x09 and 0x32. */
struct rtc_date {
    uint8_t seconds, minutes, hours, weekday, day, month, year, century;
};

/* As the chip counts: `binary` and `hours24` are bits of register B. */
struct rtc_format {
    bool binary, hours24;
};

/* `seconds` since 1970 of a year from 0 to 9999; others are brought into that range. */
struct rtc_date rtc_date_from_seconds(int64_t seconds, struct rtc_format format);

/*
 * The weekday is not looked at. What no clock shows (month 0, second 0x7f) is counted on from the
 * nearest that does, so that every content of the registers is a moment.
 */
int64_t rtc_date_to_seconds(const struct rtc_date *date, struct rtc_format format);

/* One register of time or alarm, in the format of register B. */
uint8_t rtc_encode(unsigned value, struct rtc_format format);
unsigned rtc_decode(uint8_t value, struct rtc_format format);
uint8_t rtc_encode_hours(unsigned hours, struct rtc_format format);
unsigned rtc_decode_hours(uint8_t value, struct rtc_format format);

#endif
