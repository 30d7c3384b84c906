/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/rtc.h"

#include "chipset/fake_host.h"

enum { SECONDS = 0, MINUTES = 2, HOURS = 4, WEEKDAY = 6, DAY, MONTH, YEAR, A, B, C, D };
enum { CENTURY = 0x32, SHUTDOWN = 0x0f };
enum { SET = 0x80, PERIODIC = 0x40, ALARM = 0x20, UPDATE = 0x10, BINARY = 0x04, HOURS24 = 0x02 };
#define SECOND ((uint64_t)NS_PER_SECOND)
#define MIB    (UINT64_C(1) << 20)

struct fixture {
    struct fake_host fake;
    struct bus *bus;
    struct rtc *rtc;
};

static void expired(void *device, unsigned timer)
{
    struct fixture *f = device;
    assert_int_equal(timer, CHIPSET_TIMER_RTC);
    rtc_timer_expired(f->rtc);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    f->fake.device = f;
    f->fake.expired = expired;
    f->fake.wall_s = 1709164799; /* 28 February 2024, 23:59:59, a Wednesday */
    struct line line = fake_line(&f->fake);
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(rtc_create(&f->fake.host, &line, 512 * MIB, &f->rtc), 0);
    assert_int_equal(rtc_attach(f->rtc, f->bus), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    rtc_destroy(f->rtc);
    bus_destroy(f->bus);
    free(f);
    return 0;
}

static unsigned get(struct fixture *f, uint8_t index)
{
    bus_port_write(f->bus, 0x70, 1, index);
    return bus_port_read(f->bus, 0x71, 1);
}

static void put(struct fixture *f, uint8_t index, uint8_t value)
{
    bus_port_write(f->bus, 0x70, 1, index);
    bus_port_write(f->bus, 0x71, 1, value);
}

static void shows_the_wall_clock_over_a_leap_day(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, SECONDS), 0x59);
    assert_int_equal(get(f, HOURS), 0x23);
    assert_int_equal(get(f, DAY), 0x28);
    assert_int_equal(get(f, WEEKDAY), 4);
    fake_pass(&f->fake, SECOND);
    assert_int_equal(get(f, SECONDS), 0x00);
    assert_int_equal(get(f, MINUTES), 0x00);
    assert_int_equal(get(f, HOURS), 0x00);
    assert_int_equal(get(f, DAY), 0x29);
    assert_int_equal(get(f, MONTH), 0x02);
    assert_int_equal(get(f, YEAR), 0x24);
    assert_int_equal(get(f, CENTURY), 0x20);
    fake_pass(&f->fake, 86400 * SECOND);
    assert_int_equal(get(f, DAY), 0x01);
    assert_int_equal(get(f, MONTH), 0x03);
    assert_int_equal(get(f, D), 0x80);
}

static void formats_follow_register_b(void **state)
{
    struct fixture *f = *state;
    put(f, B, BINARY | HOURS24);
    assert_int_equal(get(f, HOURS), 23);
    assert_int_equal(get(f, SECONDS), 59);
    put(f, B, BINARY);
    assert_int_equal(get(f, HOURS), 0x80 | 11);
    put(f, B, 0);
    assert_int_equal(get(f, HOURS), 0x91);
    fake_pass(&f->fake, SECOND);
    assert_int_equal(get(f, HOURS), 0x12); /* midnight is twelve in the morning */
}

static void set_date(struct fixture *f)
{
    put(f, B, SET | HOURS24);
    put(f, SECONDS, 0x58);
    put(f, MINUTES, 0x59);
    put(f, HOURS, 0x23);
    put(f, DAY, 0x31);
    put(f, MONTH, 0x12);
    put(f, YEAR, 0x99);
    put(f, CENTURY, 0x19);
    fake_pass(&f->fake, 10 * SECOND); /* the clock stands while SET is on */
    assert_int_equal(get(f, SECONDS), 0x58);
    assert_int_equal(get(f, A) & 0x80, 0);
    put(f, B, HOURS24);
}

static void guest_sets_the_date_and_it_runs_on(void **state)
{
    struct fixture *f = *state;
    set_date(f);
    assert_int_equal(get(f, SECONDS), 0x58);
    fake_pass(&f->fake, 2 * SECOND);
    assert_int_equal(get(f, CENTURY), 0x20);
    assert_int_equal(get(f, YEAR), 0x00);
    assert_int_equal(get(f, MONTH), 0x01);
    assert_int_equal(get(f, DAY), 0x01);
    assert_int_equal(get(f, WEEKDAY), 7);
    put(f, YEAR, 0x05); /* without SET: takes effect at once */
    assert_int_equal(get(f, YEAR), 0x05);
    assert_int_equal(get(f, DAY), 0x01);
}

