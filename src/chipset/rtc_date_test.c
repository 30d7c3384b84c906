/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/rtc_date.h"

#include <time.h>

static const struct rtc_format bcd24 = {false, true};
static const struct rtc_format binary24 = {true, true};
static const struct rtc_format bcd12 = {false, false};
static const struct rtc_format binary12 = {true, false};

static void assert_date(const struct rtc_date *date, const uint8_t wanted[8])
{
    const uint8_t shown[8] = {date->century, date->year,    date->month,   date->day,
                              date->hours,   date->minutes, date->seconds, date->weekday};
    assert_memory_equal(shown, wanted, sizeof(shown));
}

static void known_moments(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        uint8_t shown[8]; /* century, year, month, day, hours, minutes, seconds, weekday */
    } moments[] = {
        {0, {0x19, 0x70, 0x01, 0x01, 0x00, 0x00, 0x00, 5}},
        {951782399, {0x20, 0x00, 0x02, 0x28, 0x23, 0x59, 0x59, 2}},
        {951782400, {0x20, 0x00, 0x02, 0x29, 0x00, 0x00, 0x00, 3}},
        {951868800, {0x20, 0x00, 0x03, 0x01, 0x00, 0x00, 0x00, 4}},
        {1709164800, {0x20, 0x24, 0x02, 0x29, 0x00, 0x00, 0x00, 5}},
        {4107542399, {0x21, 0x00, 0x02, 0x28, 0x23, 0x59, 0x59, 1}},
        {4107542400, {0x21, 0x00, 0x03, 0x01, 0x00, 0x00, 0x00, 2}}, /* no leap year */
        {946684799, {0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59, 6}},
        {-1, {0x19, 0x69, 0x12, 0x31, 0x23, 0x59, 0x59, 4}},
    };
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        struct rtc_date date = rtc_date_from_seconds(moments[i].seconds, bcd24);
        assert_date(&date, moments[i].shown);
        assert_int_equal(rtc_date_to_seconds(&date, bcd24), moments[i].seconds);
    }
}

static void every_day_of_five_centuries_as_the_c_library_has_it(void **state)
{
    (void)state;
    for (int64_t day = -100000; day < 100000; day++) {
        time_t seconds = day * 86400 + 45296;
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        struct rtc_date date = rtc_date_from_seconds(seconds, binary24);
        assert_int_equal(date.century * 100 + date.year, tm.tm_year + 1900);
        assert_int_equal(date.month, tm.tm_mon + 1);
        assert_int_equal(date.day, tm.tm_mday);
        assert_int_equal(date.weekday, tm.tm_wday + 1);
        assert_int_equal(date.hours, 12);
        assert_int_equal(date.minutes, 34);
        assert_int_equal(date.seconds, 56);
        assert_int_equal(rtc_date_to_seconds(&date, binary24), seconds);
    }
}

static void twelve_hours_have_no_zero(void **state)
{
    (void)state;
    static const uint8_t bcd[24] = {0x12, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
                                    0x08, 0x09, 0x10, 0x11, 0x92, 0x81, 0x82, 0x83,
                                    0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x90, 0x91};
    for (unsigned hour = 0; hour < 24; hour++) {
        assert_int_equal(rtc_encode_hours(hour, bcd12), bcd[hour]);
        assert_int_equal(rtc_decode_hours(bcd[hour], bcd12), hour);
        uint8_t binary = rtc_encode_hours(hour, binary12);
        assert_int_equal(binary & 0x7f, hour % 12 == 0 ? 12 : hour % 12);
        assert_int_equal(binary >> 7, hour >= 12);
        assert_int_equal(rtc_decode_hours(binary, binary12), hour);
        assert_int_equal(rtc_decode_hours(rtc_encode_hours(hour, bcd24), bcd24), hour);
    }
}

static void nonsense_is_still_a_moment(void **state)
{
    (void)state;
    struct rtc_date ones = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct rtc_date zeroes = {0};
    int64_t latest = rtc_date_to_seconds(&ones, binary24);
    assert_true(latest > 0 && latest < INT64_C(40000) * 366 * 86400);
    assert_true(rtc_date_to_seconds(&zeroes, bcd24) < 0);
    /* A month 13 is the next January, a day 32 the next month's first. */
    struct rtc_date date = {0, 0, 0, 0, 0x32, 0x13, 0x23, 0x20};
    struct rtc_date same = rtc_date_from_seconds(rtc_date_to_seconds(&date, bcd24), bcd24);
    assert_int_equal(same.year, 0x24);
    assert_int_equal(same.month, 0x02);
    assert_int_equal(same.day, 0x01);
}

static void dates_stop_at_the_last_that_registers_can_show(void **state)
{
    (void)state;
    struct rtc_date last = rtc_date_from_seconds(INT64_MAX, bcd24);
    assert_date(&last, (const uint8_t[8]){0x99, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59, 6});
    struct rtc_date first = rtc_date_from_seconds(INT64_MIN, bcd24);
    assert_int_equal(first.century, 0);
    assert_int_equal(first.year, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_moments),
        cmocka_unit_test(every_day_of_five_centuries_as_the_c_library_has_it),
        cmocka_unit_test(twelve_hours_have_no_zero),
        cmocka_unit_test(nonsense_is_still_a_moment),
        cmocka_unit_test(dates_stop_at_the_last_that_registers_can_show),
    };
    return cmocka_run_group_tests_name("rtc_date", tests, NULL, NULL);
}