static void date_and_memory_outlive_a_reset(void **state)
{
    struct fixture *f = *state;
    set_date(f);
    put(f, SHUTDOWN, 0x0a);
    put(f, 0x7f, 0x42);
    put(f, 0x35, 0);
    put(f, B, HOURS24 | PERIODIC | ALARM | UPDATE);
    rtc_reset(f->rtc);
    assert_int_equal(get(f, B), HOURS24);
    assert_int_equal(get(f, YEAR), 0x99);
    assert_int_equal(get(f, SHUTDOWN), 0x0a);
    assert_int_equal(get(f, 0x7f), 0x42);
    assert_int_equal(get(f, 0x34), 0x00); /* what firmware tells is written anew */
    assert_int_equal(get(f, 0x35), 0x1f);
    assert_false(f->fake.level);
}

static void memory_size_is_where_firmware_leaves_it(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, 0x15) | get(f, 0x16) << 8, 640);
    assert_int_equal(get(f, 0x17) | get(f, 0x18) << 8, 0xffff);
    assert_int_equal(get(f, 0x30) | get(f, 0x31) << 8, 0xffff);
    assert_int_equal((get(f, 0x34) | get(f, 0x35) << 8) * 65536, (512 - 16) * MIB);
    struct rtc *small = NULL;
    struct line line = fake_line(&f->fake);
    struct bus *bus = NULL;
    assert_int_equal(bus_create(&bus), 0);
    assert_int_equal(rtc_create(&f->fake.host, &line, 8 * MIB, &small), 0);
    assert_int_equal(rtc_attach(small, bus), 0);
    bus_port_write(bus, 0x70, 1, 0x31);
    assert_int_equal(bus_port_read(bus, 0x71, 1), 7 * 1024 >> 8);
    bus_port_write(bus, 0x70, 1, 0x34);
    assert_int_equal(bus_port_read(bus, 0x71, 1), 0);
    rtc_destroy(small);
    bus_destroy(bus);
}

static void update_in_progress_announces_the_second(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, A), 0x26);
    fake_pass(&f->fake, SECOND - 2300000);
    assert_int_equal(get(f, A), 0x26);
    fake_pass(&f->fake, 100000);
    assert_int_equal(get(f, A), 0xa6);
    assert_int_equal(get(f, SECONDS), 0x59);
    fake_pass(&f->fake, 2200000);
    assert_int_equal(get(f, A), 0x26);
    assert_int_equal(get(f, SECONDS), 0x00);
    put(f, A, 0xff); /* UIP is read-only; the divider is held */
    assert_int_equal(get(f, A), 0x7f);
}

static void update_interrupt_comes_every_second(void **state)
{
    struct fixture *f = *state;
    put(f, 5, 0x07); /* else midnight would be the alarm */
    put(f, B, HOURS24 | UPDATE);
    fake_pass(&f->fake, SECOND - 1);
    assert_false(f->fake.level);
    fake_pass(&f->fake, 1);
    assert_true(f->fake.level);
    fake_pass(&f->fake, 5 * SECOND); /* not read: no second edge */
    assert_int_equal(f->fake.rises, 1);
    assert_int_equal(get(f, C), 0x80 | PERIODIC | UPDATE);
    assert_false(f->fake.level);
    assert_int_equal(get(f, C), 0);
    fake_pass(&f->fake, SECOND);
    assert_int_equal(f->fake.rises, 2);
}

static void flags_rise_without_interrupts(void **state)
{
    struct fixture *f = *state;
    put(f, 5, 0x07); /* else midnight would be the alarm */
    assert_int_equal(get(f, C), 0);
    fake_pass(&f->fake, 900 * (SECOND / 1000000));
    assert_int_equal(get(f, C), 0);
    fake_pass(&f->fake, 100 * (SECOND / 1000000));
    assert_int_equal(get(f, C), PERIODIC); /* 976 us at rate 6 */
    fake_pass(&f->fake, SECOND);
    assert_int_equal(get(f, C), PERIODIC | UPDATE);
    assert_int_equal(f->fake.deadline[CHIPSET_TIMER_RTC], 0);
}

static void periodic_rate_is_programmable(void **state)
{
    struct fixture *f = *state;
    static const unsigned hz[16] = {0,   256, 128, 8192, 4096, 2048, 1024, 512,
                                    256, 128, 64,  32,   16,   8,    4,    2};
    for (unsigned rate = 0; rate < 16; rate++) {
        put(f, A, (uint8_t)(0x20 | rate));
        put(f, B, HOURS24 | PERIODIC);
        (void)get(f, C);
        unsigned count = 0;
        uint64_t end = f->fake.now + SECOND;
        while (f->fake.deadline[CHIPSET_TIMER_RTC] != 0 &&
               f->fake.deadline[CHIPSET_TIMER_RTC] <= end) {
            fake_pass(&f->fake, f->fake.deadline[CHIPSET_TIMER_RTC] - f->fake.now);
            assert_true(f->fake.level);
            assert_int_equal(get(f, C) & 0xc0, 0xc0);
            count++;
        }
        assert_in_range(count, hz[rate], hz[rate] + 1);
        fake_pass(&f->fake, end - f->fake.now);
    }
}

static void alarm_matches_once_a_day(void **state)
{
    struct fixture *f = *state;
    put(f, 1, 0x10); /* 00:00:10, eleven seconds ahead and over midnight */
    put(f, 3, 0x00);
    put(f, 5, 0x00);
    put(f, B, HOURS24 | ALARM);
    fake_pass(&f->fake, 11 * SECOND - 1);
    assert_false(f->fake.level);
    fake_pass(&f->fake, 1);
    assert_true(f->fake.level);
    assert_int_equal(get(f, C) & 0xa0, 0xa0);
    fake_pass(&f->fake, 86400 * SECOND - 1);
    assert_int_equal(f->fake.rises, 1);
    fake_pass(&f->fake, 1);
    assert_int_equal(f->fake.rises, 2);
}

static void alarm_may_leave_fields_open(void **state)
{
    struct fixture *f = *state;
    put(f, 1, 0x05); /* five seconds past every minute */
    put(f, 3, 0xff);
    put(f, 5, 0xc0);
    put(f, B, HOURS24 | ALARM);
    fake_pass(&f->fake, 6 * SECOND);
    assert_int_equal(f->fake.rises, 1);
    (void)get(f, C);
    fake_pass(&f->fake, 60 * SECOND);
    assert_int_equal(f->fake.rises, 2);
    (void)get(f, C);
    put(f, 1, 0xff); /* every second */
    fake_pass(&f->fake, SECOND);
    assert_int_equal(f->fake.rises, 3);
    (void)get(f, C);
    put(f, 5, 0x13); /* every second from 13:00, and it is past midnight */
    fake_pass(&f->fake, 43200 * SECOND);
    assert_int_equal(f->fake.rises, 3);
    fake_pass(&f->fake, 3600 * SECOND);
    assert_int_equal(f->fake.rises, 4);
}

static void alarm_that_no_clock_shows_never_comes(void **state)
{
    struct fixture *f = *state;
    put(f, 1, 0x75);
    put(f, 3, 0xff);
    put(f, 5, 0xff);
    put(f, B, HOURS24 | ALARM);
    assert_int_equal(f->fake.deadline[CHIPSET_TIMER_RTC], 0);
    put(f, 1, 0xff);
    put(f, 5, 0x24);
    assert_int_equal(f->fake.deadline[CHIPSET_TIMER_RTC], 0);
    fake_pass(&f->fake, 172800 * SECOND);
    assert_int_equal(get(f, C) & ALARM, 0);
}

static void divider_let_go_updates_after_half_a_second(void **state)
{
    struct fixture *f = *state;
    put(f, A, 0x70);
    fake_pass(&f->fake, 1234567890);
    put(f, SECONDS, 0x30);
    put(f, A, 0x26);
    fake_pass(&f->fake, SECOND / 2 - 1);
    assert_int_equal(get(f, SECONDS), 0x30);
    fake_pass(&f->fake, 1);
    assert_int_equal(get(f, SECONDS), 0x31);
}

static void bit_7_of_the_index_is_not_the_index(void **state)
{
    struct fixture *f = *state;
    put(f, 0x40, 0x77);
    assert_int_equal(get(f, 0xc0), 0x77);
    assert_int_equal(bus_port_read(f->bus, 0x70, 1), 0xff);
    put(f, C, 0xff);
    put(f, D, 0x00);
    assert_int_equal(get(f, C), 0);
    assert_int_equal(get(f, D), 0x80);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shows_the_wall_clock_over_a_leap_day),
        TEST(formats_follow_register_b),
        TEST(guest_sets_the_date_and_it_runs_on),
        TEST(date_and_memory_outlive_a_reset),
        TEST(memory_size_is_where_firmware_leaves_it),
        TEST(update_in_progress_announces_the_second),
        TEST(update_interrupt_comes_every_second),
        TEST(flags_rise_without_interrupts),
        TEST(periodic_rate_is_programmable),
        TEST(alarm_matches_once_a_day),
        TEST(alarm_may_leave_fields_open),
        TEST(alarm_that_no_clock_shows_never_comes),
        TEST(divider_let_go_updates_after_half_a_second),
        TEST(bit_7_of_the_index_is_not_the_index),
    };
    return cmocka_run_group_tests_name("rtc", tests, NULL, NULL);
}
